"""Cold downloads, whole processes: reconcile beside raw aria2c (which verifies nothing) and ``hf download`` over HTTP.

All fetch the same files from the same nginx, unthrottled and at 20 MiB/s for each connection, as CDNs do. The page
cache holds what is served; targets are on one filesystem, removed between runs, and what is dirty is written out
before the clock starts. The first round of each case is not counted.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError, Comparison, Contender, Limit, compare, peak_memory, run_once
from benchmarks.scratch import Scratch, program
from benchmarks.servers import Origin, served

MIB: Final = 1024 * 1024
MEMORY_LIMIT: Final = 200 * MIB
NAME: Final = "benchmark-vllm"
MANIFEST: Final = """\
schema_version: 1
source:
  huggingface: bench/{repository}
backend: vllm
location: linux_wsl
"""
RATES: Final = {"0": "unthrottled", "20m": "20 MiB/s per connection"}
LARGE, SMALL = "large", "small"
OURS, RAW, HF = "imageworks reconcile", "aria2c, raw", "hf download"
ARIA2: Final = ("--no-conf", "--quiet", "--file-allocation=none", "--disk-cache=0", "--max-concurrent-downloads=16")


def run(
    folder: Path, *, rounds: int, quick: bool, double: bool = False, throttled: bool = True
) -> Iterator[Comparison]:
    """Measure downloads.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to fetch little.
        double: Whether to fetch 2 GiB and 400 files, as the limits have it, instead of half of that.
        throttled: Whether to measure at 20 MiB/s for each connection too.
    """
    size, count = (64, 20) if quick else (2048, 400) if double else (1024, 200)
    scratch = Scratch(folder / "transfer")
    scratch.clear()
    hub = scratch.root / "hub"
    titles = write_models(hub, size, count)
    for rate, words in RATES.items():
        if rate != "0" and not throttled:
            continue
        with served(hub, scratch.root / f"servers-{rate}", scratch.environment(), rate=rate) as origin:
            for kind, title in titles.items():
                one = DownloadCase(scratch, hub, kind, origin)
                yield one.compare(f"cold download of {title}, {words}", rounds, throttled=rate != "0")


def write_models(hub: Path, size: int, count: int) -> dict[str, str]:
    """Write one model of a large file and one of many small ones, and return what each is, by its kind.

    Args:
        hub: The hub's folder.
        size: The large file's size in MiB.
        count: How many files of 1 MiB.
    """
    write_model(hub / "bench" / LARGE, 1, size * MIB)
    write_model(hub / "bench" / SMALL, count, MIB)
    return {LARGE: f"1 x {size} MiB", SMALL: f"{count} x 1 MiB"}


def write_model(folder: Path, count: int, size: int) -> None:
    """Write a model of random weights with right safetensors headers, in as many files as asked.

    Args:
        folder: The repository's folder.
        count: How many files.
        size: Bytes of each.
    """
    folder.mkdir(parents=True)
    names = (
        [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        if count > 1
        else ["model.safetensors"]
    )
    for name in names:
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        header = json.dumps({f"weight.{name}": tensor}).encode()
        with (folder / name).open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            for start in range(0, size, 16 * MIB):
                stream.write(os.urandom(min(16 * MIB, size - start)))
    if count > 1:
        index = {"metadata": {"total_size": count * size}, "weight_map": {f"weight.{name}": name for name in names}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(
        '{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}', encoding="utf-8"
    )


class DownloadCase:
    """One model from one origin, fetched by each contender."""

    def __init__(self, scratch: Scratch, hub: Path, kind: str, origin: Origin) -> None:
        self._scratch = scratch
        self._source = hub / "bench" / kind
        self._kind = kind
        self._origin = origin
        self._fresh = scratch.root / f"registry-{kind}"
        self._target = scratch.root / "target"
        if not self._fresh.exists():
            self._declare()

    def compare(self, title: str, rounds: int, *, throttled: bool) -> Comparison:
        ours = self.ours(OURS, self._scratch.environment())
        contenders = [ours, self.raw(), self.hf()]
        for contender in contenders:  # not counted: a virtual machine has to get its memory back from its host first
            run_once(contender)
        measured = compare(
            title, contenders, rounds=rounds, limits=self._limits(throttled=throttled), servers=self._origin.processes
        )
        peak = peak_memory(ours)
        self._clear()
        kept = "kept" if peak <= MEMORY_LIMIT else "MISSED"
        note = f"{OURS}: {peak / MIB:.0f} MiB of memory at most, aria2c included; limit 200 MiB: {kept}"
        return Comparison(title, measured.samples, measured.limits, measured.foreign_cpu, [note])

    def _limits(self, *, throttled: bool) -> list[Limit]:
        if throttled:
            if self._kind == SMALL:
                return []  # files of 1 MiB are too short to be held up
            slower, faster = 1.05, 5.0
        else:
            slower, faster = (1.1, 1.8) if self._kind == LARGE else (1.2, 3.0)
        return [Limit(OURS, slower, RAW), Limit(OURS, faster, HF, faster=True)]

    def _declare(self) -> None:
        registry, environment = self._scratch.registry, self._scratch.environment()
        shutil.rmtree(registry, ignore_errors=True)
        _quietly(environment, program("imageworks-models"), "init", str(registry))
        (registry / f"models/{NAME}.yaml").write_text(MANIFEST.format(repository=self._kind), encoding="utf-8")
        _quietly(environment, "git", "-C", str(registry), "add", "models")
        _quietly(environment, "git", "-C", str(registry), "commit", "--quiet", "--message", "Declare")
        registry.rename(self._fresh)

    def _clear(self) -> None:
        scratch = self._scratch
        for folder in (scratch.registry, scratch.weights, scratch.state, scratch.cache, self._target):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(scratch.root / "huggingface", ignore_errors=True)
        shutil.copytree(self._fresh, scratch.registry, symlinks=True)
        self._target.mkdir()
        os.sync()

    def ours(self, name: str, environment: Mapping[str, str]) -> Contender:
        environment = {**environment, "HF_ENDPOINT": self._origin.hub}
        command = (program("imageworks-models"), "reconcile", "--yes")
        check = partial(self._check, self._scratch.weights / "bench" / self._kind)
        return Contender(name, command, environment, self._scratch.registry, self._clear, check)

    def raw(self) -> Contender:
        names = sorted(path.name for path in self._source.iterdir())
        links = self._scratch.root / f"links-{self._kind}.txt"
        lines = (f"{self._origin.static}/bench/{self._kind}/{name}\n  out={name}\n" for name in names)
        links.write_text("".join(lines), encoding="utf-8")
        connections = "8" if self._kind == LARGE else "1"
        words = (f"--split={connections}", f"--max-connection-per-server={connections}", "--min-split-size=1M")
        command = ("aria2c", *ARIA2, *words, f"--dir={self._target}", f"--input-file={links}")
        check = partial(self._check, self._target)
        return Contender(RAW, command, self._scratch.environment(), self._scratch.root, self._clear, check)

    def hf(self) -> Contender:
        environment = self._scratch.environment(HF_ENDPOINT=self._origin.hub)
        command = (program("hf"), "download", f"bench/{self._kind}", "--local-dir", str(self._target))
        check = partial(self._check, self._target)
        return Contender(HF, command, environment, self._scratch.root, self._clear, check)

    def _check(self, folder: Path) -> None:
        for path in _files(self._source):
            copy = folder / path.name
            if not copy.is_file() or copy.stat().st_size != path.stat().st_size:
                raise BenchmarkError(f"{copy} did not come whole")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _quietly(environment: Mapping[str, str], *command: str) -> None:
    subprocess.run(command, env=dict(environment), check=True, capture_output=True)
