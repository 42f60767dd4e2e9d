"""Which files of a listing a manifest wants: pure, from names and sizes alone.

Everything that a loader may need comes. A file is left out because what is chosen holds its counterpart (the same
component in another container, precision or sharding), because it belongs to weights that are left out, or because no
loader asks for it. Doubt is an error with the choices in it, never a guess.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from imageworks.detection.components import Component, index_key, read_part, weight_sets
from imageworks.detection.containers import PROCESSORS
from imageworks.detection.file_names import Container, NamedFile, Role, classify, group_quants, is_training_state
from imageworks.files.artifact import RemoteFile
from imageworks.files.safe_names import UnsafeNameError, check_names, check_relative_name
from imageworks.naming.quantization_labels import quantization_label
from imageworks.providers.selection.gguf import quant_choices
from imageworks.providers.selection.model import (
    Choice,
    LeftOut,
    QuantChoice,
    Selection,
    SelectionError,
    SelectionRequest,
    Why,
)
from imageworks.providers.selection.path_patterns import excluded, matching, named_weights, within
from imageworks.providers.selection.weights import (
    check_quantization,
    check_shards,
    choose_weights,
    no_such_quantization,
)

_SUPPORT: Final = frozenset(
    {Role.CONFIG, Role.QUANTIZATION_CONFIG, Role.TOKENIZER, Role.CHAT_TEMPLATE, Role.CODE, Role.INDEX}
)
"""What no set of weights is loaded without, so that it comes along where weights are named."""
_COPIES: Final = re.compile(r"(?:original|metal)/(?!.*\.index\.json$)")  # whose small files may be of use by themselves
_TREES: Final = re.compile(r"model\.(?:txt|json)|.*(?:lgb|lightgbm|xgb|catboost|booster).*\.(?:txt|json)")
"""Gradient-boosted trees in their libraries' own text formats."""
_TABLES: Final = (".csv", ".tsv", ".parquet", ".jsonl", ".arrow")


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file of the listing with what its name says.

    Args:
        file: The file.
        says: What its name says.
        part: What it is a part of, if it holds weights.
    """

    file: RemoteFile
    says: NamedFile
    part: Component | None

    @property
    def path(self) -> str:
        """Its path in the repository."""
        return self.file.path

    @property
    def folder(self) -> str:
        """The folder it is in, empty at the top."""
        return self.file.path.rpartition("/")[0]

    @property
    def of_repository(self) -> bool:
        """Whether it is the README or the licence, which always come."""
        return not self.folder and self.says.role in (Role.README, Role.LICENSE)


def select(files: Iterable[RemoteFile], request: SelectionRequest) -> Selection:
    """Return the files of a listing that a request wants."""
    every = sorted(files, key=lambda file: file.path)
    left: dict[str, tuple[Why, str]] = {}
    inside = within(every, request.subfolder, left)
    inside = excluded(inside, request.exclude, left)
    if every and not inside:
        raise _nothing_left()
    paths = frozenset(file.path for file in inside)
    listing = [_Listed(file, classify(file.path), read_part(file, paths)) for file in inside]
    parts = [one.part for one in listing if one.part is not None]
    chosen = _chosen_weights(listing, parts, paths, request)
    left |= chosen.left
    taken = chosen.taken
    support = _Support(listing, chosen, parts)
    included = matching(paths, request.include) if request.include else frozenset()
    for one in listing:
        if one.path in taken or one.path in left:
            continue
        why = _why_left(one, request, support, included)
        if why is None:
            taken.add(one.path)
        else:
            left[one.path] = why
    return _selection(every, parts, chosen, left, request)


def available_quantizations(files: Iterable[RemoteFile]) -> tuple[QuantChoice, ...]:
    """Return the GGUF quantizations that a listing offers with their sizes, smallest first."""
    sizes = {file.path: file.size for file in files}
    return quant_choices(group_quants(sizes).variants, sizes)


def unproven_quantization(selection: Selection, *, held: str | None, branches: Sequence[str]) -> SelectionError:
    """Return the error of a quantization that neither names nor content say."""
    paths = frozenset(file.path for file in selection.files)
    sets = weight_sets(part for file in selection.files if (part := read_part(file, paths)) is not None)
    return no_such_quantization(selection.unproven or "", sets, held=held, branches=branches)


def _chosen_weights(
    listing: Sequence[_Listed],
    parts: Sequence[Component],
    paths: frozenset[str],
    request: SelectionRequest,
) -> Choice:
    wanted = named_weights(parts, paths, request) if request.explicit else parts
    wanted = [part for part in wanted if part.says.role is not Role.DATA or request.include]
    if not wanted:
        if not request.include:
            _check_worth(listing, request)
        return Choice(taken=set(matching(paths, request.include)) if request.include else set())
    choice = choose_weights(wanted, parts, paths, request)
    named = {part.path for part in wanted}
    for part in parts:
        if part.path not in named and part.path not in choice.taken:
            choice.left.setdefault(part.path, (Why.NOT_ASKED, ""))
    check_shards((part for part in parts if part.path in choice.taken), parts)
    if request.quantization and not choice.proven:
        check_quantization(request.quantization, weight_sets(wanted))
    return choice


def _check_worth(listing: Sequence[_Listed], request: SelectionRequest) -> None:
    """Raise where a repository without weights is nothing else that can be had either."""
    roles = {one.says.role for one in listing}
    if request.format or request.quantization:
        raise SelectionError(
            f"there are no {request.format or request.quantization} weights here",
            remedy="The repository has no weights that are known; leave the format and the quantization out.",
            reason="no-such-format" if request.format else "no-such-quantization",
        )
    processors = any(one.path.rpartition("/")[2] in PROCESSORS for one in listing)
    data = any(one.says.role is Role.ASSET and not one.path.lower().endswith(_TABLES) for one in listing)
    data = data or any(_TREES.fullmatch(one.path.lower().rpartition("/")[2]) for one in listing)
    if Role.TOKENIZER not in roles and not processors and not data:
        raise SelectionError(
            "the repository has no weights that are known",
            remedy="Name files with `include`, or check that it is a model.",
            reason="no-weights",
        )


class _Support:
    """Tells which files that are no weights belong to the chosen ones."""

    def __init__(self, listing: Sequence[_Listed], choice: Choice, parts: Sequence[Component]) -> None:
        self._held: set[str] = set()
        self._used: set[str] = set()
        self._indexed: set[tuple[str, Container, str, str | None]] = set()
        self.weights = any(part.path in choice.taken for part in parts)
        left: set[tuple[str, Container, str, str | None]] = set()
        taken: set[tuple[str, Container, str, str | None]] = set()
        for part in parts:
            folders = _folders(part.path)
            self._held.update(folders)
            key = (part.folder, part.container, part.stem, part.label)
            if part.path in choice.taken:
                self._used.update(folders)
                self._indexed.add(key)
            if part.says.shards:
                (taken if part.path in choice.taken else left).add(key)
        self._indexed -= left - taken  # the one file was chosen, and the index speaks of its shards
        self._listed = {(part.folder, part.container, part.stem) for part in parts}
        own = {(one.folder, *said) for one in listing if (said := index_key(one.path)) is not None}
        self._unclaimed = {
            (part.folder, part.container)
            for part in parts
            if part.path in choice.taken
            and (part.says.shards or part.stem.isdigit())
            and (part.folder, part.container, part.stem, part.label) not in own
        }
        self._used.update(folder for one in listing if one.path in choice.taken for folder in _folders(one.path))

    def passed_over(self, one: _Listed) -> bool:
        """Return whether a file lies with weights of which none is chosen, or is the index of such."""
        if not self.weights:
            return False
        if any(folder in self._held and folder not in self._used for folder in _folders(one.path)):
            return True  # onnx/, another precision, original/ keep their configuration to themselves
        if one.says.role is Role.INDEX and (key := index_key(one.path)) is not None:
            container, stem, _ = key
            if (one.folder, container, stem) not in self._listed and stem != "consolidated":
                return (
                    one.folder,
                    container,
                ) not in self._unclaimed  # shards that are called otherwise than their index
            return (one.folder, *key) not in self._indexed
        return False


def _folders(path: str) -> list[str]:
    """Return the folders that a file is in, the top one left out."""
    steps = path.split("/")[:-1]
    return ["/".join(steps[: depth + 1]) for depth in range(len(steps))]


def _why_left(
    one: _Listed, request: SelectionRequest, support: _Support, included: frozenset[str]
) -> tuple[Why, str] | None:
    """Return why a file that is no weight is left out, or ``None`` where it comes."""
    role = one.says.role
    if one.path in included or one.of_repository:
        return None
    if request.include and (role not in _SUPPORT or not support.weights):
        return (Why.NOT_ASKED, "")
    if role in (Role.OPTIONAL, Role.DATA):
        calibration = role is Role.DATA and one.says.container is not None  # an importance matrix in a GGUF file
        if request.optional and not calibration:
            return None if _is_safe(one.path) else (Why.UNSAFE, "")
        training = is_training_state(one.path)
        return (Why.TRAINING if training else Why.OPTIONAL if role is Role.OPTIONAL else Why.CALIBRATION, "")
    if one.part is not None:
        return (Why.COUNTERPART, "")
    if support.passed_over(one) and not (request.optional and _COPIES.match(one.path)):
        return (Why.BELONGS, "")
    return None


def _is_safe(path: str) -> bool:
    try:
        check_relative_name(path)
    except UnsafeNameError:
        return False
    return True


def _selection(
    every: Sequence[RemoteFile],
    parts: Sequence[Component],
    chosen: Choice,
    left: dict[str, tuple[Why, str]],
    request: SelectionRequest,
) -> Selection:
    files = tuple(file for file in every if file.path in chosen.taken)
    if not files:
        raise _nothing_left()
    check_names(file.path for file in files)
    taken = [part for part in parts if part.path in chosen.taken]
    labels = {part.label for part in taken if part.says.role is Role.WEIGHTS}
    container = chosen.container
    label = labels.pop() if len(labels) == 1 else None
    return Selection(
        files=files,
        container=container,
        quantization=label if label is None else (quantization_label(label) or label),
        left_out=tuple(
            LeftOut(file, *left.get(file.path, (Why.NOT_ASKED, ""))) for file in every if file.path not in chosen.taken
        ),
        warnings=tuple(_pickled(taken, container)),
        unproven=_unproven(request) if container is not None and not chosen.proven else None,
    )


def _nothing_left() -> SelectionError:
    return SelectionError(
        "nothing of the repository is left to choose",
        remedy="Widen `include`, or narrow `exclude`.",
        reason="no-matching-files",
    )


def _unproven(request: SelectionRequest) -> str | None:
    """Return the quantization or the scheme that was asked for, which no name says."""
    scheme = (request.format or "").strip().lower()
    return request.quantization or (scheme if scheme not in set(Container) and quantization_label(scheme) else None)


def _pickled(taken: Iterable[Component], container: Container | None) -> Iterable[str]:
    """Yield a line for each component that is a pickle while the model itself is in safetensors."""
    if container is Container.SAFETENSORS:
        for part in taken:
            if part.container is Container.PYTORCH:
                yield f"{part.path} is a pickle: this part of the model has no safetensors"
