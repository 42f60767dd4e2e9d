"""Tell which pinned requirements have known vulnerabilities, as osv.dev knows them: one request for all of them.

Where it does not answer within seconds, that is said and counts as nothing found: a check without a network must not
fail for want of one. ``--strict`` fails on findings; without it they are told.
"""

import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
URL = os.environ.get("OSV_URL", "https://api.osv.dev")
SECONDS = 10
MOST_SECONDS = 30
LARGEST_BYTES = 16 * 1024 * 1024
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pinned(*files: Path) -> list[tuple[str, str]]:
    """Return names and versions of all requirements in the files."""
    return sorted({found for file in files for found in PINNED.findall(file.read_text(encoding="utf-8"))})


def vulnerabilities(packages: list[tuple[str, str]]) -> Mapping[tuple[str, str], list[str]]:
    """Return the ids of what is known of each package, asked by one request."""
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in packages]
    request = urllib.request.Request(  # noqa: S310 # the address is ours
        f"{URL}/v1/querybatch", json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
        results = json.loads(reply.read(LARGEST_BYTES))["results"]
    if len(results) != len(packages):
        raise ValueError(f"{len(results)} answers came to {len(packages)} questions")
    return {
        package: [one["id"] for one in result["vulns"]]
        for package, result in zip(packages, results, strict=True)
        if result.get("vulns")
    }


def give_up(_number: int, _frame: object) -> None:
    """End the wait for an answer."""
    raise TimeoutError(f"nothing complete came within {MOST_SECONDS} s")


def main() -> int:
    """Tell what is found; return 1 for findings where that is asked for."""
    packages = pinned(*sorted((ROOT / "requirements").glob("*.txt")))
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MOST_SECONDS)  # a timeout of the library holds for each piece of an answer
    try:
        found = vulnerabilities(packages)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"audit skipped: {URL} gives no answer ({type(error).__name__}: {error})", file=sys.stderr)
        return 0
    finally:
        signal.alarm(0)
    for (name, version), ids in found.items():
        print(f"{name}=={version}: {', '.join(f'https://osv.dev/{one}' for one in ids)}")
    print(f"{len(packages)} requirements, {len(found)} with known vulnerabilities", file=sys.stderr)
    return 1 if found and "--strict" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
