"""Commits one changed entry and a snapshot, and appends what each step took to a file: a process of its own."""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    registry, times, host, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    entry, snapshot = f"discovered/{host}/{name}.json", f"snapshot/{host}.json"
    fields = json.loads((registry / entry).read_bytes())
    fields["downloaded_at"] = f"measured at {time.time_ns()}"
    new_entry = json.dumps(fields, indent=2, sort_keys=True).encode() + b"\n"
    new_snapshot = (registry / snapshot).read_bytes() + b"\n"
    began = time.perf_counter()
    from imageworks.git.repository import RegistryRepository

    imported = time.perf_counter()
    repository = RegistryRepository.open(registry, host=host)
    head = repository.head()
    opened = time.perf_counter()
    with repository.lock():
        locked = time.perf_counter()
        result = repository.commit({entry: new_entry, snapshot: new_snapshot}, message="Record", expected=head)
    committed = time.perf_counter()
    if not result.created:
        sys.exit("there was nothing to commit")
    steps = {"imports": imported - began, "open": opened - imported, "lock": locked - opened}
    steps["commit beyond opening"] = committed - locked
    with times.open("a", encoding="utf-8") as stream:
        stream.write("\t".join(f"imageworks, {step}={seconds}" for step, seconds in steps.items()) + "\n")


if __name__ == "__main__":
    main()
