"""Find the models that stand below a folder: ``owner/repo`` folders, single folders and GGUF files. Reads names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.detect.filenames import Container, QuantVariant, Role, classify, group_quants
from imageworks.detect.layouts import Found, Layout
from imageworks.errors import ImageworksError
from imageworks.providers.local import LocalModel, observe
from imageworks.reconcile.finding_layouts import Place, found_in, known_place

_INDEXES: Final = ("config.json", "model_index.json")
DEPTH: Final = 2  # owner/repo


@dataclass(frozen=True, slots=True)
class Candidate:
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


def find_candidates(base: Path) -> Iterator[Candidate | Passed]:
    """Yield the models below a folder, in a fixed order.

    Args:
        base: The root of weights, or of LM Studio's models; a model's own folder will do too.
    """
    place = _layout(base)
    if place is not None:
        yield from _in_place(place)
    elif _is_model(base):
        yield from _in_folder(base, f"{base.parent.name}/{base.name}")
    else:
        yield from _below(base, ())


def _below(folder: Path, above: tuple[str, ...]) -> Iterator[Candidate | Passed]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        yield Passed(folder, error.strerror or str(error), failed=True)
        return
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
        elif _is_gguf(child.name) and child.is_file():
            yield from _looked_at(child, "/".join((*above, child.stem)), None)


def _in_place(place: Place) -> Iterator[Candidate | Passed]:
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


def _known(place: Place, found: Found) -> Iterator[Candidate | Passed]:
    path = place.folder / found.path
    inside = _looked_at(path, found.repo, found.ref) if path.is_file() else _in_folder(path, found.repo)
    for one in inside:
        if isinstance(one, Candidate):
            yield replace(one, kind=found.kind, commit=found.commit, ref=one.ref or found.ref)
        else:
            yield one


def _layout(folder: Path) -> Place | None:
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


def _in_folder(folder: Path, name: str) -> Iterator[Candidate | Passed]:
    """Yield the model of a folder, or each of several quantizations in it."""
    repo, _, ref = name.partition("@")
    for found in _looked_at(folder, repo, ref or None):
        if isinstance(found, Passed):
            yield found
            continue
        paths = [file.path for file in found.model.files]
        variants = group_quants(path for path in paths if classify(path).container is Container.GGUF).variants
        others = any(weighs(path) and classify(path).container is not Container.GGUF for path in paths)
        if len(variants) <= 1 or others:
            yield found
            continue
        own = {path for variant in variants for path in variant.files}
        beside = LocalModel(folder, tuple(file for file in found.model.files if file.path not in own))
        for variant in variants:
            yield from _variant(folder, found, variant, beside)


def _variant(folder: Path, found: Candidate, variant: QuantVariant, beside: LocalModel) -> Iterator[Candidate | Passed]:
    if len(variant.files) == 1:
        files = tuple(file for file in found.model.files if file.path in variant.files)
        (file,) = files
        path = folder / file.path
        alone = LocalModel(path.parent, (type(file)(path.name, file.place, file.size, file.modified),))
        yield Candidate(path, found.repo, found.ref, alone, beside if path.parent == folder else None)
        return
    folders = {path.rpartition("/")[0] for path in variant.files}
    inside = folders.pop() if len(folders) == 1 else ""
    alone_there = {file.path for file in found.model.files if inside and file.path.startswith(f"{inside}/")}
    if alone_there != set(variant.files):
        why = f"the shards of {variant.label} stand among other models; give each quantization a folder of its own"
        yield Passed(folder / variant.files[0], why)
        return
    yield from _looked_at(folder / inside, found.repo, found.ref)


def _looked_at(path: Path, repo: str, ref: str | None) -> Iterator[Candidate | Passed]:
    try:
        model = observe(path)
    except ImageworksError as error:
        yield Passed(path, error.message.removeprefix(f"{path}: "))
        return
    if not any(weighs(file.path) for file in model.files):
        yield Passed(path, "no file of weights")
        return
    yield Candidate(path, repo, ref, model)
