"""Decide which manifests get another pin, and write it: `pin` and `update`. Nothing but pins is ever changed."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from imageworks.errors import ImageworksError, UsageError
from imageworks.reconcile.decide import stands_in_ollama
from imageworks.reconcile.gather import known_names
from imageworks.reconcile.ledger import Edits, Ledger
from imageworks.reconcile.ollama_sight import DIGEST_PREFIX, recorded_name, same
from imageworks.reconcile.update_values import Age, Followed, ModelUpdate, Standing
from imageworks.reconcile.updates import Upstreams, ask_all
from imageworks.registry.entry import Entry
from imageworks.registry.manifest import HuggingFaceSource, Manifest, OllamaSource, State, is_commit
from imageworks.registry.pins import MAIN, Pin, noted_ref, repin
from imageworks.registry.version_lock import lock_of
from imageworks.transfer.files import LinkError

SHOWN_IN_TITLE: Final = 3
_HEX: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Move:
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

    made: tuple[Move, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def edits(self, verb: str) -> Edits:
        """Return what is committed.

        Args:
            verb: What the commit's subject begins with.
        """
        names = [move.name for move in self.made]
        shown = ", ".join(names) if len(names) <= SHOWN_IN_TITLE else f"{len(names)} models"
        return Edits(
            manifests={move.file: move.data for move in self.made},
            title=f"{verb} {shown}",
            lines=tuple(move.line for move in self.made),
        )


def short(revision: str | None) -> str:
    """Return a commit or digest as people compare it; a name as it is."""
    text = (revision or "").removeprefix(DIGEST_PREFIX)
    return text[:12] if _HEX.fullmatch(text) else text


def pin(ledger: Ledger, names: Collection[str], upstreams: Upstreams, day: date, *, aside: bool) -> Moves:
    """Return the pins of models that have none yet: what is installed here, else what their branch is at.

    Args:
        ledger: What is declared and recorded.
        names: The models; all when empty.
        upstreams: Whom to ask; closed in the end.
        day: Today.
        aside: Whether they are committed to another branch, so that edits in the work tree are in nobody's way.

    Raises:
        UsageError: A name is not declared, or its manifest is invalid.
    """
    subjects, others = _subjects(ledger, names)
    refused, left = _told(others)
    left |= {one.manifest.name: f"is pinned to {short(one.commit)}" for one in subjects if one.pinned}
    wanted = {one.manifest.name: (one, one.commit) for one in subjects if not one.pinned and one.commit is not None}
    try:
        for one in (one for one in subjects if one.commit is None):
            try:
                wanted[one.manifest.name] = (one, _newest(one, upstreams))
            except LinkError as error:
                refused[one.manifest.name] = error.message
    finally:
        upstreams.close()
    moves = _moves(ledger, wanted, day, aside=aside)
    return Moves(moves.made, {**refused, **moves.refused}, left)


def outdated(ledger: Ledger, names: Collection[str], upstreams: Upstreams, age: Age) -> list[ModelUpdate]:
    """Return how models stand against their sources, by name.

    Args:
        ledger: What is declared and recorded.
        names: The models; all when empty.
        upstreams: Whom to ask; closed in the end.
        age: How old a newer commit must be to count as an update.

    Raises:
        UsageError: A name is not declared, or its manifest is invalid.
    """
    subjects, others = _subjects(ledger, names)
    return sorted([*ask_all(upstreams, subjects, age), *others], key=lambda one: one.name)


def update(
    ledger: Ledger, names: Collection[str], upstreams: Upstreams, age: Age, *, aside: bool
) -> tuple[Moves, list[ModelUpdate]]:
    """Return the pins that move to what their branch is at, and how all the models stand.

    Args:
        ledger: What is declared and recorded.
        names: The models; all when empty.
        upstreams: Whom to ask; closed in the end.
        age: How old a newer commit must be to count as an update.
        aside: Whether they are committed to another branch, so that edits in the work tree are in nobody's way.

    Raises:
        UsageError: A name is not declared, or its manifest is invalid.
    """
    subjects, others = _subjects(ledger, names)
    updates = ask_all(upstreams, subjects, age)
    by_name = {one.manifest.name: one for one in subjects}
    refused, left = _told(others)
    wanted = {}
    for one in updates:
        if one.standing is Standing.UNKNOWN:
            refused[one.name] = f"could not be asked: {one.message}"
        elif one.standing is not Standing.OUTDATED or one.held or one.latest is None:
            left[one.name] = one.message or f"{one.ref or one.repo} is still at {short(one.commit)}"
        elif lock_of(by_name[one.name].manifest, ledger.registry.entries.get(one.name)).locked:
            left[one.name] = "version_lock holds it; unlock it to let it move"
        else:
            wanted[one.name] = (by_name[one.name], one.latest)
    moves = _moves(ledger, wanted, age.now.date(), aside=aside)
    return Moves(moves.made, {**refused, **moves.refused}, left), updates


def _subjects(ledger: Ledger, names: Collection[str]) -> tuple[list[Followed], list[ModelUpdate]]:
    """Return the models that follow something, and how the others stand."""
    manifests = ledger.registry.manifests
    names = known_names(ledger.registry, names)
    for name in names:
        if name in ledger.registry.blocked:
            raise UsageError(ledger.registry.blocked[name][0].render())
        if name not in manifests:
            raise UsageError(f"no manifest declares {name!r}", remedy=f"`imageworks-models promote {name}` writes one.")
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
        others.append(ModelUpdate(name, problem.file, Standing.UNKNOWN, message=problem.render()))
    return subjects, others


def _told(others: Collection[ModelUpdate]) -> tuple[dict[str, str], dict[str, str]]:
    """Return why models that follow nothing are refused, where their manifests are invalid, and why left alone."""
    refused = {one.name: one.message for one in others if one.standing is Standing.UNKNOWN}
    return refused, {one.name: one.message for one in others if one.name not in refused}


def _followed(ledger: Ledger, manifest: Manifest) -> Followed | ModelUpdate:
    """Return what a manifest follows, or how it stands where it follows nothing."""
    source = manifest.source
    entry = ledger.registry.entries.get(manifest.name)
    if manifest.state is State.PRESENT and isinstance(source, OllamaSource) and source.modelfile is None:
        installed = entry is not None and stands_in_ollama(entry) and same(recorded_name(entry), source.name)
        commit = f"{DIGEST_PREFIX}{source.digest}" if source.digest else entry.revision if entry and installed else None
        return Followed(manifest, source, "", source.digest is not None, commit, entry)
    if manifest.state is not State.PRESENT or not isinstance(source, HuggingFaceSource):
        label = source.label if source is not None else "no source"
        message = f"state: {manifest.state.value}" if manifest.state is not State.PRESENT else f"{label} has no pin"
        return ModelUpdate(manifest.name, manifest.file, Standing.NOT_FOLLOWED, message=message)
    if not is_commit(source.revision):
        return Followed(manifest, source, source.revision, False, _installed(entry, source), entry)  # noqa: FBT003
    noted = noted_ref(manifest.file, ledger.committed(manifest.file) or b"") if source.branch is None else None
    return Followed(manifest, source, source.branch or noted or MAIN, True, source.revision, entry)  # noqa: FBT003


def _newest(followed: Followed, upstreams: Upstreams) -> str:
    """Return what a name that is followed leads to now."""
    if isinstance(followed.source, HuggingFaceSource):
        return upstreams.hub().resolve(followed.repo, followed.ref).commit
    found = upstreams.ollama().upstream(followed.repo)
    if found is None:
        raise LinkError(f"{followed.repo}: its registry has no such model", reason="ollama-not-found")
    return f"{DIGEST_PREFIX}{found.digest}"


def _installed(entry: Entry | None, source: HuggingFaceSource) -> str | None:
    """Return the commit of a branch that is installed here; ``None`` when that is not what is declared."""
    if entry is None or not entry.files or entry.ref != source.revision or not _same_repo(entry, source):
        return None
    return entry.revision


def _same_repo(entry: Entry, source: HuggingFaceSource) -> bool:
    names = (entry.repo, entry.part("metadata").get("source_repo"))
    return source.repo.lower() in {str(name).lower() for name in names if name}


def _moves(ledger: Ledger, wanted: Mapping[str, tuple[Followed, str]], day: date, *, aside: bool) -> Moves:
    made: dict[str, Move] = {}
    refused: dict[str, str] = {}
    for name, (one, commit) in wanted.items():
        file = one.manifest.file
        if not aside and ledger.uncommitted(file):
            refused[name] = f"{file} has uncommitted changes; commit them or take them back first"
            continue
        source = one.source
        unsaid = isinstance(source, HuggingFaceSource) and source.branch is None
        before = source.revision if isinstance(source, HuggingFaceSource) else source.digest or "no digest"
        branch = unsaid and not one.pinned and one.ref != MAIN
        pin = Pin(commit, one.ref, day, branch=branch)
        try:
            data = repin(file, ledger.committed(file) or b"", pin)
        except ImageworksError as error:
            refused[name] = error.message
            continue
        made[name] = Move(name, file, before, commit, one.ref, data)
    return Moves(tuple(made[name] for name in sorted(_valid(ledger, made, refused))), refused)


def _valid(ledger: Ledger, made: dict[str, Move], refused: dict[str, str]) -> Collection[str]:
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
