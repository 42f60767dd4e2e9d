"""F7, F10, F11: what git's children see, how a run ends when it is asked to, and who holds a lock."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import LockHeldError
from support import hub
from support.git import git, make_registry
from support.registry import LARGE_BYTES, NAME, REPO, SHARDS, World, ended, model, small_model, wait_for, written_bytes

SECRETS = {
    "HF_TOKEN": "hf_canarycanary1",
    "HUGGING_FACE_HUB_TOKEN": "hf_canarycanary2",
    "IMAGEWORKS_GIT_TOKEN": "canary-3",
    "AWS_SECRET_ACCESS_KEY": "canary-4",
    "AWS_ACCESS_KEY_ID": "canary-5",
    "OPENAI_API_KEY": "canary-6",
    "GITHUB_TOKEN": "canary-7",
    "GH_TOKEN": "canary-8",
    "VLLM_API_KEY": "canary-9",
    "GIT_PASSWORD": "canary-10",
    "SOME_SERVICE": "https://ada:canary-11@example.org",
}
NEEDED = {
    "SSH_AUTH_SOCK": "/run/agent",
    "GIT_SSH_COMMAND": "ssh -F none",
    "GNUPGHOME": "/home/ada/gpg",
    "https_proxy": "http://proxy:1",
    "LC_TIME": "C",
    "GIT_ASKPASS": "/bin/true",
}


@pytest.mark.parametrize("hook", ["pre-receive", "update", "post-receive"])
@pytest.mark.parametrize("address", ["{folder}", "file://{folder}"])
def test_f7_the_hooks_of_a_local_remote_see_no_secret(fresh: World, hook: str, address: str) -> None:
    remote, seen = fresh.root / "remote.git", fresh.root / "seen"
    git(fresh.root, "init", "-q", "--bare", "-b", "main", str(remote))
    (remote / "hooks").mkdir(exist_ok=True)
    (remote / "hooks" / hook).write_text(f"#!/bin/sh\nenv > '{seen}'\n")
    (remote / "hooks" / hook).chmod(0o755)
    git(fresh.registry, "remote", "add", "origin", address.format(folder=remote))
    git(fresh.registry, "push", "-q", "-u", "origin", "HEAD:main")
    seen.unlink(missing_ok=True)
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    done = fresh.reconcile("--push", **SECRETS, **NEEDED)
    assert done.code == 0, done
    told = seen.read_text()
    assert "canary" not in told
    for name, value in NEEDED.items():
        assert f"{name}={value}\n" in told


def test_f7_a_server_that_is_launched_gets_no_token_of_git(fresh: World, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "bin/vllm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv > '{seen}'\n")
    program.chmod(0o755)
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare(extra='served_model_id: "tiny"\n')
    assert fresh.reconcile().code == 0
    path = f"{program.parent}:{os.environ['PATH']}"
    done = fresh.run("launch", "vllm", NAME, **{**SECRETS, "PATH": path})
    assert seen.exists(), done
    told = seen.read_text()
    assert "VLLM_API_KEY=canary-9" in told
    assert not {name for name in ("canary-3", "canary-7", "canary-8") if name in told}


ENDS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_f10_a_download_that_is_asked_to_end_keeps_what_came_and_says_how_to_go_on(
    fresh: World, number: signal.Signals, code: int
) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    release = threading.Event()
    fresh.faults.add(hub.stall(LARGE_BYTES // 16, release), where=SHARDS[0], method="GET", origin="cdn", times=-1)
    child = fresh.start("reconcile", "--yes")
    parts = fresh.weights / ".imageworks"
    wait_for(lambda: written_bytes(parts) >= LARGE_BYTES // 16)
    child.send_signal(number)
    done = ended(child)
    release.set()
    assert done.code == code, done
    assert "the same command goes on" in done.stderr
    assert "Traceback" not in done.output
    assert list(parts.rglob("*.part.aria2")), "aria2 kept no record of what came"
    fresh.heal()
    fresh.converge()


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_f10_waiting_for_a_lock_ends_as_well(fresh: World, number: signal.Signals, code: int) -> None:
    with RegistryRepository.open(fresh.registry, host="other").lock():
        child = fresh.start("reconcile", "--yes", "--wait", "60")
        # It is open for a moment at each try only, so one look in a while may always miss it.
        wait_for(lambda: any(_has_open(child.pid, "controller.lock") for _ in range(500)))
        child.send_signal(number)
        done = ended(child)
    assert done.code == code, done
    assert done.stderr.count("\n") <= 2


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_f10_hashing_ends_as_well(fresh: World, number: signal.Signals, code: int) -> None:
    """Twenty gigabytes of nothing take longer to read than anybody waits."""
    folder = fresh.weights / "acme" / "vast"
    folder.mkdir(parents=True)
    for name, data in small_model("1").items():
        (folder / name).write_bytes(data)
    header = b'{"w":{"dtype":"U8","shape":[21474836480],"data_offsets":[0,21474836480]}}'
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + 21474836480)
    child = fresh.start("scan", "--base", str(fresh.weights))
    wait_for(lambda: _has_open(child.pid, "model.safetensors"))
    child.send_signal(number)
    done = ended(child)
    assert done.code == code, done
    assert "Traceback" not in done.output


def test_f10_a_request_that_was_ignored_from_the_start_stays_so(fresh: World) -> None:
    """As ``nohup`` does for a terminal that closes."""
    fresh.program = ("nohup", *fresh.program)
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    fresh.meter.rate = 2_000
    child = fresh.start("reconcile", "--yes")
    wait_for(lambda: fresh.meter.total() > 0)
    child.send_signal(signal.SIGHUP)
    fresh.meter.rate = None
    assert ended(child).code == 0


def _has_open(pid: int, name: str) -> bool:
    try:
        return any(name in str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


TAKES_AND_LETS_GO = """
import sys
from pathlib import Path
from imageworks.git.repository import RegistryRepository
sys.argv = ["/usr/bin/imageworks-models", "import-ollama"]
repository = RegistryRepository.open(Path({folder!r}), host="testhost")
print("going", flush=True)
while True:
    with repository.lock(wait=60):
        pass
"""


def test_f11_a_refusal_always_says_who_since_when_doing_what(tmp_path: Path) -> None:
    """Another controller takes and lets go of the lock all the time: no moment of that is told as nobody's."""
    repository = make_registry(tmp_path)
    script = TAKES_AND_LETS_GO.format(folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "going\n"
        refused: list[str] = []
        end = time.monotonic() + 60
        while len(refused) < 20 and time.monotonic() < end:
            try:
                with repository.lock():
                    pass
            except LockHeldError as error:
                refused.append(error.message)
            threading.Event().wait(0.001)  # or the other hardly ever gets it
        child.kill()
    # Held up for a second before it writes what it does, it is known by the system, under its program's name.
    who = re.compile(rf"by (imageworks-models import-ollama|python\S*) \(process {child.pid} on \S+\) since 20")
    assert refused, "it was never locked"
    assert [message for message in refused if not who.search(message)] == []


def test_f11_a_holder_that_wrote_no_record_is_known_by_the_system(fresh: World) -> None:
    lock = fresh.registry / ".git/imageworks/controller.lock"
    lock.parent.mkdir(exist_ok=True)
    hold = "import fcntl,sys; f=open(sys.argv[1],'a'); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        done = fresh.reconcile()
        child.communicate("\n")
    assert done.code == 1, done
    assert f"(process {child.pid} on " in done.stderr
    assert "since 20" in done.stderr


def test_f11_a_living_git_that_holds_a_lock_is_named(fresh: World) -> None:
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    held = fresh.registry / ".git/index.lock"
    (fresh.registry / "note.txt").write_text("a note")
    git(fresh.registry, "add", "note.txt")
    with subprocess.Popen(
        ["git", "-c", "core.editor=echo ready; read x; :", "commit", "-m", "m", "-e", "-a"],
        cwd=fresh.registry,
        env=fresh.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        assert any(b"ready" in line for line in iter(child.stdout.readline, b""))
        done = fresh.reconcile()
        assert held.exists()
        child.communicate(b"\n")
    assert done.code == 0, done
    assert f"git commit (process {child.pid})" in done.output
    assert "since 20" in done.output
