"""What models a registry accepts, as registry.yaml says it, and what files alone show to be against it. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from imageworks.registry.documents.diagnostic import Diagnostic, at
from imageworks.registry.documents.document import Document, Pointer
from imageworks.registry.manifests.manifest import (
    Manifest,
    OllamaSource,
    OtherSource,
    PathSource,
    RepositorySource,
    State,
    is_commit,
)
from imageworks.registry.settings.licenses import contradicts, license_key, licenses_in
from imageworks.registry.settings.model_origins import base_name, ollama_key, ollama_owner, pinned_names

if TYPE_CHECKING:
    from imageworks.registry.cross_checks import Declared


class Policy(StrEnum):
    """The rules, by their keys in registry.yaml."""

    ALLOWED_LICENSES = "allowed_licenses"
    DENIED_LICENSES = "denied_licenses"
    REQUIRE_PINS = "require_pins"
    FORBID_PICKLE = "forbid_pickle"
    FORBID_REMOTE_CODE = "forbid_remote_code"
    ALLOWED_OWNERS = "allowed_owners"
    MAX_MODEL_BYTES = "max_model_bytes"
    MAX_HOST_BYTES = "max_host_bytes"
    REQUIRED_LABELS = "required_labels"
    REQUIRED_ROLES = "required_roles"


CHANGE_REQUIRES: Final = "change_requires"
"""The labels that a request needs which loosens the rules; it concerns no model."""
LICENSES: Final = frozenset({Policy.ALLOWED_LICENSES, Policy.DENIED_LICENSES})


@dataclass(frozen=True, slots=True)
class PolicyException:
    """A model to which a rule does not apply for a while.

    Args:
        name: The model.
        policy: The rule.
        reason: Why, for whoever reads it.
        expires: The last day on which it counts; ``None`` for one without an end, which no valid file has.
    """

    name: str
    policy: str
    reason: str
    expires: date | None

    def document(self) -> dict[str, object]:
        """Return it as registry.yaml says it."""
        expires = None if self.expires is None else self.expires.isoformat()
        return {"name": self.name, "policy": self.policy, "reason": self.reason, "expires": expires}


@dataclass(frozen=True, slots=True)
class Violation:
    """A model against a rule.

    Args:
        policy: The rule.
        message: What is against it, as a sentence.
        remedy: What to do about it.
        pointer: What in the manifest is about it.
    """

    policy: Policy
    message: str
    remedy: str
    pointer: Pointer = ()

    def at(self, document: Document) -> Diagnostic:
        """Return the violation with its place in the manifest."""
        return at(document, self.pointer, f"policies.{self.policy.value}: {self.message}", self.remedy)


@dataclass(frozen=True, slots=True)
class Policies:
    """What a registry accepts.

    Args:
        allowed_licenses: Only these, when there are any.
        denied_licenses: None of these.
        require_pins: Whether every revision must be a full commit id.
        forbid_pickle: Whether what runs code where it is loaded is refused: pickles, what may hold one, Keras files.
        forbid_remote_code: Whether models that bring code of their own are refused.
        allowed_owners: Only repositories of these, when there are any; of other registries of Ollama as `host/owner`.
        max_model_bytes: The largest model.
        max_host_bytes: The most that all models of a host may take together.
        required_labels: Labels, or ``key=value``, that each manifest must have.
        required_roles: Roles of which each manifest must have at least one.
        exceptions: Models to which a rule does not apply.
        expired: Exceptions that do not count any more; filled by :meth:`on`.
    """

    allowed_licenses: tuple[str, ...] = ()
    denied_licenses: tuple[str, ...] = ()
    require_pins: bool = False
    forbid_pickle: bool = False
    forbid_remote_code: bool = False
    allowed_owners: tuple[str, ...] = ()
    max_model_bytes: int | None = None
    max_host_bytes: int | None = None
    required_labels: tuple[str, ...] = ()
    required_roles: tuple[str, ...] = ()
    exceptions: tuple[PolicyException, ...] = ()
    expired: tuple[PolicyException, ...] = ()

    def __bool__(self) -> bool:
        return self != NO_POLICIES

    def on(self, day: date) -> "Policies":
        """Return the policies with the exceptions that count on a day."""
        over = tuple(one for one in self.exceptions if one.expires is not None and one.expires < day)
        return replace(self, exceptions=tuple(one for one in self.exceptions if one not in over), expired=over)

    def standing(self, name: str, violations: Iterable[Violation]) -> list[Violation]:
        """Return the violations of a model that no exception covers; of one whose exception is over, that is told."""
        excepted = {one.policy for one in self.exceptions if one.name == name}
        over = {one.policy: one for one in self.expired if one.name == name}
        kept = []
        for violation in violations:
            if violation.policy in excepted:
                continue
            expired = over.get(violation.policy)
            told = f" (its exception expired on {expired.expires})" if expired else ""
            kept.append(replace(violation, message=violation.message + told))
        return kept

    def told(self) -> tuple[str, ...]:
        """Return what a person should know of exceptions that are over, one line each."""
        return tuple(
            f"registry.yaml: the exception of {one.name} from policies.{one.policy} expired on {one.expires} "
            f"({one.reason}); renew or remove it"
            for one in self.expired
        )

    def idle(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return what a person should know of exceptions that count and concern no model, one line each."""
        known = frozenset(names)
        return tuple(
            f"registry.yaml: the exception of {one.name} from policies.{one.policy} concerns no manifest that is here; "
            "correct the name or remove it"
            for one in self.exceptions
            if one.name not in known
        )


NO_POLICIES: Final = Policies()


def read_policies(fields: Mapping[str, object]) -> Policies:
    """Return the policies that a schema-valid registry.yaml says."""
    return Policies(
        allowed_licenses=_texts(fields, Policy.ALLOWED_LICENSES),
        denied_licenses=_texts(fields, Policy.DENIED_LICENSES),
        require_pins=fields.get(Policy.REQUIRE_PINS) is True,
        forbid_pickle=fields.get(Policy.FORBID_PICKLE) is True,
        forbid_remote_code=fields.get(Policy.FORBID_REMOTE_CODE) is True,
        allowed_owners=_texts(fields, Policy.ALLOWED_OWNERS),
        max_model_bytes=_bytes(fields, Policy.MAX_MODEL_BYTES),
        max_host_bytes=_bytes(fields, Policy.MAX_HOST_BYTES),
        required_labels=_texts(fields, Policy.REQUIRED_LABELS),
        required_roles=_texts(fields, Policy.REQUIRED_ROLES),
        exceptions=tuple(_exceptions(fields.get("exceptions"))),
    )


def unknown_policies(fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return what stands under ``policies`` and is no rule of this version, sorted."""
    return tuple(sorted(fields.keys() - {policy.value for policy in Policy} - {"exceptions", CHANGE_REQUIRES}))


def _texts(fields: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _bytes(fields: Mapping[str, object], key: str) -> int | None:
    value = fields.get(key)
    return value if isinstance(value, int) else None


def _exceptions(value: object) -> Iterator[PolicyException]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            name, policy, reason = (str(item.get(key, "")) for key in ("name", "policy", "reason"))
            yield PolicyException(name, policy, reason, _day(item.get("expires")))


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def check_exceptions(settings: Document) -> Iterator[Diagnostic]:
    """Yield exceptions whose date no calendar has."""
    document = settings.value if isinstance(settings.value, dict) else {}
    policies = document.get("policies")
    listed = policies.get("exceptions") if isinstance(policies, dict) else None
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, dict) and _day(item.get("expires")) is None:
            pointer: Pointer = ("policies", "exceptions", index, "expires")
            yield at(settings, pointer, f"there is no day {item.get('expires')}", "write the last day as YYYY-MM-DD")


def check_policies(
    declared: "Iterable[Declared]", policies: Policies, recorded: Mapping[str, Collection[str]]
) -> Iterator[Diagnostic]:
    """Yield what manifests and entries alone show to be against the policies."""
    if not policies:
        return
    declared = list(declared)
    pinned = pinned_names(item.manifest for item in declared)
    for item in declared:
        found = [*declared_violations(item.manifest, policies, pinned=pinned)]
        found += recorded_violations(item.manifest, recorded.get(item.manifest.name, ()), policies)
        for violation in policies.standing(item.manifest.name, found):
            yield violation.at(item.document)


def declared_violations(manifest: Manifest, policies: Policies, *, pinned: Collection[str] = ()) -> Iterator[Violation]:
    """Yield what a manifest alone shows to be against the policies; one that wants no files is against none."""
    if manifest.state is State.ABSENT:
        return
    yield from _pin(manifest, policies, pinned)
    yield from _owner(manifest, policies)
    license_ = manifest.text("license")
    if license_ is not None:
        yield from license_violations(license_, policies)
    labels = manifest.fields.get("labels")
    labels = labels if isinstance(labels, Mapping) else {}
    for wanted in policies.required_labels:
        key, equals, value = wanted.partition("=")
        if key not in labels or (equals and str(labels[key]) != value):
            remedy = f"add it under `labels`{_OR_EXCEPT}"
            yield Violation(Policy.REQUIRED_LABELS, f"the label {wanted} is missing", remedy, ("labels",))
    roles = policies.required_roles
    if roles and not set(roles) & set(manifest.texts("roles")):
        message = f"it has none of the roles {', '.join(roles)}"
        yield Violation(Policy.REQUIRED_ROLES, message, f"add one under `roles`{_OR_EXCEPT}", ("roles",))
    if policies.forbid_remote_code:
        yield from _launch_options(manifest)


def _launch_options(manifest: Manifest) -> Iterator[Violation]:
    """Yield the options that would have a server load code; which server starts it is only known by the backend."""
    config = manifest.fields.get("backend_config")
    said = config.get("extra_args") if isinstance(config, Mapping) else None
    words = [word for word in said if isinstance(word, str)] if isinstance(said, list) else []
    if not words:
        return
    from imageworks.registry.settings.server_options import Effect, reaching_options  # most manifests say none

    for one in reaching_options(manifest.text("backend") or "", words):
        if one.effect is Effect.CODE:
            pointer: Pointer = ("backend_config", "extra_args", words.index(one.words[0]))
            message = f"{one.option} may have a server load code or another model"
            yield Violation(Policy.FORBID_REMOTE_CODE, message, f"leave it out{_OR_EXCEPT}", pointer)


_OR_EXCEPT: Final = ", or add an exception with an end under `policies` in registry.yaml"


_OTHER_OWNER: Final = f"take the model of another owner{_OR_EXCEPT}"


def license_violations(found: str | None, policies: Policies) -> Iterator[Violation]:
    """Yield what a licence is against."""
    pointer: Pointer = ("license",)
    allowed = ", ".join(policies.allowed_licenses)
    if found is None:
        if allowed:
            message = f"its licence is not known, and only {allowed} may come"
            remedy = f"say `license:` in the manifest once it is clear{_OR_EXCEPT}"
            yield Violation(Policy.ALLOWED_LICENSES, message, remedy, pointer)
        return
    accepted, refused = (
        {license_key(one) for one in listed} for listed in (policies.allowed_licenses, policies.denied_licenses)
    )
    remedy = f"take another model{_OR_EXCEPT}"
    for one in (found,) if license_key(found) in accepted | refused else licenses_in(found):
        if license_key(one) in refused:  # of several each is judged: which part each is of, nobody says
            yield Violation(Policy.DENIED_LICENSES, f"the licence {one} is denied", remedy, pointer)
        if allowed and license_key(one) not in accepted:
            yield Violation(Policy.ALLOWED_LICENSES, f"the licence {one} is not one of {allowed}", remedy, pointer)


def recorded_violations(manifest: Manifest, found: Iterable[str], policies: Policies) -> Iterator[Violation]:
    """Yield what the licences are against that hosts found at a source, where a manifest says another one."""
    said = manifest.text("license")
    if manifest.state is State.ABSENT or said is None:
        return
    for one in sorted(found):
        if contradicts(said, one):
            yield from license_violations(one, policies)


def _pin(manifest: Manifest, policies: Policies, pinned: Collection[str]) -> Iterator[Violation]:
    source = manifest.source
    if not policies.require_pins:
        return
    if isinstance(source, RepositorySource) and not is_commit(source.revision):
        message = f"the revision {source.revision} is no full commit id"
        remedy = f"run `imageworks-models pin {manifest.name}`{_OR_EXCEPT}"
        yield Violation(Policy.REQUIRE_PINS, message, remedy, ("source", "revision"))
    said = manifest.fields.get("source")
    if isinstance(source, OllamaSource) and isinstance(said, Mapping) and not {"digest", "modelfile"} & said.keys():
        remedy = f"give the `digest` of the model's manifest{_OR_EXCEPT}"
        yield Violation(Policy.REQUIRE_PINS, f"{source.name} has no digest", remedy, ("source", "ollama"))
    base = base_name(source) if isinstance(source, OllamaSource) else None
    if base is not None and ollama_key(base) not in pinned:
        message = f"its base {base} has no digest"
        remedy = f"declare {base} by a manifest of its own with its `digest`{_OR_EXCEPT}"
        yield Violation(Policy.REQUIRE_PINS, message, remedy, ("source", "modelfile", "from"))


def _owner(manifest: Manifest, policies: Policies) -> Iterator[Violation]:
    source = manifest.source
    if not policies.allowed_owners or source is None or isinstance(source, PathSource):
        return
    owners: list[tuple[str, Pointer]]
    if isinstance(source, OtherSource):
        owners = [(host, ("source",)) for host in source.hosts]
    elif isinstance(source, RepositorySource):
        owner, _, name = source.repo.partition("/")
        owners = [(owner if name else f"{source.repo}, which has no owner,", ("source", "huggingface"))]
    else:
        owners = [(ollama_owner(source.name), ("source", "ollama"))]
        base = base_name(source)
        owners += [(ollama_owner(base), ("source", "modelfile", "from"))] if base is not None else []
    for owner, pointer in owners:
        if not _is_allowed(owner, policies):
            message = f"{owner} is not one of {', '.join(policies.allowed_owners)}"
            yield Violation(Policy.ALLOWED_OWNERS, message, _OTHER_OWNER, pointer)


def renamed_violations(source: RepositorySource, repo: str, policies: Policies) -> Iterator[Violation]:
    """Yield what the present name of a repository is against, where the hub leads from the declared one to it."""
    owner = repo.partition("/")[0]
    if policies.allowed_owners and source.is_renamed(repo) and not _is_allowed(owner, policies):
        message = f"{source.repo} is {repo} on the hub, and {owner} is not one of {', '.join(policies.allowed_owners)}"
        yield Violation(Policy.ALLOWED_OWNERS, message, _OTHER_OWNER, ("source", "huggingface"))


def _is_allowed(owner: str, policies: Policies) -> bool:
    return owner.lower() in _lower(policies.allowed_owners)


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
