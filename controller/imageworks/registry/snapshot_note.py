"""What this host computed last of a registry, kept in its cache with the commits that it was computed from.

A snapshot is a file that whoever may push can write, so nothing reads it back. This note is the host's own, and says
what manifests and entries give while the same commits are checked out.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from imageworks import __version__
from imageworks.foundation.bounded_json import LARGEST, read_json
from imageworks.foundation.plain_files import read_plain_file
from imageworks.foundation.private_files import FILE_MODE, ForeignFolderError, make_private_folder
from imageworks.git.heads import BRANCHES, Heads
from imageworks.registry.documents.cache import cache_file, registry_key
from imageworks.registry.documents.schema_files import schema_dir
from imageworks.registry.entries.packed import models_of, packed_models

if TYPE_CHECKING:
    from imageworks.host.settings import HostSettings
    from imageworks.registry.entries.queries import Model
    from imageworks.registry.load import RegistryState

_NOTHING: Final[Mapping[str, object]] = {}
_SUMMARIES: Final = "summaries"
_MODELS: Final = "models"
"""What is kept of the models; its digest stands under the same name."""


class NotedModels(NamedTuple):
    """What a note says.

    Args:
        models: The merged models, or their summaries, sorted by name; perhaps to be taken once.
        left_out: What is wrong with documents that were left out.
        branch: The branch that the host's entries go to; ``None`` for the checked-out one.
        at: What it was computed from, as :meth:`SnapshotNote.at` returns it.
    """

    models: "Iterable[Model]"
    left_out: Sequence[str]
    branch: str | None
    at: Sequence[str]


class SnapshotNote:
    """The note of one host and registry: a line that says what it is of, one of summaries, then the snapshot; JSON."""

    def __init__(self, host: "HostSettings", root: Path) -> None:
        self._file = cache_file(host.cache_dir / "snapshots", root)
        self._host = host
        self._root = root

    def read(self, *, summaries: bool = False, packed: bool = False, small: bool = False) -> NotedModels | None:
        """Return what is noted; ``None`` where other commits are checked out, or signatures have to be looked at.

        Args:
            summaries: Whether of each model only that is read which a table of models shows and chooses by.
            packed: Whether each model is kept as its text, and read whenever something of it is asked for; else they
                are read one by one.
            small: Whether such texts are packed.
        """
        kept = _SUMMARIES if summaries else _MODELS
        head, content = self._read(kept)
        named, left_out = head.get("branch"), head.get("left_out")
        branch = named if isinstance(named, str) else None
        at = self.at(branch)
        signed = head.get("signed") is not False or self._host.require_signed
        if signed or head.get("at") != at or head.get(kept) != digest_of(content) or not isinstance(left_out, list):
            return None
        if signature_notes(self._host, self._root).exists():
            return None
        with suppress(ValueError, RecursionError):  # it is as we wrote it, so its depth is not looked at again
            if summaries:
                return NotedModels(json.loads(content), left_out, branch, at)
            models = packed_models([content], small=small) if packed else models_of(content)
            return NotedModels(models, left_out, branch, at)
        return None

    def snapshot_of(self, inputs: str) -> str | None:
        """Return the id of the snapshot that some trees give; ``None`` where that is not noted."""
        head, _ = self._read(None)
        found = head.get("snapshot")
        return found if isinstance(found, str) and head.get("inputs") == inputs else None

    def write(
        self,
        registry: "RegistryState",
        inputs: str,
        snapshot: str,
        read: Callable[[], Iterable[bytes | memoryview]],
        *,
        signed: bool,
    ) -> None:
        """Keep what was computed; a cache only, written where it says something else.

        Args:
            registry: What it was computed of.
            inputs: What stands for that.
            snapshot: The snapshot's id.
            read: Gives the snapshot in pieces that end where a line does; called twice.
            signed: Whether signatures have to be looked at.
        """
        head = {
            "at": self.at_state(registry),
            "branch": registry.branch,
            "inputs": inputs,
            "snapshot": snapshot,
            "signed": signed or signature_notes(self._host, self._root).exists(),
            "left_out": [problem.render() for problem in registry.diagnostics],
        }
        known, _ = self._read(None)
        if all(known.get(key) == value for key, value in head.items()):
            return
        from imageworks.files.renames import write_durably  # `list` only reads
        from imageworks.registry.entries.summaries import summary_of

        # Model by model: ten thousand at once would be more than the whole run takes; a text of all moves as it grows.
        encode = json.JSONEncoder(separators=(",", ":")).encode
        summaries, digest = [b"["], hashlib.sha256()
        for piece in read():
            digest.update(piece)
            for model in models_of(piece):
                summaries += (encode(summary_of(model)).encode(), b",")
        summaries[-1 if len(summaries) > 1 else 1 :] = [b"]"]
        head |= {_SUMMARIES: digest_of(*summaries), _MODELS: digest.hexdigest()}

        with suppress(OSError, ForeignFolderError):
            make_private_folder(self._file.parent, top=self._host.cache_dir)
            write_durably(
                self._file, chain((json.dumps(head).encode(), b"\n"), summaries, (b"\n",), read()), mode=FILE_MODE
            )

    def at(self, branch: str | None) -> Sequence[str]:
        """Return what decides what manifests and entries give."""
        heads = Heads(self._root)
        tip = heads.tip(f"{BRANCHES}{branch}") if branch else ""
        return [self._host.host, *heads.checked_out(), branch or "", tip, rules()]

    def at_state(self, registry: "RegistryState") -> Sequence[str]:
        """Return the same of a registry that was read; empty where somebody moved on meanwhile."""
        at = self.at(registry.branch)
        read = (registry.host, registry.revision, registry.recorded if registry.branch else "")
        return at if (at[0], at[2], at[4]) == read else []

    def _read(self, kept: str | None) -> tuple[Mapping[str, object], bytes]:
        """Return the first line, and what is kept of the models; of a file of megabytes no more than is asked for."""
        lines = {None: 1, _SUMMARIES: 2, _MODELS: None}[kept]
        try:
            line, _, content = read_plain_file(self._file, LARGEST + 1, lines=lines).partition(b"\n")
            head = read_json(line)
        except (OSError, ValueError):
            return _NOTHING, b""
        if not isinstance(head, dict):
            return _NOTHING, b""
        summaries, _, body = content.partition(b"\n")
        return head, body if kept == _MODELS else summaries


def signature_notes(host: "HostSettings", root: Path) -> Path:
    """Return the file in which a host keeps what it knows of a registry's signatures."""
    return host.state_dir / "signed" / f"{registry_key(root)}.json"


def rules() -> str:
    """Return a digest of what decides how a snapshot is made: its owners, and the code that merges and sums up."""
    merging = [(Path(__file__).with_name("entries") / name).read_bytes() for name in ("merge.py", "summaries.py")]
    return digest_of(b"".join((__version__.encode(), (schema_dir() / "ownership.json").read_bytes(), *merging)))


def digest_of(*pieces: bytes | memoryview) -> str:
    """Return the digest by which notes of this host know bytes again."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
