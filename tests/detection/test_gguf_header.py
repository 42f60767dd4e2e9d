import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from imageworks.detection.formats.gguf_header import (
    FILE_TYPES,
    MOST_KEYS,
    TENSOR_TYPES,
    GgufHeader,
    read_gguf,
)
from imageworks.detection.formats.range_reader import HeaderError
from imageworks.naming.quantization_labels import quantization_label
from support.weights import ARRAY, BOOL, F32, I32, STRING, U32, U64, file_ranges, gguf_file, gguf_text

PAIRS = [
    ("general.architecture", STRING, "qwen2"),
    ("general.file_type", U32, 15),
    ("qwen2.block_count", U32, 28),
    ("qwen2.rope.freq_base", F32, 1e6),
    ("general.flag", BOOL, True),
    ("general.tags", ARRAY, (STRING, ["chat", "text"])),
    ("qwen2.heads", ARRAY, (I32, [1, 2, 3])),
]


def read(data: bytes) -> GgufHeader:
    return read_gguf(lambda offset, length: data[offset : offset + length], len(data))


def test_a_header_is_read() -> None:
    tensors = [("a", [256, 2], 12, 0), ("b", [8], 0, 288)]
    header = read(gguf_file(PAIRS, tensors, data=b"\0" * 320))
    assert header.architecture == "qwen2"
    assert header.file_type == "q4_k_m"
    assert header.number("qwen2.block_count") == 28
    assert header.metadata["general.tags"] == ("chat", "text")
    assert header.metadata["qwen2.heads"] == (1, 2, 3)
    assert header.lengths == {"general.tags": 2, "qwen2.heads": 3}
    assert header.elements == {"q4_k": 512, "fp32": 8}
    assert header.parameters == 520
    assert header.main_type == "q4_k"
    assert header.expected_size == header.size + 320
    assert header.number("general.flag") is None
    assert header.text("general.file_type") is None


def test_both_byte_orders_and_versions_are_read() -> None:
    assert read(gguf_file(PAIRS, order=">")).number("qwen2.block_count") == 28
    assert read(gguf_file(PAIRS, version=2)).version == 2


def test_our_reading_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(8192)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_token_list([f"token{number}" for number in range(3000)])
    writer.add_token_scores([0.5] * 3000)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("output.weight", np.zeros((4, 64), dtype=np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = gguf.GGUFReader(path)
    with file_ranges(path) as (read, size):
        ours = read_gguf(read, size)
    names = {key for key in theirs.fields if not key.startswith("GGUF.")}
    assert names == set(ours.metadata) | set(ours.lengths)
    assert ours.lengths["tokenizer.ggml.tokens"] == 3000
    assert ours.text("tokenizer.chat_template") == "{{ messages }}"
    assert ours.parameters == sum(int(tensor.n_elements) for tensor in theirs.tensors) == 512
    assert ours.size == theirs.data_offset
    assert ours.expected_size == path.stat().st_size


def test_our_tables_agree_with_the_gguf_package() -> None:
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        assert TENSOR_TYPES[int(kind)][1:] == (block, size)
    for written in gguf.LlamaFileType:
        if written.name != "GUESSED":
            name = written.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
            assert FILE_TYPES[int(written)] == quantization_label(name)


def test_a_large_vocabulary_is_stepped_over_in_pieces() -> None:
    words = [f"word{number}" * 20 for number in range(30_000)]
    data = gguf_file([("tokenizer.ggml.tokens", ARRAY, (STRING, words)), ("last", U32, 7)])
    asked: list[int] = []

    def ranges(offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    header = read_gguf(ranges, len(data))
    assert header.number("last") == 7
    assert header.lengths["tokenizer.ggml.tokens"] == 30_000
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert len(asked) <= 3


def test_only_the_beginning_of_a_large_file_is_asked_for() -> None:
    data = gguf_file(PAIRS)
    asked: list[int] = []

    def ranges(offset: int, length: int) -> bytes:
        asked.append(offset + length)
        return (data + b"\0" * (1 << 20))[offset : offset + length]

    assert read_gguf(ranges, 50 << 30).architecture == "qwen2"
    assert asked == [1 << 20]


def header(version: int = 3, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a GGUF"),
        (b"GG", "not a GGUF"),
        (b"ggml" + b"\0" * 40, "not a GGUF"),
        (b"GGUF", "leads to byte"),
        (header(version=1), "version is 1"),
        (header(version=0), "version is 0"),
        (header(keys=2**63), "claims 9223372036854775808 keys"),
        (header(keys=MOST_KEYS + 1) + b"\0" * (20 * MOST_KEYS), "claims 16385 keys"),
        (header(tensors=2**40), "tensors"),
        (header(keys=1) + struct.pack("<Q", 2**60) + b"\0" * 64, "a text of"),
        (header(keys=1) + struct.pack("<Q", 1 << 19) + b"\0" * 64, "leads to byte"),
        (header(keys=1) + gguf_text("k") + struct.pack("<I", 99) + b"\0" * 64, "unknown type 99"),
        (
            header(keys=1) + gguf_text("k") + struct.pack("<IIQ", 9, 8, 2**60) + b"\0" * 64,
            "more than the file can hold",
        ),
        (header(keys=1) + gguf_text("k") + struct.pack("<IIQ", 9, 9, 1) + b"\0" * 64, "values of the type 9"),
        (header(keys=1) + gguf_text("k") + struct.pack("<IIQ", 9, 77, 1) + b"\0" * 64, "values of the type 77"),
        (header(keys=1) + gguf_text(b"\xff\xfe") + b"\0" * 64, "not UTF-8"),
        (gguf_file([("k", U32, 1), ("k", U32, 2)]), "twice"),
        (gguf_file([("general.alignment", U32, 33)]), "no power of two"),
        (gguf_file([("general.alignment", U64, 2**40)]), "no power of two"),
        (gguf_file([], [("t", [1] * 9, 0, 0)]), "9 dimensions"),
        (gguf_file([], [("t", [2**40, 2**40], 0, 0)]), "cannot be"),
        (gguf_file([], [("t", [1], 0, 2**63)]), "cannot be"),
    ],
)
def test_a_hostile_header_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        read(data)


def test_a_long_text_array_that_leads_out_of_the_file_is_refused() -> None:
    body = gguf_text("k") + struct.pack("<IIQ", 9, 8, 2000) + gguf_text("x") * 1000 + struct.pack("<Q", 2**62)
    with pytest.raises(HeaderError, match="leads to byte"):
        read(header(keys=1) + body + b"\0" * 20_000)


def test_a_reader_that_gives_nothing_is_an_error() -> None:
    with pytest.raises(HeaderError, match="could not be read"):
        read_gguf(lambda _offset, _length: b"", 1000)


def test_a_truncated_file_is_seen_by_its_size() -> None:
    found = read(gguf_file(PAIRS, [("t", [1000], 0, 0)], data=b"\0" * 100))
    assert found.expected_size - found.size == 4000


def test_an_unknown_tensor_type_is_counted_by_its_number() -> None:
    assert read(gguf_file([], [("t", [10], 200, 0)])).elements == {"type-200": 10}
