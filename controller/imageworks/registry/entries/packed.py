"""The fields of an entry, kept as their text: ten thousand entries take 100 MB as values, 25 so, and 10 packed."""

import json
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Final, overload

from imageworks.foundation.bounded_json import read_json

SET_ASIDE: Final = frozenset(
    {
        "name",
        "managed",
        "source_provider",
        "download_path",
        "download_format",
        "resolved",
        "version_lock",
    }
)
"""What a plan asks of each entry, whatever is to be done."""
_MOST_READ: Final = 64
_WINDOW, _EFFORT = 13, 6
"""Most entries have 3 kB: with zlib's own tables, making those would take longer than packing."""
_PACKED: Final = b"X"
"""How what zlib packs within such a window begins; no object of JSON does."""
_LINE: Final = re.compile(rb"^\{.*", re.MULTILINE)
"""A model in a snapshot; found where that stands, as 18 MB need no copy to be cut."""
_EXPECTED: Final = b"""
"simple_name": "", "version_lock": {"locked": false, "verification": "trust-on-first-use", "ref": null, "ollama",
"gguf", "preflight": {"llama.cpp": [], "lmdeploy": [
"no generation_config.json: the server's own sampling defaults apply",
"no chat template: replies may be blank or mix up roles; set chat_template in the manifest"], "vllm": [
"context_length": 131072, "field_sources": {"head_dim": "config.json: hidden_size / heads", "sources": ["config.json"],
"metadata": {"acquisition": "installed", "adopted", "architecture": {"architectures": ["ForConditionalGeneration"],
"ForCausalLM", "head_dim": 128, "hidden_size": 4096, "max_position_embeddings": 32768, "model_type": "qwen2",
"num_attention_heads": 32, "num_key_value_heads": 8, "num_layers": 32, "parameter_count": 0, "vocab_size": 151936},
"detection": {"confidence": 0.95, "evidence": ["config.json: quantization_config of awq",
"model.safetensors: 1 file(s) of safetensors", "name: says awq", "config.json: torch_dtype bfloat16"]}, "kind": "model",
"memory": {"buffer_bytes": 0, "cache": [{"layers": 32, "values": 2048}]}, "model_type": "text-generation",
"parameters": 0, "parameters_counted": "headers", "pipeline_tag": "image-text-to-text",
"quantization_details": {"bits": 4, "compact": "w4g128", "group_size": 128, "method": "awq", "zero_point": true},
"readme_file": "README.md", "readme_sha256": "", "readme_signals": {"license_hint": "apache-2.0"},
"selection": {"format": "safetensors", "quantization": "awq"}},
"capabilities": {"audio": false, "classification": false, "embedding": false, "image": false, "reasoning": false,
"reranker": false, "speech": false, "text": true, "thinking": false, "tools": false, "video": false, "vision": false},
"chat_template": {"path": null, "sha256": null, "source": "none"},
"conditions": [{"message": " files verified", "reason": "Verified", "status": "True", "type": "Ready"},
{"message": "all parts are there", "reason": "PartsPresent", "status": "True", "type": "Complete"}],
"display_name": "", "download_directory_checksum": "", "download_files": ["README.md",
"download_format": "safetensors", "download_location": "linux_wsl", "download_path": "/", "download_size_bytes": 0,
"downloaded_at": "2026-01-01T00:00:00Z", "family": "", "license": "apache-2.0", "managed": true, "name": "",
"producer": "", "quantization": "awq", "resolved": {"ref": "main", "repo": "", "revision": ""}, "schema_version": 1,
"served_model_id": "", "source_provider": "huggingface", "verification": "pinned-digest", "merges.txt",
"generation_config.json", "special_tokens_map.json", "preprocessor_config.json", "config.json", "model.safetensors",
"tokenizer.json", "artifacts": {"aggregate_sha256": "", "files": [
{"path": "tokenizer_config.json", "sha256": "", "size": 0}]}, "backend": "unassigned",
"backend_config": {"model_path": "/"""
"""What most entries say, so that none needs to say it again: packed with it, they take half the room."""


class PackedObject(Mapping[str, object]):  # noqa: PLW1641 # no mapping has one
    """Reads its text when something is asked for.

    Args:
        packed: An object of JSON that was read before without a problem, as it is or as :func:`pack_text` gives it.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __getitem__(self, key: str) -> object:
        return _read(self.packed)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(_read(self.packed))

    def __len__(self) -> int:
        return len(_read(self.packed))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and _read(self.packed) == dict(other)


class PackedObjects(Sequence[PackedObject]):
    """Many of them whose texts stand in one piece.

    What is made one by one while a registry is read lies between what is let go then, and keeps its place from the
    system: ten thousand texts 50 MiB.

    Args:
        texts: Their texts, as :class:`PackedObject` takes each.
    """

    __slots__ = ("_ends", "_texts")

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._texts = bytearray()
        self._ends = array("Q", [0])
        for text in texts:
            self._texts += text
            self._ends.append(len(self._texts))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> PackedObject: ...

    @overload
    def __getitem__(self, place: slice) -> list[PackedObject]: ...

    def __getitem__(self, place: int | slice) -> PackedObject | list[PackedObject]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        one = range(len(self))[place]
        return PackedObject(bytes(memoryview(self._texts)[self._ends[one] : self._ends[one + 1]]))


def models_of(snapshot: bytes | memoryview) -> Iterator[dict[str, object]]:
    """Yield the models of a snapshot that is as we write it, one by one."""
    for line in _LINE.finditer(snapshot):
        yield json.loads(line[0].rstrip(b","))


def has_a_model_a_line(snapshot: bytes) -> bool:
    """Return whether a snapshot, which anybody may have written, says by its lines what it says as a whole."""
    lines = BytesIO(snapshot)  # which is no copy
    if next(lines, b"") != b"[\n":
        return False
    model = next(lines, b"")
    try:
        for following in lines:
            ends = model.endswith(b"}\n" if following == b"]\n" else b"},\n")
            if not ends or not isinstance(read_json(model.rstrip(b",\n")), dict):
                return False
            model = following
    except ValueError:
        return False
    return model == b"]\n"


def packed_models(snapshot: Iterable[bytes], *, small: bool = False) -> PackedObjects:
    """Return the same out of pieces that end where a line does, each as its text; half as large where that is kept."""
    texts = (line[0].rstrip(b",") for piece in snapshot for line in _LINE.finditer(piece))
    return PackedObjects(map(pack_text, texts) if small else texts)


def as_text(fields: Mapping[str, object]) -> PackedObject:
    """Return fields with nothing set aside, for who keeps ten thousand and seldom asks."""
    text = fields.packed if isinstance(fields, PackedObject) else json.dumps(dict(fields)).encode()
    return PackedObject(text if text.startswith(_PACKED) else pack_text(text))


class PackedFields(PackedObject):
    """Reads its text when something is asked for that was not set aside.

    Args:
        packed: The text.
        aside: What it says of the fields that are set aside.
        noted: Those parts of its metadata that a plan asks for.
    """

    __slots__ = ("aside", "noted")

    def __init__(self, packed: bytes, aside: Mapping[str, object], noted: Mapping[str, object]) -> None:
        super().__init__(packed)
        self.aside = aside
        self.noted = noted

    def get(self, key: str, default: object = None) -> object:
        """Return a field; most of what is asked is set aside."""
        return (self.aside if key in SET_ASIDE else _read(self.packed)).get(key, default)

    def __getitem__(self, key: str) -> object:
        return (self.aside if key in SET_ASIDE else _read(self.packed))[key]


@lru_cache(maxsize=_MOST_READ)
def _read(packed: bytes) -> dict[str, object]:
    """Return what a text says; whoever asks for one field asks for others next."""
    text = packed
    if packed[:1] == _PACKED:
        text = zlib.decompressobj(_WINDOW, zdict=_EXPECTED).decompress(packed)
    fields: dict[str, object] = json.loads(text.decode("utf-8-sig"))
    return fields


def pack_text(text: bytes) -> bytes:
    """Return a text in a fifth of its bytes."""
    packer = zlib.compressobj(1, wbits=_WINDOW, memLevel=_EFFORT, zdict=_EXPECTED)
    return packer.compress(text) + packer.flush()
