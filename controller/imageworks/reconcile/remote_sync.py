"""Keep a registry's branch in step with its remote: bring theirs here, put our own commits on top, send ours.

Only commits that this host's controller made are ever built anew on top of others' work, each as its own commit with
its author date and a snapshot computed from what is declared by then. People's commits are never rewritten.
"""

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.git.remote import Counterpart, Remote, RemoteError
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, RECONCILED_REVISION
from imageworks.git.values import CommitRecord, DetachedHeadError
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry, read_entry
from imageworks.registry.entries.merge import snapshot_file
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

PUSH_ATTEMPTS: Final = 8
"""Refused pushes in a row while nobody else's landed, after which it is given up."""
RACE_ATTEMPTS: Final = 100
"""Refused pushes in all: each that another host won is progress, and the last of 20 hosts loses 19 times or more."""
LONGEST_PAUSE_SECONDS: Final = 4.0
DECLARED: Final = (MODELS, SETTINGS_FILE)
"""What people declare, in files of the registry."""


class DivergedError(ImageworksError):
    """Both sides have commits, and ours are not all the controller's own or touch what theirs changed."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What bringing a branch up to date did.

    Args:
        counterpart: The remote's branch, as people call it.
        old: Where ours was.
        new: Where it is.
        rebuilt: How many of the controller's commits were put on top of theirs.
    """

    counterpart: str
    old: str | None
    new: str | None
    rebuilt: int = 0

    def describe(self) -> tuple[str, ...]:
        """Return what a person should know, one line each."""
        if self.old == self.new or self.new is None:
            return ()
        on_top = f", {self.rebuilt} of our own commits on top" if self.rebuilt else ""
        return (f"pulled {self.counterpart}: {(self.old or 'nothing')[:10]}..{self.new[:10]}{on_top}",)


class Synchronizer:
    """Pulls and pushes the registry's branch; the registry's lock must be held."""

    def __init__(
        self, repository: RegistryRepository, recorder: RegistryCommitter, environment: Mapping[str, str]
    ) -> None:
        self._repository = repository
        self._recorder = recorder
        self._environment = environment
        self._remote = Remote(repository.program(environment))

    def pull(self, at: str = "") -> Pulled:
        """Bring the checked-out branch up to date with its remote, or to one commit that the remote has."""
        branch = self._branch()
        there = self._remote.counterpart(branch)
        tip = self.fetch_commit(at) if at else self._remote.fetch(there)
        done = self._join(branch, there, tip)
        if at:
            self._refuse_other_declarations(at, there)
        if (aside := self._recorder.load().branch) is not None:
            self._pull_aside(aside)
        return done

    def fetch_commit(self, commit: str) -> str:
        """Bring a commit of the branch here where it is not, move nothing, and return it."""
        there = self._remote.counterpart(self._branch())
        if self._has(commit):
            return commit
        tip = self._remote.fetch(there)
        if tip is None or not self._remote.is_ancestor(commit, tip):
            raise RemoteError(
                f"{there.name} ({there.address}) has no commit {commit[:10]}",
                remedy="Push it there; if it was pushed, this host's clone follows another remote or branch.",
            )
        return commit

    def look_at(self, commit: str) -> str:
        """Bring a commit here to plan with; raise where pulling it would refuse because more is declared here."""
        self.fetch_commit(commit)
        if self._has(commit):
            self._refuse_other_declarations(commit, self._remote.counterpart(self._branch()))
        return commit

    def is_in_step(self, commit: str) -> bool:
        """Return whether the branch has a commit, and the remote, as it was last seen, all of the branch."""
        there = self._remote.counterpart(self._branch())
        return self._has(commit) and self._repository.head() == self._remote.known(there)

    def _has(self, commit: str) -> bool:
        head = self._repository.head()
        return head is not None and self._remote.is_ancestor(commit, head)

    def _refuse_other_declarations(self, at: str, there: Counterpart) -> None:
        """Refuse where what is declared here is not what a commit declares: later commits change it, here or there."""
        head = self._repository.head()
        if any(self._repository.tree_id(head, path) != self._repository.tree_id(at, path) for path in DECLARED):
            raise DivergedError(
                f"this host is beyond {at[:10]} and declares otherwise",
                remedy=f"Send what it has to {there.name} by `imageworks-models reconcile --pull --push`, and pull.",
            )

    def _pull_aside(self, branch: str) -> None:
        """Take over the branch of this host's entries in a clone that was made anew and lacks it.

        Where it is here, only we move it: what is newer on the remote was written by somebody else.
        """
        if self._repository.tip(branch) is not None:
            return
        theirs = self._remote.fetch(self._remote.counterpart(branch))
        if theirs is not None:
            self._repository.branches.move(branch, theirs, expected=None, reason="imageworks: pull")

    def push(self) -> tuple[str, ...]:
        """Send the checked-out branch, on top of what others sent meanwhile; says what a person should know."""
        branch = self._branch()
        there = self._remote.counterpart(branch)
        notes: list[str] = []
        unmoved = 0
        for attempt in range(RACE_ATTEMPTS):
            head, seen = self._repository.head(), self._remote.known(there)
            if head is None or head == seen:
                return tuple(notes)
            if self._remote.push(there, head):
                return (*notes, f"pushed {head[:10]} to {there.name}")
            # Others pushed first. Pausing for a random time keeps controllers from meeting again and again.
            time.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS) * min(1.0, attempt / 8))  # noqa: S311 # no secret
            tip = self._remote.fetch(there)
            unmoved = unmoved + 1 if tip == seen else 0
            if unmoved == PUSH_ATTEMPTS:
                break
            notes += self._join(branch, there, tip).describe()
        raise RemoteError(
            f"{there.name}: others pushed first, {attempt + 1} times in a row", remedy="Run again; nothing is lost."
        )

    def push_aside(self, branch: str) -> tuple[str, ...]:
        """Send a branch that only this controller writes; says what a person should know."""
        there = self._remote.counterpart(branch)
        tip = self._repository.tip(branch)
        if tip is None or tip == self._remote.known(there):
            return ()
        for _ in range(2):  # again where only what was last seen of it here was old
            if self._remote.push(there, tip, own_branch=True):
                return (f"pushed {tip[:10]} to {there.name}",)
            theirs = self._remote.fetch(there)
            if theirs is None or not self._remote.is_ancestor(theirs, tip):
                break
        raise RemoteError(
            f"{there.name}: has commits that this host did not make",
            remedy="Two controllers seem to write as one: give each host its own name (`host` in config.toml), and its "
            "own branch (`commit: {branch: state/{host}}` in registry.yaml).",
        )

    def _branch(self) -> str:
        branch = self._repository.branch()
        if branch is None:
            raise DetachedHeadError(
                f"{self._repository.root}: no branch is checked out, so there is nothing to pull or push",
                remedy="Check one out, for example with: git switch main",
            )
        return branch

    def _join(self, branch: str, there: Counterpart, tip: str | None) -> Pulled:
        head = self._repository.head()
        done = Pulled(there.name, head, head)
        if tip is None or tip == head or (head is not None and self._remote.is_ancestor(tip, head)):
            return done
        if head is None:
            raise DivergedError(
                f"the branch {branch} has no commit yet, and {there.name} has", remedy=f"git pull {there.remote}"
            )
        if self._remote.is_ancestor(head, tip):
            self._repository.branches.forward(branch, old=head, new=tip, environment=self._environment)
            return replace(done, new=tip)
        base = self._remote.merge_base(head, tip)
        if base is None:
            raise DivergedError(
                f"{branch} and {there.name} have no commit in common", remedy="Name the right remote, or clone anew."
            )
        ours = [self._repository.record(commit) for commit in self._remote.commits_between(tip, head)]
        self._refuse_foreign(ours, there, base, tip)
        new = self._rebuild(ours, tip)
        self._recorder.signatures.rewind([record.id for record in ours], base)
        self._repository.branches.forward(branch, old=head, new=new, environment=self._environment)
        return replace(done, new=new, rebuilt=len(ours))

    def _refuse_foreign(self, ours: list[CommitRecord], there: Counterpart, base: str, tip: str) -> None:
        host = self._recorder.host
        own = (f"{ENTRIES}/{host}/", snapshot_file(host), f"{MODELS}/")
        we_sign = self._recorder.load().settings.commits.sign
        for record in ours:
            by_us = record.trailers.get(HOST) == host and len(record.parents) == 1
            # Our trailers stay where a person amends or signs a commit of ours; then it is theirs as well.
            signed = self._repository.is_signed(record.id) and not we_sign
            theirs = signed or self._repository.changes_beside(record.id)
            if not by_us or theirs or not all(path.startswith(own) for path in record.changed):
                raise DivergedError(
                    f"{there.name} has moved on, and {record.short_id} ({record.subject}) is not the controller's to "
                    "rebuild",
                    remedy=f"Bring your commits on top yourself: git pull --rebase {there.remote}",
                )
        folder = f"{ENTRIES}/{host}"
        if self._repository.tree_id(base, folder) != self._repository.tree_id(tip, folder):
            raise DivergedError(
                f"{there.name}: another controller has written entries as {host}",
                remedy="Give each host its own name (`host` in config.toml), then: git pull --rebase",
            )

    def _rebuild(self, ours: list[CommitRecord], tip: str) -> str:
        """Return the last of our commits, each made anew on top of theirs."""
        ids: dict[str, str] = {}
        for record in ours:
            new = self._rebuild_one(record, tip, ids)
            ids[record.id] = tip = new
        return tip

    def _rebuild_one(self, record: CommitRecord, tip: str, ids: Mapping[str, str]) -> str:
        then, before, now = (
            RevisionReader(self._repository, revision) for revision in (record.id, record.parents[0], tip)
        )
        manifests: dict[str, bytes | None] = {}
        written: dict[str, Entry] = {}
        gone: set[str] = set()
        for path in record.changed:
            content = then.file(path)
            data = content if isinstance(content, bytes) else None
            if path.startswith(f"{MODELS}/"):
                theirs = now.file(path)
                if theirs not in {before.file(path), content}:
                    raise DivergedError(
                        f"{path} was changed on both sides, here by {record.short_id} ({record.subject})",
                        remedy="Settle it yourself: git pull --rebase",
                    )
                manifests[path] = data
            elif path.startswith(f"{ENTRIES}/"):
                name = path.rsplit("/", 1)[-1].removesuffix(".json")
                if data is None:
                    gone.add(name)
                else:
                    written[name] = read_entry(path, data)
        registry = self._recorder.load(manifests, revision=tip)
        self._refuse_clash(record, registry, manifests)
        aside = registry.branch is not None and len(manifests) == len(record.changed)
        with self._recorder.records.changes(registry, written, gone=gone) as records:
            return self._repository.branches.write(
                manifests if aside else {**manifests, **records},  # those are on a branch of their own
                base=tip,
                message=self._message(record, ids),
                author_of=record.id,
                sign=registry.settings.commits.sign,
            )

    def _refuse_clash(self, record: CommitRecord, registry: RegistryState, manifests: Iterable[str]) -> None:
        """Refuse to put a manifest that was valid where it was written among others with which it is not (I2)."""
        written = {path.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml"): path for path in manifests}
        clashing = sorted(written.keys() & registry.blocked.keys())
        if clashing and clashing[0] not in self._recorder.load(revision=record.id).blocked:
            raise DivergedError(
                f"{written[clashing[0]]} of {record.short_id} ({record.subject}) does not go with what others "
                f"declared: {registry.blocked[clashing[0]][0].render()}",
                remedy="Settle it yourself: git pull --rebase, then change one of the two.",
            )

    def _message(self, record: CommitRecord, ids: Mapping[str, str]) -> str:
        """Return a commit's message, with the commit that it reconciled under its new name."""
        message = self._repository.message(record.id)
        reconciled = record.trailers.get(RECONCILED_REVISION, "")
        return message.replace(reconciled, ids[reconciled]) if reconciled in ids else message


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending commits to a remote.

    Args:
        notes: What a person should know.
        problem: Why they could not be sent; they stay here, and the next run sends them.
    """

    notes: tuple[str, ...] = ()
    problem: ImageworksError | None = None


def publish(synchronizer: Synchronizer, registry: RegistryState, *, asked: bool | None) -> Sent:
    """Send what was committed to the remote where that is wanted.

    Where entries have a branch of their own only that one is sent: the checked-out one is for people to push.
    """
    if not (registry.settings.push if asked is None else asked):
        return Sent()
    try:
        return Sent(synchronizer.push_aside(registry.branch) if registry.branch else synchronizer.push())
    except ImageworksError as error:
        return Sent(problem=error)
