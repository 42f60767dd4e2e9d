"""Which models' bytes are coming: claimed by their names, as the registry's lock is free meanwhile.

No other run of this host brings, sweeps or cleans what is claimed. A claim is only ever tried, never waited for while
others are held, so that no two runs wait for each other. The system frees it with its process. All claims of a run are
in one file, which it locks: a process may have a thousand files open on most systems, on some 256.
"""

import secrets
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from imageworks.files.unfinished import Unfinished
from imageworks.git.controller_lock import POLL_SECONDS, hold_file, is_held, read_holder
from imageworks.git.values import LockHeldError, LockHolder, UnsupportedRepositoryError
from imageworks.registry.documents.cache import registry_key

SUFFIX: Final = ".lock"


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
        self._own: set[Path] = set()

    @property
    def were_made(self) -> bool:
        """Whether any run ever claimed a model of this registry, so that bytes of it may be here."""
        return self._folder.exists()

    def claim(self, names: Iterable[str]) -> dict[str, LockHeldError]:
        """Claim models until :meth:`release`; return those that other runs have, and who.

        Asked while the registry's lock is held, so that no two runs claim at once.
        """
        self._sweep()
        names = list(names)
        elsewhere = {name: file for file in self._others() for name in _names_in(file)}
        free = [name for name in names if name not in elsewhere]
        if free:
            file = self._folder / f"{secrets.token_hex(8)}{SUFFIX}"
            self._held.callback(partial(file.unlink, missing_ok=True))
            self._held.enter_context(hold_file(file, wait=0, host=self._host, what="what a run brings"))
            self._own.add(file)
            with file.open("a", encoding="utf-8") as stream:
                stream.write("".join(f"\n{name}" for name in free))
        taken = ((name, elsewhere[name]) for name in names if name in elsewhere)
        return {name: LockHeldError(file, read_holder(file), name) for name, file in taken}

    def release(self) -> None:
        """Let go of all that was claimed."""
        self._held.close()
        self._own.clear()

    def elsewhere(self) -> dict[str, LockHolder | None]:
        """Return what other runs have claimed, and who has, where that can be read."""
        claimed: dict[str, LockHolder | None] = {}
        for file in self._others():
            claimed |= dict.fromkeys(_names_in(file), read_holder(file))
        return {name: claimed[name] for name in sorted(claimed)}

    def wait(self, until: float) -> bool:
        """Wait until no other run brings anything; return whether that came before a time of the monotonic clock."""
        while self.elsewhere():
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _others(self) -> list[Path]:
        """Return the files of other runs that are under way."""
        return [file for file in self._folder.glob(f"*{SUFFIX}") if file not in self._own and is_held(file)]

    def _sweep(self) -> None:
        """Remove what killed runs left; who locks what is left does not meet another that claims."""
        for file in self._folder.glob(f"*{SUFFIX}"):
            with suppress(LockHeldError, UnsupportedRepositoryError), hold_file(file, wait=0, host=self._host, what=""):
                file.unlink(missing_ok=True)


def _names_in(file: Path) -> list[str]:
    """Return the models that a run has claimed; the first line says who that is."""
    try:
        _, *names = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []  # let go meanwhile
    return names or [file.stem]  # a run of an earlier version has a file for each
