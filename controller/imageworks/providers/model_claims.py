"""Which models' bytes are coming: claimed one by one, as the registry's lock is free meanwhile.

No other run of this host brings, sweeps or cleans what is claimed. A claim is only ever tried, never waited for while
others are held, so that no two runs wait for each other. The system frees it with its process.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.files.unfinished import Unfinished
from imageworks.git.controller_lock import POLL_SECONDS, hold_file, is_held, read_holder
from imageworks.git.values import LockHeldError, LockHolder
from imageworks.registry.documents.cache import registry_key

PROBED_SECONDS: Final = 0.2
"""How long another run may look whether a claim is held."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """A model that another run brings now.

    Args:
        name: The variant name.
        holder: Who brings it, where that can be read.
        staged: What of it is here; ``None`` before its first byte.
    """

    name: str
    holder: LockHolder | None
    staged: Unfinished | None

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        here = {"percent": self.staged.percent, "bytes": self.staged.gathered} if self.staged else {}
        total = self.staged.total if self.staged else None
        return {
            "name": self.name,
            "process": self.holder.pid if self.holder else None,
            "command": self.holder.command if self.holder else None,
            "since": self.holder.since if self.holder else None,
            "percent": 0,
            "bytes": 0,
            **here,
            "total_bytes": total,
        }


class ModelClaims:
    """The claims of one run."""

    def __init__(self, state_dir: Path, registry: Path, host: str) -> None:
        self._folder = state_dir / "claims" / registry_key(registry)
        self._host = host
        self._held = ExitStack()
        self._names: set[str] = set()

    @property
    def were_made(self) -> bool:
        """Whether any run ever claimed a model of this registry, so that bytes of it may be here."""
        return self._folder.exists()

    def claim(self, name: str) -> LockHeldError | None:
        """Claim a model until :meth:`release`; return who has it, where that is another run."""
        file = self._folder / f"{name}.lock"
        try:
            self._held.enter_context(hold_file(file, wait=PROBED_SECONDS, host=self._host, what=name))
        except LockHeldError as error:
            return error
        self._names.add(name)
        return None

    def release(self) -> None:
        """Let go of all that was claimed."""
        self._held.close()
        self._names.clear()

    def elsewhere(self) -> dict[str, LockHolder | None]:
        """Return what other runs have claimed, and who has, where that can be read."""
        files = (file for file in sorted(self._folder.glob("*.lock")) if file.stem not in self._names)
        return {file.stem: read_holder(file) for file in files if is_held(file)}

    def wait(self, until: float) -> bool:
        """Wait until no other run brings anything; return whether that came before a time of the monotonic clock."""
        while self.elsewhere():
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)
        return True
