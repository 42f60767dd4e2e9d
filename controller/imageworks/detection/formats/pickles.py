"""What the first bytes of a file say: a pickle, something that can hold one, a program, or weights that run nothing.

Nothing is ever unpickled: of pickles the opcodes are read, which runs nothing.
"""

import os
import re
import zlib
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from pickletools import OpcodeInfo

HEAD_BYTES: Final = 16 * 1024
"""How much of a file is looked at; most verdicts need a few bytes."""

_MOST_OPCODES: Final = 200_000
_MOST_HELD: Final = 4096
_LONGEST_LINE: Final = 8192
_TAIL_BYTES: Final = 66_000  # an archive's end record, with the longest comment
_LARGEST_DIRECTORY: Final = 16 * 1024 * 1024
_MOST_ARRAYS: Final = 1000
_LENGTHS: Final = {-2: 1, -3: 4, -4: 4, -5: 8}
"""How many bytes an argument's own length takes, by what `pickletools` calls them."""
UP_TO_NEWLINE: Final = -1
_IMPORTS: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_NAMES: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)* [^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PROTOCOL: Final = re.compile(rb"\x80[\x00-\x05]")
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf", b"Rar!")
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_NATIVE: Final = (
    *(b"\x7fELF", b"MZ", b"\x00asm", b"dex\n", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe"),
    *(b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf", b"\xbe\xba\xfe\xca", b"\xbf\xba\xfe\xca"),
)
_SCRIPT: Final = b"#!"
_ZIP: Final = b"PK\x03\x04"
_ZIP_END: Final = b"PK\x05\x06"
_NUMPY: Final = b"\x93NUMPY"
_DTYPE: Final = rb"'[<>|=]?(?:[?bBhHiIlLqQefdgFDGSUVc]\d*|[mM]\d+(?:\[\d*\w+\])?)'"
_FIELD: Final = rb"\('[^'\\\n]*', " + _DTYPE + rb"(?:, \([\d, ]*\))?\)"
_PLAIN_ARRAY: Final = re.compile(
    rb"\{'descr': (?:" + _DTYPE + rb"|\[(?:" + _FIELD + rb"(?:, )?)+\]), 'fortran_order': (?:True|False), "
    rb"'shape': \([\dL, ]*\),? ?\} *\n"
)
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_GGML: Final = (b"lmgg", b"fmgg", b"tjgg")
_SPECIFICATION: Final = re.compile(rb"[\x01-\x20]\x00{3}[\x02-\x40]\x00[A-Za-z][A-Za-z0-9]*Spec\x00", re.DOTALL)
_MOST_TENSORS: Final = 1_000_000
_MOST_HEADER: Final = 100 * 1024 * 1024


class Content(StrEnum):
    """What a file's first bytes are."""

    PICKLE = "pickle"
    OBJECTS = "an archive or an array that holds a pickle"
    ZIP = "zip"
    PACKED = "packed"
    HDF5 = "hdf5"
    NATIVE = "native code"
    SCRIPT = "a script"
    WEIGHTS = "weights"  # a format whose bytes run nothing, and which is what it says
    UNKNOWN = "unknown"


def content_of(head: bytes) -> Content:
    """Return what a file is by its first bytes, at least its first 512."""
    if head.startswith(_NUMPY):
        return Content.WEIGHTS if _is_plain_array(head) else Content.OBJECTS
    if head.startswith(_ZIP):
        return Content.PICKLE if re.search(rb"\.(?:pkl|pickle)", head) else _arrays(head)
    if _PROTOCOL.match(head) or imports_by_opcode(head):
        return Content.PICKLE
    if head.startswith((*_PACKED, *_ZLIB)) or head[257:262] == b"ustar":
        return Content.PACKED
    if head.startswith(_HDF5):
        return Content.HDF5
    if head.startswith(_NATIVE):
        return Content.NATIVE
    if head.startswith(_SCRIPT):
        return Content.SCRIPT
    return Content.WEIGHTS if _is_weights(head) else Content.UNKNOWN


def look_into(stream: BinaryIO) -> tuple[bytes, Content]:
    """Return a file's first bytes, and what they and the places where more may hide show it to be."""
    head = stream.read(HEAD_BYTES)
    content = content_of(head)
    if len(head) == HEAD_BYTES and content in {Content.UNKNOWN, Content.WEIGHTS} and not head.startswith(_NUMPY):
        stream.seek(0)
        content = Content.PICKLE if imports_by_opcode(stream) else content
    return head, content if content is Content.PICKLE else _archive(stream) or content


def _archive(stream: BinaryIO) -> Content | None:
    """Return what a zip archive holds, wherever in a file it begins; ``None`` where there is none."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    end = tail.rfind(_ZIP_END)
    if end < 0:
        return None
    if int.from_bytes(tail[end + 12 : end + 16], "little") > _LARGEST_DIRECTORY:
        return Content.ZIP
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(stream) as archive:
            names = archive.namelist()
            if any(name.lower().endswith((".pkl", ".pickle")) for name in names):
                return Content.OBJECTS
            for name in [name for name in names if name.lower().endswith(".npy")][:_MOST_ARRAYS]:
                with archive.open(name) as member:
                    if content_of(member.read(HEAD_BYTES)) is not Content.WEIGHTS:
                        return Content.OBJECTS
            return Content.ZIP
    except BadZipFile:
        return None
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error):
        return Content.ZIP  # nobody can say what is in it


def imports_by_opcode(data: bytes | BinaryIO) -> bool:
    """Return whether bytes are the opcodes of a pickle that imports something; older ones begin with no magic."""
    stream = BytesIO(data) if isinstance(data, bytes) else data
    try:
        found = (argument for name, argument in _opcodes(stream) if name in _IMPORTS)
        return any(argument is None or _NAMES.fullmatch(argument) for argument in found)
    except _ManyOpcodesError:
        return True
    except (ValueError, EOFError):
        return False


class _ManyOpcodesError(Exception):
    """So many opcodes in a row are in nothing but a pickle."""


def _opcodes(stream: BinaryIO) -> Iterator[tuple[str, str | None]]:
    """Yield opcodes, with their lines of text; what they carry is passed over, and nothing of them is run."""
    known = _known_opcodes()
    for _ in range(_MOST_OPCODES):
        opcode = known.get(stream.read(1))
        if opcode is None:
            raise ValueError
        yield opcode.name, _argument(opcode, stream)
        if opcode.name == "STOP":
            return
    raise _ManyOpcodesError


def _argument(opcode: "OpcodeInfo", stream: BinaryIO) -> str | None:
    """Pass over an opcode's argument; return it where it is text."""
    if opcode.arg is None:
        return None
    length = opcode.arg.n
    if length == UP_TO_NEWLINE:
        return " ".join(_line(stream) for _ in range(2 if opcode.arg.name.endswith("pair") else 1))
    if length < 0:
        length = int.from_bytes(_exactly(stream, _LENGTHS[length]), "little")
    if length >= 1 << 62:  # no file is so long, and no seek takes it
        raise EOFError
    if length > _MOST_HELD:
        stream.seek(length - 1, os.SEEK_CUR)
        length = 1
    _exactly(stream, length)
    return None


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _line(stream: BinaryIO) -> str:
    first = piece = stream.readline(_LONGEST_LINE)
    while not piece.endswith(b"\n"):
        if not piece:
            raise EOFError
        piece = stream.readline(_LONGEST_LINE)
    return first.removesuffix(b"\n").decode(errors="replace")


@cache
def _known_opcodes() -> "dict[bytes, OpcodeInfo]":
    from pickletools import opcodes

    return {opcode.code.encode("latin-1"): opcode for opcode in opcodes}


def _arrays(head: bytes) -> Content:
    """Return what a zip is whose first members may be arrays: one of objects is a pickle inside."""
    found = [match.start() for match in re.finditer(re.escape(_NUMPY), head)]
    return Content.OBJECTS if any(not _is_plain_array(head[at:]) for at in found) else Content.ZIP


def _is_plain_array(head: bytes) -> bool:
    """Return whether an array's header is one that NumPy writes for numbers and texts, and not for objects."""
    start = 10 if head[6:7] == b"\x01" else 12
    return _PLAIN_ARRAY.match(head[start : start + _LONGEST_LINE]) is not None


def _is_weights(head: bytes) -> bool:
    if head.startswith(b"GGUF"):
        tensors, pairs = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16))
        return int.from_bytes(head[4:8], "little") in {1, 2, 3} and max(tensors, pairs) <= _MOST_TENSORS
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and len("{}") <= length <= _MOST_HEADER:
        return True
    return head.startswith(_GGML) or _SPECIFICATION.match(head) is not None
