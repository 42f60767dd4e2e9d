"""What a download writes: a new manifest with a comment behind each value, or what changes in one that is there."""

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from imageworks.naming.model_names import family_of
from imageworks.operations.download.chosen import Chosen
from imageworks.operations.download.declared_files import NAMED, named_files, same_files
from imageworks.operations.download.match_declared import usual_backend
from imageworks.providers.dispatch import REPOSITORIES
from imageworks.reconcile.run import Run
from imageworks.registry.documents.schema import load_schema
from imageworks.registry.manifests.edit import Keys, edit_manifest
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, State, is_commit

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

_FORMATS: Final = frozenset({"safetensors", "gguf", "mlx", "onnx", "pytorch"})
_PLAIN: Final = re.compile(r"[A-Za-z~/][A-Za-z0-9~/._@+-]*")
_SCHEMA: Final = ".schemas/manifest.schema.json"
_COLUMN: Final = 30  # where comments begin


def new_manifest(chosen: Chosen, location: str | None, *, schema: str) -> bytes:
    """Return a new manifest: pinned, with a comment behind each value that a person may want to change."""
    analysis, wish = chosen.analysis, chosen.wish
    resolved, ref = analysis.resolved, wish.hub.revision
    backend = wish.backend or usual_backend(chosen.container)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"# {resolved.repo}, as `imageworks-models download` found it. Change what you like and commit it: the next",
        "# `imageworks-models reconcile` makes this machine be so.",
        "schema_version: 1",
        "source:",
        f"  {REPOSITORIES}: {resolved.repo}",
        f'  revision: "{resolved.commit}" # {_pin_comment(chosen)}',
    ]
    if ref and ref != "main" and not is_commit(ref):
        tail = resolved.repo.rpartition("/")[2]
        lines.append(_line(f'  branch: "{ref}"', f"so its folder is called {tail}@{ref.replace('/', '-')}"))
    for key, value in named_files(chosen.request).items():
        lines.append(_line(f"  {key}: {json.dumps(value, ensure_ascii=False)}", NAMED[key]))
    if wish.optional:
        lines.append(_line("  optional: true", "documents, pictures and examples too"))
    if analysis.model is not None:
        family = family_of(
            analysis.model, revision=ref, download_format=chosen.container, quantization=analysis.facts.quantization
        )
        lines.append(_line(f"family: {json.dumps(family)}", "one of several models of the repository"))
    if chosen.container in _FORMATS:
        lines.append(_line(f"format: {chosen.container}", "how the weights are packed"))
    if chosen.label:
        lines.append(_line(f"quantization: {json.dumps(chosen.label)}", "which one of several"))
    lines.append(_line(f"backend: {backend}", "what serves it"))
    if location:
        lines.append(_line(f"location: {_scalar(location)}", "a location of registry.yaml, or a path"))
    if wish.roles:
        lines.append(_line(f"roles: {json.dumps(list(dict.fromkeys(wish.roles)))}", "what it is used for"))
    return ("\n".join(lines) + "\n").encode()


def edited_manifest(manifest: Manifest, before: bytes, chosen: Chosen) -> bytes:
    """Return an existing manifest with what the wish changes in it; everything else stays as people wrote it."""
    wish, resolved = chosen.wish, chosen.analysis.resolved
    changes: dict[Keys, JsonValue] = {}
    comments: dict[Keys, str] = {}
    source = manifest.source
    asked = wish.hub.revision
    absent = manifest.state is not State.PRESENT
    if absent:
        changes["state",] = None
    pinned = source.revision if isinstance(source, RepositorySource) else None
    if (wish.force or absent or (is_commit(asked) and asked != pinned)) and pinned != resolved.commit:
        changes["source", REPOSITORIES] = resolved.repo
        changes["source", "revision"] = resolved.commit
        comments["source", "revision"] = _pin_comment(chosen)
    asked_for_others = named_files(chosen.request) or chosen.label is not None
    if asked_for_others and not same_files(manifest, chosen.request, chosen.analysis.files, chosen.selection):
        changes.update({("source", key): value for key, value in named_files(chosen.request).items()})
        if chosen.label is not None:
            changes["quantization",] = chosen.label
    if wish.optional:
        changes["source", "optional"] = True
    if wish.location is not None:
        changes["location",] = wish.location
    if wish.backend is not None:
        changes["backend",] = wish.backend
    if wish.roles:
        changes["roles",] = list(dict.fromkeys([*manifest.texts("roles"), *wish.roles]))
    return edit_manifest(manifest.file, before, changes, comments=comments)


def modeline(run: Run) -> str:
    """Return what editors check a new manifest by: the registry's own copy of the schema, else the published one."""
    if run.committed(_SCHEMA) is not None:
        return f"../{_SCHEMA}"
    return str(load_schema("manifest")["$id"])


def _pin_comment(chosen: Chosen) -> str:
    ref = chosen.wish.hub.revision or "main"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return day if is_commit(ref) else f"{ref}, {day}"


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COLUMN - 1}} # {comment}"


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
