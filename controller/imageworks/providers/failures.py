"""Which models could not be looked at; the others go on (I9)."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.isolation import isolated
from imageworks.plan.facts import Blocker, DeclaredModel, obstacle_of
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest

Subject = TypeVar("Subject", bound=Manifest | Entry | DeclaredModel)
Result = TypeVar("Result")


class Failures:
    """The models that could not be looked at because of an error that nobody foresaw; the others go on (I9)."""

    def __init__(self) -> None:
        self.obstacles: dict[str, Blocker] = {}

    def without(self, subjects: Iterable[Subject], work: Callable[[Subject], Result]) -> list[Result]:
        """Return what some work gives for each subject, in their order, without those with which it failed."""
        results = []
        for subject in subjects:
            name = subject.manifest.name if isinstance(subject, DeclaredModel) else subject.name
            if name in self.obstacles:
                continue
            try:
                with isolated(name):
                    results.append(work(subject))
            except (ImageworksError, OSError) as error:
                self.obstacles[name] = obstacle_of(error)
        return results
