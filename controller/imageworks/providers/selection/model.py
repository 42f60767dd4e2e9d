"""What choosing files works on and gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from imageworks.detection.file_names import Container
from imageworks.files.artifact import RemoteFile
from imageworks.foundation.errors import ImageworksError

DEFAULT_QUANTIZATION: Final = "q4_k_m"
"""What `download` proposes for a repository of many quantizations; a manifest has to say."""


@dataclass(frozen=True, slots=True)
class QuantChoice:
    """One quantization that a repository offers.

    Args:
        label: As a manifest's ``quantization`` names it.
        size: Of all its files, in bytes.
        files: How many files it has.
        bits: Bits that a weight takes, where it is known how many weights there are.
        need: Bytes of memory that it needs to run, where that is known.
        free: Bytes that are free where it would go, where that is known.
    """

    label: str
    size: int
    files: int
    bits: float | None = None
    need: int | None = None
    free: int | None = None


class Why(StrEnum):
    """Why a file of a listing is not chosen."""

    COUNTERPART = "counterpart"  # the same part in another container or sharding is chosen
    PRECISION = "other-quantization"  # the same part in another precision or quantization is chosen
    OTHER_MODEL = "other-model"  # another model of the repository, which was not asked for
    BELONGS = "belongs-to-what-is-left-out"
    OPTIONAL = "optional"  # pictures, documents, examples
    TRAINING = "training-state"
    CALIBRATION = "calibration-data"
    EXCLUDED = "excluded"
    NOT_ASKED = "not-included"
    UNSAFE = "unsafe-name"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not chosen.

    Args:
        file: The file.
        why: Why it is not.
        instead: A chosen file that stands for it, where there is one.
    """

    file: RemoteFile
    why: Why
    instead: str = ""

    @property
    def path(self) -> str:
        """Its path in the repository."""
        return self.file.path

    def __str__(self) -> str:
        return f"{self.path}  {self.why.value}" + (f", {self.instead} comes" if self.instead else "")


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What decides which files of a repository are wanted, as a manifest's ``source`` says it.

    Args:
        format: A container (``gguf``), or a scheme that safetensors carry (``awq``); the preferred one when absent.
        quantization: Which one of several.
        include: Globs: of weights and other data exactly these come, with the configuration that belongs to them.
        exclude: Globs: these do not come.
        weights: Globs over weights: exactly these come, with everything that is not weights.
        subfolder: Take only this folder and what belongs to it.
        optional: Take documents, pictures and examples as well.
    """

    format: str | None = None
    quantization: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    subfolder: str | None = None
    optional: bool = False

    @property
    def explicit(self) -> bool:
        """Whether weights are named by themselves, so that nothing is chosen among them."""
        return bool(self.include or self.weights)


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to have, and why not the others.

    Args:
        files: Sorted by path.
        container: How the chosen weights are packed; ``None`` where there are none, as for a tokenizer.
        quantization: The label that the chosen weights' names say, if they say one.
        left_out: The files of the listing that are not wanted, with the reason, sorted by path.
        warnings: What a person should know, a line each.
        unproven: The quantization that was asked for, where no name says it: the content has to.
    """

    files: tuple[RemoteFile, ...]
    container: Container | None
    quantization: str | None
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    unproven: str | None = None

    @property
    def total_bytes(self) -> int:
        """The size of all chosen files together."""
        return sum(file.size for file in self.files)


class SelectionError(ImageworksError):
    """A listing has not what the manifest wants, or more than one thing that it could mean."""

    def __init__(self, message: str, *, remedy: str, reason: str, choices: Sequence[QuantChoice] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.choices = tuple(choices)


@dataclass(slots=True)
class Choice:
    """Which weights are taken, while they are being chosen.

    Args:
        container: The main one.
        taken: Paths of chosen weights.
        left: Why other weights are not chosen, and what stands for them.
        proven: Whether a name says the quantization that was asked for.
    """

    container: Container | None = None
    taken: set[str] = field(default_factory=set)
    left: dict[str, tuple[Why, str]] = field(default_factory=dict)
    proven: bool = False
