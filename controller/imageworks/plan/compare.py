"""What a commit would do to a host, compared with another commit: for the comment on a pull request. Pure."""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.plan.facts import DeclaredModel, HostState, ResolvedSource
from imageworks.plan.plan import Action, Change, Plan
from imageworks.registry.entries.packed import as_text
from imageworks.registry.entries.queries import part, text, texts
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, is_commit
from imageworks.registry.settings.changes import RuleReview
from imageworks.registry.settings.licenses import contradicts
from imageworks.registry.settings.server_options import ADDRESS_OPTIONS, reaching_options
from imageworks.serving.command_line import Server, Wishes, command_line, target_of
from imageworks.serving.roles import base_url

_LINE: Final = re.compile(r":\d+:\d+:")
_STARTS: Final = (
    *("backend", "backend_config", "served_model_id", "model_aliases", "chat_template", "generation_defaults"),
    *("roles", "role_priority", "deprecated"),
)
"""What of a manifest decides how a model is started, which one a role means, and what clients are told of it."""
CARD: Final = "README.md"
_LICENSE_FILE: Final = re.compile(r"(?ai)(?:(?:un)?licen[cs]e|copying)(?:[.-][\w.-]+)?")
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
        source_license: The licence that the source says, where the manifest says another one.
        license_file: The file of the source in which the licence stands; empty where no name says so.
    """

    revision: tuple[str | None, str | None] = (None, None)
    size: tuple[int | None, int | None] = (None, None)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    license: tuple[str | None, str | None] = (None, None)
    risky: tuple[tuple[str, str], ...] = ()
    source_license: str | None = None
    license_file: str = ""


@dataclass(frozen=True, slots=True)
class Launched:
    """A model that would be started or offered otherwise than before.

    Args:
        name: The model.
        before: The command line at the base; empty where the model was not declared, or nothing starts it.
        after: The command line now, or what is wrong with it; of what nothing of ours starts, where clients are sent.
        reaching: The options that do more than tune a server.
        fields: What is declared differently, as JSON before and after; empty where it is not declared.
    """

    name: str
    before: str
    after: str
    reaching: tuple[str, ...] = ()
    fields: tuple[tuple[str, str, str], ...] = ()


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
        launched: Models that `launch` would start otherwise than at the base.
        rules: What is changed of the rules themselves.
        records: Models of which the request changes what the host recorded.
        manifests: Each model's manifest as a path in the repository, by name.
    """

    plan: Plan
    changes: tuple[Change, ...]
    details: Mapping[str, Detail] = field(default_factory=dict)
    base: str | None = None
    pending: int = 0
    settled: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    launched: tuple[Launched, ...] = ()
    rules: RuleReview = RuleReview()  # noqa: RUF009 # frozen
    records: tuple[str, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to review."""
        shown = (self.changes, self.settled, self.diagnostics, self.launched, self.rules.changes, self.records)
        return not any(shown)


def compare(
    plan: Plan,
    situation: HostState,
    *,
    base: str | None = None,
    before: Plan | None = None,
    earlier: HostState | None = None,
    rules: RuleReview | None = None,
    records: tuple[str, ...] = (),
) -> HostPlan:
    """Return a plan with what sets it apart from another one of the same host."""
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
        launched=tuple(_launched(cases, declared)) if earlier is not None else (),
        rules=rules or RuleReview(),
        records=records,
    )


def as_declared(situation: HostState, now: Mapping[str, Manifest] | None = None) -> HostState:
    """Return what the earlier side of a comparison is asked for: what was declared, and what is recorded of it.

    Manifests that are others ``now`` become texts: as values, ten thousand take 40 MB beside those of the other side.
    """
    cases = tuple(DeclaredModel(_kept(case.manifest, now), case.entry) for case in situation.cases)
    return HostState(situation.host, situation.revision, cases)


def _kept(manifest: Manifest, now: Mapping[str, Manifest] | None) -> Manifest:
    same = now is None or now.get(manifest.name) is manifest
    return manifest if same else replace(manifest, fields=as_text(manifest.fields))


def _launched(cases: Mapping[str, DeclaredModel], declared: Mapping[str, DeclaredModel]) -> Iterator[Launched]:
    """Yield the models whose manifests would have `launch` run something else, or clients sent somewhere else."""
    for name in sorted(cases.keys() | declared.keys()):
        was, said = (declared[name].manifest.fields if name in declared else {}, _said(cases.get(name)))
        fields = tuple(
            (key, _shown(was.get(key)), _shown(said.get(key))) for key in _STARTS if was.get(key) != said.get(key)
        )
        if not fields or (not any(key in one for one in (was, said) for key in _STARTS[1:]) and not (was and said)):
            continue
        options = texts(part(said, "backend_config"), "extra_args")
        host = part(said, "backend_config").get("host")
        words = [*([f"--host={host}"] if isinstance(host, str) else []), *options]
        server = str(said.get("backend") or Server.VLLM)
        reaching = tuple(f"{one.option} {one.effect}" for one in reaching_options(server, words))
        before, after = (_command(name, one.get(name)) for one in (declared, cases))
        yield Launched(name, before, after, reaching, fields)


def _said(case: DeclaredModel | None) -> Mapping[str, object]:
    return case.manifest.fields if case is not None else {}


def _shown(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _command(name: str, case: DeclaredModel | None) -> str:
    """Return what `launch` would run of a manifest, whose files need not be here: their place is not the question."""
    if case is None:
        return ""
    entry, said = case.entry, case.manifest.fields
    model = {**(entry.fields if entry else {}), **said, "name": name, "source_provider": ""}
    backend = str(said.get("backend") or text(model, "backend") or Server.VLLM)
    url = base_url(model)
    where = f"  ({url})" if url else ""
    if backend not in set(Server):
        return where.strip()
    model |= {"backend": backend, "download_path": text(model, "download_path") or f"/{name}"}
    named = {"served_model_id": served} if (served := case.manifest.served_name) else {}
    recorded = entry.fields if entry is not None else named
    try:
        target, _ = target_of(model, Server(backend), recorded=recorded)
        every = {one.option for one in reaching_options(backend, target.extra)} | {ADDRESS_OPTIONS.get(backend, "")}
        return shlex.join(command_line(Server(backend), target, Wishes(), allowed=every)) + where
    except ImageworksError as error:
        return error.message + where


def _key(change: Change) -> tuple[object, ...]:
    """Return what makes two changes the same; messages name lines, which move."""
    return (change.name, change.action, change.reason, change.revision, change.path, change.fetch, change.drop)


def _license_file(paths: Collection[str]) -> str:
    """Return the file that is the licence, else the card, whose front matter names it."""
    named = sorted(path for path in paths if _LICENSE_FILE.fullmatch(path))
    return next(iter(named), CARD if CARD in paths else "")


def _detail(change: Change, case: DeclaredModel | None, declared: DeclaredModel | None) -> Detail:
    entry = case.entry if case is not None else None
    upstream = case.upstream if case is not None and isinstance(case.upstream, ResolvedSource) else None
    before, after = change.revision
    source = declared.manifest.source if declared is not None else None
    if before is None and isinstance(source, RepositorySource) and is_commit(source.revision):
        before = source.revision
    recorded = {file.path: file for file in entry.files} if entry is not None else {}
    size = entry.size if entry is not None and entry.files else None
    if change.action is Action.REMOVE:
        known = change.bytes_freed or size
        return Detail(revision=(before, None), size=(known, None), removed=tuple(sorted(change.drop)))
    if upstream is None or case is None or change.action not in BRINGS:
        return Detail(revision=(before, after), size=(size, size))
    from imageworks.detection.formats.executable_files import safety_of

    wanted = {file.path: file for file in upstream.files}
    risky = {one.path: one.reason for one in safety_of(wanted).files}
    was = {one.path for one in safety_of(recorded).files}
    old = entry.text("license") if entry is not None else None
    said = case.manifest.text("license")
    return Detail(
        revision=(before, after),
        size=(size, sum(file.size for file in upstream.files)),
        added=tuple(sorted(wanted.keys() - recorded.keys())),
        removed=tuple(sorted(recorded.keys() - wanted.keys())),
        changed=tuple(sorted({*change.fetch, *change.reuse} & wanted.keys() & recorded.keys())),
        license=(old, said or upstream.license),
        source_license=upstream.license if contradicts(said, upstream.license) else None,
        license_file=_license_file(wanted),
        risky=tuple((path, why) for path, why in sorted(risky.items()) if path not in was),
    )
