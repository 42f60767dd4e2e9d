"""Issue 18: what other programs read is written from what this host has, and renewed where it is asked."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from support.git import git
from support.reconcile import NAME, QUANTS, Result, World, command

GGUF = "many-7b-gguf"


def export(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command("export", *words, "--registry", world.root)
    assert result.code == code, result
    return result


def read(text: str) -> Any:  # noqa: ANN401 # YAML
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(name="host")
def host_with_models(world: World) -> World:
    """A host that has a model for vLLM and one quantization of a GGUF model."""
    commit = world.serve().commit_id
    world.serve(QUANTS, "acme/many-7b")
    world.declare(source={"huggingface": "acme/tiny-1b", "revision": commit})
    world.declare(GGUF, source={"huggingface": "acme/many-7b"}, quantization="Q4_K_M", location="flat")
    world.reconcile()
    return world


@pytest.fixture(name="server")
def server_that_reloads() -> Iterator[tuple[str, list[str]]]:
    """Return the address of a server on this machine, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{served.server_address[1]}/models?reload=1", asked
    served.shutdown()
    thread.join()
    served.server_close()


def test_servers_of_gguf_models_get_files_that_are_there(host: World) -> None:
    models = read(export(host, "llama-swap").out)["models"]
    assert set(models) == {GGUF}
    entry = host.entry(GGUF)
    metadata = models[GGUF]["metadata"]
    assert metadata["sha256"] == entry["artifacts"]["aggregate_sha256"]  # type: ignore[index]
    assert metadata["revision"] == entry["resolved"]["revision"]  # type: ignore[index]
    presets = export(host, "llama-server").out
    place = next(line for line in presets.splitlines() if line.startswith("model = ")).removeprefix("model = ")
    assert Path(place).is_file()
    assert Path(place).is_absolute()
    assert "version = 1" in presets.splitlines()
    assert set(read(export(host, "llama-swap", GGUF).out)["models"]) == {GGUF}
    assert "no model" in export(host, "llama-swap", "nothing-like-it", code=1).err


def test_clusters_get_models_at_their_commits(host: World) -> None:
    text = export(host, "kserve", "--node-selector", "gpu=a100").out
    found = list(YAML(typ="safe", pure=True).load_all(text))
    caches = {one["spec"]["sourceModelUri"]: one for one in found if one["kind"] == "LocalModelCache"}
    assert set(caches) == {
        f"hf://acme/{repo}:{host.entry(name)['resolved']['revision']}"  # type: ignore[index]
        for repo, name in (("tiny-1b", NAME), ("many-7b", GGUF))
    }
    local = read(export(host, "ome", NAME).out)
    assert Path(local["spec"]["storage"]["path"]).is_dir()
    assert "--node-selector" in export(host, "kserve", "--node-selector", "a b", code=64).err


def test_machines_get_this_registry_and_no_credentials(host: World, tmp_path: Path) -> None:
    assert "--remote" in export(host, "kubernetes", "--image", "i", code=1).err
    git(host.git_root, "remote", "add", "origin", str(tmp_path))
    assert "a folder of this machine" in export(host, "ray", code=1).err
    assert "https alone" in export(host, "kubernetes", "--image", "i", "--remote", "git@example.com:r.git").err
    git(host.git_root, "remote", "set-url", "origin", "https://ada:secret@git.example.com/r.git")
    for words in (("kubernetes", "--image", "i"), ("ray",), ("kubernetes", "--image", "i", "--as", "cronjob")):
        shown = export(host, *words).out
        assert "https://git.example.com/r.git" in shown
        assert "secret@" not in shown
    out = tmp_path / "units"
    export(host, "systemd", "--interval", "30m", "--out", out)
    assert {file.name for file in out.iterdir()} == {"imageworks-reconcile.service", "imageworks-reconcile.timer"}
    assert str(host.root) in (out / "imageworks-reconcile.service").read_text(encoding="utf-8")
    assert "--interval" in export(host, "systemd", "--interval", "soon", code=64).err
    export(host, "ansible", "--out", tmp_path / "play.yaml")
    export(
        host, "taskscheduler", "--program", "wsl.exe --exec /home/zoë/imageworks-models", "--out", tmp_path / "task.xml"
    )
    task = (tmp_path / "task.xml").read_bytes()
    assert task.isascii()
    assert "zoë" in "".join(ET.fromstring(task).itertext())  # noqa: S314 # our own


def test_a_server_s_file_is_renewed_and_the_server_told(host: World, server: tuple[str, list[str]]) -> None:
    address, asked = server
    file = host.folder / "servers.ini"
    swap = host.folder / "swap.yaml"
    wanted = {"llama-server": {"path": str(file), "reload": address}, "llama-swap": {"path": str(swap)}}
    host.configure(exports=wanted)
    assert command("reconcile", "--dry-run", "--registry", host.root).code == 0
    assert not file.exists()
    host.reconcile()
    assert f"[{GGUF}]" in file.read_text(encoding="utf-8")
    assert set(read(swap.read_text(encoding="utf-8"))["models"]) == {GGUF}
    assert asked == ["/models?reload=1"]
    before = file.stat().st_mtime_ns, host.head()
    host.reconcile()
    assert (file.stat().st_mtime_ns, host.head()) == before
    assert asked == ["/models?reload=1"]
    host.declare(GGUF, source={"huggingface": "acme/many-7b"}, quantization="Q8_0", location="flat")
    host.reconcile()
    assert "Q8_0" in file.read_text(encoding="utf-8")
    assert len(asked) == 2


def test_a_registry_cannot_write_or_ask_elsewhere(
    host: World, server: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "file.ini"
    theirs = host.folder / "theirs.yaml"
    theirs.write_text("models: {}\n", encoding="utf-8")
    host.configure(exports={"llama-server": {"path": str(outside)}, "llama-swap": {"path": str(theirs)}})
    told = host.reconcile().err
    assert "roots in config.toml" in told
    assert "move it away first" in told
    assert not outside.exists()
    assert theirs.read_text(encoding="utf-8") == "models: {}\n"
    link = host.folder / "link.yaml"
    link.symlink_to(outside)
    port = server[0].split("/")[2].rpartition(":")[2]
    inside = host.folder / "inside.ini"
    for address in (f"http://127.0.0.1.example.com:{port}/", f"http://ada@127.0.0.1:{port}/", "http://10.0.0.1/"):
        inside.unlink(missing_ok=True)
        host.configure(
            exports={"llama-server": {"path": str(inside), "reload": address}, "llama-swap": {"path": str(link)}}
        )
        assert "not reloaded" in host.reconcile().err
        assert not outside.exists()
    assert server[1] == []


def test_exports_of_a_registry_are_checked(host: World) -> None:
    host.write("registry.yaml", json.dumps({"schema_version": 1, "exports": {"nginx": {"path": "/etc/x"}}}))
    assert "nginx" in command("validate", "--registry", host.root).out
