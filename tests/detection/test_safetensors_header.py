import json
import struct
from pathlib import Path

import pytest

from imageworks.detection.formats.range_reader import HeaderError
from imageworks.detection.formats.safetensors_header import (
    LONGEST_HEADER,
    SafetensorsHeader,
    Tensor,
    read_safetensors,
)
from support.weights import file_ranges, safetensors_file, safetensors_header


def read(data: bytes, size: int | None = None) -> SafetensorsHeader:
    return read_safetensors(lambda offset, length: data[offset : offset + length], size or len(data))


def described(**fields: object) -> bytes:
    return safetensors_header(json.dumps({"t": fields}).encode()) + b"\0" * 64


def test_a_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_file({"a": ("BF16", [2, 3], 12), "b": ("F32", [], 4)}, {"format": "pt"}))
    with file_ranges(path) as (read, size):
        header = read_safetensors(read, size)
    assert header.tensors == {"a": Tensor("BF16", (2, 3)), "b": Tensor("F32", ())}
    assert header.tensors["a"].elements == 6
    assert header.tensors["b"].elements == 1
    assert header.metadata == {"format": "pt"}
    assert header.expected_size == path.stat().st_size


def test_types_that_we_do_not_know_are_kept_and_half_bytes_are_counted() -> None:
    header = read(safetensors_file({"a": ("F4", [3], 2), "b": ("X9", [3], 7)}))
    assert header.tensors["b"].dtype == "X9"


def test_a_truncated_file_is_seen_by_its_size() -> None:
    data = safetensors_file({"a": ("F32", [100], 400)}, data=False)
    assert read(data).expected_size == len(data) + 400


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "leads to byte 8"),
        (b"\1\0\0", "leads to byte 8"),
        (struct.pack("<Q", 2**63) + b"{}", "leads to byte"),
        (struct.pack("<Q", 100) + b"{}", "leads to byte 108"),
        (safetensors_header(b"[]"), "not a safetensors"),
        (safetensors_header(b"{"), "not valid JSON"),
        (safetensors_header(b'{"a":' * 100_000), "not valid JSON"),
        (safetensors_header(b"{\xff}"), "not valid JSON"),
        (safetensors_header(b'{"t": 1}'), "described wrongly"),
        (safetensors_header(b'{"t": {"dtype": "F32"}}'), "described wrongly"),
        (described(dtype="F32", shape=[-1], data_offsets=[0, 4]), "described wrongly"),
        (described(dtype="F32", shape=[True], data_offsets=[0, 4]), "described wrongly"),
        (described(dtype="F32", shape=[1] * 40, data_offsets=[0, 4]), "described wrongly"),
        (described(dtype="F32", shape=[1], data_offsets=[4, 0]), "described wrongly"),
        (described(dtype="F32", shape=[1], data_offsets=[4]), "described wrongly"),
        (described(dtype="F32", shape=[1], data_offsets=[0, 5]), "described wrongly"),
        (described(dtype="F32", shape=[2**61, 2**61], data_offsets=[0, 4]), "described wrongly"),
        (described(dtype="X9", shape=[1], data_offsets=[0, 2**63]), "described wrongly"),
        (described(dtype=1, shape=[1], data_offsets=[0, 4]), "described wrongly"),
    ],
)
def test_a_hostile_header_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        read(data)


def test_a_header_beyond_the_limit_is_refused_unread() -> None:
    asked: list[int] = []

    def ranges(offset: int, length: int) -> bytes:
        asked.append(length)
        return (struct.pack("<Q", LONGEST_HEADER * 2) + b"\0" * length)[offset : offset + length]

    with pytest.raises(HeaderError, match="longer than"):
        read_safetensors(ranges, 1 << 40)
    assert sum(asked) <= 1 << 20
