"""Values for the planner: manifests, entries, what sources offer and what lies on disk, all made up and all small."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from imageworks.files.artifact import RemoteFile
from imageworks.plan.facts import (
    DeclaredModel,
    FileState,
    HostState,
    Observation,
    PruneOptions,
    ResolvedSource,
    TargetContents,
    TargetFolder,
    UndeclaredModel,
)
from imageworks.plan.plan import Plan
from imageworks.providers.record import compose_entry
from imageworks.reconcile.planner import make_plan
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.manifests.manifest import Manifest, Prune, read_manifest
from support.transfer import remote, sha256

A, B = "a" * 40, "b" * 40
REPO = "acme/tiny-1b"
ROOT = Path("/weights")
FILESYSTEM = "disk"
FILES: Mapping[str, bytes] = {"config.json": b"{}", "model.safetensors": b"w" * 1000}
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def manifest(name: str = "m", *, source: object = None, **fields: object) -> Manifest:
    """Return a manifest of the made-up repository at commit A; ``source={}`` gives a logical one."""
    source = {"huggingface": REPO, "revision": A} if source is None else source
    document = {"schema_version": 1, **({"source": source} if source else {}), **fields}
    return read_manifest(f"models/{name}.yaml", document)


def files(contents: Mapping[str, bytes] = FILES) -> tuple[RemoteFile, ...]:
    return tuple(remote(name, data) for name, data in sorted(contents.items()))


def upstream(
    contents: Mapping[str, bytes] = FILES, *, commit: str | None = A, repo: str | None = REPO
) -> ResolvedSource:
    return ResolvedSource(files=files(contents), commit=commit, ref=commit, repo=repo)


def place(repo: str = REPO, *, root: Path = ROOT, filesystem: str = FILESYSTEM) -> TargetFolder:
    return TargetFolder(root=root, path=root / repo, location="linux_wsl", filesystem=filesystem)


def artifacts(contents: Mapping[str, bytes] = FILES) -> list[ArtifactFile]:
    return [ArtifactFile(name, len(data), sha256(data).value) for name, data in sorted(contents.items())]


def entry(
    declared: Manifest | None = None,
    *,
    contents: Mapping[str, bytes] = FILES,
    at: TargetFolder | None = None,
    commit: str | None = A,
    acquisition: str = "installed",
) -> Entry:
    """Return what is recorded of a model once it is installed."""
    declared = declared or manifest()
    repo = REPO if commit else None
    case = DeclaredModel(declared, upstream=upstream(contents, commit=commit, repo=repo))
    return compose_entry(case, at or place(), artifacts(contents), {}, acquisition=acquisition, now=NOW)


def observed(of: Entry, **damaged: FileState) -> Observation:
    """Return how an entry's files stand; keywords name damaged files with ``_`` for the last dot."""
    assert of.path is not None
    by_path = {file.path.replace(".", "_"): file.path for file in of.files}
    states = {by_path[key]: state for key, state in damaged.items()}
    exists = len(states) < len(of.files) or set(states.values()) != {FileState.MISSING}
    return Observation(path=of.path, exists=exists, damaged=states)


def installed(declared: Manifest | None = None, *, record: Entry | None = None, **more: object) -> DeclaredModel:
    """Return the case of a model that stands as it was installed; keywords replace what is known of it."""
    declared = declared or manifest()
    record = record or entry(declared)
    known: dict[str, object] = {
        "entry": record,
        "observation": observed(record) if record.files else None,
        "place": place(),
        **more,
    }
    return DeclaredModel(declared, **known)  # type: ignore[arg-type]


def lying(contents: Mapping[str, bytes] = FILES, *, wanted: Mapping[str, bytes] = FILES) -> TargetContents:
    """Return what lies at a target, compared with what is wanted there."""
    same = {name for name in contents if wanted.get(name) == contents[name]}
    return TargetContents(
        exists=True, matching=frozenset(same), differing=frozenset(set(contents) & set(wanted)) - frozenset(same)
    )


def plan_of(
    *cases: DeclaredModel,
    orphans: tuple[UndeclaredModel, ...] = (),
    free: int = 10**9,
    prune: PruneOptions | None = None,
    **more: object,
) -> Plan:
    """Return the plan for some cases on a host with one filesystem."""
    known: dict[str, object] = {"declared": len(cases), "free_bytes": {FILESYSTEM: ("/weights", free)}, **more}
    situation = HostState(host="testhost", revision=A, cases=cases, orphans=orphans, **known)  # type: ignore[arg-type]
    return make_plan(situation, prune or PruneOptions())


def orphan(
    name: str = "gone", *, prune: Prune | None = None, acquisition: str = "installed", **more: object
) -> UndeclaredModel:
    """Return a recorded model that nobody declares."""
    record = entry(manifest(name), at=place(f"acme/{name}"), acquisition=acquisition)
    return UndeclaredModel(entry=record, observation=observed(record), prune=prune, **more)  # type: ignore[arg-type]
