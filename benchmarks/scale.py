"""How commands grow: CPU and memory over models, hosts, commits and files, and the growth of each in one run.

CPU is told as multiples of ``P``, what ``python -c pass`` takes at the same size (a machine is not equally quick for a
quarter of an hour), as the median of the rounds with the least and the most. Growth is fitted to what the larger sizes
take beyond the smallest: 1.0 is linear. Where that is less than ``MEASURABLE``, noise would decide it.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError, nothing
from benchmarks.registries import manifest_text, model_name, settle
from benchmarks.report import print_table
from benchmarks.scratch import CHECKOUT, HOST, Scratch, program
from benchmarks.servers import hub_over

STEEPEST: Final = 1.2
MOST_MEMORY_MIB: Final = 200
MEASURABLE: Final = 5.0  # P
FINE: Final = frozenset({0, 1, 2, 3})
"""What commands end with that did their work: there may be changes, or something is not in order."""


@dataclass(frozen=True, slots=True)
class Work:
    """One command line whose growth is asked for.

    Args:
        name: What it is called in the table.
        words: Its words, given the size.
        prepare: Called before each run, outside the time.
    """

    name: str
    words: Callable[[int], Sequence[str]]
    prepare: Callable[[Scratch], None] = lambda _: nothing()


@dataclass(frozen=True, slots=True)
class Series:
    """Some sizes, and what is done at each.

    Args:
        unit: What grows.
        sizes: From small to large.
        make: Makes what the work is done on, in a scratch folder.
        works: What is done.
        around: What runs beside; gives variables for the commands' environment.
        rounds_of_small: How often at least a command runs at all sizes but the largest: one look at what is short is
            mostly noise, and the quicker it is, the more.
    """

    unit: str
    sizes: Sequence[int]
    make: Callable[[Scratch, int], None]
    works: Sequence[Work]
    around: Callable[[Scratch], AbstractContextManager[Mapping[str, str]]] = lambda _: nullcontext({})
    rounds_of_small: int = 3


@dataclass(slots=True)
class Row:
    """What one command took at each size.

    Args:
        unit: What grows.
        name: The command.
        cpu: CPU time of each round in P, by size.
        memory: The most memory of any round in MiB, by size.
    """

    unit: str
    name: str
    cpu: dict[int, list[float]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)

    def growth(self) -> float | None:
        """Return by which power of the size it grows, by what larger sizes take beyond the smallest.

        ``None`` where noise would decide.
        """
        first, *_, small, large = sorted(self.cpu)
        start, before, after = (statistics.median(self.cpu[size]) for size in (first, small, large))
        if after - start < MEASURABLE:
            return None
        return math.log((after - start) / max(before - start, 0.5)) / math.log((large - first) / (small - first))


def run(words: Sequence[str], results: Path) -> int:
    """Measure, print the table, and return 1 where something grows too steeply or takes too much memory."""
    options = parse(words)
    rows: list[Row] = []
    plain: list[float] = []
    starts: list[float] = []
    root = options.scratch.resolve()
    try:
        for series in chosen(options):
            rows += measure(series, root, options.rounds, plain, starts, keep=options.keep)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(root, ignore_errors=True)
    unit, start = statistics.median(plain), statistics.median(starts)
    print(f"\nP = {unit:.3f} s of CPU ({min(plain):.3f} to {max(plain):.3f}); starting takes {start / unit:.1f} P")
    missed = [*show(rows, judged=not options.quick)]
    print(f"kept as {keep(results, rows, unit, start)}")
    print("\n".join(missed) or "nothing grows too steeply")
    return 1 if missed else 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    rounds = "how often each command runs at the largest size (default 3)"
    parser.add_argument("--rounds", type=int, default=3, help=rounds)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--nightly", action="store_true", help="10,000 models x 5 hosts x 20,000 commits and a tenth")
    parser.add_argument("--only", choices=("models", "hosts", "commits", "files"), help="one of the tables")
    parser.add_argument("--scratch", type=Path, default=CHECKOUT / ".bench/scale", help="where to work")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder as it is at the end")
    return parser.parse_args(words)


def chosen(options: argparse.Namespace) -> list[Series]:
    """Return what is measured."""
    if options.nightly:
        sizes = (10, 40, 160) if options.quick else (100, 1_000, 10_000)
        return [
            whole_registry(sizes, rounds_of_small=3 if options.quick else 9),
            Series("found models", sizes, found_models, FINDING),
            Series("models of a hub", sizes, models_of_a_hub, TAKING, hub_of),
        ]
    return [one for one in all_series(quick=options.quick) if options.only in {None, one.unit}]


def all_series(*, quick: bool) -> list[Series]:
    """Return the tables of an ordinary run."""
    few, some, many = (10, 40, 160) if quick else (100, 1_000, 10_000)
    hosts = (1, 3, 9) if quick else (1, 7, 50)
    models = 20 if quick else 200
    return [
        Series("models", (few, some, many), fill, COMMANDS),
        Series("hosts", hosts, lambda scratch, size: fill(scratch, models, hosts=size), FOR_ALL_HOSTS),
        Series("commits", (2 * few, 2 * some, 2 * many), lambda s, size: fill(s, models, commits=size), LOOKING_BACK),
        Series("files", (few, some, many), found_files, SCANNING),
    ]


def whole_registry(sizes: Sequence[int], *, rounds_of_small: int) -> Series:
    """Return the table of the nightly run, in which everything grows at once but the hosts."""

    def make(scratch: Scratch, size: int) -> None:
        fill(scratch, size, hosts=5, commits=2 * size)

    return Series("models", sizes, make, NIGHTLY, rounds_of_small=rounds_of_small)


def fill(scratch: Scratch, models: int, *, hosts: int = 1, commits: int = 0) -> None:
    """Make a registry, and run it once so that its caches are filled."""
    command(scratch, program("imageworks-models"), "init", str(scratch.registry))
    command(scratch, sys.executable, "-m", "benchmarks.fill", str(models), str(hosts), str(commits), folder=CHECKOUT)
    command(scratch, "git", "-C", str(scratch.registry), "gc", "--quiet")
    settle(scratch)


def found_files(scratch: Scratch, count: int) -> None:
    """Make an empty registry, and a folder with one model of many files."""
    command(scratch, program("imageworks-models"), "init", str(scratch.registry))
    _make_model(scratch.root / "found/many-7b-awq", (f"model-{number:05d}.safetensors" for number in range(count)))


def found_models(scratch: Scratch, count: int) -> None:
    """Make an empty registry, and models that nobody recorded."""
    command(scratch, program("imageworks-models"), "init", str(scratch.registry))
    for number in range(count):
        _make_whole_model(scratch.weights / f"owner-{number % 50}/Found-{number:05d}-7B", number)


def found_name(number: int) -> str:
    """Return what a scan calls one of them."""
    return f"found-{number:05d}-7b-vllm"


def models_of_a_hub(scratch: Scratch, count: int) -> None:
    """Make a hub's models, and a registry that declares them and has none."""
    command(scratch, program("imageworks-models"), "init", str(scratch.registry))
    for number in range(count):
        name = model_name(number)
        _make_whole_model(scratch.root / "hub/bench" / name, number)
        lines = (line for line in manifest_text(number).splitlines(keepends=True) if "revision:" not in line)
        (scratch.registry / f"models/{name}.yaml").write_text("".join(lines), encoding="utf-8")
    _commit_manifests(scratch, "Declare all")


@contextmanager
def hub_of(scratch: Scratch) -> Iterator[Mapping[str, str]]:
    """Let the hub's models be had."""
    with hub_over(scratch.root / "hub", scratch.environment()) as (url, _):
        yield {"HF_ENDPOINT": url}


def as_installed(scratch: Scratch) -> None:
    """Forget that all was installed, which is there."""
    installed, recorded = (
        len([*folder.glob("*")]) for folder in (scratch.root / "hub/bench", scratch.registry / f"discovered/{HOST}")
    )
    if recorded != installed:
        raise BenchmarkError(f"of {installed} models that a hub has {recorded} were installed")
    as_filled(scratch)


def without_models(scratch: Scratch) -> None:
    """Forget what was installed, and that it was."""
    as_filled(scratch)
    shutil.rmtree(scratch.weights, ignore_errors=True)


def _make_whole_model(folder: Path, number: int) -> None:
    _make_model(folder, ("model.safetensors",), number)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}", encoding="utf-8")


def _make_model(folder: Path, weights: Iterable[str], number: int = 0) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    header = b'{"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
    for name in weights:
        (folder / name).write_bytes(len(header).to_bytes(8, "little") + header + number.to_bytes(8, "little"))


def command(scratch: Scratch, *words: str, folder: Path | None = None) -> None:
    """Run something that has to succeed."""
    done = subprocess.run(
        words, env=scratch.environment(), cwd=folder or scratch.root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def without_cache(scratch: Scratch) -> None:
    """Forget what can be made again."""
    shutil.rmtree(scratch.cache, ignore_errors=True)


def as_filled(scratch: Scratch) -> None:
    """Put the registry and the host's memory back as they were at the first such row, and forget the cache."""
    saved, git = scratch.root / "filled", ("git", "-C", str(scratch.registry))
    if not saved.exists():
        scratch.state.mkdir(exist_ok=True)
        shutil.copytree(scratch.state, saved)
        command(scratch, *git, "update-ref", "refs/benchmark/filled", "HEAD")
    command(scratch, *git, "reset", "--quiet", "--hard", "refs/benchmark/filled")
    shutil.rmtree(scratch.state)
    shutil.copytree(saved, scratch.state)
    without_cache(scratch)


def with_another_label(scratch: Scratch) -> None:
    """Commit a change of one manifest, which the next run records."""
    file = scratch.registry / f"models/{model_name(1)}.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(manifest_text(1) if "deprecated" in text else f"{text}deprecated: true\n", encoding="utf-8")
    _commit_manifests(scratch, "Change one")


def _commit_manifests(scratch: Scratch, message: str) -> None:
    for words in (("add", "models"), ("commit", "--quiet", "--message", message)):
        command(scratch, "git", "-C", str(scratch.registry), *words)


def _always(*words: str) -> Callable[[int], Sequence[str]]:
    return lambda _: words


def _plain(*lines: str) -> tuple[Work, ...]:
    """Return works that need nothing before and are called what they are."""
    return tuple(Work(line, _always(*line.split())) for line in lines)


WITHOUT_A_CHANGE: Final = (
    Work("reconcile --dry-run", _always("reconcile", "--dry-run"), settle),
    *_plain("reconcile --dry-run --json"),
    Work("reconcile --dry-run, cold", _always("reconcile", "--dry-run"), without_cache),
)
RECONCILE: Final = _always("reconcile", "--yes", "--no-progress")
ONE_CHANGE: Final = Work("reconcile of one change", RECONCILE, with_another_label)
OF_ALL: Final = "diff --json refs/benchmark/declared..HEAD"
EVERYTHING: Final = "reconcile --dry-run --all-hosts --offline"
AGAINST_THE_LAST: Final = "reconcile --dry-run --format markdown --base HEAD~1"
COMMANDS: Final = (
    *_plain("list", "list --json", "status", "stats", "verify"),
    *WITHOUT_A_CHANGE,
    ONE_CHANGE,
    Work("validate ONE", lambda size: ("validate", f"models/{model_name(size // 2)}.yaml")),
    *_plain("validate", "snapshot check", "history", "history --json", "diff", OF_ALL),
)
FOR_ALL_HOSTS: Final = _plain("snapshot check", EVERYTHING, "hosts list", "status")
LOOKING_BACK: Final = _plain(
    "history --json --limit 1000000",
    f"history {model_name(3)}",
    f"blame {model_name(3)}",
    "reconcile --dry-run",
    "hosts list",
)
SCANNING: Final = _plain("scan --base ../found --dry-run")
NIGHTLY: Final = (
    Work("reconcile --dry-run --base", _always(*AGAINST_THE_LAST.split()), as_filled),
    *WITHOUT_A_CHANGE,  # what follows has no cache either
    *_plain(EVERYTHING, "snapshot check", "validate", "hosts list", "fleet status", "list", "list --json"),
    *_plain("list-roles", "stats", "resolve --role caption", "preview-simple-slugs", "snapshot show", "status"),
    *_plain("verify", "verify --full", "doctor", "history", "history --json", OF_ALL, "page --out ../page"),
    ONE_CHANGE,
    Work("hosts rename", _always("hosts", "rename", "host-01", "other"), as_filled),
)
FINDING: Final = (
    Work("scan --dry-run", _always("scan", "--dry-run"), as_filled),
    *_plain("scan"),
    Work("promote", lambda size: ("promote", *map(found_name, range(size)))),
)
TAKING: Final = (
    Work("reconcile --dry-run that would install all", _always("reconcile", "--dry-run"), without_models),
    Work("reconcile that installs all", RECONCILE, without_models),
    Work("reconcile that adopts all", RECONCILE, as_installed),
)


def measure(
    series: Series, root: Path, rounds: int, plain: list[float], starts: list[float], *, keep: bool
) -> Iterator[Row]:
    """Yield what each command of a series took at each size; ``plain`` and ``starts`` get what nothing takes."""
    rows = {work.name: Row(series.unit, work.name) for work in series.works}
    for size in series.sizes:
        scratch = Scratch(root / f"{series.unit}-{size}")
        scratch.clear()
        series.make(scratch, size)
        units: list[float] = []
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        with series.around(scratch) as variables:
            for _ in range(rounds if size == max(series.sizes) else max(rounds, series.rounds_of_small)):
                starts.append(once(scratch, (program("imageworks-models"), "--version"))[0])
                for work in series.works:
                    work.prepare(scratch)
                    units.append(once(scratch, (sys.executable, "-c", "pass"))[0])
                    cpu, memory = once(scratch, (program("imageworks-models"), *work.words(size)), **variables)
                    seconds[work.name].append(cpu)
                    rows[work.name].memory[size] = max(memory, rows[work.name].memory.get(size, 0.0))
        unit = statistics.median(units)
        for name, row in rows.items():
            row.cpu[size] = [cpu / unit for cpu in seconds[name]]
        plain += units
        print(f"   {size:,} {series.unit}", file=sys.stderr, flush=True)
        if not keep:
            shutil.rmtree(scratch.root, ignore_errors=True)
    yield from rows.values()


def once(scratch: Scratch, words: Sequence[str], **variables: str) -> tuple[float, float]:
    """Return the CPU seconds of a process with its children, and the most memory that any of them had, in MiB."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            env=scratch.environment(**variables),
            cwd=scratch.registry if scratch.registry.is_dir() else scratch.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in FINE or b"Traceback (most recent call last)" in _end_of(output.fileno()):
            raise BenchmarkError(f"{' '.join(words)} ended with {process.returncode}: {_end_of(output.fileno())!r}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _end_of(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, 2000, max(0, size - 2000))


def show(rows: Sequence[Row], *, judged: bool) -> Iterator[str]:
    """Print a table for each kind of size, and yield what is not as it has to be."""
    for kind in dict.fromkeys(row.unit for row in rows):
        own = [row for row in rows if row.unit == kind]
        sizes = sorted(own[0].cpu)
        print(f"\n== CPU in P (least to most) and memory in MiB, by {kind}")
        headings = (kind, *(f"{size:,}" for size in sizes), *(f"MiB at {size:,}" for size in sizes[-1:]), "growth")
        lines = []
        for row in own:
            growth = row.growth()
            steep, large = growth is not None and growth > STEEPEST, row.memory[sizes[-1]] > MOST_MEMORY_MIB
            cells = [_spread(row.cpu[size]) for size in sizes]
            lines.append((row.name, *cells, f"{row.memory[sizes[-1]]:.0f}", "-" if growth is None else f"{growth:.2f}"))
            if judged and steep:
                yield f"{row.name}: grows by the power {growth:.2f} of {kind}, at most {STEEPEST}"
            if judged and large:
                yield f"{row.name}: {row.memory[sizes[-1]]:.0f} MiB at {sizes[-1]:,} {kind}, at most {MOST_MEMORY_MIB}"
        print_table(headings, lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def keep(folder: Path, rows: Sequence[Row], unit: float, start: float) -> Path:
    """Write the measurements as JSON and return the file."""
    now = datetime.now(UTC)
    content: Mapping[str, object] = {
        "format_version": 2,
        "measured_at": now.isoformat(timespec="seconds"),
        "p_seconds": unit,
        "start_seconds": start,
        "rows": [{**asdict(row), "growth": row.growth()} for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"scale-{now:%Y%m%dT%H%M%SZ}.json"
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return target
