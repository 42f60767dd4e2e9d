"""Files in a registry that mean something to git: filters, Git LFS, and what looks like a repository of its own."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imageworks.git.locate import BARE_REPOSITORY_PARTS
from imageworks.registry.documents.diagnostic import Diagnostic, whole_file
from imageworks.registry.reader import RegistryReader, WorkTreeReader

_ATTRIBUTES: Final = (".gitattributes", "models/.gitattributes", "discovered/.gitattributes", "snapshot/.gitattributes")
_FILTER: Final = re.compile(rb"^[^#\r\n]*[ \t]filter=([^ \t\r\n]+)", re.MULTILINE)


def filter_notes(reader: RegistryReader) -> Iterator[str]:
    """Yield which files ask git for filters, none of which is ever run."""
    for path in _ATTRIBUTES:
        content = reader.file(path)
        found = _FILTER.findall(content) if isinstance(content, bytes) else []
        names = sorted({name.decode(errors="replace") for name in found})
        if names:
            yield f"{path}: the filters {', '.join(names)} are not run; commit the files themselves, not pointers"
    if reader.file(".lfsconfig") is not None:
        yield ".lfsconfig: is not obeyed; Git LFS is never run"


def check_bare(reader: RegistryReader) -> Iterator[Diagnostic]:
    """Yield that a registry, or a folder between it and its work tree, looks like a bare git repository."""
    head, *folders = BARE_REPOSITORY_PARTS
    inside = reader.file(head) is not None and all(reader.files(part) for part in folders)
    if inside or (isinstance(reader, WorkTreeReader) and _is_bare_above(reader.root)):
        message = f"{', '.join(BARE_REPOSITORY_PARTS)} side by side look like a git repository of its own"
        yield whole_file(head, message, "remove or rename them")


def _is_bare_above(root: Path) -> bool:
    for folder in (root, *root.absolute().parents):
        if (folder / ".git").exists():
            return False
        if all((folder / part).exists() for part in BARE_REPOSITORY_PARTS):
            return True
    return False
