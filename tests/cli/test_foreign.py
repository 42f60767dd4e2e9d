"""P1: a folder with the predecessor's files is never written to, whichever door is tried; `migrate` is the remedy."""

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer import Typer

import imageworks.model_loader.registry as api
from imageworks.cli.app import run
from imageworks.cli.command_table import BY_NAME
from imageworks.cli.scripts import loader, model_registry
from imageworks.files.stat_cache import StatCache
from imageworks.foundation.errors import ImageworksError
from imageworks.host.predecessor_files import ForeignFilesError, find_foreign, is_ours
from imageworks.host.settings import RegistryNotFoundError
from imageworks.model_loader.download_adapter import record_download, remove_download
from imageworks.model_loader.entries import RegistryEntry
from imageworks.tools.model_downloader import ModelDownloader
from support.git import git
from support.legacy import usual, write_configs
from support.reconcile import World, command

WORDS = {
    "download": ("acme/tiny",),
    "remove": ("some-model", "--force"),
    "promote": ("some-model",),
    "migrate": ("{configs}",),
    "analyze": ("acme/tiny",),
    "show": ("HEAD",),
    "blame": ("some-model",),
    "restore": ("--from", "HEAD", "--yes"),
    "rollback": ("--yes",),
    "clean": ("--yes",),
    "reconcile": ("--yes",),
    "init": ("{configs}",),
    "normalize-formats": ("--apply",),
    "purge-logical-only": ("--apply",),
    "apply-simple-slugs": ("--apply",),
    "verify": ("--fix-missing",),
    "resolve": ("--role", "caption"),
    "launch": ("vllm", "some-model"),
    "hosts": ("list",),
    "snapshot": ("check",),
    "fleet": ("status",),
    "export": ("systemd",),
    "page": ("--out", "{configs}/../page"),
}
NEEDS_NO_REGISTRY = {"schema", "config", "analyze", "hub", "serve", "help", "search"}
"""`config` shows what is set; `serve` answers with no models; neither writes there."""
FILES = {
    "model_registry.json": "[]",
    "model_registry.curated.json": "",
    "model_registry.discovered.json": "{",
    "model_registry.discovered.20251022-175925.bak.json": '[{"name": "a"}]',
    "MODEL_REGISTRY.JSON": "[]",
    "Model_Registry.Curated.json": "\0",
    "model_registry_old.json": "[]",
}
"""What each file may hold; whether anybody can read it is no matter."""


def seen(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def commands() -> list[str]:
    return sorted(BY_NAME.keys() - NEEDS_NO_REGISTRY)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the checkout has a registry of its own
    return write_configs(tmp_path / "old tool/configs", usual())


@pytest.mark.parametrize("name", commands())
@pytest.mark.parametrize("way", ["environment", "option"])
def test_p1_no_command_writes_to_a_folder_of_the_predecessor(
    configs: Path, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(configs.parent)
    words = [word.format(configs=configs) for word in WORDS.get(name, ())]
    if way == "environment":
        monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(configs))
    elif name == "init":
        pytest.skip("init takes no --registry")
    else:
        words += ["--registry", str(configs)]
    result = command(name, *words)
    assert result.code == 1, result
    assert "migrate" in result.err, result
    assert seen(configs.parent) == before


@pytest.mark.parametrize(("file", "content"), list(FILES.items()))
def test_p1_one_file_of_theirs_is_enough(
    tmp_path: Path, file: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / file).write_text(content, encoding="utf-8")
    before = seen(folder)
    assert command("init", folder).code == 1
    assert command("download", "acme/tiny", "--registry", folder).code == 1
    assert seen(folder) == before


def test_p1_links_folders_below_and_homes_are_refused_too(
    tmp_path: Path, configs: Path, isolated_environment: Path
) -> None:
    before = seen(configs)
    (tmp_path / "link").symlink_to(configs)
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling/model_registry.json").symlink_to(tmp_path / "nowhere.json")
    (tmp_path / "above").mkdir()
    configs.rename(tmp_path / "above/registry")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "above/registry")
    for place in (tmp_path / "link", tmp_path / "dangling", tmp_path / "above"):
        there = sorted(path.name for path in place.iterdir())
        for words in (("init", place), ("download", "acme/tiny", "--registry", place)):
            result = command(*words)
            assert (result.code, "migrate" in result.err) == (1, True), result
        assert sorted(path.name for path in place.iterdir()) == there
    home = isolated_environment / "ai-models"
    home.mkdir()
    (tmp_path / "above/registry").rename(home / "registry")
    result = command("download", "acme/tiny")
    assert (result.code, "migrate" in result.err) == (1, True), result
    assert seen(home / "registry") == before
    file = isolated_environment / ".config/imageworks/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'registry = "{home / "registry"}"\n', encoding="utf-8")
    assert command("download", "acme/tiny").code == 1
    assert seen(home / "registry") == before


@pytest.mark.parametrize(
    "door",
    [
        lambda: record_download(hf_id="acme/tiny", backend="vllm", format_type="awq", quantization=None, path="/x"),
        lambda: remove_download("some-model"),
        lambda: api.update_entries([RegistryEntry(name="some-model")]),
        api.save_registry,
        api.load_registry,
        lambda: ModelDownloader().download("acme/tiny"),
        lambda: ModelDownloader().list_models(),
    ],
)
def test_p1_no_function_writes_to_a_folder_of_the_predecessor(
    configs: Path, monkeypatch: pytest.MonkeyPatch, door: Callable[[], object]
) -> None:
    before = seen(configs.parent)
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(configs))
    with pytest.raises(ImageworksError) as caught:
        door()
    assert isinstance(caught.value, ForeignFilesError)
    assert not isinstance(caught.value, RegistryNotFoundError)
    assert seen(configs.parent) == before


@pytest.mark.parametrize(
    ("words", "application"),
    [
        (("discover-all", "--hf-root", "/nowhere"), loader.app),
        (("purge-imported", "--apply"), loader.app),
        (("verify", "some-model", "--lock"), model_registry.app),
    ],
)
def test_p1_the_other_programs_refuse_too(
    configs: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], application: Typer
) -> None:
    before = seen(configs.parent)
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(configs))
    assert run(list(words), application=application) == 1
    assert seen(configs.parent) == before


def remedy(text: str) -> list[str]:
    found = re.search(r"`imageworks-models (migrate [^`]*)`", text)
    assert found is not None, text
    return shlex.split(found[1])


def test_p1_the_remedy_works(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(configs)
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(configs))
    words = remedy(command("download", "acme/tiny").err)
    assert command(*words).code == 0
    assert seen(configs) == before
    made = words[words.index("--registry") + 1]
    assert command("list", "--registry", made).code == 0
    again = remedy(command("init", configs).err)
    assert command(*again).code == 0, "a second time it finds nothing to do"


def test_p1_the_remedy_names_another_folder_than_the_usual_one_that_is_theirs(
    isolated_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_configs(isolated_environment / "ai-models/registry", usual())
    words = remedy(command("download", "acme/tiny").err)
    assert command(*words).code == 0
    assert Path(words[words.index("--registry") + 1]) != folder


def test_p1_a_registry_of_ours_knows_its_own_copy(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("--yes")
    copy = world.root / "model_registry.json"
    assert copy.is_file()
    assert is_ours(copy)
    # The state of the host is lost, or the registry is cloned: nothing but the file itself says whose it is.
    pretty = json.dumps(json.loads(copy.read_bytes()), indent=2)
    copy.write_text(pretty, encoding="utf-8")
    assert is_ours(copy)
    copy.write_text("[]\n", encoding="utf-8")
    world.reconcile("--yes")
    assert json.loads(copy.read_bytes())
    clone = world.folder / "clone"
    git(world.folder, "clone", "-q", str(world.root), str(clone))
    assert command("reconcile", "--yes", "--registry", clone).code == 0
    assert is_ours(clone / "model_registry.json")


@pytest.mark.parametrize("file", ["model_registry.json", "model_registry.curated.json", "Model_Registry.JSON"])
def test_p1_their_program_wrote_into_a_registry_of_ours(world: World, configs: Path, file: str) -> None:
    world.serve()
    world.declare()
    world.reconcile("--yes")
    theirs = (configs / "model_registry.curated.json").read_bytes()
    (world.root / file).write_bytes(theirs)
    world.declare(roles=["caption"])
    before = seen(world.root)
    for name in commands():
        if name in {"init", "migrate"}:
            continue
        words = [word.format(configs=configs) for word in WORDS.get(name, ())]
        command(name, *words, "--registry", world.root)
        assert seen(world.root) == before, name
    result = command("reconcile", "--yes", "--registry", world.root)
    assert (result.code, "migrate" in result.err) == (1, True), result
    assert command("migrate", configs, "--registry", world.root).code == 1
    assert "tiny" in command("list", "--registry", world.root, "--json").out, "what is theirs is not shown as ours"
    looked = command("reconcile", "--dry-run", "--registry", world.root)
    assert file in looked.out + looked.err, "a look tells of it"
    assert command(*remedy(result.err)).code == 0
    (world.root / file).rename(world.folder / "moved away")
    assert command("reconcile", "--yes", "--registry", world.root).code == 0


def test_p1_what_cannot_be_read_is_not_ours(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model_registry.json")
    assert find_foreign(tmp_path, registry=True) == ("model_registry.json",)
    (tmp_path / "model_registry.json").unlink()
    (tmp_path / "model_registry.json").mkdir()
    assert find_foreign(tmp_path, registry=True) == ("model_registry.json",)


def test_p1_a_large_copy_that_another_program_wrote_over_is_not_ours(tmp_path: Path) -> None:
    """A copy is not read again while it looks as it did when it was ours."""
    copy, cache = tmp_path / "model_registry.json", StatCache(tmp_path / "cache.json")
    model = b'{"name": "x", "managed": true}'
    copy.write_bytes(b"[\n" + b",\n".join([model] * 50_000) + b"\n]\n")
    assert is_ours(copy, cache)
    assert not cache.get(copy, copy.stat()), "who wrote it a moment ago may not be done"
    os.utime(copy, (1_000_000_000, 1_000_000_000))
    looked = copy.stat()
    cache.keep(copy, looked, "noted")
    assert cache.get(copy, looked) == "noted"
    copy.write_bytes(copy.read_bytes().replace(b"managed", b"curated"))
    os.utime(copy, (1_000_000_000, 1_000_000_000))
    assert copy.stat().st_size == looked.st_size
    assert not cache.get(copy, copy.stat())
    assert not is_ours(copy, cache)
