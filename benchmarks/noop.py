"""A dry run of reconcile that has nothing to do, with many models: warm, as JSON, and with the cache folder removed.

Warm, it is said from a note while all that decided it looks the same; whoever asks for JSON gets a plan, for which
everything is looked at.
"""

import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, Contender, Limit, compare
from benchmarks.registries import make_settled_registry
from benchmarks.scratch import Scratch, program

LIMITS = {(1_000, "warm"): 22, (1_000, "cold"): 75, (10_000, "warm"): 110}
"""Multiples of an empty interpreter, in CPU time."""


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure no-op dry runs.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take small registries.
    """
    return [_one(folder, count, rounds) for count in ((50, 200) if quick else (1_000, 10_000))]


def _one(folder: Path, count: int, rounds: int) -> Comparison:
    scratch = Scratch(folder / f"noop-{count}")
    make_settled_registry(scratch, count)
    kept = scratch.root / "cache-kept"
    shutil.copytree(scratch.cache, kept)
    command = (program("imageworks-models"), "reconcile", "--dry-run", "--detailed-exitcode")
    warm = partial(_restore, kept, scratch.cache)
    cold = partial(shutil.rmtree, scratch.cache, ignore_errors=True)
    runs = {"warm": (warm, ()), "warm, as JSON": (warm, ("--json",)), "cold": (cold, ())}
    contenders = [
        Contender(name, (*command, *more), scratch.environment(), scratch.registry, prepare)
        for name, (prepare, more) in runs.items()
    ]
    empty = Contender("python -c pass", (sys.executable, "-c", "pass"), scratch.environment(), scratch.registry)
    limits = [Limit(name, LIMITS[count, name], empty.name, cpu=True) for name in runs if (count, name) in LIMITS]
    title = f"no-op reconcile --dry-run, {count:,} manifests"
    return compare(title, [empty, *contenders], rounds=rounds, limits=limits)


def _restore(kept: Path, cache: Path) -> None:
    if not cache.exists():
        shutil.copytree(kept, cache)
