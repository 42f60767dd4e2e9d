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

    emptied = folder / f"startup-{count}-emptied"

    def contender(name: str, *words: str, cold: bool = False) -> Contender:
        # A cache of its own, or what is measured next would find none either.
        variables = {"IMAGEWORKS_CACHE_DIR": str(emptied)} if cold else {}
        prepare = partial(shutil.rmtree, emptied, ignore_errors=True) if cold else nothing
        command = (program("imageworks-models"), *words)
        return Contender(name, command, scratch.environment(**variables), scratch.registry, prepare)

    empty = Contender("python -c pass", (sys.executable, "-c", "pass"), scratch.environment(), scratch.registry)
    commands = [
        empty,
        contender("--help", "--help"),
        contender("list", "list"),
        contender("list --json", "list", "--json"),
        contender("list, cold", "list", cold=True),
        contender("validate, cold", "validate", cold=True),
    ]
    bounds = {"--help": 7, "list": 10, "validate, cold": 75}
    limits = [Limit(name, bound, empty.name, cpu=True) for name, bound in bounds.items()]
    title = f"start-up, and list and validate with {count:,} models, piped"
    return [compare(title, commands, rounds=rounds, limits=limits)]
