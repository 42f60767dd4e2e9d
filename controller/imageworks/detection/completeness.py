"""Whether a model is complete, by its kind: one pure answer from names, sizes, small files and how weights begin.

Nothing is demanded that some library does without: where the library cannot be told, only what is there is judged.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from imageworks.detection.adapters import adapter_of
from imageworks.detection.components import WHOLE, WeightSet, index_key
from imageworks.detection.containers import ArtifactKind, kind_of
from imageworks.detection.file_names import Container, NamedFile, Role, classify, group_quants
from imageworks.detection.formats.tokenizers import has_tokenizer, reads_text
from imageworks.detection.problems import MissingPart
from imageworks.foundation.json_values import EMPTY, parse_object, part, text

SERVING_BACKENDS: Final = ("lmdeploy", "vllm")
"""What serves chat models from a folder and needs more in it than weights."""

_TRANSFORMERS_NAMES: Final = re.compile(
    r"^(?:model(?:[-.][a-z0-9]+)?(?:-\d{5}-of-\d{5})?\.safetensors"
    r"|pytorch_model(?:[-.][a-z0-9]+)?(?:-\d{5}-of-\d{5})?\.bin|tf_model\.h5|flax_model\.msgpack)$"
)
_TRANSFORMERS_BESIDE: Final = frozenset({"generation_config.json", "tokenizer_config.json", "tokenizer.json"})
_WITHOUT_WEIGHTS: Final = re.compile(r"Scheduler|Tokenizer|FeatureExtractor|Processor|Guider|Config$")
_NEEDED_JSON: Final = ("config.json", "model_index.json", "adapter_config.json")
_MOST_NAMED: Final = 5


@dataclass(frozen=True)
class Looked:
    """What is known of a set of files when its completeness is judged.

    Args:
        files: Relative paths and sizes in bytes.
        read: Gives a small file's bytes, ``None`` where they cannot be had.
        library: The library that loads it, where somebody says it.
        task: The Hub's pipeline tag.
        base: The base model that its card names.
        name: Its repository, or its folder.
        broken: Files that are not what their names say, by path.
        external: Other files that files of weights name inside themselves, by path.
        sets: Its weights by component, container, precision and sharding.
        parsed: Gives a JSON object of the listing, where they are read already.
    """

    files: Mapping[str, int]
    read: Callable[[str], bytes | None]
    library: str | None = None
    task: str | None = None
    base: str | None = None
    name: str = ""
    broken: Mapping[str, MissingPart] = field(default_factory=dict)
    external: Mapping[str, Iterable[str]] = field(default_factory=dict)
    sets: tuple[WeightSet, ...] = ()
    parsed: Callable[[str], Mapping[str, object] | None] | None = None

    @cached_property
    def named(self) -> Mapping[str, NamedFile]:
        """What each file's name says."""
        return {path: classify(path) for path in self.files}

    @cached_property
    def kind(self) -> ArtifactKind:
        """What kind of thing it is."""
        return kind_of(self.files)

    @cached_property
    def config(self) -> Mapping[str, object]:
        """The parsed ``config.json`` at the top, or nothing."""
        return self.json("config.json") or EMPTY

    def json(self, path: str) -> Mapping[str, object] | None:
        """Return a JSON object of the listing, ``None`` where it is not there or is none."""
        if path not in self.files:
            return None
        return self.parsed(path) if self.parsed else parse_object(self.read(path))

    @cached_property
    def indexed(self) -> Mapping[str, list[str]]:
        """Each readable shard index, with the files that it names and that are not there."""
        return dict(_indexed(self))

    def below(self, folder: str) -> list[str]:
        """Return the files below a folder."""
        return [path for path in self.files if path.startswith(f"{folder}/")]

    def weighs(self, paths: Iterable[str]) -> bool:
        """Return whether any of some files holds weights."""
        return any(self.named[path].role is Role.WEIGHTS for path in paths)


def missing_parts(looked: Looked) -> tuple[MissingPart, ...]:
    """Return what makes a model incomplete, whatever will serve it; nothing for a complete one."""
    broken = {**_apart(looked), **looked.broken}
    whole = _whole(looked, broken)
    problems = [*_weights(looked), *_broken(looked, broken, whole), *_shards(looked, whole), *_unreadable(looked)]
    judge = _KINDS.get(looked.kind)
    if judge is not None and not any(problem.kind == "missing-weights" for problem in problems):
        problems += judge(looked)
    return tuple({problem.message: problem for problem in problems}.values())


def preflight(names: Iterable[str], backend: str | None, *, chat: bool, has_template: bool) -> tuple[str, ...]:
    """Return what vLLM and LMDeploy will miss when serving a chat model."""
    if backend not in SERVING_BACKENDS or not chat:
        return ()
    warnings = []
    if not has_template:
        warnings.append("no chat template: replies may be blank or mix up roles; set chat_template in the manifest")
    if "generation_config.json" not in set(names):
        warnings.append("no generation_config.json: the server's own sampling defaults apply")
    return tuple(warnings)


def _weights(looked: Looked) -> Iterator[MissingPart]:
    """Yield that there are no weights, or that a file without which they are none has no bytes."""
    roles = {one.role for one in looked.named.values()}
    alone = looked.kind in (ArtifactKind.TOKENIZER, ArtifactKind.PROCESSOR) or roles & {Role.WEIGHTS, Role.ASSET}
    if not alone and not any(_may_be_model(path, one.role) for path, one in looked.named.items()):
        yield MissingPart("missing-weights", "no file of weights")
    for path, size in looked.files.items():
        if size == 0 and (looked.named[path].role is Role.INDEX or path in _NEEDED):
            yield MissingPart("empty-file", f"{path} is empty", path)


_NEEDED: Final = frozenset(
    {"config.json", "tokenizer.json", "tokenizer.model", "adapter_config.json", "model_index.json"}
)


def _may_be_model(path: str, role: Role) -> bool:
    """Return whether a file may be a model although no weights are called so: trees are kept as JSON and as text."""
    return role is Role.CONFIG and _DESCRIBES.search(path.rpartition("/")[2].lower()) is None


_DESCRIBES: Final = re.compile(
    r"config|param|index|metadata|args|info|modules|requirements|prompt|label|vocab|merges|tokens|template|class|state|results"
)


def _whole(looked: Looked, broken: Collection[str]) -> frozenset[tuple[str, str]]:
    """Return the components of which one copy is there as it should be: a loader takes that."""
    indexed = looked.indexed
    return frozenset(
        one.component
        for one in looked.sets
        if not any(part.path in broken for part in one.parts)
        and not (_absent(one, indexed) if _is_indexed(one, indexed) else one.missing)
    )


def _broken(
    looked: Looked, broken: Mapping[str, MissingPart], whole: Collection[tuple[str, str]]
) -> Iterator[MissingPart]:
    """Yield the files that hold something else, unless another copy of what they should hold is whole."""
    spare = {
        part.path
        for one in looked.sets
        if one.container is not Container.GGUF and one.component in whole
        for part in one.parts
    }
    yield from (problem for path, problem in broken.items() if path not in spare)


def _shards(looked: Looked, whole: Collection[tuple[str, str]]) -> Iterator[MissingPart]:
    """Yield the shards that names or indexes promise and that are not there, unless another copy is whole."""
    indexed = looked.indexed
    for one in looked.sets:
        missing = one.missing
        judged_elsewhere = one.container is Container.GGUF or _is_indexed(one, indexed)
        if missing and not judged_elsewhere and one.component not in whole:
            name = one.first.path.rpartition("/")[2].replace(f"{one.first.says.shard:05d}-of-", "", 1)
            where = f"{one.first.folder}/{name}" if one.first.folder else name
            yield _missing_shard(where, missing, one.first.says.shards)
    for variant in group_quants(looked.files).variants:
        if variant.missing:
            yield _missing_shard(variant.files[0], variant.missing, looked.named[variant.files[0]].shards)
    for path, absent in indexed.items():
        if absent and not _has_other(looked, path, whole):
            named = ", ".join(absent[:_MOST_NAMED]) + ("…" if len(absent) > _MOST_NAMED else "")
            yield MissingPart(
                "missing-shard", f"{named} {'is' if len(absent) == 1 else 'are'} named by {path} and missing"
            )


def _missing_shard(where: str, numbers: tuple[int, ...], shards: int) -> MissingPart:
    shown = ", ".join(str(number) for number in numbers[:_MOST_NAMED]) + ("…" if len(numbers) > _MOST_NAMED else "")
    return MissingPart(
        "missing-shard", f"{where}: shards {shown}{f' of {shards}' if shards else ''} are missing", where
    )


def _indexed(looked: Looked) -> Iterator[tuple[str, list[str]]]:
    """Yield each readable shard index, with the files that it names and that are not there."""
    for path, one in looked.named.items():
        if one.role is not Role.INDEX and path.rpartition("/")[2] not in _RECORD_INDEXES:
            continue
        index = looked.json(path)
        if index is None:
            continue
        folder = path.rpartition("/")[0]
        full = {f"{folder}/{name}" if folder else name for name in _names_in(index)}
        yield path, sorted(full - looked.files.keys())


_RECORD_INDEXES: Final = ("ndarray-cache.json", "tensor-cache.json")  # MLC's


def _names_in(index: Mapping[str, object]) -> Iterator[str]:
    yield from (name for name in part(index, "weight_map").values() if isinstance(name, str))
    records = index.get("records")
    for record in records if isinstance(records, list) else ():
        if isinstance(record, Mapping) and isinstance(name := record.get("dataPath"), str):
            yield name


def _is_indexed(one: WeightSet, indexed: Mapping[str, list[str]]) -> bool:
    """Return whether an index speaks for a set: what it says outranks the numbers in names."""
    return any(_same(path, one) for path in indexed)


def _absent(one: WeightSet, indexed: Mapping[str, list[str]]) -> bool:
    return any(absent for path, absent in indexed.items() if _same(path, one))


def _same(index: str, one: WeightSet) -> bool:
    key = index_key(index)
    head = one.first
    return key == (head.container, head.stem, head.label) and index.rpartition("/")[0].lower() == head.folder.lower()


def _has_other(looked: Looked, index: str, whole: Collection[tuple[str, str]]) -> bool:
    """Return whether another copy of what an index speaks of is here and whole."""
    own = [one for one in looked.sets if _same(index, one)]
    if own:
        return any(one.component in whole for one in own)
    folder = index.rpartition("/")[0].lower()
    return any(home == folder and component == WHOLE for home, component in whole)


def _unreadable(looked: Looked) -> Iterator[MissingPart]:
    """Yield small files without which nothing is loaded, and that hold something else."""
    for path in looked.files:
        if path not in _NEEDED_JSON and looked.named[path].role is not Role.INDEX:
            continue
        data = looked.read(path)
        if data is not None and data.strip() and looked.json(path) is None:
            kind = "unreadable-index" if looked.named[path].role is Role.INDEX else "unreadable-config"
            yield MissingPart(kind, f"{path} is no JSON object, so it cannot be read", path)


def _apart(looked: Looked) -> dict[str, MissingPart]:
    """Return the graphs whose data do not stand beside them, and data without their graph, by path."""
    found = {}
    for path, names in looked.external.items():
        folder = path.rpartition("/")[0]
        absent = [full for name in names if (full := f"{folder}/{name}" if folder else name) not in looked.files]
        if absent:
            found[path] = MissingPart(
                "missing-data", f"{absent[0]} holds the weights of {path} and is missing", absent[0]
            )
    for path in looked.files:
        stem, _, suffix = path.rpartition(".")
        name = stem.rpartition("/")[2]
        if suffix not in {"xml", "bin"} or not name.startswith("openvino") or "tokenizer" in name:
            continue
        other = f"{stem}.{'bin' if suffix == 'xml' else 'xml'}"
        if other not in looked.files:
            found[path] = MissingPart("missing-data", f"{other} belongs to {path} and is missing", other)
    return found


def _model(looked: Looked) -> Iterator[MissingPart]:
    """Yield what a model lacks that transformers, or a library like it, loads."""
    adapter = adapter_of(looked.files, looked.json)
    if adapter is not None:  # known by the names of its weights alone
        if any(path.startswith("adapter_model.") for path in looked.files):
            yield MissingPart("missing-config", "adapter_config.json is missing", "adapter_config.json")
        return
    top = {path for path in looked.files if "/" not in path}
    yield from _folders(looked)
    if "config.json" not in top:
        if _needs_config(looked, top):
            yield MissingPart("missing-config", "config.json is missing", "config.json")
        return
    if not _loads_from_top(looked):
        return
    if reads_text(looked.config, looked.task, looked.library, looked.name) and not has_tokenizer(
        looked.files, looked.json
    ):
        yield MissingPart("missing-tokenizer", "it reads text, and no tokenizer is there (such as tokenizer.json)")
    yield from _code(looked)


def _needs_config(looked: Looked, top: set[str]) -> bool:
    """Return whether its library reads a ``config.json``: by its name, else by how transformers calls files."""
    if looked.library is not None and looked.library not in {"transformers", "mlx", "mlx-lm", "sentence-transformers"}:
        return False
    native = "params.json" in top and any(name.startswith("consolidated") for name in top)
    if native or any(name in top for name in _OWN_DESCRIPTIONS) or any(map(_is_of_other_library, top)):
        return False
    loaded = any(_TRANSFORMERS_NAMES.match(name) for name in top)
    sharded = any(looked.named[name].role is Role.INDEX for name in top)
    return loaded and (sharded or bool(top & _TRANSFORMERS_BESIDE) or looked.library is not None or _plain(looked, top))


_OWN_DESCRIPTIONS: Final = (
    "mlc-chat-config.json", "genai_config.json", "model_config.yaml", "hyperparams.yaml", "open_clip_config.json",
    "config.yaml", "config.yml", "metadata.json", "meta.json", "hparams.yaml", "params.yaml", "preset.json",
)  # fmt: skip


def _is_of_other_library(name: str) -> bool:
    """Return whether a file configures something that transformers does not know, such as ``gliner_config.json``."""
    if not name.endswith("_config.json") or classify(name).role is not Role.CONFIG:
        return False
    return name.removesuffix("_config.json") not in _KNOWN_CONFIGS


_KNOWN_CONFIGS: Final = frozenset(
    {"generation", "preprocessor", "processor", "feature_extractor", "image_processor", "video_preprocessor", "adapter",
     "sentence_bert", "quantization"}
)  # fmt: skip


def _plain(looked: Looked, top: set[str]) -> bool:
    """Return whether nothing beside the weights tells of a library of its own."""
    others = {Role.README, Role.LICENSE, Role.OPTIONAL, Role.WEIGHTS, Role.TOKENIZER, Role.INDEX, Role.CHAT_TEMPLATE}
    return all(looked.named[name].role in others for name in top) and all("/" not in path for path in looked.files)


def _folders(looked: Looked) -> Iterator[MissingPart]:
    """Yield the configurations that models in folders of their own lack."""
    if looked.library not in {None, "transformers"}:
        return
    for folder in sorted({path.rpartition("/")[0] for path in looked.files} - {""}):
        names = {path.removeprefix(f"{folder}/") for path in looked.below(folder)}
        if "config.json" in names or not names & _TRANSFORMERS_BESIDE:
            continue
        if any(_TRANSFORMERS_NAMES.match(name) for name in names):
            yield MissingPart("missing-config", f"{folder}/config.json is missing", f"{folder}/config.json")


def _loads_from_top(looked: Looked) -> bool:
    """Return whether the weights at the top are in a container that a ``config.json`` speaks of."""
    loaded = {Container.SAFETENSORS, Container.PYTORCH, Container.MLX, Container.TENSORFLOW, Container.FLAX}
    return any(one.container in loaded and not one.first.folder for one in looked.sets)


def _code(looked: Looked) -> Iterator[MissingPart]:
    """Yield the modules of its own that the configuration imports and that are not there."""
    for wanted in part(looked.config, "auto_map").values():
        for name in wanted if isinstance(wanted, list) else [wanted]:
            if not isinstance(name, str) or "--" in name:  # that of another repository
                continue
            module = name.rpartition(".")[0].replace(".", "/")
            if module and f"{module}.py" not in looked.files:
                yield MissingPart("missing-code", f"{module}.py is imported by config.json and missing", f"{module}.py")


def _pipeline(looked: Looked) -> Iterator[MissingPart]:
    """Yield the components that ``model_index.json`` lists and that have no files."""
    listed = looked.json("model_index.json") or looked.json("modular_model_index.json") or EMPTY
    modular = "model_index.json" not in looked.files
    for name, said in listed.items():
        if name.startswith("_") or modular or not isinstance(said, list) or len(said) < 2:  # noqa: PLR2004 # library and class
            continue
        library, made = said[0], said[1]
        if not isinstance(library, str) or not isinstance(made, str):
            continue  # left out on purpose
        inside = looked.below(name)
        if not inside:
            yield MissingPart("missing-component", f"{name}/ is listed by model_index.json and missing", name)
        elif not _WITHOUT_WEIGHTS.search(made) and not looked.weighs(inside):
            yield MissingPart("missing-component", f"{name}/ has no weights", name)
        elif library in {"diffusers", "transformers"} and not made.startswith(("Onnx", "OV")):
            yield from _component_config(looked, name, made)


def _component_config(looked: Looked, name: str, made: str) -> Iterator[MissingPart]:
    if _WITHOUT_WEIGHTS.search(made):
        return
    path = f"{name}/config.json"
    if path not in looked.files and not any(path.endswith((".onnx", ".xml")) for path in looked.below(name)):
        yield MissingPart("missing-config", f"{path} is missing", path)


def _sentence_transformer(looked: Looked) -> Iterator[MissingPart]:
    """Yield the modules that ``modules.json`` lists and that have not what their kind needs."""
    data = looked.read("modules.json")
    try:
        modules = json.loads(data) if data and len(data) <= 1 << 20 else []
    except (ValueError, RecursionError):
        yield MissingPart("unreadable-config", "modules.json is no JSON, so it cannot be read", "modules.json")
        return
    for module in modules if isinstance(modules, list) else ():
        folder = text(module, "path") if isinstance(module, Mapping) else None
        kind = (text(module, "type") or "").rpartition(".")[2] if isinstance(module, Mapping) else ""
        if folder is None or kind == "Normalize":  # whose folder is empty, and so not in git
            continue
        if not folder:
            yield from _model(looked) if kind == "Transformer" else ()
        elif not (inside := looked.below(folder.strip("/"))):
            yield MissingPart("missing-component", f"{folder}/ is listed by modules.json and missing", folder)
        elif kind in {"Dense", "Transformer"} and not looked.weighs(inside):
            yield MissingPart("missing-component", f"{folder}/ has no weights", folder)


def _adapter(looked: Looked) -> Iterator[MissingPart]:
    """Yield what an adapter lacks, seen as an adapter: its base is a model of its own."""
    adapter = adapter_of(looked.files, looked.json, base=looked.base)
    if adapter is None:
        yield from _model(looked)  # a whole model, with what is left of its training
    elif adapter.kind is not None and adapter.base is None:
        yield MissingPart("missing-base", "adapter_config.json names no base model", "adapter_config.json")


_KINDS: Final[Mapping[ArtifactKind, Callable[[Looked], Iterable[MissingPart]]]] = {
    ArtifactKind.MODEL: _model,
    ArtifactKind.PIPELINE: _pipeline,
    ArtifactKind.SENTENCE_TRANSFORMER: _sentence_transformer,
    ArtifactKind.ADAPTER: _adapter,
}
