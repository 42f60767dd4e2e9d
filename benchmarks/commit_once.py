"""Commits what other files have for some of a registry, and appends what each step took to a file.

A process of its own, which begins and ends as every command does.
"""

import os
import sys
import time
from pathlib import Path

from imageworks.cli.app import leave_cycles


def main() -> None:
    leave_cycles()
    registry, after, times = map(Path, sys.argv[1:4])
    entry, snapshot = sys.argv[4:]
    changed = (after / entry).read_bytes()
    began = time.perf_counter()
    from imageworks.git.repository import RegistryRepository

    imported = time.perf_counter()
    repository = RegistryRepository.open(registry)
    head = repository.head()
    opened = time.perf_counter()
    with repository.lock():
        locked = time.perf_counter()
        with (after / snapshot).open("rb") as lines, repository.spooled(lines) as stored:
            result = repository.commit({entry: changed, snapshot: stored}, message="Record", expected=head)
    committed = time.perf_counter()
    if not result.created:
        sys.exit("there was nothing to commit")
    steps = {"imports": imported - began, "open": opened - imported, "lock": locked - opened}
    steps["commit beyond opening"] = committed - locked
    with times.open("a", encoding="utf-8") as stream:
        stream.write("\t".join(f"imageworks, {step}={seconds}" for step, seconds in steps.items()) + "\n")
    os._exit(0)


if __name__ == "__main__":
    main()
