"""``python -m benchmarks [NAME...] [--rounds N] [--quick]``: measure against peers, as ratios in one run.

``python -m benchmarks compare REV`` measures two commits of this repository side by side, ``python -m benchmarks
scale`` how commands grow with models, hosts, commits and files.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError
from benchmarks.report import keep, show
from benchmarks.scratch import CHECKOUT, compile_code

NAMES: Final = ("hashing", "startup", "commit", "noop", "history", "page", "ollama_plan", "transfer")
RESULTS: Final = CHECKOUT / ".bench"


def main() -> int:
    compile_code(CHECKOUT)
    if sys.argv[1:2] in (["compare"], ["scale"]):
        return import_module(f"benchmarks.{sys.argv[1]}").run(sys.argv[2:], RESULTS)  # type: ignore[no-any-return]
    options = parse(sys.argv[1:])
    missed = 0
    for name in options.names or NAMES:
        try:
            more = {"double": options.double, "throttled": not options.unthrottled} if name == "transfer" else {}
            measure = import_module(f"benchmarks.{name}").run
            comparisons = []
            for comparison in measure(options.scratch.resolve(), rounds=options.rounds, quick=options.quick, **more):
                judged = replace(comparison, limits=()) if options.quick else comparison
                show(judged)
                comparisons.append(judged)
                missed += sum(not verdict.kept for verdict in judged.verdicts())
        except BenchmarkError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"   kept as {keep(RESULTS, name, comparisons)}")
    if not options.keep:
        shutil.rmtree(options.scratch, ignore_errors=True)
    if not options.quick:
        print(f"\n{missed} limits missed" if missed else "\nall limits kept")
    return 0


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default 5)")
    parser.add_argument("--quick", action="store_true", help="small amounts, to see that everything runs")
    parser.add_argument("--unthrottled", action="store_true", help="transfer: leave out the runs at 20 MiB/s")
    parser.add_argument("--double", action="store_true", help="transfer: 1 x 2 GiB and 400 x 1 MiB instead of half")
    parser.add_argument(
        "--scratch", type=Path, default=RESULTS / "scratch", help="where to work (default .bench/scratch)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder as it is at the end")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
