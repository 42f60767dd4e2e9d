"""Hashing for ``verify``: our hash_files on all cores beside one thread of hashlib, content in the page cache."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Comparison, CpuMeter, Limit, Sample

from imageworks.files.digests import Algorithm, hash_files

BUFFER_BYTES = 1024 * 1024


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure hashing.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take small files.
    """
    size = 32 if quick else 256
    paths = [folder / "hashing" / f"{number}.bin" for number in range(4)]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        with path.open("wb") as stream:
            for _ in range(size):
                stream.write(os.urandom(BUFFER_BYTES))
    ours: list[Sample] = []
    theirs: list[Sample] = []
    meter = CpuMeter()
    for _ in range(rounds):
        theirs.append(_timed(lambda: [_hashlib(path) for path in paths]))
        ours.append(_timed(lambda: list(hash_files(paths, Algorithm.SHA256))))
    for path in paths:
        path.unlink()
    names = ("imageworks hash_files", "hashlib, one thread")
    limits = [Limit(names[0], 1.8, names[1], faster=True)]
    notes = [f"{len(os.sched_getaffinity(0))} cores"]
    samples = dict(zip(names, (ours, theirs), strict=True))
    return [Comparison(f"sha256 of 4 files of {size} MiB", samples, limits, meter.foreign(), notes)]


def _timed(work: Callable[[], object]) -> Sample:
    before, cpu = time.perf_counter(), time.process_time()
    work()
    return Sample(time.perf_counter() - before, time.process_time() - cpu)


def _hashlib(path: Path) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()
