"""``serve`` and ``hub serve`` as processes: who is let in from where, and with what."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from support.hub import HubRepository
from support.reconcile import World, command

TOKEN = "a-token-of-this-test"  # noqa: S105 # which opens nothing else
ANYWHERE = "0.0.0.0"  # noqa: S104 # what is tested
WEIGHTS = b"GGUF" * 100
VARIABLES = {"hub": "IMAGEWORKS_HUB_TOKEN", "models": "IMAGEWORKS_SERVE_TOKEN"}


@pytest.fixture(params=["hub", "models"])
def words(request: pytest.FixtureRequest, world: World) -> list[str]:
    """Return one of the two commands."""
    if request.param == "hub":
        HubRepository(world.folder / "served", "acme/tiny", {"a.txt": b"hello", "model.gguf": WEIGHTS})
        return ["hub", "serve", str(world.folder / "served")]
    return ["serve", "--registry", str(world.root), "--port", "0"]


@contextmanager
def running(words: list[str], *more: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run a command; yields the process and where it can be reached, without a path."""
    program = [sys.executable, "-m", "imageworks", *words, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, text=True, env={**os.environ, **environment}, **pipes) as process:  # type: ignore[call-overload] # pipes
        try:
            line = process.stdout.readline()
            port = re.search(r":([0-9]+)(/v1)?$", line.strip())
            assert port is not None, process.stderr.read()
            yield process, f"http://127.0.0.1:{port[1]}"
        finally:
            process.kill()


def path_of(words: list[str]) -> str:
    return "/v1/models" if words[0] == "serve" else "/acme/tiny/resolve/main/a.txt"


def ask(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={key.replace("_", "-"): said for key, said in headers.items()})  # noqa: S310 # ours
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 # ours
            return reply.status, reply.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def end(process: "subprocess.Popen[str]") -> str:
    """End a server; returns all that it said, having ended cleanly."""
    process.send_signal(signal.SIGTERM)
    rest, talk = process.communicate(timeout=60)
    assert process.returncode == 0
    return rest + talk


def test_x14_beyond_loopback_a_token_is_required_and_the_remedy_opens_it(words: list[str], tmp_path: Path) -> None:
    refused = command(*words, "--host", ANYWHERE)
    assert (refused.code, refused.out) == (64, "")
    make, use, give_up = re.findall(r"`([^`]+)`", refused.err)
    folder = tmp_path / "remedy"
    folder.mkdir()
    subprocess.run(["/bin/sh", "-c", make], cwd=folder, check=True)
    option, file = use.split()
    token = (folder / file).read_text().strip()
    assert len(token) >= 32
    assert (folder / file).stat().st_mode & 0o077 == 0

    with running([*words, "--host", ANYWHERE], option, str(folder / file)) as (process, url):
        assert ask(url + path_of(words))[0] == 401
        assert ask(url + path_of(words), Authorization=f"Bearer {token}x")[0] == 401
        assert ask(url + path_of(words), Authorization=f"Bearer {token}")[0] == 200
        if Path("/proc/self/cmdline").exists():
            assert token not in Path(f"/proc/{process.pid}/cmdline").read_text()
        talk = end(process)
    assert token not in talk
    assert "warning" not in talk

    with running([*words, "--host", ANYWHERE], give_up) as (process, url):
        assert ask(url + path_of(words))[0] == 200
        assert f"warning: listening on {ANYWHERE}: everybody" in end(process)


@pytest.mark.parametrize("host", ["", "::", "0", "::ffff:0.0.0.0"])
def test_x14_every_way_to_say_all_addresses_is_beyond_loopback(words: list[str], host: str) -> None:
    refused = command(*words, "--host", host)
    assert refused.code in {1, 64}
    assert "cannot listen on" in refused.err or "no token is asked for" in refused.err
    assert host or refused.code == 64


def test_x14_on_loopback_nothing_is_asked_unless_a_token_is_set(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "t").write_text(f"{TOKEN}\n")
    (tmp_path / "t").chmod(0o600)
    with running(words) as (process, url):
        assert ask(url + path_of(words))[0] == 200
        assert "warning" not in end(process)
    variable = VARIABLES["models" if words[0] == "serve" else "hub"]
    for more, environment in ((("--token-file", str(tmp_path / "t")), {}), ((), {variable: TOKEN})):
        with running(words, *more, **environment) as (process, url):
            for path in (path_of(words), "/", "/nothing", "/api/models/acme/tiny", "/api/whoami-v2", "/v1/models/x"):
                status, body = ask(url + path)
                assert status == 401
                assert not {b"hello", b'"data"'} & set(re.findall(rb'hello|"data"', body))
            assert ask(url + path_of(words), Authorization=f"Bearer {TOKEN}")[0] == 200
            talk = end(process)
        assert TOKEN not in talk
        assert "warning" not in talk
        assert re.search(r"GET \S+.* 401", talk)


@pytest.mark.parametrize("said", [None, b"", b"\n", b"two words\n", b"one\ntwo\n", b"\xff\xfe", b"x" * 5000, b"a\0b"])
def test_x14_a_token_file_without_a_token_is_one_clear_error(
    words: list[str], tmp_path: Path, said: bytes | None
) -> None:
    if said is not None:
        (tmp_path / "t").write_bytes(said)
    refused = command(*words, "--token-file", str(tmp_path / "t"))
    assert (refused.code, refused.out) == (1, "")
    assert f"error: {tmp_path / 't'}: " in refused.err
    assert "two" not in refused.err


def test_x14_a_token_that_others_can_read_is_told(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o644)
    with running(words, "--token-file", str(tmp_path / "t")) as (process, _):
        assert f"warning: other users can read the token in {tmp_path / 't'}" in end(process)


def test_x14_a_page_that_leads_its_own_name_here_gets_nothing(words: list[str]) -> None:
    with running(words, "--allow-host", "Models.Example") as (_, url):
        port = urlsplit(url).port
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "models.example.evil.example",
            "x",
        ):
            status, body = ask(url + path_of(words), Host=host)
            assert status == 403
            assert not {b"hello", b'"data"'} & set(re.findall(rb'hello|"data"', body))
        for host in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "models.example", "MODELS.example.:80"):
            assert ask(url + path_of(words), Host=host)[0] == 200


def test_x14_all_addresses_answer_to_addresses_and_to_this_machines_name(words: list[str]) -> None:
    short = socket.gethostname().partition(".")[0]
    with running([*words, "--host", ANYWHERE], "--insecure") as (_, url):
        for host in (
            "192.168.1.5:80",
            "localhost",
            socket.gethostname().upper(),
            f"{short}.local",
            "host.docker.internal:8100",
        ):
            assert ask(url + path_of(words), Host=host)[0] == 200
        assert ask(url + path_of(words), Host="evil.example")[0] == 403


def test_x14_it_ends_in_time_though_requests_are_open(words: list[str]) -> None:
    with running(words) as (process, url), ExitStack() as held:
        for number in range(300):
            connection = held.enter_context(
                socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60)
            )
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" if number % 2 else b"")
        assert ask(url + path_of(words))[0] == 200
        assert "Traceback" not in end(process)


def test_x14_health_needs_no_token_and_then_says_nothing(world: World) -> None:
    with running(["serve", "--registry", str(world.root), "--port", "0"]) as (_, url):
        assert json.loads(ask(f"{url}/health")[1]) == {"status": "ok", "models": 0}
    with running(["serve", "--registry", str(world.root), "--port", "0"], IMAGEWORKS_SERVE_TOKEN=TOKEN) as (_, url):
        assert json.loads(ask(f"{url}/health")[1]) == {"status": "ok"}
        assert ask(f"{url}/v1/models")[0] == 401


def hf(url: str, folder: Path, token: str | None) -> "subprocess.CompletedProcess[str]":
    """Download everything with the hub's own program."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": token} if token else {}
    program = Path(sys.executable).with_name("hf")
    words = [str(program), "download", "acme/tiny", "--local-dir", str(folder / "out")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    for name in ("tiny", "other"):
        HubRepository(tmp_path / "served", f"acme/{name}", {"config.json": b"{}", "model.gguf": WEIGHTS})
    return tmp_path / "served"


def test_x14_hf_and_we_get_a_model_from_a_hub_that_wants_a_token(served: Path, tmp_path: Path) -> None:
    with running(["hub", "serve", str(served), "--host", ANYWHERE], IMAGEWORKS_HUB_TOKEN=TOKEN) as (process, url):
        refused, wrong = hf(url, tmp_path / "no", None), hf(url, tmp_path / "wrong", "another")
        taken = hf(url, tmp_path / "yes", TOKEN)
        ours = ours_of(url, tmp_path, TOKEN)
        stranger = ours_of(url, tmp_path / "stranger", None)
        talk = end(process)
    assert refused.returncode != 0
    assert wrong.returncode != 0
    assert taken.returncode == 0, taken.stderr
    assert (tmp_path / "yes/out/model.gguf").read_bytes() == WEIGHTS
    assert ours.returncode == 0, ours.stderr
    assert [file.read_bytes() for file in (tmp_path / "weights").rglob("model.gguf")] == [WEIGHTS]
    assert stranger.returncode == 1
    assert "Traceback" not in stranger.stderr
    assert TOKEN not in talk + taken.stdout + taken.stderr + ours.stdout + ours.stderr
    assert "Traceback" not in talk


def ours_of(url: str, folder: Path, token: str | None) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "HF_ENDPOINT": url, "HOME": str(folder), **({"HF_TOKEN": token} if token else {})}
    words = [sys.executable, "-m", "imageworks", "download", "acme/tiny", "--location", str(folder / "weights")]
    words += ["--non-interactive"]
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True}
    return subprocess.run(words, env=environment, cwd=folder, text=True, check=False, timeout=60, **pipes)  # type: ignore[call-overload,no-any-return] # pipes


@pytest.mark.parametrize(
    ("more", "others"), [((), 200), (("--host", ANYWHERE), 401), (("--host", ANYWHERE, "--insecure"), 200)]
)
def test_x14_with_gated_repositories_only_these_ask_where_everybody_may_come(
    served: Path, more: tuple[str, ...], others: int
) -> None:
    words = ["hub", "serve", str(served), "--gated", "acme/tiny", "--private", "acme/hidden", *more]
    get: Callable[[str, str], str] = "{}/acme/{}/resolve/main/config.json".format
    with running(words, IMAGEWORKS_HUB_TOKEN=TOKEN) as (_, url):
        assert ask(get(url, "tiny"))[0] == 401
        assert ask(get(url, "tiny"), Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(get(url, "other"))[0] == others
        assert ask(get(url, "other"), Authorization=f"Bearer {TOKEN}")[0] == 200


def test_x14_the_hub_takes_no_token_on_its_command_line(served: Path) -> None:
    refused = command("hub", "serve", served, "--token", TOKEN)
    assert refused.code == 64
    assert "--token-file" in refused.err
    assert TOKEN not in refused.out + refused.err
