"""What the registry's policies say of a plan: what may not come, and what is here against them. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.situation import Case, Obstacle, Situation, Upstream
from imageworks.registry.diagnostic import Diagnostic, whole_file
from imageworks.registry.document import Pointer
from imageworks.registry.licenses import contradiction, contradicts
from imageworks.registry.manifest import HuggingFaceSource, Manifest, State
from imageworks.registry.policies import (
    LICENSES,
    Policies,
    Policy,
    Violation,
    declared_violations,
    license_violations,
    renamed_violations,
)

if TYPE_CHECKING:
    from imageworks.registry.entry import Entry

BRINGS: Final = frozenset({Action.INSTALL, Action.UPDATE, Action.ADOPT})
CUSTOM_CODE: Final = "custom_code"
"""The hub's tag of a repository whose config asks to import its code."""
SHOWN: Final = 3
_SOURCE: Final[Pointer] = ("source",)
_EXCEPT: Final = "or add an exception with an end under `policies` in registry.yaml"
NO_PICKLE: Final = f"choose safetensors with `format`, leave it out with `exclude`, {_EXCEPT}"


def policy_obstacle(case: Case, change: Change, situation: Situation) -> Obstacle | None:
    """Return why a model may not come, or ``None`` when it may.

    Args:
        case: The model.
        change: What would be done.
        situation: Everything known; its policies count.
    """
    found = _standing(case, change, situation) if change.action in BRINGS else []
    if not found:
        return None
    reason = Reason.LICENSE_DENIED if found[0].policy in LICENSES else Reason.POLICY_VIOLATED
    return Obstacle(reason, "; ".join(_told(_located(case, violation, situation)) for violation in found))


def within_host_limit(changes: Sequence[Change], situation: Situation) -> list[Change]:
    """Return the changes with those blocked that would let the host's models grow too large, let in by name.

    Args:
        changes: What would be done.
        situation: Everything known; its policies count.
    """
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


def recorded_bytes(situation: Situation) -> int:
    """Return how many bytes all recorded models of a host take."""
    entries: list[Entry] = [case.entry for case in situation.cases if case.entry is not None]
    entries += [orphan.entry for orphan in situation.orphans]
    entries += [entry for entry, _ in situation.unmanaged]
    return sum(entry.size for entry in entries)


def policy_notes(decided: Iterable[tuple[Case, Change | None]], situation: Situation) -> tuple[str, ...]:
    """Return what a person should know: installed models that are against a policy stay, and exceptions that are over.

    Args:
        decided: Each model with what it needs.
        situation: Everything known; its policies count.
    """
    policies = situation.policies
    if not policies:
        return ()
    notes = list(policies.told())
    for case, change in decided:
        coming = change is not None and change.action in {*BRINGS, Action.BLOCKED, Action.REMOVE}
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


def _standing(case: Case, change: Change | None, situation: Situation) -> list[Violation]:
    policies = situation.policies
    if not policies or case.manifest.state is State.ABSENT:
        return []
    found = list(declared_violations(case.manifest, policies, pinned=situation.pinned))
    said, at_source = case.manifest.text("license"), _license(case)
    undeclared = said is None and (case.manifest.source is not None or case.entry is not None)
    if undeclared or contradicts(said, at_source):
        found += license_violations(at_source, policies)
    if isinstance(case.manifest.source, HuggingFaceSource) and (repo := present_name(case)) is not None:
        found += renamed_violations(case.manifest.source, repo, policies)
    found += _of_files(case, change, policies)
    return policies.standing(case.manifest.name, found)


def present_name(case: Case) -> str | None:
    """Return the name that the hub gives a declared repository now, or gave it when it was installed."""
    if isinstance(case.upstream, Upstream):
        return case.upstream.repo
    source, entry = case.manifest.source, case.entry
    if not isinstance(source, HuggingFaceSource) or entry is None or entry.repo is None:
        return None
    asked = entry.part("metadata").get("source_repo") if source.is_renamed(entry.repo) else entry.repo
    return entry.repo if isinstance(asked, str) and not source.is_renamed(asked) else None


def rename_notes(cases: Iterable[Case]) -> tuple[str, ...]:
    """Return which declared repositories have another name by now, one line each.

    Args:
        cases: The declared models.
    """
    notes = []
    for case in cases:
        source = case.manifest.source
        if not isinstance(source, HuggingFaceSource):
            continue
        if case.upstream is None and (case.entry is None or case.entry.repo == source.repo):
            continue
        repo = present_name(case)
        if repo is not None and source.is_renamed(repo):
            notes.append(
                f"{case.manifest.file}: {source.repo} is {repo} on the hub by now; write that name if it is meant"
            )
    return tuple(notes)


def license_notes(cases: Iterable[Case]) -> tuple[str, ...]:
    """Return which manifests name another licence than their source, one line each.

    Args:
        cases: The declared models.
    """
    return tuple(told for case in cases if (told := contradiction(case.manifest, _license(case))) is not None)


def _license(case: Case) -> str | None:
    """Return the licence that the source says, else the one that is recorded."""
    if isinstance(case.upstream, Upstream):
        return case.upstream.license
    return case.entry.text("license") if case.entry is not None else None


def _of_files(case: Case, change: Change | None, policies: Policies) -> Iterator[Violation]:
    """Yield what the listing, or what is recorded, shows to be against the policies."""
    from imageworks.detect.safety import safety_of  # only here: a plan without policies is not to load the detection

    upstream = case.upstream if isinstance(case.upstream, Upstream) else None
    recorded = case.entry.files if case.entry is not None else ()
    paths = [file.path for file in (upstream.files if upstream is not None else recorded)]
    cleared = upstream.cleared if upstream is not None else _recorded_cleared(case)
    safety = safety_of(paths, cleared=cleared) if policies.forbid_pickle or policies.forbid_remote_code else None
    if safety is not None and policies.forbid_pickle and safety.loading_runs:
        message = f"{_some(safety.loading_runs)} can run code when it is loaded"
        yield Violation(Policy.FORBID_PICKLE, message, NO_PICKLE, _SOURCE)
    if safety is not None and policies.forbid_remote_code:
        code = tuple(file.path for file in safety.files if file.reason == "code")
        named = _some(code) if code else "its configuration names code to import"
        if code or _asks_for_code(case, upstream):
            remedy = f"take a model that needs no code of its own, {_EXCEPT}"
            yield Violation(Policy.FORBID_REMOTE_CODE, f"{named}: it brings code of its own", remedy, _SOURCE)
    size = _total(case, change)
    if policies.max_model_bytes is not None and size > policies.max_model_bytes:
        message = f"it takes {size} bytes, of {policies.max_model_bytes} that are allowed"
        remedy = f"choose a smaller quantization, {_EXCEPT}"
        yield Violation(Policy.MAX_MODEL_BYTES, message, remedy, _SOURCE)


def _recorded_cleared(case: Case) -> list[str]:
    """Return the files that were cleared by their bytes when they came."""
    safety = case.entry.part("metadata").get("safety") if case.entry is not None else None
    cleared = safety.get("cleared") if isinstance(safety, dict) else None
    return [str(path) for path in cleared] if isinstance(cleared, list) else []


def unsafe_by_bytes(manifest: Manifest, heads: Mapping[str, bytes], policies: Policies) -> str | None:
    """Return what the first bytes of a model's files are against, ``None`` where nothing is.

    Args:
        manifest: What is declared.
        heads: The files' first bytes, by path.
        policies: The policies as they hold today.
    """
    from imageworks.detect.safety import safety_of

    runs = safety_of(heads, heads=heads).loading_runs
    message = f"{_some(runs)} can run code when it is loaded, as its bytes show"
    found = [Violation(Policy.FORBID_PICKLE, message, NO_PICKLE, _SOURCE)] if runs else []
    standing = policies.standing(manifest.name, found)
    return f"policies.{Policy.FORBID_PICKLE.value}: {standing[0].message}" if standing else None


def _asks_for_code(case: Case, upstream: Upstream | None) -> bool:
    if upstream is not None:
        return upstream.remote_code or CUSTOM_CODE in upstream.tags
    safety = case.entry.part("metadata").get("safety") if case.entry is not None else None
    return isinstance(safety, dict) and safety.get("remote_code") is True


def _total(case: Case, change: Change | None) -> int:
    """Return how many bytes a model takes once it is as declared."""
    if isinstance(case.upstream, Upstream):
        return sum(file.size for file in case.upstream.files)
    coming = change.bytes_to_fetch + change.bytes_reused if change is not None and change.action in BRINGS else 0
    return max(coming, case.entry.size if case.entry is not None else 0)


def _new_bytes(case: Case, change: Change) -> int:
    return _total(case, change) - (case.entry.size if case.entry is not None else 0)


def _size(change: Change, cases: dict[str, Case]) -> int:
    case = cases.get(change.name)
    return case.entry.size if case is not None and case.entry is not None else change.bytes_freed


def _located(case: Case, violation: Violation, situation: Situation) -> Diagnostic:
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
