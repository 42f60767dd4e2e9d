"""Detection: right answers by field, listings a second, and the GGUF header of a 128k-token vocabulary.

Run it as ``python benchmarks/detect.py``; with ``--accuracy``, for the first of these alone.
"""

# ruff: noqa: E402 - the table lies among the tests
import gc
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1] / "tests")  # in place of this folder, where `detection` may be a file

from imageworks.detection.describe import describe
from imageworks.detection.file_names import classify, group_quants
from imageworks.detection.formats.gguf_header import GgufHeader, read_gguf
from imageworks.detection.model_facts import Subject
from support.corpus import corpus
from support.weights import ARRAY, I32, STRING, U32, file_ranges, gguf_file

ROUNDS = 7
TOKENS = 128_256
MERGES = 280_147


def best_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return the least and the middle of several times, in seconds."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def accuracy() -> None:
    """Print how many answers are right, by field, and those that are not."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong: list[str] = []
    repositories = corpus()
    for repository in repositories:
        for field, (expected, found, agrees) in repository.answers().items():
            asked[field] += 1
            right[field] += agrees
            if not agrees:
                wrong.append(f"  {repository.repo}: {field} is {expected!r}, and {found!r} was found")
    print(f"{len(repositories)} repositories")
    for field, count in asked.items():
        print(f"  {field:<16} {right[field]:>4} of {count:>4}  {right[field] / count:7.2%}")
    print(f"{len(wrong)} misses", *wrong, sep="\n")


def listings() -> None:
    """Print how many listings a second are classified by names, and described with their configs."""
    prepared = [(*repository.listing(), Subject(repo=repository.repo, task=repository.task)) for repository in corpus()]
    paths = [[file.path for file in files] for files, _, _ in prepared]
    distinct = [[f"{number}/{path}" for path in listing] for number, listing in enumerate(paths)]

    rounds = 0

    def by_name(chosen: list[list[str]]) -> None:
        for listing in chosen:
            for path in listing:
                classify(path)
            group_quants(listing)

    def described() -> None:
        for files, contents, subject in prepared:
            describe(files, contents.get, subject=subject)

    def cold() -> None:
        nonlocal rounds
        rounds += 1
        by_name([[f"{rounds}-{path}" for path in listing] for listing in distinct])

    files = sum(len(listing) for listing in paths)
    for title, work in (
        ("classified and grouped by names, names seen before", lambda: by_name(paths)),
        ("classified and grouped by names, each name new", cold),
        ("described with configs, templates and safety", described),
    ):
        least, middle = best_of(work)
        print(
            f"{title}: {len(paths) / least:,.0f} listings/s (median {len(paths) / middle:,.0f}),"
            f" {files / least:,.0f} files/s"
        )


def header_of(path: Path) -> GgufHeader:
    with file_ranges(path) as (read, size):
        return read_gguf(read, size)


def gguf_header() -> None:
    """Print how long the header of a large vocabulary takes."""
    pairs = [
        ("general.architecture", STRING, "llama"),
        ("general.file_type", U32, 15),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [f"token{number}" for number in range(TOKENS)])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * TOKENS)),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [f"a{number} b{number}" for number in range(MERGES)])),
    ]
    data = gguf_file(pairs, [(f"blk.{number}.weight", [4096, 4096], 12, 0) for number in range(291)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        path.write_bytes(data)
        least, middle = best_of(lambda: header_of(path))
    print(
        f"GGUF header, {TOKENS:,} tokens and {MERGES:,} merges ({len(data) / 1e6:.1f} MB):"
        f" {least * 1e3:.1f} ms (median {middle * 1e3:.1f})"
    )


if __name__ == "__main__":
    print(json.dumps({"python": sys.version.split()[0]}))
    accuracy()
    if "--accuracy" not in sys.argv[1:]:
        listings()
        gguf_header()
