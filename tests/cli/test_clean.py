"""U1, O14: unfinished downloads stay until somebody says so; `clean` shows what was left, and removes what is safe."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from imageworks.providers.folder import apply as apply_module
from imageworks.providers.publish_intents import PublishJournal
from support.git import git
from support.reconcile import HOST, MODEL, NAME, REPO, Result, World, command
from support.registry import LARGE_BYTES, SHARDS, ended, model, wait_for
from support.registry import World as Fresh
from support.terminal import Terminal
from support.transfer import tree

DECLARED_BY_DOWNLOAD = "tiny-1b-vllm"
DOWNLOAD = ("unfinished-download", DECLARED_BY_DOWNLOAD)


@pytest.fixture
def broken_off(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Break a `download` of an undeclared model off, and return the staging area that is left."""
    world.serve()
    with monkeypatch.context() as patched:
        patched.setattr(apply_module, "publish", interrupt)
        result = command("download", REPO, "--registry", world.root, "--no-progress")
    assert result.code == 130, result
    assert "kept" in result.err
    (area,) = (world.weights / ".imageworks/staging").iterdir()
    return area


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def clean(world: World, *words: str, code: int = 0) -> Result:
    result = command("clean", *words, "--registry", world.root)
    assert result.code == code, result
    return result


def leftovers(world: World, *words: str) -> dict[tuple[str, str], bool]:
    """Return what was left, by kind and name, and whether it may go."""
    listed = clean(world, "--dry-run", "--json", *words).json["leftovers"]
    assert isinstance(listed, list)
    return {(one["kind"], one["name"]): one["remove"] for one in listed}


def age(path: Path, days: float) -> None:
    for one in (path, *path.rglob("*")):
        os.utime(one, (0, time.time() - days * 24 * 3600))


def test_u1_an_undeclared_unfinished_download_survives_a_reconcile_of_everything(
    world: World, broken_off: Path
) -> None:
    world.serve({"config.json": b"{}", "model.safetensors": b"other"}, "acme/other")
    world.declare("other", source={"huggingface": "acme/other"})
    assert DECLARED_BY_DOWNLOAD in world.reconcile().out
    assert DECLARED_BY_DOWNLOAD in world.reconcile().out, "with nothing to do it tells of it as well"
    assert broken_off.is_dir()
    (told,) = json.loads(command("status", "--registry", world.root, "--json").out)["unfinished"]
    assert (told["name"], told["source"], told["percent"]) == (DECLARED_BY_DOWNLOAD, REPO, 100)
    shown = command("status", "--registry", world.root).out
    assert f"unfinished: {DECLARED_BY_DOWNLOAD}, 100 % of 58.6 KiB" in shown
    assert f"`download {REPO}`" in shown
    words = ("download", REPO, "--registry", str(world.root), "--no-progress")
    assert "58.6 KiB here already" in command(*words, "--dry-run").out, "nothing is fetched twice"
    assert command(*words).code == 0
    assert not broken_off.exists()
    assert "unfinished" not in command("status", "--registry", world.root).out


def test_u1_a_killed_download_tells_how_far_it_is(fresh: Fresh) -> None:
    fresh.publish(REPO, model("1"))
    fresh.meter.most = LARGE_BYTES // 2
    with fresh.start("download", REPO, "--no-progress") as child:
        wait_for(lambda: any(path.stat().st_size for path in fresh.weights.rglob("*.part")))
        wait_for(lambda: fresh.meter.served[SHARDS[0]] >= LARGE_BYTES // 2)
        os.killpg(child.pid, signal.SIGINT)
        stopped = ended(child)
    assert stopped.code == 130, stopped
    assert "kept" in stopped.stderr
    assert fresh.reconcile().code == 0
    (told,) = json.loads(fresh.run("status", "--json").stdout)["unfinished"]
    assert 0 < told["percent"] < 100
    assert 0 < told["bytes"] < told["total_bytes"]
    fresh.meter.most = None
    assert "here already" in fresh.run("download", REPO, "--no-progress", "--dry-run").stdout
    assert fresh.run("download", REPO, "--no-progress").code == 0


def test_models_that_came_whole_with_an_interrupted_run_are_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(*names: str) -> None:
        for name in names:
            world.serve({"config.json": b"{}", "model.safetensors": name.encode() * 4000}, f"acme/{name}")
            world.declare(name, source={"huggingface": f"acme/{name}"})

    words = ("reconcile", "--yes", "--registry", world.root)
    declare("first", "second")
    with monkeypatch.context() as patched:
        patched.setattr(apply_module, "publish", interrupt)
        assert command(*words).code == 130
    declare("third", "fourth")
    again = command(*words)
    assert again.code == 0, again
    assert "first: fetching" not in again.err
    assert "2 of 2 models done" in again.err


def test_u1_clean_shows_asks_removes_and_has_nothing_then(
    world: World, broken_off: Path, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path
) -> None:
    before = tree(world.folder), tree(isolated_environment)
    shown = clean(world, "--dry-run").out
    assert DECLARED_BY_DOWNLOAD in shown
    assert str(broken_off) in shown
    assert "--yes" in clean(world, code=1).err, "nobody can be asked"
    assert (tree(world.folder), tree(isolated_environment)) == before
    monkeypatch.setattr("sys.stdin", Terminal("n\ny\n"))
    clean(world, code=1)
    assert broken_off.is_dir()
    assert "2 of 2 removed" in clean(world).err
    assert not (world.weights / ".imageworks").exists()
    for words in (("--yes",), ("--dry-run",)):
        assert "Nothing to remove" in clean(world, *words).out


def test_u1_what_a_declared_model_goes_on_with_stays_unless_it_is_named(world: World, broken_off: Path) -> None:
    world.declare(DECLARED_BY_DOWNLOAD)
    assert leftovers(world)[DOWNLOAD] is False
    clean(world, "--yes")
    assert broken_off.is_dir()
    clean(world, "another", "--yes")
    assert broken_off.is_dir()
    clean(world, DECLARED_BY_DOWNLOAD, "--yes")
    assert not broken_off.exists()


def test_u1_what_is_younger_than_asked_stays(world: World, broken_off: Path) -> None:
    age(broken_off, 3)
    assert leftovers(world, "--older-than", "4d")[DOWNLOAD] is False
    for words in ("4", "96h", "1w", "100000m"):
        clean(world, "--yes", "--older-than", words)
    assert broken_off.is_dir()
    assert clean(world, "--older-than", "soon", code=64).err
    clean(world, "--yes", "--older-than", "2d")
    assert not broken_off.exists()


def test_u1_what_is_another_registrys_hosts_or_nobodys_stays(
    world: World, broken_off: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(world.folder, "clone", "-q", str(world.root), str(world.folder / "second"))
    second = command("clean", "--yes", "--registry", world.folder / "second")
    assert second.code == 0
    assert "another registry" in second.out
    monkeypatch.setenv("IMAGEWORKS_HOST", "elsewhere")
    clean(world, "--yes")
    monkeypatch.setenv("IMAGEWORKS_HOST", HOST)
    (broken_off / "owner").rename(broken_off / "owner.gone")
    clean(world, "--yes")
    assert broken_off.is_dir()
    (broken_off / "owner.gone").rename(broken_off / "owner")
    (broken_off / "publish.json").write_text("{", encoding="utf-8")
    clean(world, "--yes")
    assert broken_off.is_dir(), "an interrupted publish is finished by the next run, not thrown away"


def test_u1_links_lead_nowhere(world: World, broken_off: Path) -> None:
    outside = world.folder / "outside"
    broken_off.parent.rename(outside)
    broken_off.parent.symlink_to(outside)
    before = tree(outside)
    clean(world, "--yes")
    assert tree(outside) == before


def test_u1_a_location_that_is_not_there_is_passed_over(world: World, broken_off: Path) -> None:
    world.weights.rename(world.folder / "unplugged")
    assert DOWNLOAD not in leftovers(world)
    clean(world, "--yes")
    (world.folder / "unplugged").rename(world.weights)
    assert broken_off.is_dir()


def test_u1_a_folder_that_download_was_given_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve()
    with monkeypatch.context() as patched:
        patched.setattr(apply_module, "publish", interrupt)
        place = world.folder / "given"
        words = ("download", REPO, "--location", str(place), "--registry", world.root, "--no-progress")
        assert command(*words).code == 130
    world.user_config(Path.home(), f'roots = ["{place}", "{world.folder}"]\n')
    assert leftovers(world)[DOWNLOAD]
    clean(world, "--yes")
    assert tree(place) == {}


def test_clean_removes_settled_notes_drafts_and_old_caches_and_touches_no_model(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    state = Path.home() / ".local/state/imageworks"
    cache = Path.home() / ".cache/imageworks"
    intents = PublishJournal(state, world.root)
    intents.announce(NAME, world.weights / REPO)
    intents.announce("never-came", world.weights / "acme/never")
    intents.announce("is-there", world.folder)
    draft = world.root / ".model_registry.json.new"
    draft.write_text("[", encoding="utf-8")
    others = cache / "manifests/0123456789abcdef.json"
    others.write_text("{}", encoding="utf-8")
    age(cache, 40)
    before, head = tree(world.weights), world.head()
    found = leftovers(world)
    assert found == dict.fromkeys(
        [("note", NAME), ("note", "never-came"), ("draft", draft.name), ("cache", others.name)], True
    )
    clean(world, "--yes")
    assert not draft.exists()
    assert not others.exists()
    assert set(intents.announced()) == {"is-there"}
    assert (tree(world.weights), world.head()) == (before, head)
    assert tree(world.weights) == {f"{REPO}/{name}": data for name, data in MODEL.items()}
    assert "Nothing to remove" in clean(world, "--yes").out
    world.plan("--offline")


def test_o14_clean_removes_what_ollama_would_drop_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = world.folder / "ollama"
    blobs = store / "blobs"
    blobs.mkdir(parents=True)
    (store / "manifests").mkdir()
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    orphan = blobs / f"sha256-{'a' * 64}"
    young = blobs / f"sha256-{'b' * 64}"
    foreign = blobs / "notes.txt"
    for file in (orphan, young, foreign):
        file.write_bytes(b"x" * 5000)
    age(orphan, 2)
    shown = leftovers(world)
    assert (shown["ollama", orphan.name], shown["ollama", young.name]) == (True, False)
    clean(world, "--yes")
    assert sorted(path.name for path in blobs.iterdir()) == sorted([young.name, foreign.name])
