"""Small weights files made by hand: GGUF and safetensors, sound or deliberately not."""

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from imageworks.detection.formats.range_reader import RangeReader

STRING, ARRAY, U32, I32, F32, BOOL, U64 = 8, 9, 4, 5, 6, 7, 10
_CODES = {U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q"}


def gguf_text(text: str | bytes, order: str = "<") -> bytes:
    """Return a GGUF string: its length, then its bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(f"{order}Q", len(data)) + data


def gguf_value(kind: int, value: object, order: str = "<") -> bytes:
    """Return a typed value; an array is a pair of its elements' type and the elements."""
    head = struct.pack(f"{order}I", kind)
    if kind == STRING:
        assert isinstance(value, (str, bytes))
        return head + gguf_text(value, order)
    if kind == ARRAY:
        assert isinstance(value, tuple)
        inner, items = value
        body = b"".join(gguf_value(inner, item, order)[4:] for item in items)
        return head + struct.pack(f"{order}IQ", inner, len(items)) + body
    return head + struct.pack(f"{order}{_CODES[kind]}", value)


def gguf_file(
    pairs: Sequence[tuple[str, int, object]],
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (),
    *,
    version: int = 3,
    order: str = "<",
    data: bytes = b"",
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return a GGUF file: typed pairs, tensors as (name, shape, type, offset), and data behind an aligned header."""
    claimed = counts or (len(tensors), len(pairs))
    out = b"GGUF" + struct.pack(f"{order}IQQ", version, *claimed)
    for key, kind, value in pairs:
        out += gguf_text(key, order) + gguf_value(kind, value, order)
    for name, shape, kind, offset in tensors:
        out += gguf_text(name, order) + struct.pack(f"{order}I", len(shape))
        out += struct.pack(f"{order}{len(shape)}QIQ", *shape, kind, offset)
    return out + b"\0" * (-len(out) % 32) + data


def safetensors_file(
    tensors: Mapping[str, tuple[str, Sequence[int], int]],
    metadata: Mapping[str, str] | None = None,
    *,
    data: bool = True,
) -> bytes:
    """Return a safetensors file from name to (type, shape, bytes)."""
    described: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape, size) in tensors.items():
        described[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    return safetensors_header(json.dumps(described).encode()) + (b"\0" * offset if data else b"")


def safetensors_header(text: bytes) -> bytes:
    """Return a header's bytes: its length, then its text."""
    return struct.pack("<Q", len(text)) + text


@contextmanager
def file_ranges(path: Path) -> Iterator[tuple[RangeReader, int]]:
    """Give a reader of a local file's ranges, and the file's size in bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:

        def read(offset: int, length: int) -> bytes:
            return os.pread(descriptor, length, offset)

        yield read, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
