"""What one run is asked to do."""

from dataclasses import dataclass, field
from threading import Event

from imageworks.plan.facts import PruneOptions


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is asked to do.

    Args:
        names: The models to consider; all when empty.
        prune: What may be removed; ``enabled`` adds to what registry.yaml says.
        offline: Whether the network may not be used.
        jobs: Models and large files at once; registry.yaml's when absent.
        commit: Whether what was done is committed.
        read_only: Whether nothing may be written, anywhere.
        any_time: Whether downloads may run outside the registry's transfer window.
        pull: Whether the branch is brought up to date with its remote first.
        push: Whether commits are sent to the remote; by default as registry.yaml says.
        restore_locked: Whether a locked model whose files have other bytes now gets the locked ones back.
        recheck: Whether installed models are held against what their repositories list, which asks the network.
        mends_snapshot: Whether a snapshot that is not what manifests and entries give is written anew.
        cancel: Set by another thread to call the run off.
        uncommitted: Whether edits of manifests and registry.yaml count that are not committed; for a read-only run.
        mirrors: Where bytes come from before the hub, as addresses or names of hosts; else as the settings say.
        at: The commit whose declarations count: what is pulled, and what a read-only run plans with.
    """

    names: tuple[str, ...] = ()
    prune: PruneOptions = field(default_factory=PruneOptions)
    offline: bool = False
    jobs: int | None = None
    commit: bool = True
    read_only: bool = False
    any_time: bool = False
    pull: bool = False
    push: bool | None = None
    restore_locked: bool = False
    recheck: bool = False
    mends_snapshot: bool = False
    cancel: Event | None = None
    uncommitted: bool = False
    mirrors: tuple[str, ...] = ()
    at: str = ""
