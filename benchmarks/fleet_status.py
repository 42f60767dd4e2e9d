"""What ``fleet status`` of many hosts costs: the first look, and the next ones.

    python -m benchmarks.fleet_status [--hosts 200] [--models 500] [--rounds 3]

Prints CPU seconds of the whole process as the median of the rounds, and as multiples of ``python -c pass`` (``P``).
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Contender, run_once
from benchmarks.scale import command, without_cache
from benchmarks.scratch import CHECKOUT, Scratch, program


def main() -> None:
    """Make a registry, look at it, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("hosts", 200), ("models", 500), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        scratch = Scratch(Path(folder) / "host")
        scratch.clear()
        command(scratch, program("imageworks-models"), "init", str(scratch.registry))
        size = (str(asked.models), str(asked.hosts), "0")
        command(scratch, sys.executable, "-m", "benchmarks.fill", *size, folder=CHECKOUT)
        environment = scratch.environment()
        plain = median(Contender("P", (sys.executable, "-c", "pass"), environment, scratch.root), asked.rounds)
        look = (program("imageworks-models"), "fleet", "status")
        first = Contender("first look", look, environment, scratch.root, prepare=lambda: without_cache(scratch))
        for contender in (first, Contender("next look", look, environment, scratch.root)):
            seconds = median(contender, asked.rounds)
            print(f"{contender.name}: {seconds:.2f} s, {seconds / plain:.0f} P; {asked.hosts} hosts x {asked.models}")


def median(contender: Contender, rounds: int) -> float:
    return statistics.median(run_once(contender).cpu_seconds for _ in range(rounds))


if __name__ == "__main__":
    main()
