from pathlib import Path

import pytest

from imageworks.loopback_hub.server import HubServer
from imageworks.tools.model_downloader import URLAnalyzer
from support.hub import HubRepository
from support.weights import STRING, U32, gguf_file


def test_a_repository_of_the_users_hub_is_analyzed_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "hub"
    root.mkdir()
    header = gguf_file([("general.architecture", STRING, "llama"), ("general.file_type", U32, 18)])
    HubRepository(root, "o/m-GGUF", {"README.md": b"---\nlicense: mit\n---\n", "m.gguf": header + b"\0" * (1 << 20)})
    with HubServer(root) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("IMAGEWORKS_CACHE_DIR", str(tmp_path / "cache"))
        analysis = URLAnalyzer().analyze_url(f"{hub.url}/o/m-GGUF/tree/main")
    assert [info.format_type for info in analysis.formats] == ["q6_k", "gguf"]
    assert analysis.facts.license == "mit"
    assert not (tmp_path / "cache").exists()
