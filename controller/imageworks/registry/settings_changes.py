"""What a commit changes of the rules: registry.yaml, and the files that decide what CI and git do with it."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from imageworks.registry.policies import CHANGE_REQUIRES, Policy
from imageworks.registry.settings import FILE

if TYPE_CHECKING:
    from imageworks.registry.git import RegistryRepository

_SWITCHES: Final = frozenset({Policy.REQUIRE_PINS, Policy.FORBID_PICKLE, Policy.FORBID_REMOTE_CODE})
_CHOICES: Final = frozenset({Policy.ALLOWED_LICENSES, Policy.ALLOWED_OWNERS, Policy.REQUIRED_ROLES})
"""Lists of which one must fit: longer is looser, and none at all lets everything in."""
_DEMANDS: Final = frozenset({Policy.DENIED_LICENSES, Policy.REQUIRED_LABELS, CHANGE_REQUIRES})
_LIMITS: Final = frozenset({Policy.MAX_MODEL_BYTES, Policy.MAX_HOST_BYTES})
_GUARDED: Final = (
    *(".github", ".gitlab", ".gitlab-ci.yml", ".forgejo", ".gitea", ".circleci", ".woodpecker", ".woodpecker.yml"),
    *(".drone.yml", ".travis.yml", "azure-pipelines.yml", "bitbucket-pipelines.yml", "Jenkinsfile", ".buildkite"),
    *("CODEOWNERS", "docs/CODEOWNERS", ".pre-commit-config.yaml", ".pre-commit-hooks.yaml"),
    *(".gitattributes", ".gitmodules", ".lfsconfig"),
)
_GUARDED_ANYWHERE: Final = frozenset({".gitattributes", ".gitmodules", ".lfsconfig"})
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One thing that a commit changes of the rules.

    Args:
        where: The setting, as ``policies.forbid_pickle``, or a file.
        before: What it was, as JSON; empty where it was not there.
        after: What it is.
        loosened: Whether more is possible than before, or something is reached that was not.
    """

    where: str
    before: str
    after: str
    loosened: bool


@dataclass(frozen=True, slots=True)
class RuleReview:
    """What a commit changes of the rules, and which labels that still needs.

    Args:
        changes: Loosened ones first.
        missing_labels: What `policies.change_requires` demands and the request has not.
    """

    changes: tuple[RuleChange, ...] = ()
    missing_labels: tuple[str, ...] = ()


def review_rules(
    repository: "RegistryRepository", base: str | None, head: str | None, labels: Collection[str] = ()
) -> RuleReview:
    """Return what a commit changes of the rules.

    What the base demands counts as well: a request cannot lift what it is held to.

    Args:
        repository: The registry.
        base: The commit to compare with.
        head: The commit that is looked at.
        labels: The labels that the request has.
    """
    before, after = _settings(repository, base), _settings(repository, head)
    found = [*_files(repository, base, head)]
    if before is None or after is None:
        changed = repository.tree_id(base, FILE) != repository.tree_id(head, FILE)
        if changed and repository.tree_id(base, FILE) is not None:
            was, is_ = ("" if one is not None else "missing or invalid" for one in (before, after))
            found.append(RuleChange(FILE, was, is_, loosened=after is None))
    else:
        found += settings_changes(before, after)
    found.sort(key=lambda one: (not one.loosened, one.where))
    demanded = {label for one in (before, after) if one is not None for label in _demanded(one)}
    loosened = any(one.loosened for one in found)
    return RuleReview(tuple(found), tuple(sorted(demanded - set(labels))) if loosened else ())


def settings_changes(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[RuleChange]:
    """Yield what two states of registry.yaml say differently.

    Args:
        before: The one, parsed.
        after: The other.
    """
    for path, old, new in _differences(before, after, ()):
        yield RuleChange(".".join(path), _shown(old), _shown(new), _is_loosened(path, old, new))


def _differences(
    before: object, after: object, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    mappings = [one for one in (before, after) if isinstance(one, Mapping)]
    if mappings and all(one is None or isinstance(one, Mapping) for one in (before, after)):
        for key in sorted({str(key) for one in mappings for key in one}):
            old, new = (one.get(key) if isinstance(one, Mapping) else None for one in (before, after))
            yield from _differences(old, new, (*path, key))
    elif before != after:
        yield path, before, after


def _is_loosened(path: tuple[str, ...], before: object, after: object) -> bool:
    match path:
        case ("policies", rule):
            return _is_looser(rule, before, after)
        case ("git", "require_signed"):
            return before is True
        case ("git", "allowed_keys"):
            return bool(set(_items(after)) - set(_items(before)))
        case ("prune",) | ("commit", "push"):
            return after is True
        case ("locations", *_) | ("hosts", _, "locations", *_):
            return after is not None  # models may go where none went before
    return False


def _is_looser(rule: str, before: object, after: object) -> bool:
    """Return whether a policy lets in more than it did."""
    old, new = set(_items(before)), set(_items(after))
    if rule in _SWITCHES:
        return before is True
    if rule in _CHOICES:
        return bool(old) and (not new or bool(new - old))
    if rule in _DEMANDS:
        return bool(old - new)
    if rule in _LIMITS:
        return isinstance(before, int) and not (isinstance(after, int) and after <= before)
    if rule == "exceptions":
        return bool(new - old)
    return before is not None


def _items(value: object) -> list[str]:
    """Return a list's items as texts; letter case tells no licence and no owner from another."""
    return [json.dumps(item, sort_keys=True).lower() for item in value] if isinstance(value, list) else []


def _demanded(settings: Mapping[str, object]) -> Iterable[str]:
    policies = settings.get("policies")
    labels = policies.get(CHANGE_REQUIRES) if isinstance(policies, Mapping) else None
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _settings(repository: "RegistryRepository", revision: str | None) -> Mapping[str, object] | None:
    """Return registry.yaml as a commit has it; ``None`` where it has none that is valid."""
    from imageworks.registry.validate import check_settings_file

    content = repository.at(revision).file(FILE)
    document = None if content is None else check_settings_file(FILE, content).document
    return document.value if document is not None and isinstance(document.value, dict) else None


def _files(repository: "RegistryRepository", base: str | None, head: str | None) -> Iterator[RuleChange]:
    """Yield files that decide what CI and git do with a registry; what they say is not judged."""
    top = {path: (repository.top_id(base, path), repository.top_id(head, path)) for path in _GUARDED}
    below = {repository.layout.repository_path(one.path): one for one in repository.differences(base, head)}
    states = {
        path: (one.before is not None, one.after is not None)
        for path, one in below.items()
        if PurePosixPath(path).name in _GUARDED_ANYWHERE
    }
    states |= {path: (old is not None, new is not None) for path, (old, new) in top.items() if old != new}
    for path, (was, is_) in sorted(states.items()):
        yield RuleChange(path, "" if not was else "there", "removed" if not is_ else "changed", loosened=True)


def _shown(value: object) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
