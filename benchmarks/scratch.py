"""The scratch folder in which everything happens, and the environment that keeps it there."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "bench"


def program(name: str) -> str:
    """Return the path of a program of this environment, else of the system."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else shutil.which(name) or name


def compile_code(tree: Path) -> None:
    """Compile a tree's code as an installation's is: to compile it anew in each run is a fifth of a small download."""
    words = (sys.executable, "-m", "compileall", "-q", str(tree / "controller"), str(tree / "benchmarks"))
    subprocess.run(words, check=True)


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder with a home, a registry, weights and state of its own.

    Args:
        root: The folder.
    """

    root: Path

    @property
    def registry(self) -> Path:
        """The registry's folder."""
        return self.root / "registry"

    @property
    def weights(self) -> Path:
        """Where models go."""
        return self.root / "weights"

    @property
    def state(self) -> Path:
        """The host's state."""
        return self.root / "state"

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.root / "cache"

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which nothing outside is read or written."""
        foreign = ("IMAGEWORKS_", "HF_", "GIT_", "XDG_")
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(foreign)},
            "HOME": str(self.root / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "IMAGEWORKS_HOST": HOST,
            "IMAGEWORKS_REGISTRY_DIR": str(self.registry),
            "IMAGEWORKS_MODEL_ROOT": str(self.weights),
            "IMAGEWORKS_STATE_DIR": str(self.state),
            "IMAGEWORKS_CACHE_DIR": str(self.cache),
            "HF_HOME": str(self.root / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "GIT_AUTHOR_NAME": "Benchmark",
            "GIT_AUTHOR_EMAIL": "benchmark@localhost",
            "GIT_COMMITTER_NAME": "Benchmark",
            "GIT_COMMITTER_EMAIL": "benchmark@localhost",
            **more,
        }

    def clear(self) -> None:
        """Remove everything and begin with an empty home."""
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "home").mkdir(parents=True)
