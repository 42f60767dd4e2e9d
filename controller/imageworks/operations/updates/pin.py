"""Decide which manifests get another pin, and write it: `pin` and `update`. Nothing but pins is ever changed."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from imageworks.files.artifact import LinkError
from imageworks.foundation.errors import ImageworksError
from imageworks.operations.updates.check_upstream import ask_all, open_sources
from imageworks.plan.updates import Age, Followed, ModelUpdate, UpdateStatus
from imageworks.providers.dispatch import provider_of
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.lookup import known_names
from imageworks.registry.manifests.manifest import (
    Manifest,
    State,
)
from imageworks.registry.manifests.pins import Pin, repin
from imageworks.registry.version_lock import lock_of

SHOWN_IN_TITLE: Final = 3
_HEX: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class _WantedPin(NamedTuple):
    """What is needed to move a pin: whole models are not to stand beside the manifests that come of ten thousand."""

    file: str
    before: str
    pin: Pin


_Wanted = dict[str, _WantedPin]
_Why = dict[str, str]


@dataclass(frozen=True, slots=True)
class PinChange:
    """A pin that moves.

    Args:
        name: The variant name.
        file: Its manifest.
        before: The revision that the manifest says now.
        after: The commit that it will say.
        ref: The branch or tag that it is taken from.
        data: The manifest's new bytes.
    """

    name: str
    file: str
    before: str
    after: str
    ref: str
    data: bytes

    @property
    def line(self) -> str:
        """The move in one line."""
        return f"{self.name}: {short(self.before)} -> {short(self.after)}" + (f" ({self.ref})" if self.ref else "")

    def document(self) -> dict[str, object]:
        """Return it in JSON's data model."""
        return {"name": self.name, "file": self.file, "from": self.before, "to": self.after, "ref": self.ref}


@dataclass(frozen=True, slots=True)
class Moves:
    """What is moved, and what is not.

    Args:
        made: The pins that move, by name.
        refused: Why a model that should move does not, by name.
        left: Why there is nothing to do for a model that was named.
    """

    made: tuple[PinChange, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def edits(self, verb: str) -> Edits:
        """Return what is committed."""
        names = [move.name for move in self.made]
        shown = ", ".join(names) if len(names) <= SHOWN_IN_TITLE else f"{len(names)} models"
        return Edits(
            manifests={move.file: move.data for move in self.made},
            title=f"{verb} {shown}",
            lines=tuple(move.line for move in self.made),
        )


def pin_today(
    ledger: RecordSession, names: Collection[str], *, offline: bool, aside: bool, told: Callable[[str], None]
) -> Moves:
    """Return the pins that branches and tags become today; see `pin`."""
    sources = open_sources(ledger, offline=offline, told=told)
    return pin(ledger, names, sources, datetime.now(UTC).date(), aside=aside)


def outdated_now(
    ledger: RecordSession, names: Collection[str], *, offline: bool, days: int, told: Callable[[str], None]
) -> list[ModelUpdate]:
    """Return what has moved upstream by now, of what is at least so many days old there."""
    return outdated(ledger, names, open_sources(ledger, offline=offline, told=told), _age(days))


def update_now(
    ledger: RecordSession, names: Collection[str], *, days: int, aside: bool, told: Callable[[str], None]
) -> tuple[Moves, list[ModelUpdate]]:
    """Return the pins that move along to what is upstream by now, with what moves; see `update`."""
    return update(ledger, names, open_sources(ledger, offline=False, told=told), _age(days), aside=aside)


def _age(days: int) -> Age:
    return Age(timedelta(days=days), datetime.now(UTC))


def short(revision: str | None) -> str:
    """Return a commit or digest as people compare it; a name as it is."""
    text = (revision or "").removeprefix("sha256:")
    return text[:12] if _HEX.fullmatch(text) else text


def pin(ledger: RecordSession, names: Collection[str], sources: SourceResolver, day: date, *, aside: bool) -> Moves:
    """Return the pins of models that have none yet: what is installed here, else what their branch is at."""
    wanted, refused, left = _first_pins(ledger, names, sources, day)
    moves = _moves(ledger, wanted, aside=aside)
    return Moves(moves.made, {**refused, **moves.refused}, left)


def outdated(ledger: RecordSession, names: Collection[str], sources: SourceResolver, age: Age) -> list[ModelUpdate]:
    """Return how models stand against their sources, by name."""
    subjects, others = _subjects(ledger, names)
    return sorted([*ask_all(sources, subjects, age), *others], key=lambda one: one.name)


def update(
    ledger: RecordSession, names: Collection[str], sources: SourceResolver, age: Age, *, aside: bool
) -> tuple[Moves, list[ModelUpdate]]:
    """Return the pins that move to what their branch is at, and how all the models stand."""
    updates, wanted, refused, left = _newer_pins(ledger, names, sources, age)
    moves = _moves(ledger, wanted, aside=aside)
    return Moves(moves.made, {**refused, **moves.refused}, left), updates


def _first_pins(
    ledger: RecordSession, names: Collection[str], sources: SourceResolver, day: date
) -> tuple[_Wanted, _Why, _Why]:
    """Return the pins that are wanted, why models are refused, and why they are left alone."""
    subjects, others = _subjects(ledger, names)
    refused, left = _told(others)
    left |= {one.manifest.name: f"is pinned to {short(one.commit)}" for one in subjects if one.pinned}
    unpinned = [one for one in subjects if not one.pinned]
    wanted = {one.manifest.name: _wanted(one, one.commit, day) for one in unpinned if one.commit is not None}
    try:
        for one in (one for one in subjects if one.commit is None):
            try:
                newest = provider_of(one.manifest, None).newest(one, sources)
                wanted[one.manifest.name] = _wanted(one, newest, day)
            except LinkError as error:
                refused[one.manifest.name] = error.message
    finally:
        sources.close()
    return wanted, refused, left


def _newer_pins(
    ledger: RecordSession, names: Collection[str], sources: SourceResolver, age: Age
) -> tuple[list[ModelUpdate], _Wanted, _Why, _Why]:
    """Return how models stand, the pins that are wanted, why models are refused, and why they are left alone."""
    subjects, others = _subjects(ledger, names)
    updates = ask_all(sources, subjects, age)
    by_name = {one.manifest.name: one for one in subjects}
    refused, left = _told(others)
    wanted: _Wanted = {}
    for one in updates:
        if one.standing is UpdateStatus.UNKNOWN:
            refused[one.name] = f"could not be asked: {one.message}"
        elif one.standing is not UpdateStatus.OUTDATED or one.held or one.latest is None:
            left[one.name] = one.message or f"{one.ref or one.repo} is still at {short(one.commit)}"
        elif lock_of(by_name[one.name].manifest, ledger.registry.entries.get(one.name)).locked:
            left[one.name] = "version_lock holds it; unlock it to let it move"
        else:
            wanted[one.name] = _wanted(by_name[one.name], one.latest, age.now.date())
    return updates, wanted, refused, left


def _wanted(followed: Followed, commit: str, day: date) -> _WantedPin:
    pin = Pin(commit, followed.ref, day, branch=followed.notes_branch)
    return _WantedPin(followed.manifest.file, followed.said, pin)


def _subjects(ledger: RecordSession, names: Collection[str]) -> tuple[list[Followed], list[ModelUpdate]]:
    """Return the models that follow something, and how the others stand."""
    manifests = ledger.registry.manifests
    names = known_names(ledger.registry, names)
    for name in names:
        if name in ledger.registry.blocked:
            raise ImageworksError(ledger.registry.blocked[name][0].render())
        if name not in manifests:
            raise ImageworksError(
                f"no manifest declares {name!r}", remedy=f"`imageworks-models promote {name}` writes one."
            )
    subjects: list[Followed] = []
    others: list[ModelUpdate] = []
    for name, manifest in sorted(manifests.items()):
        if names and name not in names:
            continue
        one = _followed(ledger, manifest)
        if isinstance(one, Followed):
            subjects.append(one)
        else:
            others.append(one)
    for name, (problem, *_) in {} if names else ledger.registry.blocked.items():
        others.append(ModelUpdate(name, problem.file, UpdateStatus.UNKNOWN, message=problem.render()))
    return subjects, others


def _told(others: Collection[ModelUpdate]) -> tuple[dict[str, str], dict[str, str]]:
    """Return why models that follow nothing are refused, where their manifests are invalid, and why left alone."""
    refused = {one.name: one.message for one in others if one.standing is UpdateStatus.UNKNOWN}
    return refused, {one.name: one.message for one in others if one.name not in refused}


def _followed(ledger: RecordSession, manifest: Manifest) -> Followed | ModelUpdate:
    """Return what a manifest follows, or how it stands where it follows nothing."""
    message: Followed | str = f"state: {manifest.state.value}"
    if manifest.state is State.PRESENT:
        entry = ledger.registry.entries.get(manifest.name)
        message = provider_of(manifest, None).follows(manifest, entry, lambda: ledger.committed(manifest.file) or b"")
    if isinstance(message, Followed):
        return message
    return ModelUpdate(manifest.name, manifest.file, UpdateStatus.NOT_FOLLOWED, message=message)


def _moves(ledger: RecordSession, wanted: _Wanted, *, aside: bool) -> Moves:
    made: dict[str, PinChange] = {}
    refused: dict[str, str] = {}
    for name, (file, before, pin) in wanted.items():
        if not aside and ledger.uncommitted(file):
            refused[name] = f"{file} has uncommitted changes; commit them or take them back first"
            continue
        try:
            data = repin(file, ledger.committed(file) or b"", pin)
        except ImageworksError as error:
            refused[name] = error.message
            continue
        made[name] = PinChange(name, file, before, pin.commit, pin.ref, data)
    return Moves(tuple(made[name] for name in sorted(_valid(ledger, made, refused))), refused)


def _valid(ledger: RecordSession, made: dict[str, PinChange], refused: dict[str, str]) -> Collection[str]:
    """Leave out, with why, what would make the registry invalid: quantizations that share a folder move together."""
    while made:
        after = ledger.declaring({move.file: move.data for move in made.values()})
        broken = [name for name in after.blocked if name not in ledger.registry.blocked]
        if not broken:
            break
        for name in [name for name in broken if name in made] or list(made):
            problem = after.blocked.get(name) or after.blocked[broken[0]]
            refused[name] = f"{problem[0].render()}; models that share a folder move together"
            del made[name]
    return made
