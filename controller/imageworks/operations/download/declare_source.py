"""Declare a model that is named by a source without a listing: a store's name, or an address with its digest."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imageworks.foundation.errors import UsageError
from imageworks.operations.download.draft import (
    DeclarationDraft,
    DeclareError,
    DownloadRequest,
    called_otherwise,
)
from imageworks.providers.dispatch import provider
from imageworks.providers.named_source import NamedSource
from imageworks.reconcile.run import Run
from imageworks.registry.manifests.edit import Keys, edit_manifest
from imageworks.registry.manifests.manifest import FOLDER, Manifest, State, read_manifest
from imageworks.registry.manifests.writer import SCHEMA_COPY, Line, comment, modeline

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue


def propose_source(run: Run, request: DownloadRequest, source: NamedSource) -> DeclarationDraft:
    """Return the manifest that a named source leads to; nobody is asked what there is."""
    _refuse_choices(request, source)
    run.check_signing()
    manifest = _declared(run, source)
    if request.name is not None and manifest is not None and request.name != manifest.name:
        raise called_otherwise(manifest.name, request.name, declared=True)
    name = manifest.name if manifest is not None else request.name or source.name
    file = manifest.file if manifest is not None else f"{FOLDER}/{name}.yaml"
    if run.uncommitted(file):
        raise DeclareError(
            f"{file} has uncommitted changes", remedy=f"Commit them, then `reconcile {name}`; or take them back."
        )
    before = run.committed(file) if manifest is not None else None
    if manifest is None or before is None:
        _refuse_taken(run, name)
        content = "".join(f"{line}\n" for line in _lines(run, request, source)).encode()
    else:
        content = _edited(manifest, before, request)
    entry = run.registry.entries.get(name)
    observed = run.observe(entry) if entry is not None else None
    return DeclarationDraft(
        name=name,
        file=file,
        content=content,
        analysis=None,
        entry=entry,
        installed=observed is not None and observed.intact,
        changed=content != before,
    )


def _refuse_choices(request: DownloadRequest, source: NamedSource) -> None:
    """Refuse options that choose among files of a repository, or a place where there is none to choose."""
    choices = {
        "--format": request.formats,
        "--include": request.include,
        "--exclude": request.exclude,
        "--weights": request.weights,
        "--include-optional": request.optional,
        "--quant": None if source.placed else request.quantization,
        "--location": None if source.placed else request.location,
    }
    if wrong := [option for option, value in choices.items() if value]:
        raise UsageError(
            f"{', '.join(wrong)}: {source} leaves nothing of that to choose", remedy="Leave it out; the name says all."
        )


def _declared(run: Run, source: NamedSource) -> Manifest | None:
    """Return the manifest that declares the same source already, whatever it is called and whether it is pinned."""
    wanted = read_manifest("", {"source": dict(source.fields)}).source

    def is_same(one: Manifest) -> bool:
        if one.source is None or one.source.provider != next(iter(source.fields)) or not run.registry.applies(one):
            return False
        again = provider(one.source.provider).named(one.source.label, None)
        return one.source == wanted or (again == source and getattr(one.source, "modelfile", None) is None)

    same = filter(is_same, run.registry.manifests.values())
    return min(same, key=lambda one: (one.name != source.name, one.name), default=None)


def _refuse_taken(run: Run, name: str) -> None:
    if problems := run.registry.blocked.get(name):
        raise DeclareError(f"{name}: {problems[0].render()}")
    if (other := run.registry.manifests.get(name)) is not None:
        label = other.source.label if other.source is not None else "a model without a source"
        raise DeclareError(
            f"{name} is already the name of {label}",
            remedy="Run it again with `--name NAME`, or rename that one: a new file name, with `previously:` in it.",
        )


def _lines(run: Run, request: DownloadRequest, source: NamedSource) -> Iterator[str]:
    yield modeline(copied=run.committed(SCHEMA_COPY) is not None)
    yield comment("As `imageworks-models download` was told. Change what you like and commit it: the next")
    yield comment("`imageworks-models reconcile` makes this machine be so.")
    yield "schema_version: 1"
    yield "source:"
    for at, (key, value) in enumerate(source.fields.items()):
        yield Line(key, value, source.comment if not at else "", inside=True).render()
    declared = {**source.declared, **({"quantization": request.quantization} if request.quantization else {})}
    for key, value in declared.items():
        yield Line(key, value).render()
    yield Line("backend", request.backend or source.backend, "what serves it").render()
    if request.location:
        yield Line("location", request.location, "a location of registry.yaml, or a path").render()
    if request.roles:
        yield Line("roles", list(dict.fromkeys(request.roles)), "what it is used for").render()


def _edited(manifest: Manifest, before: bytes, request: DownloadRequest) -> bytes:
    changes: dict[Keys, JsonValue] = {}
    if manifest.state is not State.PRESENT:
        changes["state",] = None
    if request.backend is not None:
        changes["backend",] = request.backend
    if request.location is not None:
        changes["location",] = request.location
    if request.roles:
        changes["roles",] = list(dict.fromkeys([*manifest.texts("roles"), *request.roles]))
    return edit_manifest(manifest.file, before, changes)
