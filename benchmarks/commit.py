"""One changed entry with its snapshot, committed to a registry of many: ours beside ``git add -A && git commit``."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import BenchmarkError, Comparison, Contender, Limit, Sample, compare
from benchmarks.registries import make_settled_registry, model_name
from benchmarks.scratch import CHECKOUT, HOST, Scratch

TIMES = "commit-times"
ONCE = Path(__file__).with_name("commit_once.py")  # as a file, like every command: -m takes half as long again to start


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure commits.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take a small registry.
    """
    count = 200 if quick else 10_000
    scratch = Scratch(folder / f"commit-{count}")
    make_settled_registry(scratch, count)
    copy = scratch.root / "copy"
    shutil.copytree(scratch.registry, copy, symlinks=True)
    times = scratch.root / TIMES
    touched = (f"discovered/{HOST}/{model_name(count // 2)}.json", f"snapshot/{HOST}.json")
    after = scratch.root / "after"
    environment = scratch.environment()

    def committed(registry: Path) -> None:
        words = ("git", "show", "--name-only", "--format=", "HEAD")
        shown = subprocess.run(words, env=environment, cwd=registry, check=True, capture_output=True, text=True).stdout
        if sorted(shown.splitlines()) != sorted(touched):
            raise BenchmarkError(f"{registry}: the last commit is not of {' and '.join(touched)}, but of: {shown}")

    ours = Contender(
        "imageworks, whole process",
        (sys.executable, str(ONCE), str(scratch.registry), *map(str, (after, times)), *touched),
        environment,
        CHECKOUT,
        lambda: edit(scratch.registry, after, touched),
        lambda: committed(scratch.registry),
    )
    words = ("git", "-c", "core.fsync=added,reference", "commit", "--quiet", "--message", "Record")
    script = f"git add -A && {' '.join(words)}"
    theirs = Contender(
        "git add -A && git commit",
        ("sh", "-c", script),
        environment,
        copy,
        lambda: edit(copy, copy, touched),
        lambda: committed(copy),
    )
    compared = compare(f"commit of one entry and the snapshot, {count:,} entries", [ours, theirs], rounds=rounds)
    steps: dict[str, list[Sample]] = {}
    for line in times.read_text(encoding="utf-8").splitlines():
        for step in line.split("\t"):
            name, seconds = step.split("=")
            steps.setdefault(name, []).append(Sample(float(seconds), 0.0))
    limits = [Limit(ours.name, 1.0, theirs.name, cpu=True)]
    samples = {**compared.samples, **steps}
    size = (scratch.registry / touched[1]).stat().st_size
    notes = [f"the snapshot has {size / 2**20:.1f} MiB"]
    return [Comparison(compared.title, samples, limits, compared.foreign_cpu, notes)]


def edit(source: Path, target: Path, paths: Sequence[str]) -> None:
    """Write files with one more space in the middle of each, where a snapshot has the entry of one model."""
    for path in paths:
        text = (source / path).read_text(encoding="utf-8")
        place = text.index('":', len(text) // 2) + 2
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(f"{text[:place]} {text[place:]}", encoding="utf-8")
