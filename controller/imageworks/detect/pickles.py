"""What the first bytes of a file say: a pickle, something that can hold one, a program, or weights that run nothing.

Nothing is ever unpickled: of pickles the opcodes are read, which runs nothing.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pickletools import OpcodeInfo

HEAD_BYTES: Final = 16 * 1024
"""How much of a file is looked at; most verdicts need a few bytes."""

_MOST_OPCODES: Final = 10_000
_IMPORTS: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_NAMES: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)* [^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PROTOCOL: Final = re.compile(rb"\x80[\x00-\x05]")
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf", b"Rar!")
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_NATIVE: Final = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
_ZIP: Final = b"PK\x03\x04"
_NUMPY: Final = b"\x93NUMPY"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_GGML: Final = (b"lmgg", b"fmgg", b"tjgg")
_SPECIFICATION: Final = re.compile(rb"[\x01-\x20]\x00{3}[\x02-\x40]\x00[A-Za-z][A-Za-z0-9]*Spec\x00", re.DOTALL)
_MOST_TENSORS: Final = 1_000_000
_MOST_HEADER: Final = 100 * 1024 * 1024


class Content(StrEnum):
    """What a file's first bytes are."""

    PICKLE = "pickle"
    OBJECTS = "an array of objects"
    ZIP = "zip"
    PACKED = "packed"
    HDF5 = "hdf5"
    NATIVE = "native code"
    WEIGHTS = "weights"  # a format whose bytes run nothing, and which is what it says
    UNKNOWN = "unknown"


def content_of(head: bytes) -> Content:
    """Return what a file is by its first bytes, at least its first 512.

    Args:
        head: The first `HEAD_BYTES`, or the whole of a smaller file.
    """
    if head.startswith(_NUMPY):
        return Content.OBJECTS if re.search(rb"'descr':[^\n]*['|]O", head[:1024]) else Content.WEIGHTS
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
    return Content.WEIGHTS if _is_weights(head) else Content.UNKNOWN


def imports_by_opcode(head: bytes) -> bool:
    """Return whether bytes are the opcodes of a pickle that imports something; older ones begin with no magic.

    Args:
        head: A file's first bytes.
    """
    try:
        return any(name in _IMPORTS and (argument is None or _is_import(argument)) for name, argument in _opcodes(head))
    except (ValueError, OverflowError, EOFError, IndexError):
        return False


def _opcodes(head: bytes) -> Iterator[tuple[str, object]]:
    """Yield opcodes with their arguments, as ``pickletools.genops`` does, which runs nothing of them.

    Lines of text are taken as they are: it would decode them, and warn of escapes that no Python wrote.
    """
    known = _known_opcodes()
    data = BytesIO(head)
    for _ in range(_MOST_OPCODES):
        opcode = known.get(data.read(1))
        if opcode is None:
            raise ValueError
        argument: object = None
        if opcode.arg is not None and opcode.arg.name.startswith("stringnl"):
            lines = [_line(data) for _ in range(2 if opcode.arg.name.endswith("pair") else 1)]
            argument = " ".join(lines)
        elif opcode.arg is not None:
            argument = opcode.arg.reader(data)
        yield opcode.name, argument
        if opcode.name == "STOP":
            return


def _line(data: BytesIO) -> str:
    line = data.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line[:-1].decode()


@cache
def _known_opcodes() -> "dict[bytes, OpcodeInfo]":
    from pickletools import opcodes

    return {opcode.code.encode("latin-1"): opcode for opcode in opcodes}


def _is_import(argument: object) -> bool:
    return isinstance(argument, int) or _NAMES.fullmatch(str(argument)) is not None


def _arrays(head: bytes) -> Content:
    """Return what a zip is whose first members may be arrays: one of objects is a pickle inside."""
    return Content.OBJECTS if re.search(rb"\x93NUMPY.{4,8}\{'descr':[^\n]{0,64}\|O", head, re.DOTALL) else Content.ZIP


def _is_weights(head: bytes) -> bool:
    if head.startswith(b"GGUF"):
        tensors, pairs = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16))
        return int.from_bytes(head[4:8], "little") in {1, 2, 3} and max(tensors, pairs) <= _MOST_TENSORS
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and len("{}") <= length <= _MOST_HEADER:
        return True
    return head.startswith(_GGML) or _SPECIFICATION.match(head) is not None
