"""What can run code is told by the first bytes of files, and by names only as far as those promise nothing else."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib

import pytest

from imageworks.detect.pickles import Content, content_of
from imageworks.detect.safety import safety_of


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
