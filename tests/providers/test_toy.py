"""A provider that is added by its folder, a line in the table and a branch of the schema: everything else follows."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import ModuleType

import pytest

from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.plan.facts import DeclaredModel, ResolvedSource
from imageworks.plan.plan import Reason
from imageworks.providers import dispatch
from imageworks.providers.folder.provider import FolderProvider
from imageworks.providers.upstream import SourceResolver
from imageworks.registry.documents import schema, schema_files
from imageworks.registry.manifests.manifest import OtherSource
from support.ollama_content import hex_sha256
from support.reconcile import World
from support.transfer import content, tree

NAME = "toy-model"
SHELF = {"box-1": {"model.safetensors": content("one", 30_000)}, "box-2": {"model.safetensors": content("two", 31_000)}}


class Box:
    """Gives the bytes of one box."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def link(self, file: RemoteFile) -> str:
        raise LinkError(f"{file.path} has no address", reason=NO_LINK)

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        yield iter((self.files[file.path][offset:],))


class ToyProvider(FolderProvider):
    """Models that are boxes on a shelf."""

    name = "toy"
    recorded_as = "toy"

    def source_change(self, case: DeclaredModel) -> StrEnum | None:
        recorded = {file.path: file.sha256 for file in case.entry.files} if case.entry is not None else {}
        wanted = {path: hex_sha256(data) for path, data in self._box(case).items()}
        return None if recorded == wanted else Reason.SOURCE_CHANGED

    def offer(self, case: DeclaredModel, sources: SourceResolver) -> ResolvedSource:
        del sources
        files = self._box(case)
        listed = tuple(
            RemoteFile(path, len(data), Digest(Algorithm.SHA256, hex_sha256(data)), large=True)
            for path, data in files.items()
        )
        return ResolvedSource(listed, source=Box(files), pinned=True)

    def read(self, upstream: ResolvedSource, file: RemoteFile, length: int) -> bytes | None:
        assert isinstance(upstream.source, Box)
        return upstream.source.files[file.path][:length]

    @staticmethod
    def _box(case: DeclaredModel) -> dict[str, bytes]:
        assert isinstance(case.manifest.source, OtherSource)
        return SHELF[str(case.manifest.source.fields["toy"])]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "schemas"
    shutil.copytree(schema_files.schema_dir(), folder)
    file = folder / "manifest.schema.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    source = document["properties"]["source"]
    source["properties"]["toy"] = {"type": "string", "description": "A box.", "examples": ["box-1"]}
    source["oneOf"].append({"required": ["toy"]})
    file.write_text(json.dumps(document), encoding="utf-8")
    module = ModuleType("toy_provider")
    module.TOY = ToyProvider()  # type: ignore[attr-defined] # a module of a provider
    monkeypatch.setitem(sys.modules, "toy_provider", module)
    monkeypatch.setitem(dispatch.PROVIDERS, "toy", "toy_provider:TOY")
    real = schema_files.schema_dir
    monkeypatch.setattr(schema, "schema_dir", lambda: folder)
    for cached in (real, schema._validator):
        cached.cache_clear()
    yield
    for cached in (real, schema._validator):
        cached.cache_clear()


@pytest.mark.usefixtures("toy")
def test_a_provider_installs_updates_repairs_and_is_pruned(world: World) -> None:
    world.declare(NAME, source={"toy": "box-1"}, prune="enabled")
    assert world.plan().changes == {NAME: ("install", "missing")}
    world.reconcile()
    folder = Path(str(world.entry(NAME)["download_path"]))
    assert (tree(folder), world.entry(NAME)["source_provider"]) == (SHELF["box-1"], "toy")
    assert world.plan().changes == {}
    (folder / "model.safetensors").unlink()
    assert world.plan().changes == {NAME: ("repair", "file-missing")}
    world.reconcile()
    world.declare(NAME, source={"toy": "box-2"}, prune="enabled")
    assert world.plan().changes == {NAME: ("update", "source-changed")}
    world.reconcile()
    assert tree(folder) == SHELF["box-2"]
    world.delete(NAME)
    world.reconcile("--prune", "--allow-empty")
    assert not folder.exists()
