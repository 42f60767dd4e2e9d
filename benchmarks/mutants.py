"""Detection of spoiled files: mutants of headers, configs and cards, none of which may raise or take long.

Run it as ``python benchmarks/mutants.py [COUNT]``, 100,000 by default; it exits with 1 where one does.
"""

# ruff: noqa: E402 - the mutants are made among the tests
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1] / "tests")

from support.spoiled import LONGEST, spoiled

COUNT = 100_000


def main() -> int:
    """Describe as many mutants as asked, and print what went wrong."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    start = time.perf_counter()
    slowest, wrong = 0.0, 0
    for number in range(count):
        mutant = spoiled(number)
        begin = time.process_time()
        try:
            mutant.describe()
        except Exception as error:  # noqa: BLE001 - which is what is looked for
            wrong += 1
            print(f"mutant {number} ({mutant.name}): {type(error).__name__}: {error}")
        took = time.process_time() - begin
        if took > LONGEST:  # once more: the machine may have been busy
            begin = time.process_time()
            mutant.describe()
            took = min(took, time.process_time() - begin)
        slowest = max(slowest, took)
        if took > LONGEST:
            wrong += 1
            print(f"mutant {number} ({mutant.name}): {took * 1e3:.0f} ms")
    spent = time.perf_counter() - start
    print(f"{count:,} mutants in {spent:.0f} s, slowest {slowest * 1e3:.1f} ms, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
