"""One changed entry with its snapshot, committed to a registry of many: ours beside ``git add -A && git commit``."""

import shutil
import sys
from pathlib import Path

from benchmarks.measure import Comparison, Contender, Limit, Sample, compare
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

    def change() -> None:
        for path in touched:
            text = (scratch.registry / path).read_text(encoding="utf-8")
            (after / path).parent.mkdir(parents=True, exist_ok=True)
            (after / path).write_text(text.replace("\n  ", "\n   ", 1), encoding="utf-8")

    ours = Contender(
        "imageworks, whole process",
        (sys.executable, str(ONCE), str(scratch.registry), *map(str, (after, times)), *touched),
        environment,
        CHECKOUT,
        change,
    )

    def edit() -> None:
        for path in touched:
            text = (copy / path).read_text(encoding="utf-8")
            (copy / path).write_text(text.replace("\n  ", "\n   ", 1), encoding="utf-8")

    words = ("git", "-c", "core.fsync=added,reference", "commit", "--quiet", "--message", "Record")
    script = f"git add -A && {' '.join(words)}"
    theirs = Contender("git add -A && git commit", ("sh", "-c", script), environment, copy, edit)
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
