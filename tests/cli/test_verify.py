"""``verify`` through the real command line: what is right, what is not, and what is done about it."""

import os
from pathlib import Path

import pytest

from imageworks.files.state import STATE_FILE, StateDatabase
from support.reconcile import MODEL, NAME, QUANTS, REPO, Result, World, command
from support.transfer import tree

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def installed(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()


def verify(world: World, *words: str, code: int = 0) -> Result:
    result = command("verify", *words, "--registry", world.root)
    assert result.code == code, result
    return result


def verdicts(world: World, *words: str, code: int = 0) -> dict[str, tuple[str, dict[str | None, str]]]:
    models = verify(world, "--json", *words, code=code).json["models"]
    assert isinstance(models, list)
    return {one["name"]: (one["verdict"], {p["path"]: p["reason"] for p in one["problems"]}) for one in models}


def flip(path: Path) -> None:
    """Change a byte as a failing disk would: size and times stay."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_as_recorded_is_intact_and_unchanged_files_are_not_read(world: World) -> None:
    result = verify(world)
    assert f"✅ {NAME}: intact (4 files, 58.6 KiB)" in result.out
    assert "1 model: 1 intact." in result.out
    assert "58.6 KiB read" in verify(world, "--full").out


def test_nothing_is_written_to_the_registry(world: World) -> None:
    before, head = tree(world.root), world.head()
    verify(world, "--full")
    assert tree(world.root) == before
    assert world.head() == head


@pytest.mark.parametrize(
    ("damage", "reason", "shown"),
    [
        (lambda path: path.unlink(), "file-missing", "is gone"),
        (lambda path: path.write_bytes(b"short"), "size-mismatch", "has 5 bytes, recorded are 60000"),
        (lambda path: path.write_bytes(bytes(60_000)), "digest-mismatch", "recorded is"),
    ],
)
def test_damage_is_named_by_file(world: World, damage: object, reason: str, shown: str) -> None:
    assert callable(damage)
    damage(world.weights / REPO / WEIGHTS)
    result = verify(world, NAME, code=1)
    assert f"❌ {NAME}: damaged" in result.out
    assert f"    {reason}: {WEIGHTS} " in result.out
    assert shown in result.out
    assert verdicts(world, code=1) == {NAME: ("damaged", {WEIGHTS: reason})}


def test_w7_bytes_that_were_changed_are_found_whatever_time_the_file_says(world: World) -> None:
    flip(world.weights / REPO / WEIGHTS)  # it sets the time back, which leaves a trace of its own
    assert verdicts(world, code=1) == {NAME: ("damaged", {WEIGHTS: "digest-mismatch"})}


def test_a_byte_that_changed_in_silence_is_found_in_full_and_stays_found(
    world: World, isolated_environment: Path
) -> None:
    weights = world.weights / REPO / WEIGHTS
    flip(weights)
    with StateDatabase.open(isolated_environment / ".local/state/imageworks" / STATE_FILE) as state:
        known = state.fingerprint(weights)
        assert known is not None
        state.keep([known.renewed(weights, weights.stat())])  # as where the disk itself changed it
    verify(world)
    assert verdicts(world, "--full", code=1) == {NAME: ("damaged", {WEIGHTS: "digest-mismatch"})}
    assert verdicts(world, code=1) == {NAME: ("damaged", {WEIGHTS: "digest-mismatch"})}


def test_a_repair_fetches_only_what_is_damaged_at_the_recorded_commit(world: World) -> None:
    flip(world.weights / REPO / WEIGHTS)
    (world.weights / REPO / "tokenizer.json").unlink()
    world.serve({**MODEL, "config.json": b'{"model_type": "newer"}'})
    refused = verify(world, "--full", "--repair", code=1)
    assert "not repaired" in refused.err, "the recorded commit is not offered any more"
    world.serve()
    world.served.forget()
    result = verify(world, "--full", "--repair")
    assert f"{NAME}: repair done" in result.err
    assert set(world.served.files) == {WEIGHTS, "tokenizer.json"}
    assert tree(world.weights / REPO) == MODEL
    verify(world, "--full")
    world.check()


def test_many_damaged_files_do_not_flood_the_terminal(world: World) -> None:
    more = {f"extra/{number:02}.json": b"{}" for number in range(30)}
    world.serve({**MODEL, **more}, "acme/many")
    world.declare("many", source={"huggingface": "acme/many"})
    world.reconcile()
    for name in more:
        (world.weights / "acme/many" / name).write_bytes(b"{ }")
    shown = verify(world, "many", code=1).out.splitlines()
    assert len([line for line in shown if "size-mismatch" in line]) == 20
    assert "    and 10 more; --json lists all" in shown
    assert len(verdicts(world, code=1)["many"][1]) == 30


def test_missing_files_are_cleared_and_the_entry_is_kept(world: World) -> None:
    for name in MODEL:
        (world.weights / REPO / name).unlink()
    assert verdicts(world, code=1)[NAME][0] == "missing"
    assert f"    file-missing: none of its {len(MODEL)} files is there\n" in verify(world, code=1).out
    result = verify(world, "--fix-missing")
    assert f"{NAME}: cleared; the entry is kept" in result.err
    assert "download_path" not in world.entry()
    assert world.entry()["capabilities"]
    assert world.message().startswith("Verify testhost: clear what is gone")
    world.check()
    world.reconcile()
    assert tree(world.weights / REPO) == MODEL


def test_what_is_damaged_and_not_gone_is_not_cleared(world: World) -> None:
    (world.weights / REPO / WEIGHTS).unlink()
    before = world.head()
    verify(world, "--fix-missing", code=1)
    assert world.head() == before
    assert "download_path" in world.entry()


def test_forgetting_and_repairing_exclude_each_other(world: World) -> None:
    assert "exclude each other" in verify(world, "--fix-missing", "--repair", code=64).err


def test_a_locked_model_whose_files_are_not_the_expected_ones_fails(world: World) -> None:
    world.declare(version_lock={"locked": True, "expected_aggregate_sha256": "0" * 64})
    assert verdicts(world, code=1) == {NAME: ("damaged", {None: "version-lock"})}
    assert "declare the revision that is meant, or unlock it" in verify(world, "--repair", code=1).err
    artifacts = world.entry()["artifacts"]
    assert isinstance(artifacts, dict)
    lock = {"locked": True, "expected_aggregate_sha256": artifacts["aggregate_sha256"]}
    world.declare(version_lock=lock)
    verify(world)


def test_what_cannot_be_looked_at_is_neither_right_nor_wrong(world: World) -> None:
    weights = world.weights / REPO / WEIGHTS
    weights.unlink()
    weights.symlink_to(weights)  # a loop: nobody, not even root, can look behind it
    result = verify(world, code=3)
    assert f"{NAME}: unverified" in result.out
    assert f"unreadable: {WEIGHTS} cannot be looked at" in result.out


def test_a_model_that_was_never_brought_cannot_be_verified(world: World) -> None:
    world.declare("waiting", source={"huggingface": "acme/other"}, state="suspended")
    assert verdicts(world, "waiting", code=3) == {"waiting": ("unverified", {None: "nothing-recorded"})}
    verify(world)


def test_a_broken_entry_cannot_be_verified(world: World) -> None:
    world.write(f"discovered/testhost/{NAME}.json", "{")
    assert verdicts(world, code=3)[NAME][0] == "unverified"


def test_an_unknown_name_is_said_with_the_nearest(world: World) -> None:
    refused = verify(world, "tiny-1bb", code=1)
    assert "Did you mean 'tiny-1b'?" in refused.err


def test_a_damaged_file_that_two_models_share_damages_both_and_is_repaired(world: World) -> None:
    world.serve(QUANTS, "acme/many")
    for label in ("Q4_K_M", "Q8_0"):
        world.declare(f"many-{label.lower()}", source={"huggingface": "acme/many"}, quantization=label)
    world.reconcile()
    (world.weights / "acme/many/LICENSE").write_bytes(b"Apache License 3.0\n")
    damaged = verdicts(world, code=1)
    assert {name for name, (verdict, _) in damaged.items() if verdict == "damaged"} == {"many-q4_k_m", "many-q8_0"}
    verify(world, "--repair")
    assert tree(world.weights / "acme/many") == QUANTS


def test_an_undeclared_model_is_verified_and_not_repaired(world: World) -> None:
    world.delete(NAME)
    (world.weights / REPO / WEIGHTS).unlink()
    assert "`promote` it first" in verify(world, "--repair", code=1).err


def test_a_suspended_model_is_verified_and_not_repaired(world: World) -> None:
    world.declare(state="suspended")
    (world.weights / REPO / WEIGHTS).unlink()
    assert "it is suspended" in verify(world, "--repair", code=1).err
    assert WEIGHTS not in tree(world.weights / REPO)
