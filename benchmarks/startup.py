"""What every command costs before it does anything: --help, list and validate beside an empty interpreter."""

import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, Contender, Limit, compare, nothing
from benchmarks.registries import make_settled_registry
from benchmarks.scratch import Scratch, program


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure start-up, listing and validation.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take a small registry.
    """
    count = 50 if quick else 1_000
    scratch = Scratch(folder / f"startup-{count}")
    make_settled_registry(scratch, count)

    def contender(name: str, *words: str, cold: bool = False) -> Contender:
        prepare = partial(shutil.rmtree, scratch.cache, ignore_errors=True) if cold else nothing
        command = (program("imageworks-models"), *words)
        return Contender(name, command, scratch.environment(), scratch.registry, prepare)

    empty = Contender("python -c pass", (sys.executable, "-c", "pass"), scratch.environment(), scratch.registry)
    commands = [
        empty,
        contender("--help", "--help"),
        contender("list", "list"),
        contender("list --json", "list", "--json"),
        contender("validate, cold", "validate", cold=True),
    ]
    limits = [Limit("--help", 0.12), Limit("list", 0.15), Limit("validate, cold", 1.6)]
    title = f"start-up, and list and validate with {count:,} models, piped"
    return [compare(title, commands, rounds=rounds, limits=limits)]
