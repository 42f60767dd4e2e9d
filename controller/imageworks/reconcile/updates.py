"""Has what a manifest is pinned to moved upstream, and what would moving along change. Asks the hub, writes nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Final

from imageworks.errors import ImageworksError
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.reconcile.update_values import Age, Difference, Followed, ModelUpdate, Standing
from imageworks.registry.manifest import HuggingFaceSource
from imageworks.transfer.files import LinkError, RemoteFile
from imageworks.transfer.names import UnsafeNameError

if TYPE_CHECKING:
    from imageworks.providers.hub_records import HubCommit, ResolvedRevision
    from imageworks.providers.huggingface import HubClient
    from imageworks.providers.ollama import OllamaProvider

ASKING_THREADS: Final = 8
LARGEST_TEMPLATE_BYTES: Final = 16 * 1024 * 1024


class Upstreams:
    """Hub and Ollama's registries, each opened when it is first asked; used from several threads at once.

    Args:
        open_hub: Makes the hub's client.
        open_ollama: Makes what asks Ollama's registries.
    """

    def __init__(self, open_hub: "Callable[[], HubClient]", open_ollama: "Callable[[], OllamaProvider]") -> None:
        self._open_hub, self._open_ollama = open_hub, open_ollama
        self._opening = Lock()
        self._hub: HubClient | None = None
        self._ollama: OllamaProvider | None = None

    def hub(self) -> "HubClient":
        """Return the hub's client."""
        with self._opening:
            self._hub = self._hub or self._open_hub()
            return self._hub

    def ollama(self) -> "OllamaProvider":
        """Return what asks Ollama's registries."""
        with self._opening:
            self._ollama = self._ollama or self._open_ollama()
            return self._ollama

    def close(self) -> None:
        """Close what was opened, which wakes threads that wait for a hub's rate limit."""
        for opened in (self._hub, self._ollama):
            if opened is not None:
                opened.close()


def ask_all(upstreams: Upstreams, followed: Sequence[Followed], age: Age) -> list[ModelUpdate]:
    """Return how models stand, in their order; several are asked at once.

    Args:
        upstreams: Whom to ask.
        followed: The models.
        age: How old a newer commit must be to count as an update.
    """
    from concurrent.futures import ThreadPoolExecutor

    asking = [one for one in followed if one.commit is not None]
    if not asking:
        return [_not_installed(one) for one in followed]
    with ThreadPoolExecutor(min(ASKING_THREADS, len(asking))) as pool:
        try:
            found = pool.map(lambda one: ask(upstreams, one, age), asking)
            answers = dict(zip(map(_name, asking), found, strict=True))
        finally:
            upstreams.close()
    return [answers.get(_name(one)) or _not_installed(one) for one in followed]


def ask(upstreams: Upstreams, followed: Followed, age: Age) -> ModelUpdate:
    """Return how one model stands; what cannot be asked is said, never raised.

    Args:
        upstreams: Whom to ask.
        followed: The model, with a commit.
        age: How old a newer commit must be to count as an update.
    """
    try:
        with isolated(_name(followed)):
            if isinstance(followed.source, HuggingFaceSource):
                return _ask_hub(upstreams.hub(), followed, age)
            return _ask_ollama(upstreams.ollama(), followed, age)
    except (LinkError, UnsafeNameError, InternalError) as error:
        return _unknown(followed, error)


def _ask_ollama(ollama: "OllamaProvider", followed: Followed, age: Age) -> ModelUpdate:
    """Return how a model of Ollama stands; registries tell no dates and keep no history."""
    newest = ollama.upstream(followed.repo)
    if newest is None:
        return replace(_unknown(followed), message=f"{followed.repo}: its registry has no such model any more")
    found = replace(_unknown(followed), latest=f"sha256:{newest.digest}")
    recorded = {file.sha256 for file in followed.entry.files} if followed.entry is not None else set()
    here = followed.entry is not None and followed.entry.revision == followed.commit
    # Older versions of Ollama wrote manifests anew: config and layers tell what is installed.
    if followed.commit == found.latest or (here and not followed.pinned and set(newest.content) == recorded):
        return replace(found, standing=Standing.CURRENT)
    found = replace(found, standing=Standing.OUTDATED)
    if not age.allows(None):
        return replace(found, held=True, message="its registry does not say how old the newer one is")
    if not here or followed.entry is None:
        return found
    new = {layer.digest: f"{layer.kind} {layer.digest[:12]}" for layer in newest.layers}
    template = [layer.digest in recorded for layer in newest.layers if layer.kind == "template"]
    difference = Difference(
        size=(followed.entry.size, newest.size),
        added=tuple(sorted(shown for digest, shown in new.items() if digest not in recorded)),
        removed=(),
        changed=(),
        license=(None, None),
        chat_template=not all(template) if template else None,
    )
    return replace(found, difference=difference)


def _ask_hub(hub: "HubClient", followed: Followed, age: Age) -> ModelUpdate:
    current = followed.commit or ""
    newest = hub.resolve(followed.repo, followed.ref)
    found = replace(_unknown(followed), repo=newest.repo, latest=newest.commit, date=_date(newest))
    if isinstance(followed.source, HuggingFaceSource) and followed.source.is_renamed(newest.repo):
        found = replace(found, renamed_from=followed.repo)
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
    return replace(found, difference=difference, message=message)


def _name(followed: Followed) -> str:
    return followed.manifest.name


def _unknown(followed: Followed, error: ImageworksError | None = None) -> ModelUpdate:
    return ModelUpdate(
        name=followed.manifest.name,
        file=followed.manifest.file,
        standing=Standing.UNKNOWN,
        repo=followed.repo,
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
    from imageworks.providers.select import select
    from imageworks.reconcile.choosing import request_of

    if not isinstance(followed.source, HuggingFaceSource):
        return files
    return select(files, request_of(followed.manifest)).files


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
