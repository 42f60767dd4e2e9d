"""What a download decides on the way to its manifest, and what it says of the host."""

import tomllib
from pathlib import Path

import pytest

from imageworks.host.setting_layers import ConfigurationError
from imageworks.host.settings import allow_root, registry_to_make, user_config_file
from imageworks.operations.download.declare import shown_name
from imageworks.registry.entries.entry import Entry


def entry(display: str, repo: str | None) -> Entry:
    return Entry("tiny", {"name": "tiny", "display_name": display, "resolved": {"repo": repo}})


@pytest.mark.parametrize(
    ("display", "repo", "shown"),
    [
        ("dialogpt-medium", "microsoft/DialoGPT-medium", "DialoGPT-medium"),
        ("llama 12.2b (Q4 K M)", "acme/Llama-12.2B-GGUF", "llama 12.2b (Q4 K M)"),
        ("tiny 1b", None, "tiny 1b"),
    ],
)
def test_a_display_name_is_spelt_as_its_repository_is(display: str, repo: str | None, shown: str) -> None:
    assert shown_name(entry(display, repo)) == shown


def test_the_first_registry_is_made_where_environment_or_config_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert registry_to_make() == Path.home() / "ai-models/registry"
    file = user_config_file()
    file.parent.mkdir(parents=True)
    file.write_text('registry = "~/configured"\n', encoding="utf-8")
    assert registry_to_make() == Path.home() / "configured"
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(tmp_path / "mine"))
    assert registry_to_make() == tmp_path / "mine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'host = "box"\n',
        '# mine\nroots = []\nhost = "box"\n',
        'host = "box"\nroots = [\n  "/a",  # first\n  "/b",\n]\n',
    ],
)
def test_a_root_is_added_and_the_rest_of_the_users_config_stays(text: str) -> None:
    file = user_config_file()
    if text:
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    before = tomllib.loads(text)
    root = Path('/data/my "models"')
    assert allow_root(root) == file
    allow_root(root)
    after = file.read_text(encoding="utf-8")
    assert tomllib.loads(after) == {**before, "roots": [str(root), *before.get("roots", [])]}
    assert all(line in after for line in ("# mine", "# first") if line in text)


def test_a_config_that_cannot_be_changed_for_sure_is_left_alone() -> None:
    file = user_config_file()
    file.parent.mkdir(parents=True)
    text = '"roots" = ["/a"]\n'
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        allow_root(Path("/b"))
    assert file.read_text(encoding="utf-8") == text
