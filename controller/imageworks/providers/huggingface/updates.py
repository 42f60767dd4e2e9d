"""What a repository's branch is at by now, against what a manifest or this host has of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.detection.formats.chat_template import find_chat_template
from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.safe_names import UnsafeNameError
from imageworks.plan.updates import Age, Difference, Followed, ModelUpdate, UpdateStatus
from imageworks.providers.huggingface.records import read_date
from imageworks.providers.repository import HubCommit, RepositoryClient, ResolvedRevision, comes_from
from imageworks.providers.selection.model import SelectionError
from imageworks.providers.selection.requested_files import request_of
from imageworks.providers.selection.select import select
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest, RepositorySource, is_commit
from imageworks.registry.manifests.pins import MAIN, noted_ref

LARGEST_TEMPLATE_BYTES: Final = 16 * 1024 * 1024


def followed_branch(
    manifest: Manifest, source: RepositorySource, entry: Entry | None, committed: Callable[[], bytes]
) -> Followed:
    """Return the branch that a declared repository is at, or was pinned from."""
    if not is_commit(source.revision):
        ref, unsaid = source.revision, source.branch is None and source.revision != MAIN
        installed = _installed(entry, source)
        return Followed(manifest, source.repo, ref, ref, False, installed, entry, notes_branch=unsaid)  # noqa: FBT003
    ref = source.branch or noted_ref(manifest.file, committed()) or MAIN
    return Followed(manifest, source.repo, ref, source.revision, pinned=True, commit=source.revision, entry=entry)


def _installed(entry: Entry | None, source: RepositorySource) -> str | None:
    """Return the commit of a branch that is installed here; ``None`` when that is not what is declared."""
    if entry is None or not entry.files or entry.ref != source.revision or not comes_from(entry, source):
        return None
    return entry.revision


def ask_update(hub: RepositoryClient, followed: Followed, age: Age) -> ModelUpdate:
    """Return how a model stands against its branch, and what moving along would change."""
    current = followed.commit or ""
    newest = hub.resolve(followed.repo, followed.ref)
    found = replace(followed.unknown(), repo=newest.repo, latest=newest.commit, date=read_date(newest.last_modified))
    source = followed.manifest.source
    if isinstance(source, RepositorySource) and source.is_renamed(newest.repo):
        found = replace(found, renamed_from=followed.repo)
    if newest.commit == current:
        return replace(found, standing=UpdateStatus.CURRENT, behind=0, message="")
    history = _history(hub, newest, until=current)
    behind = next((index for index, one in enumerate(history) if one.commit == current), None)
    newer = history if behind is None else history[:behind]
    if newer:
        found = replace(found, date=newer[0].date or found.date)
    found = replace(found, standing=UpdateStatus.OUTDATED, behind=behind, message="")
    if not age.allows(found.date):
        old_enough = next((one for one in newer if behind is not None and age.allows(one.date)), None)
        if old_enough is None:
            return replace(found, held=True, message=_held(found, age))
        newest = hub.resolve(newest.repo, old_enough.commit)
        found = replace(found, latest=newest.commit, date=old_enough.date, behind=None)
        found = replace(found, behind=(behind or 0) - newer.index(old_enough))
    difference, message = _difference(hub, followed, newest)
    return replace(found, difference=difference, message=message)


def _held(found: ModelUpdate, age: Age) -> str:
    if found.date is None:
        return "the hub does not say how old the newer commit is"
    days = (age.now - found.date).days
    return f"the newer commit is {days} day{'' if days == 1 else 's'} old; at least {age.least.days} are asked for"


def _history(hub: RepositoryClient, newest: ResolvedRevision, *, until: str) -> Sequence[HubCommit]:
    """Return the commits that are newer, as far as the hub tells: a mirror may keep no history at all."""
    try:
        return hub.history(newest.repo, newest.commit, until=until)
    except LinkError:
        return ()


def _difference(hub: RepositoryClient, followed: Followed, newest: ResolvedRevision) -> tuple[Difference | None, str]:
    """Return what changes, or why that cannot be said; that there is something newer is known either way."""
    try:
        before = hub.resolve(newest.repo, followed.commit or "")
        files = [hub.listing(newest.repo, one.commit).files for one in (before, newest)]
        wanted = [select(listed, request_of(followed.manifest)).files for listed in files]
        template = _template_changed(hub, newest.repo, (before.commit, newest.commit), files)
    except (LinkError, UnsafeNameError, SelectionError) as error:
        return None, f"what changes could not be asked: {error.message}"
    old, new = ({file.path: file for file in chosen} for chosen in wanted)
    return (
        Difference(
            size=(_bytes(wanted[0]), _bytes(wanted[1])),
            added=tuple(sorted(new.keys() - old.keys())),
            removed=tuple(sorted(old.keys() - new.keys())),
            changed=tuple(sorted(p for p in new.keys() & old.keys() if new[p].digest != old[p].digest)),
            license=(before.license, newest.license),
            chat_template=template,
        ),
        "",
    )


def _bytes(files: Iterable[RemoteFile]) -> int:
    return sum(file.size for file in files)


def _template_changed(
    hub: RepositoryClient, repo: str, commits: tuple[str, str], files: Sequence[Sequence[RemoteFile]]
) -> bool | None:
    """Return whether the chat template is another one; nothing is fetched where no file that may hold it changed."""
    holders: list[Mapping[str, RemoteFile]] = [{f.path: f for f in listed if _may_hold(f.path)} for listed in files]
    if not holders[0] and not holders[1]:
        return None
    if {p: f.digest for p, f in holders[0].items()} == {p: f.digest for p, f in holders[1].items()}:
        return False
    before, after = (_template(hub, repo, commit, held) for commit, held in zip(commits, holders, strict=True))
    return before != after


def _may_hold(path: str) -> bool:
    return path.rpartition("/")[2] == "tokenizer_config.json" or classify(path).role is Role.CHAT_TEMPLATE


def _template(hub: RepositoryClient, repo: str, commit: str, held: Mapping[str, RemoteFile]) -> tuple[object, ...]:
    source = hub.source(repo, commit)

    def read_small(path: str) -> bytes | None:
        file = held.get(path)
        return source.read(file, 0, file.size) if file is not None and file.size <= LARGEST_TEMPLATE_BYTES else None

    found = find_chat_template(held, read_small)
    return found.sha256, found.names
