"""What bad input gets: one clear message with the remedy, the right exit code, nothing half-published, nothing lost."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import RawResponse, Request, Response
from support import hub
from support.git import assert_sound, git
from support.registry import (
    HOST,
    LARGE_BYTES,
    NAME,
    REPO,
    SHARDS,
    Ran,
    World,
    digests,
    ended,
    footprint,
    model,
    small_model,
    tree,
    wait_for,
    world,
    written_bytes,
)

CANARY = "hf_canaryTokenThatNobodyMaySee0123456789"
MIB = 1 << 20
SEEDS_MESSAGE = (
    "aria2c not found. Please install aria2c for optimal download performance.\n"
    "Ubuntu/Debian: sudo apt install aria2\n"
    "macOS: brew install aria2"
)


def assert_told(done: Ran, code: int, *words: str) -> None:
    """Fail unless a run ended with a code and said some words, in words of ours and not of the interpreter."""
    assert done.code == code, done
    for word in words:
        assert word in done.output, f"{word!r} is not said: {done}"
    for never in ("Traceback", "This is a bug", "Error("):
        assert never not in done.output, done


def assert_nothing_happened(world: World, commit: str) -> None:
    """Fail unless no model was published, nothing was recorded but what manifests say, and the repository is sound."""
    assert not world.target.exists()
    assert_only_snapshot(world, commit)
    assert_sound(world.registry)


def assert_only_snapshot(world: World, commit: str) -> None:
    """Fail if more was committed than the snapshot, which shows declared models too."""
    changed = git(world.registry, "diff", "--name-only", commit, "HEAD").split()
    assert changed in ([], [f"snapshot/{HOST}.json"])
    assert git(world.registry, "status", "--porcelain", "--", "discovered", "snapshot") == ""


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something on a folder for a while; skip the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_missing_aria2c_gets_the_known_message_and_the_plan_still_shows(fresh: World, tmp_path: Path) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    before = fresh.head
    (tmp_path / "bin").mkdir()
    git_program = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "bin/git").symlink_to(git_program)
    fresh.environment["PATH"] = str(tmp_path / "bin")
    assert fresh.run("reconcile", "--dry-run").code == 0
    done = fresh.reconcile()
    assert_told(done, 1, SEEDS_MESSAGE)
    assert_nothing_happened(fresh, before)


def test_an_unknown_manifest_key_is_placed_and_the_nearest_known_one_is_named(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare(extra="rolse: [embedding]\n")
    before = fresh.head
    for command in (("validate",), ("reconcile", "--yes"), ("reconcile", "--dry-run")):
        assert_told(fresh.run(*command), 1, f"models/{NAME}.yaml:7:1: unknown key", "rolse", "roles")
    assert_nothing_happened(fresh, before)


REFUSALS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "an-unknown-branch": ({"revision": "no-such-branch"}, (REPO, "no-such-branch")),
    "an-unknown-commit": ({"revision": "0" * 40}, (REPO, "0" * 40)),
    "an-unknown-repository": ({"repo": "acme/nothing"}, ("acme/nothing",)),
    "an-unknown-location": (
        {"location": "moon"},
        ("models/an-unknown-location.yaml:6:11:", 'unknown location "moon"', "linux_wsl"),
    ),
    "a-forbidden-location": (
        {"location": "/etc/models"},
        ("outside the folders that this host allows", "config --allow"),
    ),
}


def test_what_is_not_there_or_not_allowed_blocks_its_model_and_says_why(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    for name, (fields, _words) in REFUSALS.items():
        fresh.declare(name, **fields)
    before = fresh.head
    done = fresh.reconcile()
    for name, (_fields, words) in REFUSALS.items():
        told = done.stdout.partition(f"! blocked  {name} ")[2].partition("\n!")[0]
        for word in words:
            assert word in told, f"{name}: {word!r} is not said: {done}"
    assert_told(done, 1, f"{len(REFUSALS)} blocked")
    assert_nothing_happened(fresh, before)
    assert_told(fresh.run("reconcile", "--dry-run", "--detailed-exitcode"), 1)


def test_globs_that_match_nothing_are_named_with_what_there_is(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.write_manifest(
        NAME,
        f'schema_version: 1\nsource: {{huggingface: {REPO}, include: ["*Q9*.gguf"]}}\nlocation: linux_wsl\n',
    )
    before = fresh.head
    assert_told(fresh.reconcile(), 1, f"models/{NAME}.yaml", "*Q9*.gguf", "include", "model.safetensors")
    assert_nothing_happened(fresh, before)


def test_a_gated_repository_blocks_before_any_byte_and_says_where_to_ask(tmp_path: Path, template: Path) -> None:
    with world(tmp_path / "world", template, tokens={CANARY: "ada"}, gated={REPO}) as made:
        made.publish(REPO, small_model("a"))
        made.declare()
        before = made.head
        assert_told(made.reconcile(), 1, "gated:", f"{made.hub.url}/{REPO}", "HF_TOKEN")
        assert made.meter.total() == 0
        assert_nothing_happened(made, before)


def test_u5_a_gated_repository_whose_card_is_for_everybody_is_blocked_in_the_plan(
    tmp_path: Path, template: Path
) -> None:
    with world(tmp_path / "world", template, tokens={CANARY: "ada"}, gated={REPO}) as made:
        made.publish(REPO, {**small_model("a"), "README.md": b"# It"})
        made.declare()
        as_before = made.hub.intercept
        assert as_before is not None

        def card_for_everybody(request: Request) -> Response | RawResponse | None:
            if request.path.endswith("/README.md"):
                known = replace(request, headers={**request.headers, "authorization": f"Bearer {CANARY}"})
                return made.hub.respond(known)
            return as_before(request)

        made.hub.intercept = card_for_everybody
        for words in (("--dry-run",), ("--yes",)):
            done = made.run("reconcile", *words)
            assert_told(done, 1, f"! blocked  {NAME}", "gated", f"{made.hub.url}/{REPO}", "HF_TOKEN")
            assert "to add" not in done.stdout or "0 to add" in done.stdout, done
        assert made.meter.total() == 0
        assert not (made.weights / REPO).exists()


def test_a_token_that_cannot_be_one_is_refused_without_showing_it(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    before = fresh.head
    done = fresh.reconcile(HF_TOKEN="hf_secret\nwith: header")  # noqa: S106 - a canary
    assert_told(done, 1, "HF_TOKEN")
    assert "hf_secret" not in done.output
    assert_nothing_happened(fresh, before)


def test_a_model_that_does_not_fit_is_blocked_before_its_first_byte(fresh: World) -> None:
    with mounted(fresh.weights, "-t", "tmpfs", "-o", "size=4m", "none"):
        fresh.publish(REPO, model("1"))
        fresh.publish("acme/small", small_model("small"))
        fresh.declare()
        fresh.declare("small", repo="acme/small")
        assert_told(fresh.reconcile(), 1, "insufficient-space", str(fresh.weights), "free")
        assert not fresh.target.exists()
        assert fresh.meter.served[SHARDS[0]] == 0
        assert (fresh.weights / "acme/small/config.json").is_file()


@pytest.mark.parametrize("where", ["large", "streamed"])
def test_a_disk_that_fills_up_meanwhile_keeps_what_stood_there_and_resumes(fresh: World, where: str) -> None:
    """The space was there when the plan was made; another program took it while the bytes came.

    A large file has its room from its beginning; the one after it has none.
    """
    shard, other = model("1")[SHARDS[0]], model("2")[SHARDS[0]]
    small = small_model("a") | {"model.safetensors": shard[: 7 * MIB]}
    files = model("1") | {SHARDS[1]: other} if where == "large" else small
    with mounted(fresh.weights, "-t", "tmpfs", "-o", "size=24m" if where == "large" else "size=14m", "none"):
        fresh.publish(REPO, files)
        fresh.declare()
        before = fresh.head
        fresh.meter.most = MIB
        child = fresh.start("reconcile", "--yes", "--jobs", "1")
        wait_for(lambda: max(fresh.meter.served.values(), default=0) >= MIB)
        hog = fresh.weights / "hog"
        with hog.open("wb", buffering=0) as stream:
            try:
                while stream.write(bytes(64 * 1024)):
                    pass
            except OSError:
                pass
        fresh.meter.most = None
        assert_told(ended(child), 1, "no space left", str(fresh.weights), "free some space")
        assert_nothing_happened(fresh, before)
        hog.unlink()
        fresh.converge()
        assert tree(fresh.target) == digests(files)


def test_a_read_only_target_is_told_and_nothing_is_lost(fresh: World) -> None:
    repository = fresh.publish(REPO, small_model("a"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    fresh.declare(revision=repository.commit(small_model("b")))
    before = fresh.head
    with mounted(fresh.weights, "-o", "bind,ro", str(fresh.weights)):
        try:
            (fresh.weights / "probe").touch()
        except OSError:
            pass
        else:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(fresh.weights)], check=True)
        assert_told(fresh.reconcile(), 1, str(fresh.weights), "read-only:", "writable")
        assert_only_snapshot(fresh, before)
        assert tree(fresh.target) == digests(small_model("a"))
    fresh.converge()
    assert tree(fresh.target) == digests(small_model("b"))


def test_a_dead_hub_blocks_what_needs_it_and_nothing_else(fresh: World) -> None:
    repository = fresh.publish(REPO, small_model("a"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    fresh.declare("other", repo="acme/other")
    dead = "http://127.0.0.1:9"
    done = fresh.reconcile(HF_ENDPOINT=dead)
    assert_told(done, 1, "other  hub-unreachable:", dead)
    assert f"{NAME}  " not in done.output
    assert tree(fresh.target) == digests(small_model("a"))


def test_offline_says_what_would_need_the_network(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    before = fresh.head
    assert_told(fresh.reconcile("--offline"), 1, "offline:", "--offline")
    assert fresh.hub.requests == []
    assert_nothing_happened(fresh, before)


CORRUPTIONS: dict[str, tuple[str, hub.Fault]] = {
    "by-aria2-flipped": (SHARDS[0], hub.wrong_bytes),
    "by-aria2-a-web-page": (SHARDS[0], hub.body(b"<html>Please sign in</html>")),
    "streamed-flipped": (SHARDS[1], hub.wrong_bytes),
}


@pytest.mark.parametrize(("name", "fault"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_corrupt_bytes_are_never_published(fresh: World, name: str, fault: hub.Fault) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    before = fresh.head
    fresh.faults.add(fault, where=name, method="GET", origin="cdn", times=-1)
    assert_told(fresh.reconcile(), 1, f"error: {NAME}: {name}", "again")
    assert_nothing_happened(fresh, before)
    fresh.heal()
    fresh.converge()
    assert tree(fresh.target) == digests(model("1"))


@pytest.mark.parametrize("fault", [hub.wrong_bytes, hub.truncate(1000)], ids=["flipped", "cut"])
@pytest.mark.parametrize("name", SHARDS, ids=["by-aria2", "streamed"])
def test_bytes_that_are_corrupt_once_are_fetched_again(fresh: World, fault: hub.Fault, name: str) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    fresh.faults.add(fault, where=name, method="GET", origin="cdn")
    fresh.converge()
    assert tree(fresh.target) == digests(model("1"))


def test_a_path_traversing_file_name_blocks_its_model(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    before = fresh.head
    listing = [{"type": "file", "path": "../../outside.safetensors", "size": 2, "oid": "1" * 40}]
    fresh.faults.add(hub.body(json.dumps(listing).encode()), where="/tree/", times=-1)
    assert_told(fresh.reconcile(), 1, "unsafe-name:", "../../outside.safetensors", "include")
    assert_nothing_happened(fresh, before)


def test_a_registry_that_is_no_git_repository_is_told_with_the_remedy(tmp_path: Path) -> None:
    with world(tmp_path / "world", initialised=False) as made:
        made.registry.mkdir()
        (made.registry / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
        before = footprint(made.registry)
        for command in (("reconcile", "--yes"), ("reconcile", "--dry-run"), ("status",), ("history",)):
            assert_told(made.run(*command), 1, str(made.registry), "git")
        assert footprint(made.registry) == before


def test_no_registry_at_all_is_told_with_the_remedy(tmp_path: Path) -> None:
    with world(tmp_path / "world", initialised=False) as made:
        assert_told(made.reconcile(), 1, "IMAGEWORKS_REGISTRY_DIR", "init")
        assert_told(made.reconcile("--registry", str(made.root)), 64, "--registry", "init")


def test_a_dirty_index_is_left_as_it_is(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    readme = fresh.registry / "README.md"
    readme.write_text("staged", encoding="utf-8")
    git(fresh.registry, "add", "README.md")
    readme.write_text("and edited", encoding="utf-8")
    before = git(fresh.registry, "diff", "--cached"), git(fresh.registry, "diff")
    fresh.converge()
    assert (git(fresh.registry, "diff", "--cached"), git(fresh.registry, "diff")) == before
    assert git(fresh.registry, "show", "HEAD:README.md") not in {"staged", "and edited"}


@pytest.mark.parametrize("operation", ["detached", "merging"])
def test_where_no_commit_can_be_made_it_is_told_before_any_byte(fresh: World, operation: str) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    if operation == "detached":
        git(fresh.registry, "checkout", "-q", "--detach")
    else:
        (fresh.registry / ".git/MERGE_HEAD").write_text(fresh.head + "\n", encoding="ascii")
    before = fresh.head
    assert_told(fresh.reconcile(), 1, "detached" if operation == "detached" else "merge", "git")
    assert fresh.meter.total() == 0, "bytes were fetched although nothing could be recorded"
    assert_nothing_happened(fresh, before)
    assert fresh.run("reconcile", "--dry-run").code == 0


def test_a_lock_held_by_another_process_names_it(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    before = fresh.head
    program = (
        "import sys, time; from pathlib import Path; from imageworks.git.repository import RegistryRepository\n"
        "with RegistryRepository.open(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    command = [fresh.program[0], "-c", program, str(fresh.registry)]
    with subprocess.Popen(command, env=fresh.environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            assert_told(fresh.reconcile(), 1, str(holder.pid), "--wait")
            assert_told(fresh.reconcile("--wait", "0.2"), 1, str(holder.pid))
        finally:
            holder.kill()
    assert_nothing_happened(fresh, before)
    fresh.converge()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reconcile", "--no-such-option"), "--no-such-option"),
        (("recncile",), "recncile"),
        (("reconcile", "--jobs", "0"), "--jobs"),
        (("reconcile", "--dry-run", "--plan", "x.json"), "--plan"),
        (("reconcile", "--plan", "missing.json"), "missing.json"),
        (("history", "--limit", "none"), "--limit"),
        (("hub", "serve", "--port", "99999", "."), "--port"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors_exit_with_64(fresh: World, words: tuple[str, ...], said: str) -> None:
    fresh.declare("tiny-vllm")
    assert_told(fresh.run(*words), 64, said)


def test_an_interrupted_run_exits_130_keeps_what_came_and_resumes(fresh: World) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    before = fresh.head
    release = threading.Event()
    fresh.faults.add(hub.stall(LARGE_BYTES // 16, release), where=SHARDS[0], method="GET", origin="cdn", times=-1)
    child = fresh.start("reconcile", "--yes")
    parts = fresh.weights / ".imageworks"
    wait_for(lambda: len([path for path in parts.rglob("tree/*") if path.is_file()]) == len(model("1")) - 1)
    wait_for(lambda: written_bytes(parts) >= LARGE_BYTES // 16)
    child.send_signal(signal.SIGINT)
    done = ended(child)
    release.set()
    assert_told(done, 130, "interrupted", "the same command goes on")
    assert_nothing_happened(fresh, before)
    assert list(parts.rglob("*.part.aria2")), "aria2 kept no record of what came"
    fresh.heal()
    fresh.meter.served.clear()
    fresh.meter.rate = MIB  # a quick server fills buffers with bytes that nobody asked for any more
    fresh.converge()
    assert set(fresh.meter.served) == {SHARDS[0]}
    assert fresh.meter.served[SHARDS[0]] < LARGE_BYTES
    assert tree(fresh.target) == digests(model("1"))


def _spoil_settings(made: World) -> None:
    (made.registry / "registry.yaml").write_text("schema_version: 1\nlocations: [\n", encoding="utf-8")
    git(made.registry, "commit", "-q", "-a", "-m", "Break the settings")


def _spoil_user_config(made: World) -> None:
    (made.root / "config/imageworks/config.toml").write_text("roots = [", encoding="utf-8")


def _spoil_state(made: World) -> None:
    made.state.mkdir(exist_ok=True)
    (made.state / "state.sqlite3").write_bytes(b"not a database" * 1000)


def _spoil_cache(made: World) -> None:
    for path in (made.root / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff{ not json")


SPOILERS: dict[str, tuple[Callable[[World], None], int, str]] = {
    "registry.yaml": (_spoil_settings, 1, "registry.yaml:"),
    "config.toml": (_spoil_user_config, 1, "config.toml"),
    "state.sqlite3": (_spoil_state, 0, "state.sqlite3"),
    "cache": (_spoil_cache, 0, ""),
}


@pytest.mark.parametrize(("spoil", "code", "said"), SPOILERS.values(), ids=SPOILERS)
def test_a_spoiled_file_of_ours_is_named_or_made_anew(
    fresh: World, spoil: Callable[[World], None], code: int, said: str
) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    fresh.converge()
    spoil(fresh)
    assert_told(fresh.reconcile(), code, said)
    assert tree(fresh.target) == digests(small_model("a"))
