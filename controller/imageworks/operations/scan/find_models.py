"""Find the models that stand below a folder: ``owner/repo`` folders, single folders and GGUF files. Reads names."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.detection.claims.projectors import fitting_projectors, is_projector
from imageworks.detection.components import read_part
from imageworks.detection.file_names import Container, QuantGroups, QuantVariant, Role, classify, group_quants
from imageworks.detection.formats.file_contents import HEAD
from imageworks.detection.layouts import FoundLayout, Layout
from imageworks.foundation.errors import ImageworksError
from imageworks.operations.scan.known_layouts import KnownFolder, found_in, known_place
from imageworks.providers.folder.local_files import LocalFile, LocalModel, observe

_INDEXES: Final = ("config.json", "model_index.json")
DEPTH: Final = 2  # owner/repo


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that somebody put on this machine.

    Args:
        path: Its folder, or its only file.
        repo: ``owner/repo`` as the folders say, else one name.
        ref: The branch that the folder's name says after ``@``.
        model: Its files.
        beside: Files of its folder that say something of it and are not its own.
        kind: What it is, where the folder's layout says so; vLLM serves nothing of that kind.
        commit: The commit of the hub that it is, where a cache says so.
    """

    path: Path
    repo: str
    ref: str | None
    model: LocalModel
    beside: LocalModel | None = None
    kind: str | None = None
    commit: str | None = None

    @property
    def single(self) -> bool:
        """Whether it is one file."""
        return self.path != self.model.root


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that was found and is not recorded.

    Args:
        path: Where it stands.
        why: Why not.
        failed: Whether a person should do something about it.
    """

    path: Path
    why: str
    failed: bool = False


def find_candidates(base: Path) -> Iterator[FoundModel | Passed]:
    """Yield the models below a folder, in a fixed order."""
    place = _layout(base)
    if place is not None:
        yield from _in_place(place)
    elif _is_model(base):
        yield from _in_folder(base, f"{base.parent.name}/{base.name}")
    else:
        yield from _below(base, ())


def _below(folder: Path, above: tuple[str, ...]) -> Iterator[FoundModel | Passed]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        yield Passed(folder, error.strerror or str(error), failed=True)
        return
    loose: list[str] = []
    for child in children:
        if child.name.startswith("."):
            continue
        parts = (*above, child.name)
        if child.is_dir():
            place = _layout(child)
            if place is not None:
                yield from _in_place(place)
            elif len(parts) == DEPTH or _is_model(child) or (_has_gguf(child) and not _has_models(child)):
                yield from _in_folder(child, "/".join(parts))
            else:
                yield from _below(child, parts)
        elif classify(child.name).container is Container.GGUF and child.is_file():
            loose.append(child.name)
    if any(map(weighs, loose)):
        yield from _loose(folder, above, loose)


def _in_place(place: KnownFolder) -> Iterator[FoundModel | Passed]:
    """Yield the models of a folder whose layout is known."""
    try:
        for found in found_in(place):
            if isinstance(found, Path):
                inner = _layout(found)
                if inner is not None:
                    yield from _in_place(inner)
                else:
                    yield from _in_folder(found, found.name) if _is_model(found) else _below(found, ())
            elif found.why_not:
                yield Passed(place.folder / found.path, found.why_not)
            else:
                yield from _known(place, found)
    except OSError as error:
        yield Passed(place.folder, error.strerror or str(error), failed=True)


def _known(place: KnownFolder, found: FoundLayout) -> Iterator[FoundModel | Passed]:
    path = place.folder / found.path
    inside = _looked_at(path, found.repo, found.ref) if path.is_file() else _in_folder(path, found.repo)
    for one in inside:
        if isinstance(one, FoundModel):
            yield replace(one, kind=found.kind, commit=found.commit, ref=one.ref or found.ref)
        else:
            yield one


def _layout(folder: Path) -> KnownFolder | None:
    """Return a folder whose layout is known; one with a card is a repository, and its files are one model."""
    place = known_place(folder)
    if place is not None and place.layout is Layout.SINGLES and (folder / "README.md").is_file():
        return None
    return place


def _is_model(folder: Path) -> bool:
    """Return whether a folder itself, not one below it, holds a model."""
    if any((folder / name).is_file() for name in _INDEXES):
        return True
    try:
        return any(weighs(child.name) and not _is_gguf(child.name) and child.is_file() for child in folder.iterdir())
    except OSError:
        return False


def _has_gguf(folder: Path) -> bool:
    try:
        return any(_is_gguf(child.name) and child.is_file() for child in folder.iterdir())
    except OSError:
        return False


def _has_models(folder: Path) -> bool:
    """Return whether a folder with GGUF files is an owner's, whose own models stand in folders beside them."""
    return any(_is_model(child) or _has_gguf(child) for child in folder.iterdir() if child.is_dir())


def weighs(name: str) -> bool:
    """Return whether a file's name says that it holds weights."""
    return classify(name).role is Role.WEIGHTS


def _is_gguf(name: str) -> bool:
    return classify(name).container is Container.GGUF and weighs(name)


def _in_folder(folder: Path, name: str) -> Iterator[FoundModel | Passed]:
    """Yield the model of a folder, or each of several models or quantizations in it."""
    repo, _, ref = name.partition("@")
    for found in _looked_at(folder, repo, ref or None):
        if isinstance(found, Passed):
            yield found
            continue
        groups = _groups(found.model)
        others = any(weighs(path) and classify(path).container is not Container.GGUF for path in _paths(found.model))
        if len(groups.variants) <= 1 or others:
            yield found
        else:
            yield from _variants(found, groups, apart=len({(one.stem, one.folder) for one in groups.variants}) > 1)


def _loose(folder: Path, above: tuple[str, ...], names: Sequence[str]) -> Iterator[FoundModel | Passed]:
    """Yield the GGUF files of a folder that holds other things too, each a model by its own name."""
    files: list[LocalFile] = []
    for name in names:
        try:
            files += observe(folder / name).files
        except ImageworksError as error:
            yield Passed(folder / name, error.message.removeprefix(f"{folder / name}: "))
    found = FoundModel(folder, "/".join((*above, "")), None, LocalModel(folder, tuple(files)))
    yield from _variants(found, _groups(found.model), apart=True)


def _paths(model: LocalModel) -> list[str]:
    return [file.path for file in model.files]


def _groups(model: LocalModel) -> QuantGroups:
    """Return a model's GGUF files by quantization; projectors are told by their headers, whatever they are called."""
    ggufs = [file for file in model.files if classify(file.path).container is Container.GGUF]
    unnamed = [file.path for file in ggufs if len(ggufs) > 1 and weighs(file.path) and _is_projector(file.place)]
    return group_quants((file.path for file in ggufs), projectors=unnamed)


def _is_projector(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return is_projector(stream.read(HEAD))
    return False


def _variants(found: FoundModel, groups: QuantGroups, *, apart: bool) -> Iterator[FoundModel | Passed]:
    """Yield each model of a folder with what belongs to it; several models are called by their own names."""
    root, paths = found.model.root, frozenset(_paths(found.model))
    own = {path for variant in groups.variants for path in variant.files}
    parts = [part for file in found.model.files if file.path in groups.projectors and (part := read_part(file, paths))]
    for variant in groups.variants:
        fitting = {part.path for part in fitting_projectors(parts, variant, groups.variants)}
        strange = own | (set(groups.projectors) - fitting)
        beside = LocalModel(root, tuple(file for file in found.model.files if file.path not in strange))
        name = Path(variant.files[0]).name
        own_name = name[: len(variant.stem)] if name.lower().startswith(variant.stem) else Path(name).stem
        called = replace(found, repo=f"{found.repo.rpartition('/')[0]}/{own_name}".lstrip("/")) if apart else found
        yield from _variant(root, called, variant, beside)
    for path in groups.projectors:
        if weighs(path):
            yield Passed(root / path, "a projector: it belongs to a model beside it, and is none by itself")


def _variant(
    folder: Path, found: FoundModel, variant: QuantVariant, beside: LocalModel
) -> Iterator[FoundModel | Passed]:
    if len(variant.files) == 1:
        files = tuple(file for file in found.model.files if file.path in variant.files)
        (file,) = files
        path = folder / file.path
        alone = LocalModel(path.parent, (replace(file, path=path.name),))
        yield FoundModel(path, found.repo, found.ref, alone, beside if path.parent == folder else None)
        return
    folders = {path.rpartition("/")[0] for path in variant.files}
    inside = folders.pop() if len(folders) == 1 else ""
    alone_there = {file.path for file in found.model.files if inside and file.path.startswith(f"{inside}/")}
    if alone_there != set(variant.files):
        why = f"the shards of {variant.label} stand among other models; give each quantization a folder of its own"
        yield Passed(folder / variant.files[0], why)
        return
    yield from _looked_at(folder / inside, found.repo, found.ref)


def _looked_at(path: Path, repo: str, ref: str | None) -> Iterator[FoundModel | Passed]:
    try:
        model = observe(path)
    except ImageworksError as error:
        yield Passed(path, error.message.removeprefix(f"{path}: "))
        return
    if not any(weighs(file.path) for file in model.files):
        yield Passed(path, "no file of weights")
        return
    yield FoundModel(path, repo, ref, model)
