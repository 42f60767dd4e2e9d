"""Has what a manifest is pinned to moved upstream, and what would moving along change. Asks the hub, writes nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from imageworks.errors import ImageworksError
from imageworks.registry.manifest import HuggingFaceSource, Manifest
from imageworks.transfer.files import LinkError, RemoteFile
from imageworks.transfer.names import UnsafeNameError

if TYPE_CHECKING:
    from imageworks.providers.hub_records import HubCommit, ResolvedRevision
    from imageworks.providers.huggingface import HubClient

FORMAT_VERSION: Final = 1
ASKING_THREADS: Final = 8
LARGEST_TEMPLATE_BYTES: Final = 16 * 1024 * 1024


class Standing(StrEnum):
    """How a model stands against its source."""

    CURRENT = "current"
    OUTDATED = "outdated"
    UNKNOWN = "unknown"
    NOT_INSTALLED = "not-installed"
    NOT_FOLLOWED = "not-followed"


@dataclass(frozen=True, slots=True)
class Followed:
    """A manifest and the moving name that it follows.

    Args:
        manifest: What is declared.
        source: Its repository.
        ref: The branch or tag that it was pinned from, or that it declares.
        pinned: Whether the manifest names a commit.
        commit: The commit that it is at: the pin, else what is installed on this host; ``None`` when neither is.
    """

    manifest: Manifest
    source: HuggingFaceSource
    ref: str
    pinned: bool
    commit: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What moving from one commit to another changes of the files that a manifest wants.

    Args:
        size: Bytes of all of them before and after.
        added: Paths that are new.
        removed: Paths that are gone.
        changed: Paths with other bytes.
        license: The licence before and after, as the hub says it.
        chat_template: Whether the chat template is another one; ``None`` when it is in no file that can be compared.
    """

    size: tuple[int, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    license: tuple[str | None, str | None]
    chat_template: bool | None

    def document(self) -> dict[str, object]:
        """Return the difference in JSON's data model."""
        return {
            "bytes": {"from": self.size[0], "to": self.size[1]},
            "files": {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)},
            "license": {"from": self.license[0], "to": self.license[1]},
            "chat_template_changed": self.chat_template,
        }


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """How one model stands.

    Args:
        name: The variant name.
        file: Its manifest.
        standing: How it stands.
        repo: The repository; empty for other sources.
        ref: The branch or tag that it follows.
        pinned: Whether its manifest names a commit.
        commit: The commit that it is at.
        latest: The commit that the branch is at, or the newest that is old enough.
        behind: How many commits lie between; ``None`` where the hub does not say.
        date: When the latest was made.
        difference: What changes; ``None`` where it could not be asked.
        message: Why, in words, where there is more to say.
        held: Whether a newer commit exists and is younger than was asked for.
    """

    name: str
    file: str
    standing: Standing
    repo: str = ""
    ref: str = ""
    pinned: bool = False
    commit: str | None = None
    latest: str | None = None
    behind: int | None = None
    date: datetime | None = None
    difference: Difference | None = None
    message: str = ""
    held: bool = False

    @property
    def outdated(self) -> bool:
        """Whether there is something to move to."""
        return self.standing is Standing.OUTDATED and not self.held

    def document(self) -> dict[str, object]:
        """Return it in JSON's data model."""
        return {
            "name": self.name,
            "file": self.file,
            "standing": self.standing.value,
            "repo": self.repo or None,
            "ref": self.ref or None,
            "pinned": self.pinned,
            "commit": self.commit,
            "latest": self.latest,
            "commits_behind": self.behind,
            "date": None if self.date is None else self.date.isoformat(),
            "message": self.message or None,
            "held": self.held,
            "difference": None if self.difference is None else self.difference.document(),
        }


@dataclass(frozen=True, slots=True)
class Age:
    """How old a commit must be before anybody moves to it.

    Args:
        least: The age.
        now: The present.
    """

    least: timedelta
    now: datetime

    def allows(self, date: datetime | None) -> bool:
        """Return whether a commit of a date is old enough; one of unknown age only where none is asked for."""
        return not self.least or (date is not None and self.now - date >= self.least)


def ask_all(hub: "Callable[[], HubClient]", followed: Sequence[Followed], age: Age) -> list[ModelUpdate]:
    """Return how models stand, in their order; several are asked at once.

    Args:
        hub: Opens the hub's client; called only where there is something to ask.
        followed: The models.
        age: How old a newer commit must be to count as an update.
    """
    from concurrent.futures import ThreadPoolExecutor

    asking = [one for one in followed if one.commit is not None]
    if not asking:
        return [_not_installed(one) for one in followed]
    try:
        client = hub()
    except LinkError as error:  # a token or an endpoint that cannot be used
        return [_unknown(one, error) for one in followed]
    with ThreadPoolExecutor(min(ASKING_THREADS, len(asking))) as pool:
        try:
            answers = dict(zip(map(_name, asking), pool.map(lambda one: ask(client, one, age), asking), strict=True))
        finally:
            client.close()  # wakes threads that wait for the hub's rate limit, which would hold up ^C
    return [answers.get(_name(one)) or _not_installed(one) for one in followed]


def ask(hub: "HubClient", followed: Followed, age: Age) -> ModelUpdate:
    """Return how one model stands; what cannot be asked is said, never raised.

    Args:
        hub: The hub.
        followed: The model, with a commit.
        age: How old a newer commit must be to count as an update.
    """
    current = followed.commit or ""
    try:
        newest = hub.resolve(followed.source.repo, followed.ref)
        found = replace(_unknown(followed), repo=newest.repo, latest=newest.commit, date=_date(newest))
        if newest.commit == current:
            return replace(found, standing=Standing.CURRENT, behind=0, message="")
        history = _history(hub, newest, until=current)
        behind = next((index for index, one in enumerate(history) if one.commit == current), None)
        newer = history if behind is None else history[:behind]
        if newer:
            found = replace(found, date=newer[0].date or found.date)
        found = replace(found, standing=Standing.OUTDATED, behind=behind, message="")
        if not age.allows(found.date):
            old_enough = next((one for one in newer if behind is not None and age.allows(one.date)), None)
            if old_enough is None:
                return replace(found, held=True, message=_held(found, age))
            newest = hub.resolve(newest.repo, old_enough.commit)
            found = replace(found, latest=newest.commit, date=old_enough.date, behind=None)
            found = replace(found, behind=(behind or 0) - newer.index(old_enough))
        difference, message = _difference(hub, followed, newest)
    except (LinkError, UnsafeNameError) as error:
        return _unknown(followed, error)
    return replace(found, difference=difference, message=message)


def _name(followed: Followed) -> str:
    return followed.manifest.name


def _unknown(followed: Followed, error: ImageworksError | None = None) -> ModelUpdate:
    return ModelUpdate(
        name=followed.manifest.name,
        file=followed.manifest.file,
        standing=Standing.UNKNOWN,
        repo=followed.source.repo,
        ref=followed.ref,
        pinned=followed.pinned,
        commit=followed.commit,
        message=error.message if error else "",
    )


def _not_installed(followed: Followed) -> ModelUpdate:
    message = "neither pinned nor installed here; the next install takes the newest commit"
    return replace(_unknown(followed), standing=Standing.NOT_INSTALLED, message=message)


def _held(found: ModelUpdate, age: Age) -> str:
    if found.date is None:
        return "the hub does not say how old the newer commit is"
    days = (age.now - found.date).days
    return f"the newer commit is {days} day{'' if days == 1 else 's'} old; at least {age.least.days} are asked for"


def _date(resolved: "ResolvedRevision") -> datetime | None:
    from imageworks.providers.hub_records import read_date

    return read_date(resolved.last_modified)


def _history(hub: "HubClient", newest: "ResolvedRevision", *, until: str) -> "Sequence[HubCommit]":
    """Return the commits that are newer, as far as the hub tells: a mirror may keep no history at all."""
    try:
        return hub.history(newest.repo, newest.commit, until=until)
    except LinkError:
        return ()


def _difference(hub: "HubClient", followed: Followed, newest: "ResolvedRevision") -> tuple[Difference | None, str]:
    """Return what changes, or why that cannot be said; that there is something newer is known either way."""
    from imageworks.providers.select_values import SelectionError

    try:
        before = hub.resolve(newest.repo, followed.commit or "")
        files = [hub.listing(newest.repo, one.commit).files for one in (before, newest)]
        wanted = [_wanted(followed, listed) for listed in files]
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


def _wanted(followed: Followed, files: Sequence[RemoteFile]) -> Sequence[RemoteFile]:
    from imageworks.providers.select import select_files

    manifest, source = followed.manifest, followed.source
    return select_files(
        files,
        format=manifest.text("format"),
        quantization=manifest.text("quantization"),
        include=source.include,
        include_optional=source.optional,
        subfolder=source.subfolder,
    ).files


def _bytes(files: Iterable[RemoteFile]) -> int:
    return sum(file.size for file in files)


def _template_changed(
    hub: "HubClient", repo: str, commits: tuple[str, str], files: Sequence[Sequence[RemoteFile]]
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
    from imageworks.detect.filenames import Role, classify

    return path.rpartition("/")[2] == "tokenizer_config.json" or classify(path).role is Role.CHAT_TEMPLATE


def _template(hub: "HubClient", repo: str, commit: str, held: Mapping[str, RemoteFile]) -> tuple[object, ...]:
    from imageworks.detect.chat_template import find_chat_template

    source = hub.source(repo, commit)

    def read_small(path: str) -> bytes | None:
        file = held.get(path)
        return source.read(file, 0, file.size) if file is not None and file.size <= LARGEST_TEMPLATE_BYTES else None

    found = find_chat_template(held, read_small)
    return found.sha256, found.names
