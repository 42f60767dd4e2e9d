"""Whether a model is complete: weights, configs, tokenizer and every shard; and what serving it will miss."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detect.containers import Kind, kind_of
from imageworks.detect.filenames import Container, NamedFile, Role, classify
from imageworks.detect.jsons import part

_TOKENIZERS: Final = (
    ("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("spiece.model",),
    ("tekken.json",), ("sentencepiece.bpe.model",), ("source.spm",), ("tokenizer.tiktoken",), ("tiktoken.model",),
    ("qwen.tiktoken",), ("vocab.json",), ("tokenizer.model.v3",), ("spm.model",), ("bpe.codes",), ("encoder.json",),
)  # fmt: skip


SERVING_BACKENDS: Final = ("lmdeploy", "vllm")
"""What serves chat models from a folder and needs more in it than weights."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a model lacks.

    Args:
        kind: In kebab-case: ``missing-weights``, ``missing-shard``, ``missing-config`` …
        message: What it is, naming the file.
    """

    kind: str
    message: str


def missing_parts(files: Mapping[str, int], indexes: Mapping[str, Mapping[str, object]]) -> tuple[Problem, ...]:
    """Return what makes a model incomplete, whatever will serve it; nothing for a complete one.

    Args:
        files: Relative paths and sizes in bytes.
        indexes: Parsed shard indexes by path.
    """
    named = {path: classify(path) for path in files}
    problems: list[Problem] = []
    other = kind_of(files) in (Kind.TOKENIZER, Kind.PROCESSOR)
    if not other and not any(file.role is Role.WEIGHTS for file in named.values()):
        problems.append(Problem("missing-weights", "no file of weights"))
    problems += [
        Problem("empty-file", f"{path} is empty")
        for path, size in files.items()
        if size == 0 and named[path].role in {Role.WEIGHTS, Role.PROJECTOR, Role.INDEX}
    ]
    problems += _missing_in_indexes(files, indexes)
    problems += _missing_shards(named)
    return tuple(problems)


def missing_companions(paths: Iterable[str], container: Container | None, *, language: bool) -> tuple[Problem, ...]:
    """Return which of the files that loaders expect beside the weights are not there.

    Args:
        paths: The listing's relative paths.
        container: The container; GGUF and its like carry everything inside.
        language: Whether the architecture needs a tokenizer.
    """
    names = {path for path in paths if "/" not in path}
    if container not in {Container.SAFETENSORS, Container.PYTORCH, Container.MLX}:
        return ()
    problems = []
    if not names & {"config.json", "params.json"}:
        problems.append(Problem("missing-config", "config.json is missing"))
    if language:
        if not any(all(name in names for name in group) for group in _TOKENIZERS):
            problems.append(Problem("missing-tokenizer", "neither tokenizer.json nor tokenizer.model is there"))
        if "tokenizer_config.json" not in names and "tekken.json" not in names:
            problems.append(Problem("missing-tokenizer-config", "tokenizer_config.json is missing"))
    return tuple(problems)


def preflight(names: Iterable[str], backend: str | None, *, chat: bool, has_template: bool) -> tuple[str, ...]:
    """Return what vLLM and LMDeploy will miss when serving a chat model.

    Args:
        names: The listing's relative paths.
        backend: What serves it; others have no such needs.
        chat: Whether it is a text-generating model that people chat with.
        has_template: Whether a chat template was found anywhere.
    """
    if backend not in SERVING_BACKENDS or not chat:
        return ()
    warnings = []
    if not has_template:
        warnings.append("no chat template: replies may be blank or mix up roles; set chat_template in the manifest")
    if "generation_config.json" not in set(names):
        warnings.append("no generation_config.json: the server's own sampling defaults apply")
    return tuple(warnings)


def _missing_in_indexes(files: Mapping[str, int], indexes: Mapping[str, Mapping[str, object]]) -> list[Problem]:
    """Return the shards that an index names and the listing lacks."""
    problems = []
    for path, index in indexes.items():
        folder = path.rpartition("/")[0]
        named = {value for value in part(index, "weight_map").values() if isinstance(value, str)}
        for shard in sorted(named):
            full = f"{folder}/{shard}" if folder else shard
            if full not in files:
                problems.append(Problem("missing-shard", f"{full} is named by {path} and missing"))
    return problems


def _missing_shards(named: Mapping[str, NamedFile]) -> list[Problem]:
    """Return the shards that names such as ``-00001-of-00003`` promise and the listing lacks."""
    groups: dict[tuple[str, str, int], set[int]] = {}
    for path, file in named.items():
        if file.shards and file.role is Role.WEIGHTS:
            folder, _, name = path.rpartition("/")
            number = f"{file.shard:05d}-of-"
            key = (folder, name.replace(number, "", 1), file.shards)
            groups.setdefault(key, set()).add(file.shard)
    problems = []
    for (folder, name, shards), present in sorted(groups.items()):
        missing = sorted(set(range(1, min(shards, 100_000) + 1)) - present)
        if missing and 0 not in present:
            shown = ", ".join(str(number) for number in missing[:5]) + ("…" if len(missing) > 5 else "")  # noqa: PLR2004
            where = f"{folder}/{name}" if folder else name
            problems.append(Problem("missing-shard", f"{where}: shards {shown} of {shards} are missing"))
    return problems
