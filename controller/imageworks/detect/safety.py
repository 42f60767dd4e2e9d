"""Which files of a model can run code when they are loaded. Told by names and configs; nothing is ever unpickled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detect.containers import refined_container
from imageworks.detect.filenames import Container, classify
from imageworks.detect.jsons import EMPTY

_BY_SUFFIX: Final[Mapping[str, str]] = {
    ".pt": "pickle", ".pth": "pickle", ".ckpt": "pickle", ".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle",
    ".dill": "pickle", ".nemo": "pickle", ".mar": "pickle", ".pdparams": "pickle", ".npy": "may hold a pickle",
    ".keras": "Keras layers can hold code", ".h5": "Keras layers can hold code",
    ".hdf5": "Keras layers can hold code", ".py": "code", ".so": "native code", ".dll": "native code",
    ".dylib": "native code", ".exe": "program", ".sh": "program", ".bat": "program", ".ps1": "program",
    ".llamafile": "program", ".ipynb": "notebook", ".whl": "package", ".jar": "program", ".plan": "native code",
    ".engine": "native code",
}  # fmt: skip


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
        remote_code: Whether the config asks the loader to import the repository's own code (``auto_map``).
        classes: The classes that it would import.
    """

    files: tuple[RiskyFile, ...] = ()
    remote_code: bool = False
    classes: tuple[str, ...] = ()

    @property
    def pickles(self) -> tuple[str, ...]:
        """The files that are, or may hold, pickles."""
        return tuple(file.path for file in self.files if "pickle" in file.reason)

    def fields(self) -> dict[str, object]:
        """Return what an entry records of it."""
        return {
            "runs_code": [{"path": file.path, "reason": file.reason} for file in self.files],
            "remote_code": self.remote_code,
            "remote_classes": list(self.classes),
        }


def safety_of(paths: Iterable[str], configs: Iterable[Mapping[str, object]] = ()) -> Safety:
    """Return what can run code when a model is loaded.

    Args:
        paths: The listing's relative paths.
        configs: Parsed ``config.json``, ``tokenizer_config.json`` and the like.
    """
    listed = frozenset(paths)
    risky = [RiskyFile(path, reason) for path in sorted(listed) if (reason := _reason(path, listed))]
    classes: list[str] = []
    for config in configs:
        mapped = config.get("auto_map", EMPTY)
        values = mapped.values() if isinstance(mapped, Mapping) else mapped if isinstance(mapped, list) else ()
        for value in values:
            classes += [name[:160] for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
    return Safety(tuple(risky), bool(classes), tuple(dict.fromkeys(classes))[:32])


def _reason(path: str, listed: frozenset[str]) -> str | None:
    """Return how a file can run code, or ``None`` when it cannot."""
    container = classify(path).container
    name = path.rpartition("/")[2].lower()
    suffix = name[name.rfind(".") :] if "." in name else ""
    if suffix == ".bin":
        pickled = container is Container.PYTORCH and refined_container(path, container, listed) is container
        return "pickle" if pickled or name in _PICKLED_STATE else None
    if container is Container.MLX:
        return None
    return _BY_SUFFIX.get(suffix)
