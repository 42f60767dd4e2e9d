"""The page on the Python API is true: its blocks run in their order, against a hub on loopback."""

import os
import re
import subprocess
import sys
from pathlib import Path

from imageworks.loopback_hub.server import HubServer
from support.found import awq, put
from support.hub import HubRepository
from support.registry import weights
from support.transfer import gguf_content

PAGE = Path(__file__).parent.parent / "docs/python-api.md"
DIALOG = {"config.json": b'{"model_type": "gpt2"}', "model.safetensors": weights("dialog", 2000), "README.md": b"# D\n"}
SCRIPT = "from imageworks.cli.scripts.model_registry import main; main()"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    quants = {f"mistral-7b-instruct-v0.2.{label}.gguf": gguf_content(label, 4000) for label in ("Q4_K_M", "Q8_0")}
    (tmp_path / "hub").mkdir()
    HubRepository(tmp_path / "hub", "microsoft/DialoGPT-medium", DIALOG).branch("dev", {"config.json": b'{"v": 2}'})
    HubRepository(tmp_path / "hub", "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", quants)
    HubRepository(tmp_path / "hub", "acme/tiny-1b", DIALOG)
    HubRepository(tmp_path / "hub", "acme/big-7b", {**DIALOG, "model.safetensors": weights("big", 200_000)})
    models = tmp_path / "my models"
    put(models / "llama-7b-instruct-awq")
    put(models / "demo-model", awq("demo"))
    preamble = f"from pathlib import Path\n\nmy_models = Path({str(models)!r})\n"
    program = "\n".join([preamble, *blocks("python")])
    assert program.count("ModelDownloader()") == 1
    with HubServer(tmp_path / "hub") as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "IMAGEWORKS_REGISTRY_DIR": str(tmp_path / "a registry")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        for command in (line[2:] for block in blocks("console") for line in block.splitlines()):
            script, *words = command.split()
            assert script == "imageworks-model-registry"
            run = [sys.executable, "-c", SCRIPT, *words]
            ended = subprocess.run(run, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    assert "no gguf weights here" in done.stdout
    assert "names a test or a demo" in done.stdout
    assert "roles is for people to declare" in done.stdout
