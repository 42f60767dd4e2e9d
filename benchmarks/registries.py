"""Makes large registries in which nothing is left to do: manifests, entries, snapshot, files on disk and state.

The product's own functions write all of it, as after an install; only the downloads are left out.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.scratch import CHECKOUT, Scratch, program

OLD_ENOUGH_SECONDS: Final = 2.5
"""A file that changed later than this before a look at it is not believed to be the same when it looks the same."""
REVISION: Final = "536a35{:034x}"
MANIFEST: Final = """\
# yaml-language-server: $schema=../.schemas/manifest.schema.json
schema_version: 1
source:
  huggingface: bench/{name}
  revision: "{revision}" # main
format: safetensors
quantization: awq
backend: vllm
location: linux_wsl
display_name: Benchmark model {number}
family: benchmark-{number}
roles: [caption, description]
role_priority: {{caption: {priority}, description: 50}}
capabilities: {{vision: true, text: true}}
backend_config:
  port: {port}
  extra_args: [--max-model-len, "8192"]
generation_defaults: {{temperature: 0.2, top_p: 0.9}}
license: apache-2.0
labels: {{team: research, tier: "{tier}"}}
"""


def model_name(number: int) -> str:
    """Return the name of one model."""
    return f"benchmark-{number:05d}-vllm-safetensors-awq"


def manifest_text(number: int) -> str:
    """Return one model's manifest."""
    return MANIFEST.format(
        name=model_name(number),
        number=number,
        revision=REVISION.format(number),
        priority=number % 100,
        port=10_000 + number,
        tier=number % 3,
    )


def make_settled_registry(scratch: Scratch, count: int) -> None:
    """Make a registry in which every model stands as declared, and run it once so that its caches are filled.

    Args:
        scratch: Where to; cleared first.
        count: How many models.
    """
    scratch.clear()
    environment = scratch.environment()
    subprocess.run(
        [program("imageworks-models"), "init", scratch.registry], env=environment, check=True, capture_output=True
    )
    maker = [sys.executable, "-m", "benchmarks.fill", str(count)]
    subprocess.run(maker, env=environment, cwd=CHECKOUT, check=True)
    pack(scratch.registry, environment)
    settle(scratch)


def settle(scratch: Scratch) -> None:
    """Let runs find that nothing is to be done: one that fills the caches, and one that may believe how files look."""
    words = [program("imageworks-models"), "reconcile", "--yes", "--no-progress"]
    for seconds in (0.0, OLD_ENOUGH_SECONDS):
        time.sleep(seconds)
        subprocess.run(words, env=scratch.environment(), check=True, cwd=scratch.root, stdout=subprocess.DEVNULL)


def pack(repository: Path, environment: dict[str, str]) -> None:
    """Pack a repository as a clone's is, and keep git from doing so in the middle of a measurement."""
    for words in (("config", "gc.auto", "0"), ("gc", "--quiet"), ("status", "--short")):
        subprocess.run(["git", "-C", repository, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
