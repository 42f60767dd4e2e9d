"""Laws of the header readers: whatever the bytes are, they answer or refuse, in bounded steps."""

import json
import struct
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from imageworks.detection.formats.gguf_header import read_gguf
from imageworks.detection.formats.range_reader import HeaderError, RangeReader
from imageworks.detection.formats.safetensors_header import read_safetensors
from support.weights import ARRAY, STRING, U32, gguf_file, safetensors_file, safetensors_header

SOUND_GGUF = gguf_file(
    [
        ("general.architecture", STRING, "llama"),
        ("general.file_type", U32, 7),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "bc"] * 600)),
    ],
    [("t", [32, 2], 8, 0)],
    data=b"\0" * 68,
)
SOUND_SAFETENSORS = safetensors_file({"a": ("F16", [4], 8), "b": ("I8", [2, 2], 4)}, {"format": "pt"})


def reader(data: bytes) -> RangeReader:
    return lambda offset, length: data[offset : offset + length]


def mutated(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for position, byte in changes:
        changed[position % len(changed)] = byte
    return bytes(changed[: len(changed) - cut % len(changed)])


changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12)


def gguf_answers(data: bytes) -> None:
    with suppress(HeaderError):
        header = read_gguf(reader(data), len(data))
        assert header.size - len(data) < 1 << 20
        assert header.parameters >= 0


def safetensors_answers(data: bytes) -> None:
    with suppress(HeaderError):
        header = read_safetensors(reader(data), len(data))
        assert header.size <= len(data)
        assert header.expected_size >= header.size


@given(st.binary(max_size=400))
def test_any_bytes_are_answered_as_gguf(data: bytes) -> None:
    gguf_answers(data)
    gguf_answers(b"GGUF\3\0\0\0" + data)


@given(changes, st.integers(0, 1 << 16))
def test_a_damaged_gguf_is_answered(damage: list[tuple[int, int]], cut: int) -> None:
    gguf_answers(mutated(SOUND_GGUF, damage, cut))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_any_counts_are_answered(tensors: int, keys: int, rest: bytes) -> None:
    gguf_answers(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + rest)


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_as_safetensors(data: bytes) -> None:
    safetensors_answers(data)
    safetensors_answers(safetensors_header(data))


@given(changes, st.integers(0, 1 << 16))
def test_a_damaged_safetensors_is_answered(damage: list[tuple[int, int]], cut: int) -> None:
    safetensors_answers(mutated(SOUND_SAFETENSORS, damage, cut))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), _JSON))
def test_any_description_of_a_tensor_is_answered(description: dict[str, object]) -> None:
    safetensors_answers(safetensors_header(json.dumps({"t": description}).encode()))
