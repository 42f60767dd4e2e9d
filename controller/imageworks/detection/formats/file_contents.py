"""What a file of weights holds, by its bytes: weights, or something else that was saved under their name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from imageworks.detection.file_names import Container
from imageworks.detection.formats.gguf_header import GgufHeader, read_gguf
from imageworks.detection.formats.range_reader import FIRST_PIECE, HeaderError
from imageworks.detection.formats.safetensors_header import SafetensorsHeader, read_safetensors
from imageworks.detection.problems import MissingPart

HEAD: Final = 1024
"""Bytes that tell what a file is; a pointer to a file elsewhere is never longer."""
_TAIL: Final = 66_000  # the end record of a ZIP archive, with the longest comment
_ZIP: Final = b"PK\x03\x04"

_POINTERS: Final = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer"),
    (b"/annex/objects/", "a git-annex pointer"),
    (b"# xet version", "a Xet pointer"),
)
_PAGE: Final = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error|script|!--)", re.IGNORECASE)
_REFUSAL: Final = re.compile(
    rb"\s*(?:(?:entry |repository |file |page )?not found|access (?:to|denied)|unauthori[sz]ed|forbidden"
    rb"|too many requests|invalid (?:username|credentials|token)|(?:internal )?server error|bad gateway"
    rb"|service unavailable|gateway time-?out|request rate|rate limit|[45]\d\d[ :])",
    re.IGNORECASE,
)
_FOREIGN: Final = (
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"(\xb5/\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_PICKLES: Final = (".pt", ".pth", ".ckpt", "pytorch_model.bin", "adapter_model.bin")
_WITH_HEADERS: Final = (Container.GGUF, Container.SAFETENSORS)

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` of one file."""


@dataclass(frozen=True, slots=True)
class WeightsContent:
    """What came of looking into a file of weights.

    Args:
        problem: Why it cannot be loaded, if it is certain.
        doubt: Why it cannot be told whether it can be loaded.
        safetensors: Its header.
        gguf: Its header.
    """

    problem: MissingPart | None = None
    doubt: MissingPart | None = None
    safetensors: SafetensorsHeader | None = None
    gguf: GgufHeader | None = None


def look_into(
    path: str, container: Container | None, size: int, read: Read, *, whole: bool, first_piece: int = FIRST_PIECE
) -> WeightsContent:
    """Return what a file holds that its name calls weights."""
    if size == 0:
        return WeightsContent(MissingPart("empty-file", f"{path} is empty", path))
    if whole and container in _WITH_HEADERS:
        read = _once(read, min(size, first_piece))
    head = read(0, min(size, HEAD))
    if not head:
        return WeightsContent(doubt=MissingPart("unrecognised-content", f"{path} could not be read", path))
    if (what := _mistaken(path, head, size, container)) is not None:
        return WeightsContent(MissingPart(*what_it_is(path, what), path))
    if not whole:
        return WeightsContent()
    if container is Container.SAFETENSORS:
        return _safetensors(path, size, head, partial(read_safetensors, read, size, path, first_piece=first_piece))
    if container is Container.GGUF:
        return _gguf(path, size, head, partial(read_gguf, read, size, path, first_piece=first_piece))
    if container is Container.PYTORCH and head.startswith(_ZIP) and b"PK\5\6" not in _tail(size, read):
        return WeightsContent(MissingPart("truncated-file", f"{path} is an archive that ends too early", path))
    return WeightsContent()


def what_it_is(path: str, what: str) -> tuple[str, str]:
    """Return kind and message of a file that is something else than its name says."""
    if what.endswith("pointer"):
        return "pointer-file", f"{path} is {what}, not the file that it stands for"
    return "not-weights", f"{path} is {what}, and no weights"


def pointer(head: bytes) -> str | None:
    """Return which kind of pointer to a file elsewhere some bytes are, if they are one."""
    return next((what for mark, what in _POINTERS if mark in head[:120]), None)


def _mistaken(path: str, head: bytes, size: int, container: Container | None) -> str | None:
    """Return what a file is instead of weights, where its first bytes show that."""
    if size <= HEAD and (found := pointer(head)) is not None:
        return found
    if _PAGE.match(head):
        return "a page of text (HTML or XML)"
    if _REFUSAL.match(head) and size <= HEAD:
        return "the message of a server"
    if not any(head) and (container in _WITH_HEADERS or path.endswith(_PICKLES)):
        return "nothing but zeros" if size <= HEAD else "zeros where its header should be"
    if container in _WITH_HEADERS:
        if head.startswith(_ZIP):
            return "a ZIP archive"
        if size <= HEAD and head.lstrip().startswith(b"{") and head.rstrip().endswith(b"}"):
            return "a JSON text"
        return next((what for mark, what in _FOREIGN if head.startswith(mark)), None)
    return None


def _safetensors(path: str, size: int, head: bytes, read_header: Callable[[], SafetensorsHeader]) -> WeightsContent:
    try:
        header = read_header()
    except HeaderError as error:
        if head[8:9] == b"{" and error.certain:
            return WeightsContent(MissingPart("unreadable-header", error.message, path))
        if head.startswith(b"GGUF"):
            return WeightsContent(MissingPart("not-weights", f"{path} is a GGUF file under another name", path))
        return WeightsContent(doubt=MissingPart("unrecognised-content", error.message, path))
    return WeightsContent(_short(path, size, header.expected_size), safetensors=header)


def _gguf(path: str, size: int, head: bytes, read_header: Callable[[], GgufHeader]) -> WeightsContent:
    try:
        header = read_header()
    except HeaderError as error:
        if head.startswith(b"GGUF") and error.certain:
            return WeightsContent(MissingPart("unreadable-header", error.message, path))
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
            return WeightsContent(MissingPart("not-weights", f"{path} is a safetensors file under another name", path))
        return WeightsContent(doubt=MissingPart("unrecognised-content", error.message, path))
    if header.text("general.type") == "imatrix":
        return WeightsContent(
            MissingPart("not-weights", f"{path} is an importance matrix, and no weights", path), gguf=header
        )
    return WeightsContent(_short(path, size, header.expected_size), gguf=header)


def _short(path: str, size: int, expected: int) -> MissingPart | None:
    if expected <= size:
        return None
    return MissingPart("truncated-file", f"{path} should have {expected} bytes and has {size}", path)


def _once(read: Read, length: int) -> Read:
    """Return a reader whose first piece, in which most headers end, is read once."""
    first = read(0, length)

    def cached(offset: int, length: int) -> bytes:
        return first[offset : offset + length] if offset + length <= len(first) else read(offset, length)

    return cached


def _tail(size: int, read: Read) -> bytes:
    start = max(0, size - _TAIL)
    return read(start, size - start)


def external_data(graph: bytes) -> tuple[str, ...]:
    """Return the files beside an ONNX graph that it says its weights are in."""
    names = set()
    for found in _EXTERNAL.finditer(graph):
        name = graph[found.end() : found.end() + found[1][0]]
        if name.isascii() and name.decode().isprintable() and b".." not in name and not name.startswith(b"/"):
            names.add(name.decode().removeprefix("./"))
    return tuple(sorted(names))


_EXTERNAL: Final = re.compile(
    rb"\n\x08location\x12([\x01-\x7f])", re.DOTALL
)  # protobuf's map of a tensor's external data
