"""A registry's commits as the page shows them, and which of them made each line of a manifest what it is."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from imageworks.page.values import SourcePart, Step, StepChange
from imageworks.registry.documents.document import DocumentError
from imageworks.registry.documents.yaml_spans import parse_spans
from imageworks.registry.history.compare import ModelChanges
from imageworks.registry.history.model import ChangeKind, HistoryCommit, ModelChange, RecordKind
from imageworks.registry.history.reader import HistoryReader

LONGEST: Final = 160
"""Characters of a value that are shown."""
MOST_FIELDS: Final = 40
MOST_MODELS: Final = 50
"""Fields of a change and models of a commit that are shown."""
DIGITS: Final = 12
_EDITORS: Final = "# yaml-language-server:"
"""A first line that is for editors alone."""


class Setters(NamedTuple):
    """Which commits made a model's manifest what it is, of those that were read.

    Args:
        fields: Which commit last set a field, by its dotted keys.
        whole: Whether they say so of every field, because the one is among them that declared the model.
    """

    fields: dict[str, Step]
    whole: bool = False


Blame = Mapping[str, Setters]
"""By the model's present name."""


class _Lesson(NamedTuple):
    """What a commit says of a manifest, as far as blame goes.

    Args:
        name: The model's name then.
        previous_name: The one before, where it got another.
        fields: What it set.
        declares: Whether it declared the model.
    """

    name: str
    previous_name: str | None
    fields: tuple[str, ...]
    declares: bool


class Past:
    """Reads what the newest commits did, each once: a server asks again with every new one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[Step, tuple[_Lesson, ...]]] = {}

    def read(self, reader: HistoryReader, most: int) -> tuple[tuple[Step, ...], bool, Blame]:
        """Return the newest commits that touched models, whether there are more, and who set which declared field."""
        records = list(islice(reader.registry_records(), most + 1))  # a walk holds what libgit2 reads of packs
        known, self._known = self._known, {}
        blame = _Blame()
        for record in records[:most]:
            key = (record.id, *record.parents)  # a shallow clone that is deepened shows more of its last commit
            self._known[key] = one = known.get(key) or _read(reader.registry_step(record))
            blame.learn(*one)
        steps = tuple(step for step, _ in self._known.values() if step.changes)
        return steps, len(records) > most, blame.found


def _read(one: HistoryCommit) -> tuple[Step, tuple[_Lesson, ...]]:
    lessons = (
        _Lesson(
            change.name,
            change.previous_name,
            tuple(changed.field for changed in change.fields),
            change.kind is ChangeKind.DECLARED,
        )
        for change in _of_manifests(one.changes)
    )
    return step_of(one), tuple(lessons)


def step_of(one: HistoryCommit) -> Step:
    """Return a commit as the page shows it."""
    record = one.record
    changes = tuple(change_of(change) for change in one.changes[:MOST_MODELS])
    more = len(one.changes) - len(changes)
    return Step(record.id, record.when, record.author, record.subject, changes, more)


def change_of(change: ModelChange) -> StepChange:
    """Return what became of a model as the page shows it."""
    before, after = change.size
    fields = tuple((one.field, _shown(one.before), _shown(one.after)) for one in change.fields[:MOST_FIELDS])
    plain = change.kind in {ChangeKind.CHANGED, ChangeKind.UPDATED}
    return StepChange(
        name=change.name,
        kind=change.kind.value,
        host=change.host or "",
        text=_words(change),
        fields=fields if plain else (),
        bytes=(after or 0) - (before or 0) if change.layer is RecordKind.ENTRY else 0,
    )


def _words(change: ModelChange) -> str:
    old, new = ((one or "")[:DIGITS] for one in change.revision)
    moved = f"{old} → {new}" if old and new and old != new else new
    files = change.files
    counts = ((files.added, "added"), (files.changed, "changed"), (files.removed, "removed"))
    told = [
        change.problem,
        f"was {change.previous_name}" if change.previous_name else "",
        change.source or "",
        moved,
        *(f"{len(paths)} files {word}" for paths, word in counts if paths),
    ]
    return ", ".join(one for one in told if one)


def _shown(value: object) -> str:
    said = "" if value is None else value if isinstance(value, str) else str(value)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


class _Blame:
    """Learns who set what from commits, newest first; each may go then, as one may have twenty thousand files."""

    def __init__(self) -> None:
        self.found: dict[str, Setters] = {}
        self._now: dict[str, str] = {}  # what a model that had a name then is called now

    def learn(self, step: Step, lessons: Iterable[_Lesson]) -> None:
        """Learn from a commit."""
        for lesson in lessons:
            name = self._now.get(lesson.name, lesson.name)
            if lesson.previous_name:
                self._now[lesson.previous_name] = name
            setters = self.found.get(name) or Setters({})
            for changed in lesson.fields:
                setters.fields.setdefault(changed, step)
            self.found[name] = setters._replace(whole=setters.whole or lesson.declares)


def _of_manifests(changes: Sequence[ModelChange]) -> Iterable[ModelChange]:
    if isinstance(changes, ModelChanges):  # a commit that installed a thousand models has their entries too
        return changes.of(RecordKind.MANIFEST)
    return (change for change in changes if change.layer is RecordKind.MANIFEST)


def manifest_parts(name: str, file: str, data: bytes, blame: Blame) -> tuple[SourcePart, ...]:
    """Return a manifest in parts, each but the last up to a line on which another commit set a value than before."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines()
    shown = 1 if text.startswith(_EDITORS) else 0
    parts, last = [], ""
    for number, step in sorted(_set_by(lines, file, data, blame.get(name) or Setters({})).items()):
        if number >= shown and step.commit != last:
            told = "\n".join(lines[shown : number + 1])
            parts.append(SourcePart(told, step.commit, step.when, step.author))
            shown, last = number + 1, step.commit
    rest = [SourcePart("\n".join(lines[shown:]))] if shown < len(lines) else []
    return (*parts, *rest)


def _set_by(lines: Sequence[str], file: str, data: bytes, setters: Setters) -> dict[int, Step]:
    """Return the newest commit that set a value on a line, by the line's number from 0."""
    commits = {step.commit: step for step in setters.fields.values()}
    if setters.whole and len(commits) == 1:  # most are so, and to find where each value stands takes half a millisecond
        first = next((number for number, line in enumerate(lines) if line.strip() and line[0] not in "#-%"), 0)
        return {first: next(iter(commits.values()))}
    try:
        spans = parse_spans(data, file)
    except DocumentError:
        return {}
    text = data.decode("utf-8", "replace")
    found: dict[int, Step] = {}
    for pointer, span in spans.values.items():
        step = setters.fields.get(_key(pointer))
        if step is None:
            continue
        at = text.count("\n", 0, span.start)
        if at not in found or found[at].when < step.when:
            found[at] = step
    return found


def _key(pointer: Sequence[str | int]) -> str:
    """Return the field that a value belongs to: lists are values as a whole."""
    keys: list[str] = []
    for one in pointer:
        if isinstance(one, int):
            break
        keys.append(one)
    return ".".join(keys)
