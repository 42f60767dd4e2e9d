"""``fleet reconcile`` with a real Ray, git server and hub: what the stories in ``tests/on_ray`` are told with."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from imageworks.foundation.http_messages import RawResponse, Request, Response
from imageworks.loopback_hub.server import HubServer
from support.git import git
from support.git_server import GitServer
from support.hub import Fault, Faults, HubRepository, stall
from support.ray_cluster import ADDRESS, RayCluster, ray_cluster
from support.reconcile import REPO, World
from support.transfer import content

RUN_SECONDS = 240.0
WEIGHTS = "ai-models/weights/acme/tiny-1b/model.safetensors"


@dataclass
class Story:
    world: World
    server: GitServer
    hub: HubRepository
    cluster: RayCluster
    faults: dict[str, Faults] = field(default_factory=dict)

    def start_node(self, host: str) -> None:
        self.cluster.start(host, self.environment(host))

    def environment(self, host: str) -> dict[str, str]:
        """Return what a node's Ray is started with: a home, a name, a token, and an address of the hub of its own."""
        kept = ("PATH", "LANG", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "PYTHONDONTWRITEBYTECODE")
        own = {"HOME": str(self.world.folder / "homes" / host), "IMAGEWORKS_HOST": host, "HF_TOKEN": token(host)}
        own["HF_ENDPOINT"] = self.faults[host].hub.url
        return {key: value for key, value in os.environ.items() if key in kept} | own

    def tokens(self, host: str) -> set[str]:
        """Return with which words a node's hub was asked."""
        return {request.headers.get("authorization", "") for request in self.faults[host].seen} - {""}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        line = (sys.executable, "-m", "imageworks", "fleet", "reconcile", "--on", f"ray={ADDRESS}", "--yes", "--json")
        return subprocess.Popen(
            [*line, "--registry", str(self.world.root), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_TOKEN": token("driver")},
        )

    def results(self, *words: str, code: int = 0) -> dict[str, dict[str, object]]:
        return self.finish(self.start(*words), code)

    def finish(self, driver: "subprocess.Popen[str]", code: int) -> dict[str, dict[str, object]]:
        out, err = driver.communicate(timeout=RUN_SECONDS)
        assert driver.returncode == code, (out, err)
        hosts: dict[str, dict[str, object]] = {one["host"]: one for one in json.loads(out)["hosts"]}
        return hosts

    def publish(self, text: str) -> None:
        """Let upstream have other weights, and declare and push that revision."""
        commit = self.hub.commit({"model.safetensors": content(text, 60_000)})
        self.world.declare(source={"huggingface": REPO, "revision": commit})
        git(self.world.git_root, "pull", "--quiet", "--rebase", "origin", "main")
        git(self.world.git_root, "push", "--quiet", "origin", "main")

    def has(self, host: str, text: str) -> bool:
        return (self.cluster.homes[host] / WEIGHTS).read_bytes() == content(text, 60_000)

    @contextmanager
    def failing(self, host: str, fault: Fault) -> Iterator[None]:
        """Let one host's requests for weights go wrong in a way, until the end."""
        active = [True]

        def while_active(hub: HubServer, request: Request) -> Response | RawResponse:
            return fault(hub, request) if active else hub.respond(request)

        self.faults[host].add(while_active, where="model.safetensors", times=-1)
        try:
            yield
        finally:
            active.clear()

    @contextmanager
    def stalling(self, host: str) -> Iterator[threading.Event]:
        """Let the hub stop in the middle of one host's weights; yields what is set once it has begun."""
        begun, release = threading.Event(), threading.Event()

        def stalled(hub: HubServer, request: Request) -> Response | RawResponse:
            if request.method != "GET" or request.origin != "cdn":
                return hub.respond(request)
            begun.set()
            return stall(20_000, release)(hub, request)

        with self.failing(host, stalled):
            try:
                yield begun
            finally:
                release.set()


@contextmanager
def ray_story(world: World, server: GitServer, *hosts: str) -> Iterator[Story]:
    """Start a cluster's nodes, for a registry that puts models into each node's home."""
    world.configure(locations={"weights": {"path": "~/ai-models/weights"}}, routing={"default": "weights"})
    with ExitStack() as stack:
        story = Story(world, server, world.serve(), stack.enter_context(ray_cluster()))
        for host in hosts:
            story.faults[host] = Faults.install(stack.enter_context(HubServer(world.folder / "hub")))
            story.start_node(host)
        yield story


def token(host: str) -> str:
    return f"hf_tokenof{host}"
