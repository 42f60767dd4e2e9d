"""A cache of documents that were parsed and found valid, by git blob id: what cannot change is not looked at twice."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.foundation.json_reading import read_json_file
from imageworks.registry.document import JsonValue
from imageworks.registry.schema import schema_dir

_GATE_FILES: Final = ("yaml_gate.py", "validate.py", "schema.py", "crosscheck.py", "entry.py")
_SCHEMAS: Final = ("manifest.schema.json", "registry.schema.json")


class ParsedDocuments:
    """Values of valid manifests, settings and entries by blob id, kept in one file of the cache folder.

    Args:
        file: The cache file; one for each registry.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._format = _rules_fingerprint()
        self._values = self._read()
        self._used: dict[str, JsonValue] = {}

    def get(self, blob: str) -> JsonValue:
        """Return the value of a valid document, or ``None`` when it is not known."""
        value = self._values.get(blob)
        if value is not None:
            self._used[blob] = value
        return value

    def put(self, blob: str, value: JsonValue) -> None:
        """Remember a valid document's value."""
        self._used[blob] = value

    def save(self) -> None:
        """Write what was used, when it is not what was read; a cache that cannot be written is none."""
        if self._used.keys() == self._values.keys():
            return
        import tempfile

        body = json.dumps({"format": self._format, "documents": self._used}, separators=(",", ":"))
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(body)
                Path(draft).replace(self._file)
            except OSError:
                Path(draft).unlink(missing_ok=True)

    def _read(self) -> Mapping[str, JsonValue]:
        try:
            content = read_json_file(self._file)
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict) or content.get("format") != self._format:
            return {}
        documents = content.get("documents")
        return documents if isinstance(documents, dict) else {}


def _rules_fingerprint() -> str:
    """Return a digest of everything that decides whether a document is valid, so that new rules empty the cache."""
    digest = hashlib.sha256(__version__.encode())
    for name in _SCHEMAS:
        digest.update((schema_dir() / name).read_bytes())
    for name in _GATE_FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def cache_file(cache_dir: Path, registry: Path) -> Path:
    """Return where a registry's parsed documents are kept.

    Args:
        cache_dir: The host's cache folder.
        registry: The registry folder.
    """
    return cache_dir / "manifests" / f"{registry_key(registry)}.json"


def registry_key(registry: Path) -> str:
    """Return what names a registry in this host's own folders, so that two registries never mix there.

    Args:
        registry: The registry folder.
    """
    return hashlib.sha256(os.fsencode(registry.resolve())).hexdigest()[:16]
