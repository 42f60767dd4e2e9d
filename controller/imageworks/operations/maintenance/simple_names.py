"""Simple names for models, as people read them: what each would be called, who clashes, and what changes. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from imageworks.foundation.errors import ImageworksError
from imageworks.naming.model_names import compile_testing_patterns, is_testing_name
from imageworks.operations.maintenance.entry_changes import ABSENT, EntryAction, EntryChange, Kept, ManifestEdit
from imageworks.registry.cross_checks import fold
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, as_packed
from imageworks.registry.entries.queries import Model, is_testing, simple_names, text
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER, Manifest
from imageworks.registry.validate import name_problem

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue


class Disambiguation(StrEnum):
    """What is added to names that would be the same."""

    BACKEND = "backend"
    FORMAT = "format"
    PRODUCER = "producer"
    NONE = "none"


class SlugCollisionError(ImageworksError):
    """Models would get one name, and nothing that was asked for tells them apart."""


@dataclass(frozen=True, slots=True)
class SlugOptions:
    """Which models get simple names, and how.

    Args:
        stores: Whether models that another program serves from its store do.
        others: Whether all others do.
        tests_only: Only testing and demo models.
        disambiguate: What tells clashing models apart, in this order as far as needed.
        rename: Whether the variant name changes; otherwise only the display name.
        skip: Whether clashing models are left as they are, instead of stopping everything.
        patterns: More patterns of testing names, separated by commas.
    """

    stores: bool = True
    others: bool = True
    tests_only: bool = False
    disambiguate: tuple[Disambiguation, ...] = (Disambiguation.BACKEND,)
    rename: bool = False
    skip: bool = True
    patterns: str | None = None


@dataclass(frozen=True, slots=True)
class NameProposal:
    """What a model would be called.

    Args:
        model: The merged model.
        slug: Its simple name as a file's name.
        display: Its simple name as people read it.
        clashing: Other models that would be called the same.
        chosen: Whether the options choose it.
    """

    model: Model
    slug: str
    display: str
    clashing: tuple[str, ...] = ()
    chosen: bool = True

    @property
    def name(self) -> str:
        """The model's present name."""
        return text(self.model, "name")


@dataclass(frozen=True, slots=True)
class _Named:
    """A chosen model with what it is called from then on."""

    proposal: NameProposal
    name: str
    display: str


def propose(models: Iterable[Model], options: SlugOptions) -> list[NameProposal]:
    """Return what each current model of a known family would be called, with those of the same name.

    Whoever is chosen, all models count for clashes, so that a later choice of the others finds the same names.
    """
    filters = compile_testing_patterns(options.patterns)
    named = []
    groups: dict[str, list[str]] = defaultdict(list)
    for model in models:
        if model.get("deprecated") is not True and text(model, "family"):
            kind = options.stores if text(model, "backend") in STORE_PROVIDERS else options.others
            chosen = kind and (not options.tests_only or is_testing(model, filters))
            slug, display = simple_names(model)
            groups[fold(slug)].append(text(model, "name"))
            named.append(NameProposal(model, slug, display, chosen=chosen))
    return [
        replace(one, clashing=tuple(name for name in groups[fold(one.slug)] if name != one.name))
        for one in sorted(named, key=lambda one: one.name)
    ]


def apply_slugs(registry: RegistryState, models: Iterable[Model], options: SlugOptions) -> list[EntryChange | Kept]:
    """Return the changes that give models their simple names.

    A manifest says the display name of what it declares; where the name changes, its file does, and it remembers the
    former one, so that other hosts follow without a download.
    """
    proposals = propose(models, options)
    theirs = {one.name: why for one in proposals if one.chosen and (why := _not_ours(registry, one.name))}
    named, refused = _names(registry, [one for one in proposals if one.name not in theirs], options)
    if refused and not options.skip:
        raise SlugCollisionError(
            "not every model can have a simple name: " + "; ".join(f"{one.name}: {one.why}" for one in refused),
            remedy="--disambiguate backend,format,producer may tell them apart; --allow-skip-on-collision leaves them.",
        )
    filters = compile_testing_patterns(options.patterns)
    changes = [_change(one, registry, hidden=is_testing(one.proposal.model, filters), filters=filters) for one in named]
    kept = [*refused, *(Kept(name, why) for name, why in theirs.items())]
    return sorted([*filter(None, changes), *kept], key=lambda one: one.name)


def _not_ours(registry: RegistryState, name: str) -> str | None:
    if name in registry.blocked:
        return "what is wrong with it must be put right first"
    manifest = registry.manifests.get(name)
    return None if manifest is None or registry.applies(manifest) else f"{manifest.file} declares it for other hosts"


def _names(
    registry: RegistryState, proposals: Iterable[NameProposal], options: SlugOptions
) -> tuple[list[_Named], list[Kept]]:
    """Return the chosen models under names of their own, and those that cannot have one."""
    named: list[_Named] = []
    refused: list[Kept] = []
    groups: dict[str, list[NameProposal]] = defaultdict(list)
    for proposal in proposals:
        groups[fold(proposal.slug)].append(proposal)
    for group in groups.values():
        extras = _told_apart(group, options.disambiguate)
        for proposal in group:
            if not proposal.chosen:
                continue
            if proposal.name not in extras:
                others = ", ".join(proposal.clashing)
                refused.append(Kept(proposal.name, f"{proposal.slug} would be {others} too"))
                continue
            slug, display = simple_names(proposal.model, extra=extras[proposal.name])
            same = fold(slug) == fold(proposal.name)
            named.append(_Named(proposal, proposal.name if same or not options.rename else slug, display))
    return _free(registry, named, refused)


def _told_apart(group: Sequence[NameProposal], strategies: Iterable[Disambiguation]) -> dict[str, str | None]:
    """Return what is added to each name of a group of the same; a model that nothing tells apart is left out."""
    if len(group) == 1:
        return {group[0].name: None}
    extras = {proposal.name: "" for proposal in group}
    for strategy in strategies:
        if strategy is not Disambiguation.NONE and len(set(extras.values())) < len(extras):
            tokens = {proposal.name: text(proposal.model, _TOKENS[strategy]).lower() for proposal in group}
            if len(set(tokens.values())) == 1:
                continue  # what all of them are tells none from another
            extras = {name: "-".join(filter(None, (extra, tokens[name]))) for name, extra in extras.items()}
    uses = Counter(extras.values())
    return {name: extra for name, extra in extras.items() if extra and uses[extra] == 1}


_TOKENS: Final = {
    Disambiguation.BACKEND: "backend",
    Disambiguation.FORMAT: "download_format",
    Disambiguation.PRODUCER: "producer",
}


def _free(registry: RegistryState, named: list[_Named], refused: list[Kept]) -> tuple[list[_Named], list[Kept]]:
    """Refuse the new names that another model has, had, or is to get too."""
    holders = {fold(name): name for name in (*registry.entries, *registry.manifests, *registry.blocked)}
    for manifest in registry.manifests.values():
        holders |= {fold(old): manifest.name for old in manifest.previously if fold(old) not in holders}
    wanted = Counter(fold(one.name) for one in named)
    free: list[_Named] = []
    for one in named:
        old = one.proposal.name
        holder = holders.get(fold(one.name), old)
        problem = name_problem(f"{FOLDER}/{one.name}.yaml")
        if one.name == old or (holder == old and wanted[fold(one.name)] == 1 and problem is None):
            free.append(one)
        elif problem is not None:
            refused.append(Kept(old, f"{one.name} can be no name: {problem.message}"))
        else:
            others = [holder] if holder != old else [o.proposal.name for o in named if fold(o.name) == fold(one.name)]
            refused.append(Kept(old, f"{one.name} is taken by {', '.join(name for name in others if name != old)}"))
    return free, refused


def _change(one: _Named, registry: RegistryState, *, hidden: bool, filters: re.Pattern[str]) -> EntryChange | None:
    old, model = one.proposal.name, one.proposal.model
    entry, manifest = registry.entries.get(old), registry.manifests.get(old)
    before = text(model, "display_name")
    differences = [f"display_name:{before or ABSENT}→{one.display}"] if before != one.display else []
    renamed = one.name != old
    if renamed:
        differences.append(f"name:{old}→{one.name}")
    if not differences:
        return None
    # A test's entry is known as such by its names; under new ones it must not appear among the real ones.
    marked = hidden and not is_testing_name(one.name, display=one.display, filters=filters)
    if entry is not None:
        changed = renamed_entry(entry, one.name) if renamed else entry
        changed = changed if manifest is not None else _told(changed, one.display, testing=marked)
        entry = changed if changed is entry else as_packed(changed)
    edit = _manifest_edit(manifest, one, before, testing=marked) if manifest is not None else None
    why = f"becomes {one.name}" if renamed else "gets a simple display name"
    return EntryChange(old, EntryAction.RENAME if renamed else EntryAction.CHANGE, why, tuple(differences), entry, edit)


def _told(entry: Entry, display: str, *, testing: bool) -> Entry:
    metadata = {"metadata": {**entry.part("metadata"), "testing": True}} if testing else {}
    return replace(entry, fields={**entry.fields, "display_name": display, **metadata})


def renamed_entry(entry: Entry, name: str) -> Entry:
    """Return an entry under another name; clients that asked for the model by its name ask for the new one."""
    served = entry.text("served_model_id")
    fields = {**entry.fields, "name": name, "served_model_id": name if served in {None, "", entry.name} else served}
    return Entry(name, fields, entry.files)


def _manifest_edit(manifest: Manifest, one: _Named, before: str, *, testing: bool) -> ManifestEdit:
    changes: dict[tuple[str, ...], JsonValue] = {}
    if before != one.display:
        changes["display_name",] = one.display
    if testing:
        changes["metadata", "testing"] = True
    if one.name == manifest.name:
        return ManifestEdit(manifest.file, manifest.file, changes)
    changes["previously",] = [*(old for old in manifest.previously if fold(old) != fold(one.name)), manifest.name]
    suffix = manifest.file.rpartition(".")[2]
    return ManifestEdit(manifest.file, f"{FOLDER}/{one.name}.{suffix}", changes)


def previewed(proposals: Iterable[NameProposal]) -> Iterator[Mapping[str, object]]:
    """Yield what a preview says of each chosen model, as plain values."""
    for one in proposals:
        if one.chosen:
            yield {
                "name": one.name,
                "family": text(one.model, "family") or None,
                "quantization": text(one.model, "quantization") or None,
                "slug": one.slug,
                "display_name": one.display,
                "clashes_with": list(one.clashing),
            }
