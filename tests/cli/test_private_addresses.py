"""A hub that everybody reaches leads into nobody's machine or network (X15): by the command line, with real parts."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from imageworks.foundation import addresses
from imageworks.foundation.addresses import Reach
from imageworks.foundation.http_messages import Request, Response
from support.network import HUB_NAME, ForwardProxy, SocksProxy, listening
from support.reconcile import MODEL, NAME, World, command
from support.transfer import content

LARGE = {**MODEL, "model.safetensors": content("large weights", 9 * 1024 * 1024)}
MIDDLING = {**MODEL, "model.safetensors": content("middling weights", 1024 * 1024)}
OTHER = "127.0.0.2"


@dataclass
class Canary:
    """Listens on another loopback address, and counts who came."""

    port: int = 0
    came: int = 0

    def take(self, connection: socket.socket) -> None:
        self.came += 1
        connection.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    with ExitStack() as listeners:
        try:
            made.port = listeners.enter_context(listening(made.take, OTHER))
        except OSError:
            pytest.skip(f"this system has no {OTHER}")
        yield made


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the address of the tests' hub be one that everybody reaches."""
    really = addresses.reach_of
    monkeypatch.setattr(
        addresses, "reach_of", lambda address: Reach.PUBLIC if address == "127.0.0.1" else really(address)
    )


def lead(world: World, target: str, *, only: str = "/resolve/", status: int = 302) -> None:
    """Let the hub lead to another place."""
    hub = world.hub

    def answer(request: Request) -> Response:
        response = hub.respond(request)
        assert isinstance(response, Response)
        if only not in request.path:
            return response
        kept = tuple((key, value) for key, value in response.headers if key.lower().startswith("x-"))
        return Response(status, (*kept, ("Location", target)))

    hub.intercept = answer


def refused(world: World, *said: str) -> str:
    result = world.reconcile(code=1)
    told = result.out + result.err
    assert world.entries() == []
    assert not (world.folder / "flat" / NAME).exists()
    assert all(one in told for one in said), told
    return told


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("files", [MODEL, MIDDLING, LARGE], ids=["small", "middling", "large"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_x15_a_file_that_is_somewhere_private_is_not_asked_for(
    world: World, canary: Canary, files: dict[str, bytes], status: int
) -> None:
    world.serve(files)
    world.declare(location="flat")
    lead(world, f"http://{OTHER}:{canary.port}/secret?x=1", status=status)
    refused(world, f"leads to {OTHER}, which is a loopback address", "private_hosts")
    assert canary.came == 0


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "10.0.0.1", "0.0.0.0"])  # noqa: S104
def test_x15_no_spelling_of_an_address_gets_through(world: World, host: str) -> None:
    world.serve(LARGE)
    world.declare(location="flat")
    lead(world, f"http://{host}/latest/meta-data")
    refused(world, " address")


@pytest.mark.usefixtures("public")
def test_x15_a_second_redirect_leads_there_neither(world: World, canary: Canary) -> None:
    world.serve(MODEL)
    world.declare(location="flat")
    hub = world.hub

    def twice(request: Request) -> Response:
        if "/elsewhere" in request.path:
            return Response(302, (("Location", f"http://{OTHER}:{canary.port}/x"),))
        response = hub.respond(request)
        assert isinstance(response, Response)
        if "/resolve/" in request.path:
            return Response(307, (("Location", f"{hub.url}/elsewhere"),))
        return response

    hub.intercept = twice
    refused(world, "loopback address")
    assert canary.came == 0


@pytest.mark.usefixtures("public")
def test_x15_a_plan_that_reads_files_says_it_too(world: World, canary: Canary) -> None:
    world.serve(MODEL)
    world.configure(policies={"forbid_remote_code": True})
    world.declare(location="flat")
    lead(world, f"http://{OTHER}:{canary.port}/x")
    assert world.plan(code=1).changes == {NAME: ("blocked", "private-address")}
    assert canary.came == 0


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("only", ["/api/models/", "/tree/"])
def test_x15_answers_are_taken_from_the_hub_alone(world: World, canary: Canary, only: str) -> None:
    world.serve(MODEL)
    world.declare(location="flat")
    lead(world, f"http://{OTHER}:{canary.port}/api", only=only)
    assert world.plan(code=1).changes == {NAME: ("blocked", "unexpected-reply")}
    assert canary.came == 0


@pytest.mark.usefixtures("public")
def test_x15_what_this_hosts_settings_name_is_asked(
    world: World, canary: Canary, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageworks.providers.huggingface.session._FIRST_PAUSE_SECONDS", 0.0)
    world.serve(MODEL)
    world.declare(location="flat")
    lead(world, f"http://{OTHER}:{canary.port}/x")
    assert f'private_hosts = ["{OTHER}"]' in refused(world)
    world.user_config(isolated_environment, f'roots = ["{world.folder}"]\nprivate_hosts = ["{OTHER}"]\n')
    assert "private_hosts" in command("config").out
    world.reconcile(code=1)  # nobody answers there
    assert canary.came


@pytest.mark.parametrize("kind", [ForwardProxy, SocksProxy])
@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "localhost", "[::1]", "0x7f000001", "192.168.1.1"])
def test_x15_no_proxy_is_sent_there(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[ForwardProxy | SocksProxy], host: str
) -> None:
    world.serve(LARGE)
    world.declare(location="flat")
    monkeypatch.setenv("HF_ENDPOINT", world.hub.url.replace("127.0.0.1", HUB_NAME))
    lead(world, f"http://{host}:{world.hub.cdn_url.rpartition(':')[2]}/x")
    with kind() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{'http' if kind is ForwardProxy else 'socks5'}://127.0.0.1:{proxy.port}")
        refused(world, f"{HUB_NAME} leads to {host.strip('[]')}")
        assert {target.removeprefix("http://").split(":")[0] for target in proxy.targets} == {HUB_NAME}


def test_x15_a_hub_on_this_machine_leads_where_it_is(world: World) -> None:
    world.serve(LARGE)
    world.declare(location="flat")
    world.reconcile()
    assert {request.origin for request in world.hub.requests} == {"hub", "cdn"}
