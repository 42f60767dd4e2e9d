"""What the page of 1,000 models costs: to write, in bytes, and until a browser shows a view and answers to typing.

The browser is Debian's Chromium, driven by Playwright; without one, only writing is measured.
"""

import shutil
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError, Comparison, Contender, CpuMeter, Limit, Sample, compare
from benchmarks.registries import make_settled_registry
from benchmarks.scratch import Scratch, program

MOST_SECONDS: Final = 2
MOST_BYTES: Final = 3 << 20
USABLE_SECONDS: Final = 1
MOST_EMPTY: Final = 15
"""Times of an empty document that the slowest view may take: it says the same on a busy machine."""
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
EMPTY: Final = "an empty document"
TYPE_AND_DRAW: Final = """
const box = document.getElementById("filter");
if (box) { box.value = "00007"; box.dispatchEvent(new Event("input")); }
new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
"""
VIEWS: Final = ("index.html", "disks.html", "fit.html", "history.html", "hosts.html", "rules.html")


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure writing the page, and how soon its views are usable.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take a small registry.
    """
    count = 50 if quick else 1_000
    scratch = Scratch(folder / f"page-{count}")
    make_settled_registry(scratch, count)
    out = scratch.root / "page"
    contenders = [
        Contender("python -c pass", (sys.executable, "-c", "pass"), scratch.environment(), scratch.registry),
        Contender(
            "page --out",
            (program("imageworks-models"), "page", "--out", str(out)),
            scratch.environment(),
            scratch.registry,
            partial(shutil.rmtree, out, ignore_errors=True),
            partial(_check, out, count, MOST_BYTES),
        ),
    ]
    limits = [Limit("page --out", MOST_SECONDS, cpu=True)]
    written = compare(f"the page of {count:,} models", contenders, rounds=rounds, limits=limits)
    size = f"{sum(_sizes(out)) / (1 << 20):.2f} MiB in {len(_sizes(out)):,} files; the limit is 3 MiB"
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    shown = [] if found is None else [_in_browser(found, out, count, rounds)]
    return [Comparison(written.title, written.samples, limits, written.foreign_cpu, (size,)), *shown]


def _sizes(out: Path) -> list[int]:
    return [path.stat().st_size for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _check(out: Path, count: int, most: int) -> None:
    if len(list((out / "models").iterdir())) != count:
        raise BenchmarkError(f"{out}: not every model has a page")
    if sum(_sizes(out)) > most:
        raise BenchmarkError(f"{out}: {sum(_sizes(out)):,} bytes, and {most:,} are allowed")


def _in_browser(browser: str, out: Path, count: int, rounds: int) -> Comparison:
    from playwright.sync_api import sync_playwright

    empty = out.parent / "empty.html"
    empty.write_text("<!doctype html><html lang=en><title>Empty</title>", encoding="utf-8")
    paths = {EMPTY: empty, **{view: out / view for view in VIEWS}}
    samples: dict[str, list[Sample]] = {name: [] for name in paths}
    meter = CpuMeter([])
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"], timeout=120_000)
        page = chromium.new_page(viewport={"width": 1600, "height": 900})
        for _ in range(rounds):
            for name, path in paths.items():
                began = time.perf_counter()
                page.goto(path.as_uri(), wait_until="load")
                page.evaluate(TYPE_AND_DRAW)
                samples[name].append(Sample(time.perf_counter() - began, 0.0))
        chromium.close()
    slowest = max(VIEWS, key=lambda view: statistics.median(one.seconds for one in samples[view]))
    limits = [Limit(slowest, USABLE_SECONDS), Limit(slowest, MOST_EMPTY, EMPTY)]
    notes = ("until it is loaded, drawn and, where there is a filter, one word is typed and drawn",)
    return Comparison(f"{count:,} models in a browser", samples, limits, meter.foreign(), notes)
