"""Which manifests an earlier state had otherwise; a model that was renamed since stays one model."""

from collections.abc import Iterable, Mapping

from imageworks.git.read import TREE_MODE
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import UnsafePathError
from imageworks.operations.restore.model import RestoreError
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.document import DocumentError
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.history.compare import former_names
from imageworks.registry.manifests.edit import edit_manifest
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import manifest_name
from imageworks.registry.reader import Files
from imageworks.registry.validate import is_manifest_path

Contents = Mapping[str, bytes | Refusal]


def manifests_of(repository: RegistryRepository, revision: str | None) -> dict[str, tuple[str, int]]:
    """Return git's ids and modes of a commit's manifests, by registry path; none where their folder is a link."""
    try:
        listed = repository.listing(revision, MODELS)
    except UnsafePathError:
        return {}
    files = ((f"{MODELS}/{name}", at) for name, at in listed.items() if at[1] != TREE_MODE)
    return {file: at for file, at in files if is_manifest_path(file)}


def differing_manifests(repository: RegistryRepository, now: str | None, then: str | None) -> tuple[Contents, Contents]:
    """Return the manifests that two commits have otherwise, each as bytes or with why it cannot be read.

    Each is read when it is asked for: where two models are wanted, ten thousand others that differ are not read.
    """
    olds, news = manifests_of(repository, then), manifests_of(repository, now)
    differing = sorted(file for file in {**news, **olds} if news.get(file) != olds.get(file))
    reader = RevisionReader(repository, now)

    def read(at: tuple[str, int]) -> bytes | Refusal:
        return reader.content(repository.reference(*at))

    before, after = (Files({file: side[file] for file in differing if file in side}, read) for side in (news, olds))
    return before, after


def wanted_manifests(now: Contents, then: Contents, names: Iterable[str]) -> dict[str, bytes | Refusal | None]:
    """Return what differs from the earlier state, by registry path; a model that was renamed since stays one model."""
    renamed = _renamed_since(now, then)
    asked = set(names)
    wanted: dict[str, bytes | Refusal | None] = {}
    if not asked:
        wanted = {file: then.get(file) for file in dict.fromkeys((*now, *then))}
    for new, old in renamed.items():
        both = {manifest_name(new), manifest_name(old)}
        if both <= asked or not asked:  # back to the old name, in a way that moves the entry and no byte
            wanted |= {old: _previously(old, then[old], [manifest_name(new)]), new: None}
            asked -= both
    by_name = {manifest_name(file): file for file in now}
    earlier = {manifest_name(file): file for file in then}
    for name in sorted(asked):
        here, there = by_name.get(name), earlier.get(name)
        later = next((new for new, old in renamed.items() if manifest_name(old) == name), None)
        if later is not None:
            called = manifest_name(later)
            raise RestoreError(
                f"{name} is called {called} now", remedy=f"`restore {called}` brings its state back under that name."
            )
        if here is not None and here in renamed:
            content = then[renamed[here]]
            wanted[here] = _previously(here, content, list(former_names(said(here, now[here]))))
        elif here is None and there is None:
            continue
        else:
            wanted |= {file: then.get(file) for file in (here, there) if file is not None}
    return {file: content for file, content in wanted.items() if content != now.get(file)}


def _renamed_since(now: Contents, then: Contents) -> dict[str, str]:
    """Return each manifest that stood under another name, with that earlier path."""
    earlier = {manifest_name(file): file for file in then if file not in now}
    found = {}
    for file in sorted(now.keys() - then.keys()):
        former = next((name for name in former_names(said(file, now[file])) if name in earlier), None)
        if former is not None:
            found[file] = earlier.pop(former)
    return found


def said(file: str, content: bytes | Refusal) -> Mapping[str, object]:
    """Return what a manifest says; nothing when it cannot be read."""
    if isinstance(content, Refusal):
        return {}
    try:
        value = parse_yaml(content, file).value
    except DocumentError:
        return {}
    return value if isinstance(value, dict) else {}


def _previously(file: str, content: bytes | Refusal, names: list[str]) -> bytes | Refusal:
    """Return a manifest that names further former names, so that what is recorded under them is found."""
    fields = said(file, content)
    if isinstance(content, Refusal) or not fields:
        return content
    own = manifest_name(file)
    every = [name for name in dict.fromkeys([*former_names(fields), *names]) if name != own]
    return edit_manifest(file, content, {("previously",): [*every]})
