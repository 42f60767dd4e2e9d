"""What a commit changes of the rules: registry.yaml, and the files that decide what CI and git do with it."""

import json
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from imageworks.foundation.errors import ImageworksError
from imageworks.git.values import UnsafePathError
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.manifests.manifest import FOLDER, SUFFIXES
from imageworks.registry.settings.policies import CHANGE_REQUIRES, Policy, read_policies
from imageworks.registry.settings.settings import FILE

if TYPE_CHECKING:
    from imageworks.git.repository import RegistryRepository
    from imageworks.registry.documents.diagnostic import Refusal

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
_JUDGED: Final = ("source", "license", "state")


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
    """
    before, after = _settings(repository, base), _settings(repository, head)
    found = [*_files(repository, base, head), *_hosts(repository, base, head)]
    if before is None and (moved := _moved_from(repository, base)) is not None:
        where, before = moved
        found.append(RuleChange(FILE, where, repository.layout.repository_path(FILE), loosened=True))
    if before is None or after is None:
        changed = repository.tree_id(base, FILE) != repository.tree_id(head, FILE)
        if changed and repository.tree_id(base, FILE) is not None:
            was, is_ = ("" if one is not None else "missing or invalid" for one in (before, after))
            found.append(RuleChange(FILE, was, is_, loosened=after is None))
    else:
        found += settings_changes(before, after)
        found += _taken_over(repository, base, head, after)
    found.sort(key=lambda one: (not one.loosened, one.where))
    demanded = {label for one in (before, after) if one is not None for label in demanded_labels(one)}
    loosened = any(one.loosened for one in found)
    return RuleReview(tuple(found), tuple(sorted(demanded - set(labels))) if loosened else ())


def settings_changes(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[RuleChange]:
    """Yield what two states of registry.yaml say differently."""
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
        case ("git", "require_signed") | ("commit", "sign"):
            return before is True
        case ("id",):
            return before is not None  # what hosts know it by
        case ("git", "allowed_keys"):
            return bool(set(_items(after)) - set(_items(before)))
        case ("prune",) | ("commit", "push"):
            return after is True
        case ("commit", "branch"):
            return before is not None  # what was kept apart may come to where manifests are
        case ("mirror",) | ("hosts", _, "mirror" | "hub"):
            return after is not None  # hosts ask there for what they asked elsewhere before
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


def demanded_labels(settings: Mapping[str, object]) -> Iterable[str]:
    """Return the labels that a request needs which loosens the rules."""
    policies = settings.get("policies")
    labels = policies.get(CHANGE_REQUIRES) if isinstance(policies, Mapping) else None
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _settings(repository: "RegistryRepository", revision: str | None) -> Mapping[str, object] | None:
    """Return registry.yaml as a commit has it; ``None`` where it has none that is valid."""
    content = RevisionReader(repository, revision).file(FILE)
    return None if content is None else _parsed_settings(content)


def _parsed_settings(content: "bytes | Refusal") -> Mapping[str, object] | None:
    from imageworks.registry.validate import check_settings_file

    document = check_settings_file(FILE, content).document
    return document.value if document is not None and isinstance(document.value, dict) else None


def _moved_from(repository: "RegistryRepository", base: str | None) -> tuple[str, Mapping[str, object]] | None:
    """Return the settings by which a commit's registry was found above or below: one name leads to either."""
    prefix = repository.prefix
    above = prefix.removesuffix("registry").rstrip("/") if prefix.rpartition("/")[2] == "registry" else None
    places = [*([] if above is None else [above]), f"{prefix}/registry".lstrip("/")]
    for path in (f"{place}/{FILE}".lstrip("/") for place in places):
        identifier = repository.top_id(base, path)
        content = None if identifier is None else repository.read_blob(identifier)
        if content is not None and (value := _parsed_settings(content)) is not None:
            return path, value
    return None


def _taken_over(
    repository: "RegistryRepository", base: str | None, head: str | None, settings: Mapping[str, object]
) -> Iterator[RuleChange]:
    """Yield the excepted models that are made of something else than what the exception was given for."""
    policies = settings.get("policies")
    excepted = read_policies(policies if isinstance(policies, Mapping) else {}).on(datetime.now(UTC).date()).exceptions
    for name in dict.fromkeys(one.name for one in excepted):
        old, new = (_declared(repository, revision, name) for revision in (base, head))
        if new and old != new:
            rules = ", ".join(f"policies.{one.policy}" for one in excepted if one.name == name)
            where = f"{FOLDER}/{name}.yaml, excepted from {rules}"
            yield RuleChange(where, _shown(old or None), _shown(new), loosened=True)


def _declared(repository: "RegistryRepository", revision: str | None, name: str) -> Mapping[str, object]:
    """Return what a commit's manifest says of a model that policies judge; nothing where there is none to be read."""
    for suffix in SUFFIXES:
        path = f"{FOLDER}/{name}{suffix}"
        content = RevisionReader(repository, revision).file(path)
        if isinstance(content, bytes):
            with suppress(ImageworksError):
                value = parse_yaml(content, path).value
                return {key: value[key] for key in _JUDGED if key in value} if isinstance(value, dict) else {}
    return {}


def _files(repository: "RegistryRepository", base: str | None, head: str | None) -> Iterator[RuleChange]:
    """Yield files that decide what CI and git do with a registry; what they say is not judged."""
    top = {path: (repository.top_id(base, path), repository.top_id(head, path)) for path in _GUARDED}
    states = {
        repository.layout.repository_path(one.path): (one.before is not None, one.after is not None)
        for one in repository.differences(base, head, named=_GUARDED_ANYWHERE)
    }
    states |= {path: (old is not None, new is not None) for path, (old, new) in top.items() if old != new}
    for path, (was, is_) in sorted(states.items()):
        yield RuleChange(path, "" if not was else "there", "removed" if not is_ else "changed", loosened=True)


def _hosts(repository: "RegistryRepository", base: str | None, head: str | None) -> Iterator[RuleChange]:
    """Yield the hosts whose records a commit takes away or brings under another name."""
    before, after = (_recorded_hosts(repository, revision) for revision in (base, head))
    for host in sorted(before ^ after):
        old, new = _counted(repository, base, host, before), _counted(repository, head, host, after)
        yield RuleChange(f"{ENTRIES}/{host}", old, new, loosened=False)


def _recorded_hosts(repository: "RegistryRepository", revision: str | None) -> frozenset[str]:
    try:
        return frozenset(repository.folders(revision, ENTRIES))
    except UnsafePathError:  # a link in the folder's place, which holds nothing of anybody's
        return frozenset()


def _counted(repository: "RegistryRepository", revision: str | None, host: str, hosts: Container[str]) -> str:
    entries = len(repository.list_files(revision, f"{ENTRIES}/{host}")) if host in hosts else 0
    return "" if not entries else f"{entries} entr{'y' if entries == 1 else 'ies'}"


def _shown(value: object) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
