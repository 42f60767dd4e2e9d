"""The corpus of repositories in ``tests/detection/corpus``: what each one is, as facts, and the right answers.

One file a repository; adding one is adding a file. ``files`` are names written short: ``model-#4.safetensors`` are four
numbered shards, ``X-{A,B}.gguf`` are two files, ``x.gguf 4.9`` says its size in GB. ``gigabytes`` are all weights.
``contents`` are fragments of small files, ``gguf`` what the headers of GGUF files say. Of ``expected`` what is there is
compared.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imageworks.detection.capabilities import FLAGS
from imageworks.detection.describe import describe
from imageworks.detection.file_names import classify
from imageworks.detection.model_facts import ModelFacts, Subject
from support.weights import ARRAY, BOOL, F32, STRING, U32, gguf_file

FOLDER: Final = Path(__file__).parents[1] / "detection" / "corpus"
NEAR: Final = {"parameters": 0.03, "active": 0.12}
"""How far a figure may be from the one that was published: makers round, and count tables in or out."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a listing."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository and the right answers about it."""

    repo: str
    files: tuple[str, ...]
    expected: Mapping[str, Any]
    gigabytes: float = 0.0
    contents: Mapping[str, object] = field(default_factory=dict)
    gguf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    task: str | None = None

    def listing(self) -> tuple[list[Listed], dict[str, bytes]]:
        """Return the files with their sizes, and the contents of those that there are fragments of."""
        sizes: dict[str, int | None] = {}
        for word in self.files:
            name, _, size = word.partition(" ")
            sizes.update(dict.fromkeys(_expanded(name), round(float(size) * 1e9) if size else None))
        if not {*self.contents, *self.gguf} <= set(sizes):
            raise AssertionError(f"{self.repo}: a fragment of a file that the listing lacks")
        weights = [path for path in sizes if classify(path).container]
        share = int(self.gigabytes * 1e9) // max(len(weights), 1)
        heavy = set(weights)
        listed = [Listed(path, size or (share if path in heavy else 4096)) for path, size in sizes.items()]
        texts = {path: text if isinstance(text, str) else json.dumps(text) for path, text in self.contents.items()}
        return listed, {path: text.encode() for path, text in texts.items()}

    def facts(self) -> ModelFacts:
        """Return what detection makes of it, as ``analyze`` does."""
        listed, contents = self.listing()
        headers = {path: gguf_file([_typed(*pair) for pair in pairs.items()]) for path, pairs in self.gguf.items()}

        def read(path: str, offset: int, length: int) -> bytes:
            return headers.get(path, b"").ljust(length, b"\0")[offset : offset + length]

        subject = Subject(repo=self.repo, task=self.task)
        return describe(listed, contents.get, read if headers else None, subject=subject)

    def answers(self) -> dict[str, tuple[object, object, bool]]:
        """Return expected and found answers by field, and whether they agree."""
        found = _found(self.facts())
        return {
            name: (right, found[name], _agree(name, right, found[name]))
            for name, right in self.expected.items()
            if name != "capabilities" or set(right) <= set(FLAGS)
        }


def corpus() -> list[Repository]:
    """Return all repositories, in the order of their files."""
    return [read_repository(path) for path in sorted(FOLDER.glob("*.json"))]


def read_repository(path: Path) -> Repository:
    """Return the repository of one file."""
    said = json.loads(path.read_text(encoding="utf-8"))
    return Repository(**{**said, "files": tuple(said["files"])})


def misses() -> Iterator[tuple[str, str, object, object]]:
    """Yield repository, field, right and found answer of what is wrong."""
    for one in corpus():
        for name, (right, found, agrees) in one.answers().items():
            if not agrees:
                yield one.repo, name, right, found


def _found(facts: ModelFacts) -> dict[str, object]:
    count = facts.parameters
    figures = facts.architecture
    return {
        "container": facts.download_format,
        "quantization": facts.quantization,
        "capabilities": [flag for flag, can in facts.capabilities.flags.items() if can and flag != "reasoning"],
        "kind": facts.kind.value,
        "quants": list(facts.quants.files),
        "pickles": sum("pickle" in file.reason for file in facts.safety.files),
        "remote_code": facts.safety.remote_code,
        "family": facts.family,
        "license": facts.license,
        "layers": figures.get("num_layers"),
        "context": figures.get("context_length"),
        "original_context": figures.get("original_context_length"),
        "experts": figures.get("num_experts"),
        "parameters": count.total if count else None,
        "counted": count.counted if count else None,
        "active": count.active if count else None,
    }


def _agree(name: str, right: object, found: object) -> bool:
    if isinstance(right, list) and isinstance(found, list) and name == "capabilities":
        return set(right) == set(found)
    if name in NEAR and isinstance(right, int):
        return isinstance(found, int) and abs(found - right) <= NEAR[name] * right
    return right == found


def _expanded(word: str) -> list[str]:
    """Return the names that a short one stands for."""
    choices = re.search(r"\{([^{}]*)\}", word)
    if choices:
        start, end = choices.span()
        return [path for part in choices[1].split(",") for path in _expanded(word[:start] + part + word[end:])]
    shards = re.search(r"#(\d+)", word)
    if shards:
        count = int(shards[1])
        numbered = (f"{number:05d}-of-{count:05d}" for number in range(1, count + 1))
        return [word[: shards.start()] + number + word[shards.end() :] for number in numbered]
    return [word]


def _typed(key: str, value: object) -> tuple[str, int, object]:
    if isinstance(value, list):
        return key, ARRAY, (BOOL if isinstance(value[0], bool) else U32, value)
    kind = BOOL if isinstance(value, bool) else F32 if isinstance(value, float) else U32
    return key, STRING if isinstance(value, str) else kind, value
