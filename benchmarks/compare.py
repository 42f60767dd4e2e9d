"""``python -m benchmarks compare REV``: what the commands of two commits cost, in turn, as ratios in one run.

Judged by CPU seconds of whole process trees: what else a machine does moves those far less than the clock. Each commit
runs in a tree of its own, on a registry that its own code made, with the packages of this environment.
"""

import argparse
import io
import math
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError, Comparison, Contender, CpuMeter, Sample, nothing, run_once
from benchmarks.report import keep, print_table
from benchmarks.scratch import CHECKOUT, HOST, Scratch, compile_code, program
from benchmarks.servers import hub_over, served
from benchmarks.transfer import LARGE, MANIFEST, NAME, SMALL, DownloadCase, write_model, write_models

EMPTY: Final = "python -c pass"
GIT: Final = "git add -A && git commit"
WORK: Final = ("start-up", "list", "no-op", "validate", "commit", "hub")
WHERE_ASKED: Final = ("transfer",)
HERE: Final = "."
_WORK_HELP: Final = f"of {', '.join(WORK)} (by default all of these), {', '.join(WHERE_ASKED)}"
_MAKE: Final = (
    "import sys, pathlib\n"
    "from benchmarks.registries import make_settled_registry\n"
    "from benchmarks.scratch import Scratch\n"
    "make_settled_registry(Scratch(pathlib.Path(sys.argv[1])), int(sys.argv[2]))\n"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the commits that are compared.

    Args:
        name: As it was asked for.
        tree: Its files.
        folder: Where its registries are.
    """

    name: str
    tree: Path
    folder: Path

    def environment(self, scratch: Scratch) -> dict[str, str]:
        """Return the environment in which this commit's code runs."""
        return scratch.environment(PYTHONPATH=f"{self.tree / 'controller'}:{self.tree}", PYTHONUNBUFFERED="")

    def registry(self, count: int) -> Scratch:
        """Return a registry of many models that this commit's code has made, with what its cache holds then."""
        scratch = Scratch(self.folder / str(count))
        if not scratch.root.exists():
            words = (sys.executable, "-c", _MAKE, str(scratch.root), str(count))
            done = subprocess.run(
                words, env=self.environment(scratch), cwd=self.tree, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise BenchmarkError(
                    f"{self.name} cannot make a registry with this environment:\n{done.stderr[-2000:]}"
                )
            shutil.copytree(scratch.cache, scratch.root / "cache-kept")
        return scratch


@dataclass(frozen=True, slots=True)
class Measured:
    """What some work took, run by run.

    Args:
        title: What the work is.
        samples: By the name of who did it.
    """

    title: str
    samples: Mapping[str, Sequence[Sample]]


def run(words: Sequence[str], results: Path) -> int:
    """Compare the commit that a command line names with this checkout as it stands, and print the ratios."""
    options = _parse(words)
    scratch: Path = options.scratch.resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        sides = [_side(options.revision, scratch), _side(options.against, scratch)]
        sizes = (50, 100) if options.quick else (options.models, options.many)
        measured, meter = [], CpuMeter()
        for work in options.work or WORK:
            for title, contenders in _WORKS[work](sides, *sizes):
                measured.append(_measure(title, contenders, options.rounds))
                print(f"{title}: {_span(_ratios(measured[-1], sides), 'x', 2)}", file=sys.stderr)  # it takes minutes
        foreign = meter.foreign()
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    _show(measured, sides, options.rounds, foreign)
    print(f"   kept as {keep(results, 'compare', [Comparison(m.title, m.samples, (), foreign) for m in measured])}")
    shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("revision", metavar="REV", help="the commit to compare with")
    parser.add_argument("work", nargs="*", choices=[[], *WORK, *WHERE_ASKED], metavar="WORK", help=_WORK_HELP)
    parser.add_argument("--against", default=HERE, metavar="REV", help="another commit instead of this checkout")
    parser.add_argument("--rounds", type=int, default=9, help="how often each runs (default 9)")
    parser.add_argument("--models", type=int, default=1_000, help="in the registry (default 1,000)")
    parser.add_argument("--many", type=int, default=10_000, help="in the large registry (default 10,000)")
    parser.add_argument("--quick", action="store_true", help="small registries, to see that everything runs")
    parser.add_argument("--scratch", type=Path, default=CHECKOUT / ".bench" / "compare", help="where to work")
    return parser.parse_args(words)


def _side(revision: str, scratch: Path) -> Side:
    """Return a commit's files, compiled."""
    if revision == HERE:
        name, tree, folder = "this checkout", CHECKOUT, scratch / "here"
    else:
        asked = ("git", "-C", str(CHECKOUT), "rev-parse", "--short", "--verify", "--quiet", f"{revision}^{{commit}}")
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        if found.returncode:
            raise BenchmarkError(f"{revision} is no commit of this repository")
        name, folder = found.stdout.strip(), scratch / found.stdout.strip()
        tree = folder / "tree"
        packed = subprocess.run(
            ("git", "-C", str(CHECKOUT), "archive", "--format=tar", name), capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(tree, filter="data")
    compile_code(tree)
    return Side(name, tree, folder)


def _contender(
    side: Side, count: int, *words: str, prepare: Callable[[Scratch], None] = lambda _scratch: None
) -> Contender:
    scratch = side.registry(count)
    command = (program("imageworks-models"), *words)
    return Contender(side.name, command, side.environment(scratch), scratch.registry, partial(prepare, scratch))


def _warm(scratch: Scratch) -> None:
    if not scratch.cache.exists():
        shutil.copytree(scratch.root / "cache-kept", scratch.cache)


def _cold(scratch: Scratch) -> None:
    shutil.rmtree(scratch.cache, ignore_errors=True)


Work = list[tuple[str, list[Contender]]]


def _start(sides: Sequence[Side], count: int, _many: int) -> Work:
    return [
        (f"{word}", [_contender(side, count, word, prepare=_warm) for side in sides])
        for word in ("--help", "--version")
    ]


def _list(sides: Sequence[Side], count: int, _many: int) -> Work:
    return [
        (f"list, {count:,} models", [_contender(side, count, "list", prepare=_warm) for side in sides]),
        (f"list --json, {count:,}", [_contender(side, count, "list", "--json", prepare=_warm) for side in sides]),
        (f"list, {count:,}, cache emptied", [_contender(side, count, "list", prepare=_cold) for side in sides]),
    ]


def _no_op(sides: Sequence[Side], count: int, many: int) -> Work:
    words = ("reconcile", "--dry-run")
    return [
        (f"no-op dry run, {count:,} models", [_contender(side, count, *words, prepare=_warm) for side in sides]),
        (f"no-op dry run, {count:,}, cold", [_contender(side, count, *words, prepare=_cold) for side in sides]),
        (f"no-op dry run, {many:,} models", [_contender(side, many, *words, prepare=_warm) for side in sides]),
    ]


def _validate(sides: Sequence[Side], count: int, _many: int) -> Work:
    return [
        (f"validate, {count:,} models", [_contender(side, count, "validate", prepare=_warm) for side in sides]),
        (f"validate, {count:,}, cold", [_contender(side, count, "validate", prepare=_cold) for side in sides]),
    ]


def _commit(sides: Sequence[Side], _count: int, many: int) -> Work:
    """Commit one changed entry with its snapshot, beside git itself in a copy of each registry."""
    contenders = []
    for side in sides:
        scratch = side.registry(many)
        names = sorted(path.stem for path in (scratch.registry / "models").iterdir())
        name = names[len(names) // 2]
        times = str(scratch.root / "commit-times")
        words = (sys.executable, "-m", "benchmarks.commit_once", str(scratch.registry), times, name)
        contenders.append(Contender(side.name, words, side.environment(scratch), side.tree))
    scratch = sides[-1].registry(many)
    copy = scratch.root / "copy"
    if not copy.exists():
        shutil.copytree(scratch.registry, copy, symlinks=True)
    touched = [copy / "discovered" / HOST / f"{name}.json", copy / "snapshot" / f"{HOST}.json"]
    script = f"{GIT.partition(' && ')[0]} && git -c core.fsync=added,reference commit --quiet --message Record"
    peer = Contender(GIT, ("sh", "-c", script), scratch.environment(), copy, partial(_edit, touched))
    return [(f"commit of one entry of {many:,}", [*contenders, peer])]


def _edit(files: Sequence[Path]) -> None:
    for path in files:
        path.write_text(path.read_text(encoding="utf-8").replace("\n  ", "\n   ", 1) + "\n", encoding="utf-8")


def _hub(sides: Sequence[Side], _count: int, _many: int) -> Iterator[tuple[str, list[Contender]]]:
    """Plan one model that a hub has, where nothing is known of it: the first question to a hub, and a listing."""
    root = sides[0].folder.parent / "hub"
    for repository, count in {"small": 2, "many": 3_000}.items():
        write_model(root / "bench" / repository, count, 64)
    with hub_over(root, sides[-1].registry(1).environment()) as (url, _):
        for repository in ("small", "many"):
            contenders = []
            for side in sides:
                one = _contender(side, 1, "reconcile", "--dry-run", prepare=partial(_declared, repository))
                contenders.append(replace(one, environment={**one.environment, "HF_ENDPOINT": url}))
            yield f"plan of a hub's model, {repository} files", contenders


def _transfer(sides: Sequence[Side], count: int, _many: int) -> Iterator[tuple[str, list[Contender]]]:
    """Download one file of so many MiB, and a fifth as many files of one; beside raw aria2c and ``hf download``."""
    scratch = Scratch(sides[-1].folder / "transfer")
    scratch.clear()
    hub = scratch.root / "hub"
    titles = write_models(hub, count, count // 5)
    with served(hub, scratch.root / "servers", scratch.environment()) as origin:
        for kind in (LARGE, SMALL):
            case = DownloadCase(scratch, hub, kind, origin)
            ours = [case.ours(side.name, side.environment(scratch)) for side in sides]
            yield f"cold download of {titles[kind]}", [*ours, case.raw(), case.hf()]


def _declared(repository: str, scratch: Scratch) -> None:
    _cold(scratch)
    (scratch.registry / f"models/{NAME}.yaml").write_text(MANIFEST.format(repository=repository), encoding="utf-8")
    words = ("git", "-C", str(scratch.registry))
    subprocess.run((*words, "add", "models"), check=True)
    subprocess.run((*words, "commit", "--quiet", "--allow-empty", "--message", "Declare"), check=True)


_WORKS: Final[Mapping[str, Callable[[Sequence[Side], int, int], Iterable[tuple[str, list[Contender]]]]]] = {
    "start-up": _start,
    "list": _list,
    "no-op": _no_op,
    "validate": _validate,
    "commit": _commit,
    "hub": _hub,
    "transfer": _transfer,
}


def _measure(title: str, contenders: Sequence[Contender], rounds: int) -> Measured:
    """Run all in turn, each round in another order, the empty interpreter among them."""
    empty = Contender(EMPTY, (sys.executable, "-c", "pass"), contenders[0].environment, contenders[0].folder, nothing)
    everybody = [empty, *contenders]
    samples: dict[str, list[Sample]] = {one.name: [] for one in everybody}
    for one in contenders:
        run_once(one)  # files into memory; what a first run of new code writes
    for round_ in range(rounds):
        shift = round_ % len(everybody)
        for one in (*everybody[shift:], *everybody[:shift]):
            samples[one.name].append(run_once(one))
    return Measured(title, samples)


def _ratios(measured: Measured, sides: Sequence[Side]) -> list[float]:
    old, new = (_cpu(measured.samples[side.name]) for side in sides)
    return [b / a for a, b in zip(old, new, strict=True)]


def _cpu(samples: Sequence[Sample]) -> list[float]:
    return [sample.cpu_seconds for sample in samples]


def _show(measured: Sequence[Measured], sides: Sequence[Side], rounds: int, foreign: float) -> None:
    old, new = (side.name for side in sides)
    print(f"\n== {new} compared with {old}: CPU seconds of whole process trees, {rounds} rounds in turn")
    rows = []
    for one in measured:
        base = statistics.median(_cpu(one.samples[EMPTY]))
        spans = [_span([value / base for value in _cpu(one.samples[name])], "P") for name in (old, new)]
        ratios = _ratios(one, sides)
        rows.append((one.title, f"{base * 1000:.1f} ms", *spans, _span(ratios, "x", 2), verdict(ratios)))
        for peer in (name for name in one.samples if name not in {EMPTY, old, new}):
            peers = [b / a for a, b in zip(_cpu(one.samples[peer]), _cpu(one.samples[new]), strict=True)]
            rows.append((f"  {new} of {peer}", "", "", "", _span(peers, "x", 2), ""))
    print_table(("median (quartiles)", "P", old, new, f"{new} / {old}", ""), rows)
    print(f"   P is `{EMPTY}` in the same rounds; others used {foreign:.0%} of the machine meanwhile.")
    print(
        "   A difference counts where nine in ten rounds, and the median, are on one side of 1; smaller ones are noise."
    )


def _span(values: Sequence[float], unit: str, digits: int = 1) -> str:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}-{high:.{digits}f})"


def verdict(ratios: Sequence[float]) -> str:
    """Return what rounds show of a difference; nothing where they are few or disagree."""
    needed = math.ceil(0.9 * len(ratios)) if len(ratios) >= 5 else math.inf
    if sum(ratio < 1 for ratio in ratios) >= needed:
        return "less"
    return "more" if sum(ratio > 1 for ratio in ratios) >= needed else "no difference seen"
