"""Projectors: which of them belong to a model, and what they take in. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from imageworks.detection.components import Component
from imageworks.detection.families import families
from imageworks.detection.file_names import QuantVariant
from imageworks.detection.formats.gguf_header import GgufHeader

MODALITIES: Final = frozenset({"vision", "audio"})
_WORD: Final = re.compile(r"[-_. ]+")
_SAY_NOTHING: Final = frozenset({"", "mmproj", "mm", "proj", "projector", "model", "clip", "encoder", "gguf"})
_HEARS: Final = re.compile(r"(?<![a-z])(?:audio|voxtral|ultravox|whisper|asr|speech|meralion|flamingo)(?![a-z])")
_BOTH: Final = re.compile(r"(?<![a-z])(?:omni|minicpm-?o|gemma-?3n|phi-4-multimodal)(?![a-z])")
_HEAD: Final = re.compile(rb"general\.architecture\x08\x00\x00\x00\x04\x00{7}clip", re.DOTALL)


def is_projector(head: bytes) -> bool:
    """Return whether a GGUF file is a projector, whatever it is called, by its first bytes."""
    return head.startswith(b"GGUF") and _HEAD.search(head) is not None


def senses_of(path: str, header: GgufHeader | None) -> frozenset[str]:
    """Return what a projector takes in: as its header says, else by its name."""
    if header is not None:
        flags = {flag for flag in MODALITIES if header.metadata.get(f"clip.has_{flag}_encoder") is True}
        kinds = [header.text(f"clip.{kind}projector_type") for kind in ("", "vision.", "audio.")]
        for kind in kinds if not flags else ():
            family = families().find("projector", kind)
            flags |= family.flags if family else ({"vision"} if kind else set())
        if flags:
            return frozenset(flags)
    if _BOTH.search(path.lower()):
        return MODALITIES
    return frozenset({"audio"} if _HEARS.search(path.lower()) else {"vision"})


def fitting_projectors(
    projectors: Sequence[Component], model: QuantVariant, every: Sequence[QuantVariant]
) -> list[Component]:
    """Return the projectors that belong to a model: from its own folder first, then by its name."""
    folder = model.files[0].rpartition("/")[0]
    own = [part for part in projectors if part.folder == folder]
    above = [part for part in projectors if _above(part.folder, folder)]
    others = {one.files[0].rpartition("/")[0] for one in every} - {
        folder
    }  # a projector beside another model is its own
    apart = [part for part in projectors if part.folder not in others or telling_words(part)]
    candidates = own if own and folder else above or apart
    words = frozenset(_WORD.split(model.stem)) | frozenset(_WORD.split(folder.lower().replace("/", "-")))
    scored = [(len(telling_words(part)), part) for part in candidates if telling_words(part) <= words]
    if scored:
        most = max(score for score, _ in scored)
        return [part for score, part in scored if score == most]
    models = {(one.stem, one.folder) for one in every}
    return candidates if len(models) == 1 or (own and folder) else []


def _above(folder: str, below: str) -> bool:
    """Return whether a folder is the same as another one or above it."""
    return not folder or below == folder or below.startswith(f"{folder}/")


def words_of(part: Component) -> frozenset[str]:
    """Return the words of a projector's name."""
    return frozenset(_WORD.split(part.stem))


def telling_words(part: Component) -> frozenset[str]:
    """Return those words of a projector's name that say whose it is."""
    return words_of(part) - _SAY_NOTHING - MODALITIES
