"""What can run code is told by the first bytes of files, and by names only as far as those promise nothing else."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib

import pytest

from imageworks.detection.formats.executable_files import code_names, safety_of
from imageworks.detection.formats.pickles import Content, content_of, look_into


class Bomb:
    """What runs something where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def array(descr: str) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)


PICKLES = {f"protocol {number}": pickle.dumps(Bomb(), protocol=number) for number in range(6)}
TORCH = zipped(("archive/data.pkl", PICKLES["protocol 2"]), ("archive/version", b"3"))
GGUF = b"GGUF" + struct.pack("<IQQ", 3, 2, 1) + b"\x14" + bytes(100)
SAFETENSORS = struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(60) + bytes(4)
CTRANSLATE2 = struct.pack("<I", 6) + struct.pack("<H", 12) + b"WhisperSpec\x00" + bytes(100)
HARMLESS = {
    "model.safetensors": SAFETENSORS,
    "model.gguf": GGUF,
    "config.json": b'{"a": 1}',
    "README.md": b"# cos\nsystem\n",
    "vocab.txt": b"cat\ndog\n(Rat\n.",
    "a.png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "model.bin": CTRANSLATE2,
    "ggml-model.bin": b"lmgg" + bytes(60),
    "a.npy": array("<f4"),
    "empty.dat": b"",
    "weights.npz": zipped(("w.npy", array("<f4"))),
    "tokenizer.json.gz": gzip.compress(b"{}", mtime=0),
}


@pytest.mark.parametrize("protocol", PICKLES)
@pytest.mark.parametrize(
    "name", ["model.bin", "openvino_model.bin", "ggml-model.bin", "weights", "model.safetensors", "m.gguf", "x.dat"]
)
def test_x9_a_pickle_is_one_whatever_it_is_called(name: str, protocol: str) -> None:
    beside = {"vocabulary.json": b"[]", "openvino_model.xml": b"<net/>"}
    safety = safety_of([name, *beside], heads={name: PICKLES[protocol], **beside})
    assert safety.loading_runs == (name,)
    assert safety.cleared == ()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.bin", TORCH),
        ("model.onnx", TORCH),
        ("voice.bin", zlib.compress(PICKLES["protocol 4"])),
        ("voice.bin", gzip.compress(PICKLES["protocol 4"], mtime=0)),
        ("voice.dat", tarred("model_weights.ckpt", b"w")),
        ("a.npy", array("|O")),
        ("weights.npz", zipped(("w.npy", array("|O")))),
        ("layer.weights", b"\x89HDF\r\n\x1a\n" + bytes(40)),
        ("tokenizer.model", PICKLES["protocol 4"]),
        ("config.json", PICKLES["protocol 4"]),
        ("openvino_model.bin", TORCH),
        ("a.png", zipped(("data.pkl", b"x"))),
    ],
    ids=range(12),
)
def test_x9_what_holds_a_pickle_is_a_risk_by_its_bytes(name: str, data: bytes) -> None:
    assert safety_of([name], heads={name: data}).loading_runs == (name,)


UNPROMISING = (
    "a.pt2 a.th a.distcp a.skops a.pkl.gz a.joblib a.joblib.xz a.nemo a.tar a.tar.gz a.zip a.keras a.h5 a.npy model "
    "a.params a.weights a.ot a.PKL A.Bin dict.bin a.7z a.t7"
)


@pytest.mark.parametrize("name", UNPROMISING.split())
def test_x9_a_name_that_promises_nothing_is_a_risk(name: str) -> None:
    assert safety_of([name, "config.json"]).loading_runs == (name,)


@pytest.mark.parametrize("name", ["a.so", "a.so.1", "liba.so.1.2.3", "a.dylib", "a.pyd", "a.engine"])
def test_x9_native_code_is_told(name: str) -> None:
    assert [(one.path, one.reason) for one in safety_of([name]).files] == [(name, "native code")]


def test_x9_a_program_is_told_by_its_bytes() -> None:
    (found,) = safety_of(["weights.dat"], heads={"weights.dat": b"\x7fELF\x02\x01\x01" + bytes(60)}).files
    assert found.reason == "native code"


@pytest.mark.parametrize("name", HARMLESS)
def test_x9_what_runs_nothing_is_no_risk(name: str) -> None:
    listed = [name, "vocabulary.json"]
    assert safety_of(listed, heads={name: HARMLESS[name], "vocabulary.json": b"[]"}).files == ()


def test_x9_ctranslate2_beside_its_vocabulary_is_a_risk_until_its_bytes_are_seen() -> None:
    listed = ["model.bin", "vocabulary.json"]
    assert safety_of(listed).loading_runs == ("model.bin",)
    seen = safety_of(listed, heads={"model.bin": CTRANSLATE2})
    assert (seen.files, seen.cleared) == ((), ("model.bin",))
    assert safety_of(listed, cleared=seen.cleared).files == ()
    assert safety_of(["model.bin"], cleared=["model.bin"]).loading_runs == ("model.bin",)  # there its name says more


def test_x9_a_pickle_that_begins_like_weights_is_one() -> None:
    """`G` is an opcode too: eight bytes of a number; a pickle can begin with GGUF."""
    head = b"GGUF" + b"\x03\x00\x00\x00" + b"\x00" + b"cos\nsystem\n(S'true'\ntR."
    assert content_of(head) is Content.PICKLE


@pytest.mark.parametrize(
    "head", [b"", b"\x80", b"(", b"X\xff\xff\xff\xff", b"\x95" + b"\xff" * 8, b"I" + b"9" * 9000], ids=range(6)
)
def test_x9_bytes_that_end_too_early_are_no_error(head: bytes) -> None:
    assert content_of(head) in {Content.UNKNOWN, Content.PICKLE}


@pytest.mark.parametrize("head", [b"S'\\X'\nscribble", b"c\\X\n\\Y\n.", b"P\\X\n.", b"i\\X\n\\Y\n.", b"(S'\\8'\n."])
def test_x9_no_escape_in_strangers_bytes_makes_a_warning(head: bytes) -> None:
    """Warnings are errors here; elsewhere they would be lines in the middle of a person's output."""
    assert content_of(head) is Content.UNKNOWN


# --- where more may hide than a first look finds ------------------------------------------------------------------

SYSTEM = b"cos\nsystem\n(S'true'\ntR."
HIDDEN = {
    "behind a long text": b"(X" + struct.pack("<I", 40_000) + bytes(40_000) + b"0" + SYSTEM,
    "behind a long line": b"(V" + b"x" * 40_000 + b"\n0" + SYSTEM,
    "behind bytes that are no UTF-8": b"(V\xe9\xff\n0" + SYSTEM,
    "behind many opcodes": b"N0" * 20_000 + SYSTEM,
    "in opcodes without an end": b"N0" * 300_000,
    "in a later member": zipped(("a.bin", bytes(60_000)), ("archive/data.pkl", PICKLES["protocol 2"])),
    "in a later array": zipped(("a.npy", array("<f4") + bytes(60_000)), ("b.npy", array("|O"))),
    "behind weights": GGUF + bytes(40_000) + TORCH,
    "behind small weights": SAFETENSORS + zipped(("data.pkl", PICKLES["protocol 2"])),
    "in an archive with a comment": GGUF + zipped(("x.pickle", b"x"))[:-2] + struct.pack("<H", 60_000) + bytes(60_000),
}


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("name", ["model.safetensors", "m.gguf", "weights.npz", "tokenizer.model", "x.dat"])
def test_x9_a_pickle_is_found_wherever_it_hides(kind: str, name: str) -> None:
    head, content = look_into(io.BytesIO(HIDDEN[kind]))
    if name == "tokenizer.model" and not HIDDEN[kind].startswith((b"PK", b"GGUF", SAFETENSORS[:8])):
        return  # is read as what its name says, in which opcodes are letters
    assert safety_of([name], heads={name: head}, contents={name: content}).loading_runs == (name,)


def test_x9_an_archive_behind_weights_is_not_taken_for_weights() -> None:
    head, content = look_into(io.BytesIO(GGUF + bytes(20_000) + zipped(("readme.txt", b"hello"))))
    assert safety_of(["m.gguf"], heads={"m.gguf": head}, contents={"m.gguf": content}).loading_runs == ("m.gguf",)


@pytest.mark.parametrize("name", HARMLESS)
def test_x9_a_whole_look_finds_nothing_in_what_is_harmless(name: str) -> None:
    for data in (HARMLESS[name], HARMLESS[name] and HARMLESS[name] + bytes(40_000)):
        head, content = look_into(io.BytesIO(data))
        assert safety_of([name, "vocabulary.json"], heads={name: head}, contents={name: content}).loading_runs == ()


@pytest.mark.parametrize(
    "header",
    [
        *(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"{'descr':\n'|O', 'shape': (1,)}\n"),
        *(b'{"descr": "|O", "fortran_order": False, "shape": (1,)}\n', b"{'descr': '\\x7cO', 'shape': (1,)}\n"),
        b"{'shape': (1,), 'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False}\n",
        *(b"{'descr': 'object', 'fortran_order': False, 'shape': (1,), }\n", b"{'descr': 'O8', 'shape': ()}\n"),
    ],
)
def test_x9_an_array_is_plain_only_as_numpy_writes_it(header: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)
    assert safety_of(["a.npy"], heads={"a.npy": data}).loading_runs == ("a.npy",)


@pytest.mark.parametrize("descr", ["<f4", "|b1", "<U16", "|S3", "<i8", "<c16", "|V2", "<M8[ns]"])
def test_x9_arrays_of_numbers_and_texts_are_plain(descr: str) -> None:
    assert safety_of(["a.npy"], heads={"a.npy": array(descr)}).files == ()
    fields = array("X").replace(b"'X'", b"[('a', '" + descr.encode() + b"'), ('b', '<f4', (2, 2))]")
    assert safety_of(["a.npy"], heads={"a.npy": fields}).files == ()


@pytest.mark.parametrize(
    ("magic", "reason"),
    [
        *((b"\x7fELF", "native code"), (b"MZ", "native code"), (b"\xca\xfe\xba\xbe", "native code")),
        *((b"\xcf\xfa\xed\xfe", "native code"), (b"\x00asm", "native code"), (b"#!/bin/sh\nrm -rf ~\n", "program")),
    ],
)
@pytest.mark.parametrize("name", ["m.gguf", "model.safetensors", "weights", "a.png"])
def test_x9_programs_are_told_whatever_they_are_called(magic: bytes, reason: str, name: str) -> None:
    found = safety_of([name], heads={name: magic + bytes(60)})
    assert [(one.path, one.reason) for one in found.files] == [(name, reason)]
    assert found.own_code == (name,)


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil/repo--modeling.X"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "modeling.X"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization.X", None]}}),
        ("tokenizer_config.json", {"auto_map": ["tokenization.X", None]}),
        ("modules.json", [{"type": "sentence_transformers.models.Pooling"}, {"type": "custom_st.Transformer"}]),
    ],
)
def test_x9_code_that_a_configuration_names_is_found(file: str, value: object) -> None:
    assert safety_of((), (code_names(file, value),)).remote_code
