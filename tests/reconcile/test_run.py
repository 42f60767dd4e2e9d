"""What happens between planning and committing: failures, interruptions, people who commit meanwhile."""

import errno
import os
import time
from pathlib import Path

import pytest

from imageworks.files.publish import publish
from imageworks.host.settings import load_host_settings
from imageworks.providers.folder import apply as module
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from support.git import git
from support.reconcile import HOST, MODEL, NAME, REPO, World, command
from support.transfer import tree


class Meanwhile:
    """Does something else each time that a model is published, before it is, or instead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, error: BaseException | None = None) -> None:
        self.real = publish
        self.error = error
        self.seen: list[Path] = []
        monkeypatch.setattr(module, "publish", self)

    def __call__(self, area: object, target: Path, **options: object) -> object:
        self.seen.append(target)
        self.happen()
        if self.error is not None and REPO in str(target):
            raise self.error
        return self.real(area, target, **options)  # type: ignore[arg-type]

    def happen(self) -> None:
        """What people do meanwhile."""


def two_models(world: World) -> None:
    world.serve()
    world.serve({**MODEL, "config.json": b'{"other": 1}'}, "acme/other")
    world.declare()
    world.declare("other", source={"huggingface": "acme/other"})


def test_a_full_disk_fails_one_model_in_plain_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9."""
    two_models(world)
    Meanwhile(monkeypatch, error=OSError(errno.ENOSPC, "No space left on device", "/weights/x"))
    result = world.reconcile(code=1)
    assert f"error: {NAME}: /weights/x: No space left on device" in result.err
    assert world.entries() == ["other"]
    monkeypatch.undo()


def test_an_interrupted_run_records_nothing_and_the_next_one_fetches_nothing_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3."""
    world.serve()
    world.declare()
    with monkeypatch.context() as patched:
        Meanwhile(patched, error=KeyboardInterrupt())
        result = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    assert result.code == 130
    assert not (world.root / "discovered").exists()
    world.served.forget()
    world.reconcile()
    assert world.served.files == {}
    assert tree(world.weights / REPO) == dict(MODEL)


def test_what_people_commit_meanwhile_is_merged_with_what_was_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    world.declare()
    meanwhile = Meanwhile(monkeypatch)
    monkeypatch.setattr(meanwhile, "happen", lambda: world.declare(display_name="Edited meanwhile"))
    world.reconcile()
    assert git(world.git_root, "log", "--format=%s", "-2").splitlines() == [
        f"Reconcile {HOST}: 1 installed",
        f"Write models/{NAME}.yaml",
    ]
    assert world.snapshot()[NAME]["display_name"] == "Edited meanwhile"


def test_uncommitted_work_of_people_stays_as_it_was(world: World) -> None:
    """I6."""
    world.serve()
    world.declare()
    world.write("models/draft.yaml", "schema_version: 1\nroles: [caption]\n", commit=False)
    world.write("registry.yaml", (world.root / "registry.yaml").read_text(encoding="utf-8") + "\n", commit=False)
    git(world.git_root, "add", "models/draft.yaml")
    before = git(world.git_root, "status", "--porcelain")
    world.reconcile()
    assert "A  models/draft.yaml\n" in before
    assert git(world.git_root, "status", "--porcelain") == before
    assert "draft" not in world.snapshot()


def test_bytes_that_changed_since_the_plan_are_fetched_instead(world: World) -> None:
    world.serve()
    world.serve(MODEL, "acme/same")
    world.declare()
    world.reconcile()
    world.declare("same", source={"huggingface": "acme/same"})
    world.served.forget()
    with Run.open(world.root, load_host_settings(registry=world.root), RunOptions()) as run:
        plan = run.plan()
        assert "model.safetensors" in plan.changes[0].reuse
        (world.weights / REPO / "model.safetensors").write_bytes(b"something else")
        report = run.apply(plan)
    assert [outcome.done for outcome in report.outcomes] == [True]
    assert world.served.files["model.safetensors"] == len(MODEL["model.safetensors"])
    assert tree(world.weights / "acme/same") == dict(MODEL)


def test_a_skipped_change_is_not_made(world: World) -> None:
    two_models(world)
    with Run.open(world.root, load_host_settings(registry=world.root), RunOptions()) as run:
        report = run.apply(run.plan(), skipped={NAME: "not now"})
    assert (report.skipped or {})[NAME] == "not now"
    assert world.entries() == ["other"]


def test_a_licence_that_the_registry_denies_keeps_a_model_out(world: World) -> None:
    world.serve({**MODEL, "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n"})
    world.configure(policies={"denied_licenses": ["cc-by-nc-4.0"]})
    world.declare(license="cc-by-nc-4.0")
    result = world.reconcile(code=1, valid=False)
    assert result.planned[NAME] == ("blocked", "license-denied")
    assert tree(world.weights) == {}


@pytest.mark.parametrize(
    ("policies", "license_", "comes"),
    [
        ({}, "gpl", True),
        ({"allowed_licenses": ["MIT"]}, "mit", True),
        ({"allowed_licenses": ["mit"]}, "gpl", False),
        ({"allowed_licenses": ["mit"]}, None, False),
        ({"denied_licenses": ["gpl"]}, None, True),
        ({"denied_licenses": ["gpl"]}, "mit", True),
        ({"denied_licenses": ["gpl"]}, "GPL", False),
    ],
)
def test_licences_are_judged_before_any_byte(
    world: World,
    policies: dict[str, list[str]],
    license_: str | None,
    comes: bool,
) -> None:
    world.serve()
    world.configure(policies=policies)
    world.declare(NAME, source=None, commit=True, **({"license": license_} if license_ else {}))
    planned = world.plan(code=0 if comes else 1).changes
    assert planned == {NAME: ("install", "missing") if comes else ("blocked", "license-denied")}


def test_outside_the_transfer_window_downloads_wait_unless_asked_for_at_once(world: World) -> None:
    from datetime import datetime, timedelta

    world.serve()
    later = datetime.now().astimezone() + timedelta(hours=2)
    window = f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M}"
    world.configure(transfer={"window": window})
    world.declare()
    result = world.reconcile()
    assert f"transfer window {window}" in result.err
    assert tree(world.weights) == {}
    world.reconcile("--now")
    assert tree(world.weights / REPO) == dict(MODEL)


def interrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Declare a model and interrupt its install; returns the staging area that is left."""
    world.serve()
    world.declare()
    with monkeypatch.context() as patched:
        Meanwhile(patched, error=KeyboardInterrupt())
        command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    (area,) = (world.weights / ".imageworks/staging").iterdir()
    return area


def test_what_came_of_a_suspended_model_waits_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    area = interrupted(world, monkeypatch)
    world.declare(state="suspended")
    world.reconcile()
    assert area.is_dir()
    world.declare()
    world.served.forget()
    world.reconcile()
    assert world.served.files == {}
    assert not area.exists()


def test_what_came_of_a_blocked_model_waits_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    area = interrupted(world, monkeypatch)
    world.reconcile("--offline", code=1)
    assert area.is_dir()


def test_u1_what_came_of_a_model_that_nobody_declares_stays_until_it_is_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = interrupted(world, monkeypatch)
    world.delete(NAME)
    world.reconcile()
    assert area.is_dir()
    for path in (area, *area.rglob("*")):
        os.utime(path, (0, time.time() - 31 * 24 * 3600))
    world.reconcile("--offline")
    assert not area.exists()
    assert not area.parent.exists()


def test_what_another_registry_is_fetching_to_the_same_place_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    area = interrupted(world, monkeypatch)
    elsewhere = tmp_path / "second"
    git(tmp_path, "clone", "--quiet", str(world.root), str(elsewhere))
    git(elsewhere, "rm", "--quiet", f"models/{NAME}.yaml")
    git(elsewhere, "commit", "--quiet", "--message", "Declare nothing")
    assert command("reconcile", "--yes", "--registry", elsewhere, "--no-progress").code == 0
    assert area.is_dir()


def test_bytes_that_a_killed_run_published_and_nobody_declares_any_more_are_told(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("--no-commit", valid=False)
    world.delete(NAME)
    assert f"{world.weights / REPO} was put there by an interrupted run" in world.reconcile("--dry-run").out
    world.declare()
    result = world.reconcile()
    assert result.planned[NAME] == ("adopt", "found")
    assert "interrupted" not in world.reconcile().out
