"""Has what a manifest is pinned to moved upstream, and what would moving along change. Asks, and writes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from imageworks.files.artifact import LinkError
from imageworks.files.safe_names import UnsafeNameError
from imageworks.foundation.isolation import InternalError, isolated
from imageworks.plan.updates import Age, Followed, ModelUpdate, UpdateStatus
from imageworks.providers.at_once import at_once
from imageworks.providers.dispatch import provider_of
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.ledger import RecordSession

ASKING_THREADS: Final = 8


def open_sources(ledger: RecordSession, *, offline: bool, told: Callable[[str], None]) -> SourceResolver:
    """Return what answers for the sources of manifests."""
    return SourceResolver(host=ledger.host, offline=offline, write_cache=not ledger.read_only, told=told)


def ask_all(sources: SourceResolver, followed: Sequence[Followed], age: Age) -> list[ModelUpdate]:
    """Return how models stand, in their order; several are asked at once."""
    asking = [one for one in followed if one.commit is not None]
    found = at_once(lambda one: ask(sources, one, age), asking, threads=ASKING_THREADS, stop=sources.close)
    sources.close()
    answers = {answer.name: answer for answer in found}
    return [answers.get(one.manifest.name) or _not_installed(one) for one in followed]


def ask(sources: SourceResolver, followed: Followed, age: Age) -> ModelUpdate:
    """Return how one model stands; what cannot be asked is said, never raised."""
    try:
        with isolated(followed.manifest.name):
            return provider_of(followed.manifest, None).update(followed, age, sources)
    except (LinkError, UnsafeNameError, InternalError) as error:
        return followed.unknown(error.message)


def _not_installed(followed: Followed) -> ModelUpdate:
    message = "neither pinned nor installed here; the next install takes the newest commit"
    return replace(followed.unknown(message), standing=UpdateStatus.NOT_INSTALLED)
