"""What is looked at each night, because it takes too long for each change: a large registry, and how all grows.

``python scripts/nightly.py`` (``make nightly``) makes registries of 1,000 and 10,000 models x 5 hosts, with 2,000 and
20,000 commits, and runs commands over both. Bounds are on growth and on memory, never on seconds. Before that it
tells the long story of a fleet on a real Ray, where Ray is installed, and lets a watch run for some hundred cycles with
changes and faults, of which nothing may grow.
"""

import os
import subprocess
import sys
from pathlib import Path

CYCLES = 160  # of the watch: to get warm, and three times all that happens
CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run it and return 1 where a bound is not kept."""
    story = (sys.executable, "-m", "pytest", "-q", "tests/cli/test_fleet_on_ray.py")
    told = subprocess.run(story, cwd=CHECKOUT, env={**os.environ, "IMAGEWORKS_NIGHTLY": "1"}, check=False).returncode
    watch = (sys.executable, "-m", "benchmarks.endurance", "--cycles", str(CYCLES))
    grown = subprocess.run(watch, cwd=CHECKOUT, check=False).returncode
    scale = (sys.executable, "-m", "benchmarks", "scale", "--nightly", *sys.argv[1:])
    return subprocess.run(scale, cwd=CHECKOUT, check=False).returncode or grown or told  # our own programs


if __name__ == "__main__":
    sys.exit(main())
