"""Which files of a model can run code when they are loaded, by names, configs and first bytes. Nothing is unpickled.

Names are judged by what cannot run: a file that is neither of those nor known to run code may hold anything. Its first
bytes decide, where they are here; a name never clears bytes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from imageworks.detection.containers import refined_container
from imageworks.detection.file_names import Container, Role, classify
from imageworks.detection.formats.pickles import Content, content_of
from imageworks.foundation.json_values import EMPTY

PICKLE: Final = "pickle"
UNPROVEN: Final = "may hold a pickle"
KERAS: Final = "Keras layers can hold code"
NATIVE: Final = "native code"
PROGRAM: Final = "program"

_OWN_CODE: Final = frozenset({"code", NATIVE, PROGRAM, "package"})

_BY_SUFFIX: Final[Mapping[str, str]] = (
    dict.fromkeys((".pt", ".pth", ".pt2", ".th", ".ckpt", ".awq", ".distcp", ".nemo", ".mar", ".ptl", ".torch"), PICKLE)
    | dict.fromkeys((".pkl", ".pickle", ".pck", ".joblib", ".dill", ".cloudpickle", ".skops", ".pdparams"), PICKLE)
    | dict.fromkeys((".npy", ".ot", ".pdopt"), UNPROVEN)
    | dict.fromkeys((".keras", ".h5", ".hdf5"), KERAS)
    | dict.fromkeys((".py", ".pyc", ".pyx", ".pyz"), "code")
    | dict.fromkeys((".so", ".dll", ".dylib", ".pyd", ".node", ".plan", ".engine", ".o", ".a"), NATIVE)
    | dict.fromkeys((".exe", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".llamafile", ".jar", ".com", ".msi"), PROGRAM)
    | {".ipynb": "notebook", ".whl": "package", ".egg": "package"}
)
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".tar", ".tgz", ".7z", ".rar", ".lzma", ".z", ".br")
_SHARED_LIBRARY: Final = re.compile(r"\.(?:so|dylib)(?:\.\d+)+$")
_HARMLESS: Final = frozenset(
    (  # noqa: SIM905 # a list would take a hundred lines
        # text and markup
        ".json .jsonl .txt .md .rst .yaml .yml .toml .xml .cfg .ini .csv .tsv .jinja .jinja2 .html .css .log .tex .bib "
        ".chk .lock .license .sha256 .md5 .svg .pdf .docx .pptx .template .merges .vocab .codes .bpe .tiktoken .spm "
        ".model .conf .properties .proto .mlir .lora .tags .js .ts .map "
        # pictures, sounds, fonts
        ".png .jpg .jpeg .gif .webp .bmp .tiff .tif .heic .avif .ico .mp4 .webm .mov .avi .mkv .wav .mp3 .flac .ogg "
        ".opus .m4a .ttf .otf .woff .woff2 "
        # weights whose bytes are data
        ".safetensors .gguf .ggml .onnx .onnx_data .ort .msgpack .tflite .litertlm .task .mlmodel .mnn .pb .pbtxt "
        ".pdiparams .pdmodel .param .tensorrt .dduf .npz .parquet .arrow .tfevents .mil .pte .rknn .hef .dlc .om "
        ".rkllm .weight .bmodel .axmodel .neff .xmodel"
    ).split()
)
_DATA: Final = frozenset(
    {
        *(Container.GGUF, Container.SAFETENSORS, Container.MLX, Container.ONNX, Container.OPENVINO, Container.FLAX),
        *(
            Container.COREML,
            Container.TFLITE,
            Container.METAL,
            Container.MLC,
            Container.NCNN,
            Container.TFJS,
            Container.QNN,
        ),
    }
)
_TEXT_ROLES: Final = frozenset(
    {
        *(Role.INDEX, Role.CONFIG, Role.QUANTIZATION_CONFIG, Role.TOKENIZER, Role.CHAT_TEMPLATE, Role.README),
        *(Role.LICENSE, Role.DATA),
    }
)
_PLAIN_TEXT: Final = frozenset(
    {".gitattributes", ".gitignore", ".gitkeep", ".dockerignore", "dockerfile", "makefile", "version", "readme"}
    | {"params", "template", "system"}  # layers of Ollama's as files
)
_PLAIN_NAMES: Final = re.compile(r"^(?:modelfile|events\.out\.tfevents\.)")
_MOST_NESTED: Final = 8
_PICKLED_STATE: Final = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin"})


@dataclass(frozen=True, slots=True)
class RiskyFile:
    """A file that can run code.

    Args:
        path: Its relative path.
        reason: How: ``pickle``, ``code``, ``native code`` and the like.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Safety:
    """What can run code when a model is loaded.

    Args:
        files: The files, sorted by path.
        cleared: Files whose names prove nothing, and whose first bytes are of a format that runs nothing.
        remote_code: Whether a config asks for code of a repository (``auto_map``, ``custom_pipelines``).
        classes: The classes that it would import.
    """

    files: tuple[RiskyFile, ...] = ()
    remote_code: bool = False
    classes: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()

    @property
    def loading_runs(self) -> tuple[str, ...]:
        """The files that can run code of their own where they are loaded: pickles, what may be one, Keras layers."""
        return tuple(file.path for file in self.files if "pickle" in file.reason or file.reason == KERAS)

    @property
    def own_code(self) -> tuple[str, ...]:
        """The files that are programs, or parts of one: what somebody or something else than a loader may run."""
        return tuple(file.path for file in self.files if file.reason in _OWN_CODE)

    @property
    def is_worth_recording(self) -> bool:
        """Whether there is anything that an entry should say."""
        return bool(self.files or self.remote_code or self.cleared)

    def fields(self) -> dict[str, object]:
        """Return what an entry records of it."""
        return {
            "runs_code": [{"path": file.path, "reason": file.reason} for file in self.files],
            "remote_code": self.remote_code,
            "remote_classes": list(self.classes),
        } | ({"cleared": list(self.cleared)} if self.cleared else {})


def safety_of(
    paths: Iterable[str],
    configs: Iterable[Mapping[str, object]] = (),
    *,
    heads: Mapping[str, bytes] | None = None,
    contents: Mapping[str, Content] | None = None,
    cleared: Iterable[str] = (),
) -> Safety:
    """Return what can run code when a model is loaded."""
    listed, heads, known = frozenset(paths), heads or {}, frozenset(cleared)
    risky, harmless = [], []
    for path in sorted(listed):
        by_name = _by_name(path, listed)
        reason = _by_bytes(path, by_name, heads[path], (contents or {}).get(path)) if path in heads else by_name
        if reason is None or (by_name == reason == UNPROVEN and path in known):
            harmless += [path] if by_name == UNPROVEN else []
        else:
            risky.append(RiskyFile(path, reason))
    classes: list[str] = []
    for part in (part for config in configs for part in _with_parts(config)):
        mapped, pipelines = part.get("auto_map", EMPTY), part.get("custom_pipelines", EMPTY)
        values = list(mapped.values() if isinstance(mapped, Mapping) else mapped if isinstance(mapped, list) else ())
        tasks = pipelines.values() if isinstance(pipelines, Mapping) else ()
        values += [task.get("impl") for task in tasks if isinstance(task, Mapping)]
        for value in values:
            classes += [name[:160] for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
    return Safety(tuple(risky), bool(classes), tuple(dict.fromkeys(classes))[:32], tuple(harmless))


def code_names(path: str, value: object) -> Mapping[str, object]:
    """Return a configuration as `safety_of` takes it: a list of modules names what is imported in words of its own."""
    if isinstance(value, list) and path.endswith("modules.json"):
        types = [item.get("type") for item in value if isinstance(item, Mapping)]
        return {"auto_map": [one for one in types if not str(one).startswith("sentence_transformers.")]}
    return value if isinstance(value, Mapping) else EMPTY


def _with_parts(config: Mapping[str, object], depth: int = 0) -> Iterator[Mapping[str, object]]:
    """Yield a configuration with those inside of it: a model of several parts has one for each."""
    yield config
    for value in config.values() if depth < _MOST_NESTED else ():
        if isinstance(value, Mapping):
            yield from _with_parts(value, depth + 1)


def _by_name(path: str, listed: frozenset[str]) -> str | None:
    """Return how a file can run code as far as its name says, or ``None`` for a kind of file that runs nothing."""
    if path.endswith(".bin") and classify(path).container is Container.PYTORCH:
        container = refined_container(path, Container.PYTORCH, listed)
        if container is not Container.PYTORCH:
            return None if container in _DATA else UNPROVEN
    return _by_name_alone(path)


@lru_cache(maxsize=16_384)  # names repeat between repositories
def _by_name_alone(path: str) -> str | None:
    named = classify(path)
    name = path.rpartition("/")[2].lower()
    while (packed := _suffix(name)) in _PACKED:
        name = name.removesuffix(packed)
        if _suffix(name) not in _HARMLESS | _BY_SUFFIX.keys() | set(_PACKED):
            return UNPROVEN
    suffix = _suffix(name)
    if name in _PICKLED_STATE:
        return PICKLE
    if _SHARED_LIBRARY.search(name):
        return NATIVE
    container = named.container
    if suffix == ".bin":
        return None if container in _DATA else PICKLE if container is Container.PYTORCH else UNPROVEN
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix in _HARMLESS or container in _DATA | {Container.TENSORFLOW} or named.role in _TEXT_ROLES:
        return None
    return None if name in _PLAIN_TEXT or _PLAIN_NAMES.match(name) else UNPROVEN


def _suffix(name: str) -> str:
    """Return the end of a name from its last dot on; a name that begins with its only dot is all suffix."""
    return name[name.rfind(".") :] if "." in name else ""


def _by_bytes(path: str, by_name: str | None, head: bytes, content: Content | None = None) -> str | None:
    """Return how a file can run code by its bytes; what they leave open is as its name says."""
    content, suffix = content or content_of(head), _suffix(path.lower())
    if content in {Content.PICKLE, Content.OBJECTS}:
        # Words that happen to be opcodes are text to whoever reads them as text.
        is_text = (
            content is Content.PICKLE
            and by_name is None
            and classify(path).container is None
            and not head.startswith((b"\x80", b"PK"))
        )
        return by_name if is_text else PICKLE
    if content is Content.NATIVE:
        return NATIVE if by_name in {None, UNPROVEN} and b"\x00" in head else by_name
    if content is Content.SCRIPT:
        return PROGRAM if by_name in {None, UNPROVEN} and classify(path).role not in _TEXT_ROLES else by_name
    if content is Content.HDF5:
        return KERAS if by_name in {None, UNPROVEN} else by_name
    if content in {Content.ZIP, Content.PACKED}:
        expected = suffix in _PACKED or suffix in {".npz", ".docx", ".pptx", ".task", ".litertlm", ".mar", ".keras"}
        return by_name if by_name is not None or expected or b"\x00" not in head else UNPROVEN
    if by_name == UNPROVEN and (content is Content.WEIGHTS or not head):
        return None
    return by_name
