"""A note that nothing is to be done says so only while nothing that decided it has changed, and never otherwise."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from imageworks import __version__
from imageworks.host.settings import load_host_settings
from imageworks.reconcile.run import Run
from imageworks.reconcile.settled import note, watch
from imageworks.reconcile.settled.note import SettledNote
from support.git import git
from support.reconcile import HOST, NAME, REPO, Result, World, command

SAID: Final = f"No changes. 1 model as declared on {HOST}.\n"


@pytest.fixture(autouse=True)
def _young_files_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of this very moment be noted: no test waits until they are old enough."""
    monkeypatch.setattr(watch, "OLD_ENOUGH_NS", -(10**15))


@pytest.fixture
def settled(world: World) -> World:
    """Return a world in which a run found nothing to do, and noted it."""
    world.serve()
    world.declare()
    world.reconcile()
    world.reconcile()
    assert noted(world) == 1
    return world


def noted(world: World) -> int | None:
    return SettledNote(load_host_settings(registry=world.root), world.root).unchanged()


def dry_run(world: World, *words: str) -> Result:
    return command("reconcile", "--dry-run", "--registry", world.root, *words)


def test_a_dry_run_with_nothing_to_do_reads_only_the_note(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the registry was read")

    monkeypatch.setattr(Run, "open", opened)
    assert dry_run(settled).out == dry_run(settled, "--detailed-exitcode").out == SAID
    assert dry_run(settled, "--quiet").out == ""


@pytest.mark.parametrize("words", [("--json",), ("--verbose",), (NAME,), ("--prune",), ("--uncommitted",)])
def test_whoever_asks_for_more_is_shown_a_plan(
    settled: World, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(SettledNote, "unchanged", lambda _: asked.append(True))
    assert dry_run(settled, *words).code == 0
    assert asked == []


def test_the_note_says_what_a_plan_says(settled: World) -> None:
    said = dry_run(settled)
    shutil.rmtree(load_host_settings(registry=settled.root).cache_dir)
    assert noted(settled) is None
    assert dry_run(settled) == said
    assert said.out == SAID


def test_a_run_with_nothing_to_do_writes_no_note_anew(settled: World) -> None:
    """I4."""
    (file,) = load_host_settings(registry=settled.root).cache_dir.glob("settled/manifests/*.json")
    before = file.stat()
    settled.reconcile()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_files_that_changed_a_moment_ago_are_not_noted(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "OLD_ENOUGH_NS", 3_600 * 10**9)
    settled.declare(deprecated=True)
    settled.reconcile()
    settled.reconcile()
    assert noted(settled) is None


def _same_size_and_time(world: World) -> None:
    file = world.weights / REPO / "model.safetensors"
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _moved_and_linked(world: World) -> None:
    elsewhere = world.folder / "elsewhere"
    (world.weights / "acme").rename(elsewhere)
    (world.weights / "acme").symlink_to(elsewhere)


def _another_weights_folder(world: World) -> None:
    world.weights.rename(world.folder / "before")
    shutil.copytree(world.folder / "before", world.weights)


def _restored_bytes(world: World) -> None:
    file = world.weights / REPO / "config.json"
    text = file.read_bytes()
    file.write_bytes(b"{}")
    file.write_bytes(text)


def _in_the_middle_of_a_merge(world: World) -> None:
    (world.root / ".git/MERGE_HEAD").write_text(world.head() + "\n", encoding="utf-8")


def _staged(world: World) -> None:
    world.declare(deprecated=True, commit=False)
    git(world.root, "add", "models")


CHANGES: Final[dict[str, Callable[[World], object]]] = {
    "bytes": _same_size_and_time,
    "bytes and back": _restored_bytes,
    "file gone": lambda world: (world.weights / REPO / "README.md").unlink(),
    "model gone": lambda world: shutil.rmtree(world.weights / REPO),
    "weights copied": _another_weights_folder,
    "folder moved": _moved_and_linked,
    "marker gone": lambda world: (world.weights / ".imageworks/location.json").unlink(),
    "registry in the weights": lambda world: (world.weights / "acme/registry.yaml").write_text("x", encoding="utf-8"),
    "git folder in the weights": lambda world: git(world.folder, "init", "--bare", "-q", str(world.weights / "acme")),
    "something gathers": lambda world: (world.weights / ".imageworks/staging/x").mkdir(parents=True),
    "manifest edited": lambda world: world.declare(deprecated=True, commit=False),
    "manifest committed": lambda world: world.declare(deprecated=True),
    "manifest added": lambda world: world.declare("other", source={"huggingface": "acme/other"}, commit=False),
    "manifest deleted": lambda world: (world.root / f"models/{NAME}.yaml").unlink(),
    "manifest staged": _staged,
    "folder in models": lambda world: (world.root / "models/more").mkdir(),
    "settings edited": lambda world: world.write("registry.yaml", "schema_version: 1\n", commit=False),
    "another branch": lambda world: git(world.root, "switch", "-q", "-c", "other"),
    "state": lambda world: (load_host_settings(registry=world.root).state_dir / "state.sqlite3").touch(),
    "a merge": _in_the_middle_of_a_merge,
    "predecessor": lambda world: (world.root / "model_registry.curated.json").write_text("[]", encoding="utf-8"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_looked_at(settled: World, change: str) -> None:
    CHANGES[change](settled)
    assert noted(settled) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEWORKS_HOST", "another"),
        ("IMAGEWORKS_MODEL_ROOT", "{folder}/second"),
        ("HF_ENDPOINT", "https://hub.example"),
    ],
)
def test_other_settings_of_the_host_are_looked_at(
    settled: World, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value.replace("{folder}", str(settled.folder)))
    assert noted(settled) is None


def test_where_signatures_are_asked_for_the_note_says_nothing(settled: World) -> None:
    settled.user_config(Path.home(), "require_signed = true\n")
    assert noted(settled) is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]\n[]\n", b'{"same": 1}\n', b"\xff\n", b"[" * 100_000])
def test_a_broken_note_is_none(settled: World, text: bytes) -> None:
    (file,) = load_host_settings(registry=settled.root).cache_dir.glob("settled/manifests/*.json")
    file.write_bytes(text)
    assert noted(settled) is None
    assert dry_run(settled).out == SAID


def test_another_version_of_the_program_looks_again(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.reconcile.settled.note.__version__", "0.0.1")
    assert noted(settled) is None


def test_an_installed_program_is_known_by_its_installation(
    settled: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site-packages/imageworks"
    (package / "reconcile/settled").mkdir(parents=True)
    record = package.parent / f"imageworks_models-{__version__}.dist-info/RECORD"
    record.parent.mkdir()
    record.touch()
    monkeypatch.setattr(note, "__file__", str(package / "reconcile/settled/note.py"))
    assert noted(settled) is None
    settled.reconcile()
    assert noted(settled) == 1
    (package / "module.py").touch()
    assert noted(settled) == 1, "hundreds of modules are not looked at"
    record.write_text("imageworks/module.py,,", encoding="utf-8")
    assert noted(settled) is None
    record.unlink()
    settled.reconcile()
    assert noted(settled) == 1
    (package / "module.py").write_text("pass", encoding="utf-8")
    assert noted(settled) is None, "of a checkout they are"


@pytest.mark.parametrize(
    "settings",
    [
        {"policies": {"denied_licenses": ["cc-by-nc-4.0"]}},
        {"transfer": {"window": "00:00-23:59"}},
        {
            "locations": {"linux_wsl": {"path": "~/unused"}, "studio": {"path": "{folder}/studio", "kind": "lmstudio"}},
            "hosts": {HOST: {"locations": {"studio": {"path": "{folder}/weights/studio"}}}},
        },
    ],
)
def test_what_files_cannot_prove_is_not_noted(world: World, settings: dict[str, object]) -> None:
    (world.weights / "studio").mkdir()
    world.serve()
    world.configure(**settings)
    world.declare()
    for _ in range(3):
        world.reconcile()
    assert noted(world) is None


def test_what_has_a_place_of_its_own_is_not_noted(world: World) -> None:
    """A source on this host is read again each time: whoever owns it may change it."""
    (world.weights / "found").mkdir()
    (world.weights / "found/model.safetensors").write_bytes(b"x" * 100)
    world.declare("found", source={"path": str(world.weights / "found")})
    for _ in range(3):
        command("reconcile", "--yes", "--registry", world.root)
    assert noted(world) is None


def test_unfinished_work_is_told_and_not_noted(settled: World) -> None:
    settled.declare("draft", source={"huggingface": "acme/draft"}, commit=False)
    settled.reconcile(valid=False)
    assert "uncommitted" in dry_run(settled).out
    assert noted(settled) is None


def test_the_note_names_no_more_than_paths_and_numbers(settled: World) -> None:
    (file,) = load_host_settings(registry=settled.root).cache_dir.glob("settled/manifests/*.json")
    assert file.stat().st_mode & 0o077 == 0
    head, rest, models = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert head["count"] == 1
    assert rest[1] == str(settled.root / "models")
    assert [folder for folder, *_ in models] == [str(settled.weights / REPO)]
