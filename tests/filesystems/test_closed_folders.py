"""Folders that this user may not enter or write stop nobody else, and nothing is fetched that could not be kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.filesystems import without_power
from support.reconcile import NAME, World, command

STATE = ".local/state/imageworks"


@contextmanager
def closed(*folders: Path, mode: int = 0) -> Iterator[None]:
    """Let folders be as another user's are."""
    for folder in folders:
        folder.chmod(mode)
    try:
        yield
    finally:
        for folder in reversed(folders):
            folder.chmod(0o755)


@pytest.fixture(autouse=True)
def declared(world: World) -> None:
    world.serve()
    world.declare()


@pytest.mark.parametrize("words", [("status",), ("reconcile", "--yes"), ("clean", "--yes"), ("verify",)])
def test_w5_what_another_user_broke_off_on_a_shared_disk_stops_nobody(world: World, words: tuple[str, ...]) -> None:
    world.reconcile()
    theirs = world.weights / ".imageworks/staging/theirs-0123456789abcdef"
    theirs.mkdir(parents=True)
    (theirs / "owner").write_text("another/0123456789abcdef/theirs", encoding="utf-8")
    with closed(theirs):
        done = without_power(*words, "--registry", world.root)
        assert done.returncode == 0, done
    assert (theirs / "owner").is_file()


@pytest.mark.parametrize("place", ["", ".imageworks", ".imageworks/staging"])
def test_w5_a_location_that_may_not_be_entered_stops_no_other(world: World, place: str) -> None:
    world.reconcile()
    world.serve(name="acme/second")
    world.declare("second", source={"huggingface": "acme/second"}, location="second")
    (world.weights / ".imageworks/staging").mkdir(exist_ok=True)
    with closed(world.weights / place):
        done = without_power("reconcile", "--yes", "--registry", world.root)
        assert world.entries() == sorted([NAME, "second"]), done
        told = without_power("status", "--registry", world.root)
        assert "second  " in told.stdout, told
        assert without_power("clean", "--yes", "--registry", world.root).returncode == 0
    assert world.status()[NAME][:2] == ("synced", "healthy")


def test_f9_a_state_that_cannot_be_written_is_said_before_the_first_byte(
    world: World, isolated_environment: Path
) -> None:
    command("list", "--registry", world.root)
    world.reconcile()
    world.serve(name="acme/second")
    world.declare("second", source={"huggingface": "acme/second"})
    world.served.forget()
    state = isolated_environment / STATE
    file = state / "state.sqlite3"
    with closed(state, mode=0o555):
        done = without_power("reconcile", "--yes", "--registry", world.root)
        assert done.returncode == 1, done
        assert str(file) in done.stderr
        assert world.served.files == {}
        seen = without_power("verify", "--full", "--registry", world.root)
        assert seen.returncode == 0, seen
        assert NAME in seen.stdout
    world.reconcile()


def test_f3_a_list_for_older_consumers_that_cannot_be_written_fails_nothing(world: World) -> None:
    world.reconcile()
    (world.root / "model_registry.json").unlink()
    with closed(world.root, mode=0o555):
        done = without_power("reconcile", "--yes", "--registry", world.root)
        assert done.returncode == 0, done
        assert "model_registry.json" in done.stdout + done.stderr
    world.reconcile()
    assert (world.root / "model_registry.json").is_file()


def test_w6_clean_forgets_no_note_of_a_drive_that_is_away(world: World, isolated_environment: Path) -> None:
    world.reconcile()
    (note,) = (isolated_environment / STATE / "intents").iterdir()
    (note / f"{NAME}.json").write_text(f'{{"path": "{world.weights}/acme/elsewhere"}}', encoding="utf-8")
    away = world.weights.with_name("away")
    world.weights.rename(away)
    world.weights.mkdir()
    assert command("clean", "--yes", "--registry", world.root).code == 0
    assert (note / f"{NAME}.json").is_file()
    world.weights.rmdir()
    away.rename(world.weights)
    assert command("clean", "--yes", "--registry", world.root).code == 0
    assert not (note / f"{NAME}.json").exists()
