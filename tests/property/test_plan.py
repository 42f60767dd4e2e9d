"""Laws of the planner: applied plans leave nothing to do, order means nothing, documents are the same for the same."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.plan.facts import (
    Blocker,
    DeclaredModel,
    FileState,
    HostState,
    PruneOptions,
    ResolvedSource,
    TargetContents,
    TargetFolder,
    UndeclaredModel,
)
from imageworks.plan.plan import Action, Change, Reason
from imageworks.providers.record import compose_entry, emptied_entry, moved_entry
from imageworks.reconcile.planner import make_plan
from imageworks.registry.documents.schema import check
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.manifests.manifest import Manifest, Prune
from support.plans import FILES, NOW, A, B, entry, manifest, observed, place, upstream

VERSIONS: Mapping[str, Mapping[str, bytes]] = {
    A: FILES,
    B: {"config.json": b'{"b": 1}', "model.safetensors": FILES["model.safetensors"], "extra.json": b"{}"},
}
ROOTS = (Path("/weights"), Path("/second"))


@st.composite
def manifests(draw: st.DrawFn, name: str) -> Manifest:
    source = {"huggingface": f"acme/{name}", "revision": draw(st.sampled_from([A, B]))}
    state = draw(st.sampled_from(["present", "present", "present", "absent", "suspended"]))
    extra = draw(st.fixed_dictionaries({}, optional={"quantization": st.sampled_from(["q4", "q8"])}))
    return manifest(name, source=source, state=state, **extra)


@st.composite
def cases(draw: st.DrawFn, name: str) -> DeclaredModel:
    """Draw any way in which one model can stand, with everything known that gathering would have found."""
    declared = draw(manifests(name))
    root = draw(st.sampled_from(ROOTS))
    target = place(f"acme/{name}", root=root, filesystem=str(root))
    case = DeclaredModel(declared, place=target, upstream=offered(declared))
    if draw(st.booleans()):
        before = draw(manifests(draw(st.sampled_from([name, f"old-{name}"]))))
        contents = VERSIONS[str(revision_of(before))]
        there = replace(target, root=draw(st.sampled_from(ROOTS)))
        there = replace(there, path=there.root / f"acme/{name}")
        record = entry(
            before,
            contents=contents,
            at=there,
            commit=revision_of(before),
            acquisition=draw(st.sampled_from(["installed", "adopted"])),
        )
        record = Entry(
            record.name,
            {
                **record.fields,
                "resolved": {"repo": f"acme/{name}", "revision": revision_of(before), "ref": revision_of(before)},
            },
            record.files,
        )
        states = st.sampled_from([FileState.MISSING, FileState.SIZE, FileState.DIGEST])
        damage = draw(st.dictionaries(st.sampled_from([f.path.replace(".", "_") for f in record.files]), states))
        case = replace(
            case,
            entry=record,
            observation=observed(record, **damage),
            previous_name=record.name if record.name != name else None,
        )
    if case.entry is None or case.entry.path != target.path:
        wanted = offered(declared).files
        lying = draw(st.sets(st.sampled_from([file.path for file in wanted])))
        differing = draw(st.sets(st.sampled_from([file.path for file in wanted]), max_size=1)) - lying
        case = replace(
            case,
            occupant=TargetContents(
                exists=bool(lying | differing), matching=frozenset(lying), differing=frozenset(differing)
            ),
        )
    return case


def revision_of(declared: Manifest) -> str | None:
    source = declared.fields["source"]
    assert isinstance(source, Mapping)
    return str(source["revision"])


def offered(declared: Manifest) -> ResolvedSource:
    """Return what the hub offers at the declared commit."""
    commit = revision_of(declared)
    return upstream(VERSIONS[str(commit)], commit=commit, repo=f"acme/{declared.name}")


@st.composite
def situations(draw: st.DrawFn) -> HostState:
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True))
    drawn = tuple(draw(cases(name)) for name in sorted(names))
    gone = draw(st.lists(st.sampled_from(["x", "y", "z"]), unique=True))
    orphans = tuple(
        UndeclaredModel(
            entry=(record := entry(manifest(name), at=place(f"acme/{name}"))),
            observation=observed(record),
            prune=draw(st.sampled_from([None, *Prune])),
            excluded=draw(st.booleans()),
        )
        for name in sorted(gone)
    )
    return HostState(
        host="testhost",
        revision=A,
        cases=drawn,
        orphans=orphans,
        declared=len(drawn),
        blocked=draw(st.sampled_from([{}, {"broken": Blocker(reason_invalid(), "models/broken.yaml:1:1: no")}])),
        free_bytes={str(root): (str(root), draw(st.sampled_from([500, 2500, 10**9]))) for root in ROOTS},
    )


def reason_invalid() -> Reason:
    return Reason.INVALID_MANIFEST


few = settings(max_examples=60, deadline=None)
prunings = st.builds(PruneOptions, st.booleans(), st.booleans(), st.booleans())


def applied(situation: HostState, changes: Mapping[str, Change]) -> HostState:
    """Return the situation in which every change was carried out, as apply.py does it, with values for the disk."""
    orphans = tuple(orphan for orphan in situation.orphans if orphan.entry.name not in changes)
    return replace(
        situation,
        cases=tuple(_after(case, changes.get(case.manifest.name)) for case in situation.cases),
        orphans=orphans,
    )


def _after(case: DeclaredModel, change: Change | None) -> DeclaredModel:
    if change is None or change.action is Action.BLOCKED:
        return case
    assert isinstance(case.place, TargetFolder)
    if change.action is Action.REMOVE:
        assert case.entry is not None
        record = emptied_entry(case.entry, case.manifest.name)
        return replace(case, entry=record, observation=None, previous_name=None)
    if change.action is Action.MOVE:
        assert case.entry is not None
        record = moved_entry(case.entry, case.manifest.name, case.place)
    else:
        assert isinstance(case.upstream, ResolvedSource)
        arrived = [ArtifactFile(file.path, file.size, file.digest.value) for file in case.upstream.files]
        record = compose_entry(case, case.place, arrived, {}, acquisition="installed", now=NOW)
    return replace(case, entry=record, observation=observed(record), previous_name=None, occupant=TargetContents())


@few
@given(situations(), prunings)
def test_a_plan_that_was_applied_leaves_nothing_to_do(situation: HostState, prune: PruneOptions) -> None:
    plan = make_plan(situation, prune)
    done = {change.name: change for change in plan.effective}
    again = make_plan(applied(situation, done), prune)
    blocked = {change.name for change in plan.changes if change.action is Action.BLOCKED}
    left = {change.name for change in again.effective}
    # What was blocked for want of room may fit now, and what was refused in bulk may be few enough now.
    assert left <= blocked


@few
@given(situations(), prunings, st.randoms(use_true_random=False))
def test_the_order_of_models_means_nothing(situation: HostState, prune: PruneOptions, order: random.Random) -> None:
    mixed = replace(
        situation,
        cases=tuple(order.sample(situation.cases, len(situation.cases))),
        orphans=tuple(order.sample(situation.orphans, len(situation.orphans))),
        free_bytes=dict(order.sample(list(situation.free_bytes.items()), len(situation.free_bytes))),
    )
    assert make_plan(mixed, prune) == make_plan(situation, prune)


@few
@given(situations(), prunings)
def test_the_same_situation_gives_the_same_valid_document(situation: HostState, prune: PruneOptions) -> None:
    first, second = (make_plan(situation, prune).document() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert check("plan", json.loads(json.dumps(first))) == []


@few
@given(situations(), prunings)
def test_only_files_that_an_entry_of_ours_owns_are_dropped(situation: HostState, prune: PruneOptions) -> None:
    """I5."""
    records = {case.manifest.name: case.entry for case in situation.cases}
    records |= {orphan.entry.name: orphan.entry for orphan in situation.orphans}
    for change in make_plan(situation, prune).effective:
        record = records[change.name]
        owned = {file.path for file in record.files} if record is not None else set()
        assert set(change.drop) <= owned
        if change.action is Action.REMOVE and change.drop:
            assert record is not None
            assert record.installed_by_us


@few
@given(situations(), prunings)
def test_every_wanted_file_is_fetched_reused_or_kept(situation: HostState, prune: PruneOptions) -> None:
    wanted = {
        case.manifest.name: {file.path for file in case.upstream.files}
        for case in situation.cases
        if isinstance(case.upstream, ResolvedSource)
    }
    for change in make_plan(situation, prune).effective:
        if change.action in {Action.INSTALL, Action.UPDATE, Action.REPAIR, Action.ADOPT}:
            assert set(change.fetch) | set(change.reuse) <= wanted[change.name]
            assert len(change.fetch) + len(change.reuse) + change.keep == len(wanted[change.name])


@few
@given(situations(), prunings)
def test_no_filesystem_is_ever_planned_full(situation: HostState, prune: PruneOptions) -> None:
    for total in make_plan(situation, prune).filesystems:
        assert total.free_after >= 0
