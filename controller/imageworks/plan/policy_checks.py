"""What the registry's policies say of a plan: what may not come, and what is here against them. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from imageworks.plan.facts import Blocker, DeclaredModel, HostState, ResolvedSource
from imageworks.plan.plan import Action, Change, Reason
from imageworks.registry.documents.diagnostic import Diagnostic, whole_file
from imageworks.registry.documents.document import Pointer
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, State
from imageworks.registry.settings.licenses import contradiction, contradicts
from imageworks.registry.settings.policies import (
    LICENSES,
    Policies,
    Policy,
    Violation,
    declared_violations,
    license_violations,
    renamed_violations,
)

if TYPE_CHECKING:
    from imageworks.detection.formats.pickles import Content
    from imageworks.registry.entries.entry import Entry

BRINGS: Final = frozenset({Action.INSTALL, Action.UPDATE, Action.ADOPT})
CUSTOM_CODE: Final = "custom_code"
"""The hub's tag of a repository whose config asks to import its code."""
SHOWN: Final = 3
_SOURCE: Final[Pointer] = ("source",)
_EXCEPT: Final = "or add an exception with an end under `policies` in registry.yaml"
NO_PICKLE: Final = f"choose safetensors with `format`, leave it out with `exclude`, {_EXCEPT}"


def policy_obstacle(case: DeclaredModel, change: Change, situation: HostState) -> Blocker | None:
    """Return why a model may not come, or ``None`` when it may."""
    # A repair counts: an entry, which a request may write too, is no proof that anything was here.
    found = _standing(case, change, situation) if change.action in {*BRINGS, Action.REPAIR} else []
    if not found:
        return None
    reason = Reason.LICENSE_DENIED if found[0].policy in LICENSES else Reason.POLICY_VIOLATED
    return Blocker(reason, "; ".join(_told(_located(case, violation, situation)) for violation in found))


def within_host_limit(changes: Sequence[Change], situation: HostState) -> list[Change]:
    """Return the changes with those blocked that would let the host's models grow too large, let in by name."""
    most = situation.policies.max_host_bytes
    if most is None:
        return list(changes)
    cases = {case.manifest.name: case for case in situation.cases}
    total = recorded_bytes(situation) - sum(
        _size(change, cases) for change in changes if change.action is Action.REMOVE
    )
    kept = []
    for change in sorted(changes, key=lambda one: one.name):
        case = cases.get(change.name)
        grows = _new_bytes(case, change) if case is not None and change.action in BRINGS else 0
        excepted = any(
            (one.name, one.policy) == (change.name, Policy.MAX_HOST_BYTES) for one in situation.policies.exceptions
        )
        if case is not None and grows > 0 and total + grows > most and not excepted:
            message = f"all models of {situation.host} would take {total + grows} bytes, of {most} that are allowed"
            violation = Violation(Policy.MAX_HOST_BYTES, message, f"remove some first, {_EXCEPT}", _SOURCE)
            told = _told(_located(case, violation, situation))
            kept.append(_blocked(change, Reason.POLICY_VIOLATED, told))
            continue
        total += grows
        kept.append(change)
    return kept


def recorded_bytes(situation: HostState) -> int:
    """Return how many bytes all recorded models of a host take."""
    entries: list[Entry] = [case.entry for case in situation.cases if case.entry is not None]
    entries += [orphan.entry for orphan in situation.orphans]
    entries += [entry for entry, _ in situation.unmanaged]
    return sum(entry.size for entry in entries)


def policy_notes(decided: Iterable[tuple[DeclaredModel, Change | None]], situation: HostState) -> tuple[str, ...]:
    """Return what a person should know."""
    policies = situation.policies
    if not policies:
        return ()
    notes = list(policies.told())
    for case, change in decided:
        coming = change is not None and change.action in {*BRINGS, Action.REPAIR, Action.BLOCKED, Action.REMOVE}
        if coming or case.entry is None or not case.entry.files:
            continue
        notes += [
            f"{_told(_located(case, violation, situation))}; what is installed stays"
            for violation in _standing(case, change, situation)
        ]
    most = policies.max_host_bytes
    if most is not None and (total := recorded_bytes(situation)) > most:
        rule = f"policies.{Policy.MAX_HOST_BYTES.value}"
        notes.append(f"registry.yaml: {rule}: the models of {situation.host} take {total} bytes, of {most} allowed")
    return tuple(notes)


def _standing(case: DeclaredModel, change: Change | None, situation: HostState) -> list[Violation]:
    policies = situation.policies
    if not policies or case.manifest.state is State.ABSENT:
        return []
    found = list(declared_violations(case.manifest, policies, pinned=situation.pinned))
    said, at_source = case.manifest.text("license"), _license(case)
    undeclared = said is None and (case.manifest.source is not None or case.entry is not None)
    if undeclared or contradicts(said, at_source):
        found += license_violations(at_source, policies)
    if isinstance(case.manifest.source, RepositorySource) and (repo := present_name(case)) is not None:
        found += renamed_violations(case.manifest.source, repo, policies)
    found += _of_files(case, change, policies)
    return policies.standing(case.manifest.name, found)


def present_name(case: DeclaredModel) -> str | None:
    """Return the name that the hub gives a declared repository now, or gave it when it was installed."""
    if isinstance(case.upstream, ResolvedSource):
        return case.upstream.repo
    source, entry = case.manifest.source, case.entry
    if not isinstance(source, RepositorySource) or entry is None or entry.repo is None:
        return None
    asked = entry.part("metadata").get("source_repo") if source.is_renamed(entry.repo) else entry.repo
    return entry.repo if isinstance(asked, str) and not source.is_renamed(asked) else None


def rename_notes(cases: Iterable[DeclaredModel]) -> tuple[str, ...]:
    """Return which declared repositories have another name by now, one line each."""
    notes = []
    for case in cases:
        source = case.manifest.source
        if not isinstance(source, RepositorySource):
            continue
        if case.upstream is None and (case.entry is None or case.entry.repo == source.repo):
            continue
        repo = present_name(case)
        if repo is not None and source.is_renamed(repo):
            notes.append(
                f"{case.manifest.file}: {source.repo} is {repo} on the hub by now; write that name if it is meant"
            )
    return tuple(notes)


def license_notes(cases: Iterable[DeclaredModel]) -> tuple[str, ...]:
    """Return which manifests name another licence than their source, one line each."""
    return tuple(told for case in cases if (told := contradiction(case.manifest, _license(case))) is not None)


def _license(case: DeclaredModel) -> str | None:
    """Return the licence that the source says, else the one that is recorded."""
    if isinstance(case.upstream, ResolvedSource):
        return case.upstream.license
    return case.entry.text("license") if case.entry is not None else None


def _of_files(case: DeclaredModel, change: Change | None, policies: Policies) -> Iterator[Violation]:
    """Yield what the listing, or what is recorded, shows to be against the policies."""
    from imageworks.detection.formats.executable_files import (
        safety_of,  # only here: a plan without policies is not to load the detection
    )

    upstream = case.upstream if isinstance(case.upstream, ResolvedSource) else None
    recorded = case.entry.files if case.entry is not None else ()
    paths = [file.path for file in (upstream.files if upstream is not None else recorded)]
    cleared = upstream.cleared if upstream is not None else _recorded_cleared(case)
    safety = safety_of(paths, cleared=cleared) if policies.forbid_pickle or policies.forbid_remote_code else None
    if safety is not None and policies.forbid_pickle and safety.loading_runs:
        message = f"{_some(safety.loading_runs)} can run code when it is loaded"
        yield Violation(Policy.FORBID_PICKLE, message, NO_PICKLE, _SOURCE)
    if safety is not None and policies.forbid_remote_code:
        code = safety.own_code
        named = _some(code) if code else "its configuration names code to import, or cannot be read"
        if code or _asks_for_code(case, upstream):
            remedy = f"take a model that needs no code of its own, {_EXCEPT}"
            yield Violation(Policy.FORBID_REMOTE_CODE, f"{named}: it brings code of its own", remedy, _SOURCE)
    size = _total(case, change)
    if policies.max_model_bytes is not None and size > policies.max_model_bytes:
        message = f"it takes {size} bytes, of {policies.max_model_bytes} that are allowed"
        remedy = f"choose a smaller quantization, {_EXCEPT}"
        yield Violation(Policy.MAX_MODEL_BYTES, message, remedy, _SOURCE)


def _recorded_cleared(case: DeclaredModel) -> list[str]:
    """Return the files that were cleared by their bytes when they came."""
    safety = case.entry.part("metadata").get("safety") if case.entry is not None else None
    cleared = safety.get("cleared") if isinstance(safety, dict) else None
    return [str(path) for path in cleared] if isinstance(cleared, list) else []


def unsafe_by_bytes(
    manifest: Manifest, looked: "Mapping[str, tuple[bytes, Content]]", policies: Policies
) -> str | None:
    """Return what the bytes of a model's files are against, ``None`` where nothing is."""
    from imageworks.detection.formats.executable_files import safety_of

    heads = {path: head for path, (head, _) in looked.items()}
    safety = safety_of(looked, heads=heads, contents={path: content for path, (_, content) in looked.items()})
    found = []
    if policies.forbid_pickle and (runs := safety.loading_runs):
        message = f"{_some(runs)} can run code when it is loaded, as its bytes show"
        found.append(Violation(Policy.FORBID_PICKLE, message, NO_PICKLE, _SOURCE))
    if policies.forbid_remote_code and (code := safety.own_code):
        message = f"{_some(code)}: it brings code of its own, as its bytes show"
        found.append(Violation(Policy.FORBID_REMOTE_CODE, message, NO_PICKLE, _SOURCE))
    standing = policies.standing(manifest.name, found)
    return f"policies.{standing[0].policy.value}: {standing[0].message}" if standing else None


def _asks_for_code(case: DeclaredModel, upstream: ResolvedSource | None) -> bool:
    if upstream is not None:
        return upstream.remote_code or CUSTOM_CODE in upstream.tags
    safety = case.entry.part("metadata").get("safety") if case.entry is not None else None
    return isinstance(safety, dict) and safety.get("remote_code") is True


def _total(case: DeclaredModel, change: Change | None) -> int:
    """Return how many bytes a model takes once it is as declared."""
    if isinstance(case.upstream, ResolvedSource):
        return sum(file.size for file in case.upstream.files)
    coming = 0
    if change is not None and change.action in BRINGS:
        coming = max(change.total_bytes, change.bytes_to_fetch + change.bytes_reused)
    return max(coming, case.entry.size if case.entry is not None else 0)


def _new_bytes(case: DeclaredModel, change: Change) -> int:
    return _total(case, change) - (case.entry.size if case.entry is not None else 0)


def _size(change: Change, cases: dict[str, DeclaredModel]) -> int:
    case = cases.get(change.name)
    return case.entry.size if case is not None and case.entry is not None else change.bytes_freed


def _located(case: DeclaredModel, violation: Violation, situation: HostState) -> Diagnostic:
    """Return a violation with its place in the manifest, where the registry was read from documents."""
    document = situation.documents.get(case.manifest.name)
    if document is not None:
        return violation.at(document)
    message = f"policies.{violation.policy.value}: {violation.message}"
    return whole_file(case.manifest.file, message, violation.remedy)


def _told(found: Diagnostic) -> str:
    return f"{found.render()}; {found.remedy}"


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def _blocked(change: Change, reason: Reason, message: str) -> Change:
    return replace(
        change,
        action=Action.BLOCKED,
        reason=reason,
        message=message,
        fetch=(),
        reuse={},
        drop=(),
        bytes_to_fetch=0,
        bytes_reused=0,
        filesystem=None,
    )
