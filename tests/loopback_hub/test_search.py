"""The list of models, held against what huggingface_hub asks and reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from imageworks.loopback_hub.content import Snapshot
from imageworks.loopback_hub.folder_repository import FolderRepository
from imageworks.loopback_hub.server import HubServer
from support.hub import HubRepository
from support.transfer import gguf_content

CARD = b"---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags: [gguf]\n---\n# It\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    quants = {f"tiny-{label}.gguf": gguf_content(label, 2000) for label in ("Q4_K_M", "Q8_0")}
    HubRepository(root, "acme/tiny-coder-GGUF", {"README.md": CARD, **quants})
    HubRepository(root, "other/tiny-chat", {"model.safetensors": b"w"})
    HubRepository(root, "acme/large", {"model.safetensors": b"w"})
    HubRepository(root, "acme/tiny-secret", {"model.safetensors": b"w"})
    with HubServer(root, tokens={"hf_t": "user"}, private={"acme/tiny-secret"}, gated={"other/tiny-chat"}) as server:
        yield server


def names(hub: HubServer, *, token: str | None = None, **asked: object) -> list[str]:
    found = HfApi(endpoint=hub.url, token=token or False).list_models(**asked)  # type: ignore[arg-type] # each test its own
    return [one.id for one in found]


def test_u6_words_owners_and_tags_choose(hub: HubServer) -> None:
    assert names(hub, search="TINY") == ["acme/tiny-coder-GGUF", "other/tiny-chat"]
    assert names(hub, search="tiny coder") == ["acme/tiny-coder-GGUF"]
    assert names(hub, search="nothing") == []
    assert names(hub, author="acme") == ["acme/large", "acme/tiny-coder-GGUF"]
    assert names(hub, filter="license:apache-2.0") == ["acme/tiny-coder-GGUF"]
    assert names(hub, pipeline_tag="text-generation", sort="downloads") == ["acme/tiny-coder-GGUF"]
    assert "acme/tiny-secret" in names(hub, token="hf_t", search="tiny")  # noqa: S106 # the hub's own


def test_u6_pages_lead_to_each_other_and_a_limit_holds(hub: HubServer) -> None:
    assert names(hub, limit=1) == ["acme/large"]
    assert names(hub, limit=2, search="tiny") == ["acme/tiny-coder-GGUF", "other/tiny-chat"]


def test_u6_fields_are_those_that_are_asked_for(hub: HubServer) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    (bare,) = api.list_models(search="coder")
    assert (bare.siblings, bare.sha) == (None, None)
    (full,) = api.list_models(search="coder", full=True)
    assert {one.rfilename for one in full.siblings or ()} >= {"tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"}
    (chosen,) = api.list_models(search="coder", expand=["gated", "siblings", "downloads"])
    assert (chosen.gated, chosen.downloads, chosen.tags) == (False, 0, None)
    (gated,) = api.list_models(search="chat", expand=["gated"])
    assert gated.gated == "auto"


def test_u6_the_pages_of_a_small_hub(tmp_path: Path) -> None:
    for number in range(5):
        HubRepository(tmp_path, f"acme/m-{number}", {"config.json": b"{}"})
    with HubServer(tmp_path, page_size=2) as server:
        assert len(names(server)) == 5
        assert len(names(server, limit=3)) == 3
        assert len(names(server, sort="created_at")) == 5


def test_u6_pages_together_look_at_each_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        HubRepository(tmp_path, f"acme/m-{number}", {"config.json": b"{}"})
    looked: list[str] = []
    look = FolderRepository.resolve

    def resolve(repository: FolderRepository, revision: str) -> Snapshot | None:
        looked.append(revision)
        return look(repository, revision)

    monkeypatch.setattr(FolderRepository, "resolve", resolve)
    with HubServer(tmp_path, page_size=2) as server:
        assert names(server) == [f"acme/m-{number}" for number in range(6)]
    assert len(looked) == 6 + 2  # a page knows by one more whether another follows
