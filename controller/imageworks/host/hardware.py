"""How much memory this machine and its graphics cards have, as far as they say so."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.foundation.child_environment import child_environment

MEBI: Final = 1024**2
ANSWER_SECONDS: Final = 10.0  # a card that sleeps takes a second or two to say what it is
_MEMINFO: Final = Path("/proc/meminfo")
_WSL_TOOLS: Final = Path("/usr/lib/wsl/lib")  # where WSL has nvidia-smi, often outside of PATH


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a model can run in.

    Args:
        cards: Bytes of memory of each graphics card.
        memory: Bytes of the machine's memory; ``None`` where nothing says it.
    """

    cards: tuple[int, ...] = ()
    memory: int | None = None

    def fits(self, need: int) -> str:
        """Return where so many bytes fit, in a word; empty where nothing is known."""
        if self.cards and need <= max(self.cards):
            return "GPU"
        if len(self.cards) > 1 and need <= sum(self.cards):
            return f"{len(self.cards)} GPUs"
        if self.memory is not None:
            return "memory" if need <= self.memory else "no"
        return "no" if self.cards else ""


def this_machine() -> Hardware:
    """Return what this machine says of itself."""
    return Hardware(_cards(), _memory())


def _cards() -> tuple[int, ...]:
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=str(_WSL_TOOLS))
    if program is None:
        return ()
    listed = _printed(program, "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return tuple(int(line) * MEBI for line in map(str.strip, listed.splitlines()) if line.isdecimal())


def _memory() -> int | None:
    if sys.platform == "darwin":
        said = _printed("/usr/sbin/sysctl", "-n", "hw.memsize").strip()
        return int(said) if said.isdecimal() else None
    try:
        lines = _MEMINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemTotal:") and line.endswith(" kB")), "")
    return int(found) * 1024 if found.isdecimal() else None


def _printed(*command: str) -> str:
    """Return what a program prints; nothing where it fails, hangs or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 # programs of the system, without a word of others
            command,
            env=child_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
