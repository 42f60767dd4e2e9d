"""A world with a loopback Ollama and a registry to pull from; a folder's conftest imports the fixture."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.ollama import LoopbackOllama
from support.ollama_content import Content, model
from support.ollama_registry import OllamaRegistry
from support.reconcile import World
from support.transfer import content

NAME = "tiny-ollama-gguf"
SHORT = "tiny:latest"


def tiny(words: str = "weights", size: int = 50_000, **more: object) -> Content:
    """Return a model whose weights are made from words."""
    return model(content(words, size), **more)  # type: ignore[arg-type]


class OllamaWorld:
    """One host with its registry in git, a hub, a daemon with its store, and a registry that it pulls from.

    Args:
        world: All but Ollama.
        monkeypatch: Sets the environment.
    """

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.models = OllamaRegistry()
        self._environment = monkeypatch
        self.restart()

    def restart(self) -> None:
        """Start a daemon on the same store."""
        self.daemon = LoopbackOllama(self.world.folder / "ollama store", registry=self.models.host)
        for key, value in self.daemon.environment.items():
            self._environment.setenv(key, value)

    def elsewhere(self) -> None:
        """Let the daemon's store be one that this machine cannot find, as in a container."""
        self._environment.setenv("OLLAMA_MODELS", str(self.world.folder / "no store"))

    @property
    def name(self) -> str:
        """The full name of the tiny model."""
        return self.models.name(SHORT)

    def offer(self, words: str = "weights", short: str = SHORT, **more: object) -> Content:
        """Let the registry have a model; returns it."""
        made = tiny(words, **more)  # type: ignore[arg-type]
        self.models.add(short, made)
        return made

    def declare(
        self,
        name: str = NAME,
        *,
        short: str = SHORT,
        more: Mapping[str, object] | None = None,
        **fields: str | list[str],
    ) -> None:
        """Write the manifest of a model of Ollama; ``more`` of its source."""
        manifest = {"schema_version": 1, "source": {"ollama": self.models.name(short), **(more or {})}, **fields}
        self.world.write(f"models/{name}.yaml", json.dumps(manifest))

    def planned(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Return the only change of a plan."""
        changes = self.world.plan(*words, code=code).json["changes"]
        assert isinstance(changes, list)
        (change,) = changes
        found: dict[str, Any] = change
        return found

    def entry(self, name: str = NAME) -> dict[str, Any]:
        return dict(self.world.entry(name))

    def pulled(self) -> int:
        """Return how many pulls the daemon was asked for."""
        return sum(1 for asked in self.daemon.requests if asked.path == "/api/pull")

    def installed(self, short: str = SHORT) -> bytes | None:
        """Return the manifest that the store has under a name."""
        path = self.daemon.store.manifest(self.models.name(short))
        return path.read_bytes() if path.is_file() else None

    def names(self) -> list[str]:
        """Return every name in the store."""
        return [name.shortest for name, _ in self.daemon.store.manifests()]

    def stop(self) -> None:
        self.daemon.stop()
        self.models.stop()


@pytest.fixture(name="ollama")
def started_ollama(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaWorld]:
    """A world in which a daemon answers."""
    made = OllamaWorld(world, monkeypatch)
    yield made
    made.stop()
