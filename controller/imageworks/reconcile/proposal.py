"""What a commit would do to a host, compared with another commit: for the comment on a pull request. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.reconcile.plan import Action, Change, Plan
from imageworks.reconcile.situation import Case, Situation, Upstream
from imageworks.registry.manifest import HuggingFaceSource, is_commit

_LINE: Final = re.compile(r":\d+:\d+:")
BRINGS: Final = frozenset({Action.INSTALL, Action.UPDATE, Action.ADOPT})


@dataclass(frozen=True, slots=True)
class Detail:
    """What a reviewer wants to know of one change.

    Args:
        revision: The commit before and after; before is what the base declares where nothing is installed.
        size: Bytes of the model before and after; ``None`` where they are not known.
        added: Files that are new.
        removed: Files that go.
        changed: Files with other bytes.
        license: The licence before and after.
        risky: Files that can run code and were not there before, each with how.
    """

    revision: tuple[str | None, str | None] = (None, None)
    size: tuple[int | None, int | None] = (None, None)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    license: tuple[str | None, str | None] = (None, None)
    risky: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host's plan, and which of it a pull request brings.

    Args:
        plan: Everything that the host would do.
        changes: Those changes that the base would not lead to as well.
        details: What there is to know of each of them, by name.
        base: The commit that it is compared with, if it is.
        pending: How many changes the base leads to as well.
        settled: Names of what the base would change and this commit does not.
        diagnostics: What is invalid, and is not in the base.
        notes: What else there is to say, and is not said of the base.
    """

    plan: Plan
    changes: tuple[Change, ...]
    details: Mapping[str, Detail] = field(default_factory=dict)
    base: str | None = None
    pending: int = 0
    settled: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to review."""
        return not self.changes and not self.settled and not self.diagnostics


def compare(
    plan: Plan,
    situation: Situation,
    *,
    base: str | None = None,
    before: Plan | None = None,
    earlier: Situation | None = None,
) -> HostPlan:
    """Return a plan with what sets it apart from another one of the same host.

    Args:
        plan: What the host would do.
        situation: What that plan was made from.
        base: The commit to compare with.
        before: What the host would do at that commit.
        earlier: What that plan was made from.
    """
    pending = {_key(change) for change in before.changes} if before is not None else set()
    changes = tuple(change for change in plan.changes if _key(change) not in pending)
    cases = {case.manifest.name: case for case in situation.cases}
    declared = {case.manifest.name: case for case in earlier.cases} if earlier is not None else {}
    still = {change.name for change in plan.changes}
    known = frozenset(before.diagnostics) if before is not None else frozenset()
    told = {_LINE.sub(":", note) for note in before.notes} if before is not None else set()
    return HostPlan(
        plan=plan,
        changes=changes,
        details={change.name: _detail(change, cases.get(change.name), declared.get(change.name)) for change in changes},
        base=base,
        pending=len(plan.changes) - len(changes),
        settled=tuple(change.name for change in before.changes if change.name not in still) if before else (),
        diagnostics=tuple(line for line in plan.diagnostics if line not in known),
        notes=tuple(line for line in plan.notes if _LINE.sub(":", line) not in told),
    )


def _key(change: Change) -> tuple[object, ...]:
    """Return what makes two changes the same; messages name lines, which move."""
    return (change.name, change.action, change.reason, change.revision, change.path, change.fetch, change.drop)


def _detail(change: Change, case: Case | None, declared: Case | None) -> Detail:
    entry = case.entry if case is not None else None
    upstream = case.upstream if case is not None and isinstance(case.upstream, Upstream) else None
    before, after = change.revision
    source = declared.manifest.source if declared is not None else None
    if before is None and isinstance(source, HuggingFaceSource) and is_commit(source.revision):
        before = source.revision
    recorded = {file.path: file for file in entry.files} if entry is not None else {}
    size = entry.size if entry is not None and entry.files else None
    if change.action is Action.REMOVE:
        known = change.bytes_freed or size
        return Detail(revision=(before, None), size=(known, None), removed=tuple(sorted(change.drop)))
    if upstream is None or case is None or change.action not in BRINGS:
        return Detail(revision=(before, after), size=(size, size))
    from imageworks.detect.safety import safety_of

    wanted = {file.path: file for file in upstream.files}
    risky = {one.path: one.reason for one in safety_of(wanted).files}
    was = {one.path for one in safety_of(recorded).files}
    old = entry.text("license") if entry is not None else None
    return Detail(
        revision=(before, after),
        size=(size, sum(file.size for file in upstream.files)),
        added=tuple(sorted(wanted.keys() - recorded.keys())),
        removed=tuple(sorted(recorded.keys() - wanted.keys())),
        changed=tuple(sorted({*change.fetch, *change.reuse} & wanted.keys() & recorded.keys())),
        license=(old, case.manifest.text("license") or upstream.license),
        risky=tuple((path, why) for path, why in sorted(risky.items()) if path not in was),
    )
