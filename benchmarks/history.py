"""Looking back: a model's history among 10,000 commits beside ``git log``, and two states of 1,000 models compared."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from benchmarks.measure import Comparison, Contender, Limit, compare
from benchmarks.registries import manifest_text, model_name, pack
from benchmarks.scratch import HOST, Scratch, program

AUTHORS: Final = 7
FILES: Final = 8  # recorded files of a model
STRIDE: Final = 7919  # spreads commits over the models
RENAMED: Final = "renamed-vllm-safetensors-awq"

Files = Mapping[str, str | None]


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure history, blame and diff.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take a small registry.
    """
    commits, models = (500, 50) if quick else (10_000, 1_000)
    scratch = Scratch(folder / f"history-{commits}")
    scratch.clear()
    make_history(scratch, commits, models)
    imageworks = program("imageworks-models")
    name = model_name(models // 2)

    def contender(title: str, *words: str) -> Contender:
        return Contender(title, (imageworks, *words), scratch.environment(), scratch.registry)

    paths = (f"models/{name}.yaml", f"discovered/{HOST}/{name}.json")
    log = ("git", "log", "--full-history", "--format=%H %an %s", "--", *paths)
    history = [
        Contender("git log -- its files", log, scratch.environment(), scratch.registry),
        contender("history NAME", "history", name),
        contender("history NAME --json, all", "history", name, "--json", "--limit", "100000"),
        contender("history of a renamed model", "history", RENAMED),
        contender("history of the registry", "history"),
        contender("blame NAME", "blame", name),
    ]
    limits = [Limit("history NAME", 1.0), Limit("history of a renamed model", 1.0)]
    title = f"looking back in {commits:,} commits of {models:,} models, whole processes"
    cold = partial(shutil.rmtree, scratch.cache, ignore_errors=True)
    differing = [
        contender("diff of few", "diff", "last~60..last~4"),
        contender("diff of all", "diff", "first..last"),
        replace(contender("diff of all, cold", "diff", "first..last"), prepare=cold),
        contender("diff with the files here", "diff", "last"),
    ]
    states = f"two states of {models:,} models, whole processes"
    return [
        compare(title, history, rounds=rounds, limits=limits),
        compare(
            states,
            differing,
            rounds=rounds,
            limits=[Limit(item.name, 0.5) for item in differing if "cold" not in item.name],
        ),
    ]


def make_history(scratch: Scratch, commits: int, models: int) -> None:
    """Make a registry whose every commit moves one model's pin or records it, with a tag at two states that share none.

    Args:
        scratch: Where to.
        commits: How many commits.
        models: How many models.
    """
    environment = scratch.environment()
    git = partial(subprocess.run, cwd=scratch.registry, env=environment, check=True)
    scratch.registry.mkdir(parents=True)
    git(["git", "init", "-q", "-b", "main"])
    stream = b"".join(_import(commits, models))
    git(["git", "fast-import", "--quiet"], input=stream)
    git(["git", "reset", "-q", "--hard", "last"])
    pack(scratch.registry, environment)


def _import(commits: int, models: int) -> Iterator[bytes]:
    yield _commit(0, "Start", {"registry.yaml": "schema_version: 1\n"})
    yield _commit(1, "Declare all", {f"models/{model_name(i)}.yaml": _manifest(i, 0) for i in range(models)})
    yield _commit(2, "Install all", {_entry_file(i): _entry(i, 0) for i in range(models)})
    yield b"reset refs/tags/first\nfrom refs/heads/main\n\n"
    for number in range(3, commits - 4):
        model = number // 2 * STRIDE % models
        if number % 2:
            files = {f"models/{model_name(model)}.yaml": _manifest(model, number)}
        else:
            files = {_entry_file(model): _entry(model, number), f"snapshot/{HOST}.json": f"[{number}]\n"}
        yield _commit(number, f"Change {model}", files)
    old = model_name(1)
    renamed: Files = {
        f"models/{old}.yaml": None,
        f"models/{RENAMED}.yaml": f"{_manifest(1, 0)}previously: [{old}]\n",
    }
    yield _commit(commits - 4, "Rename one", renamed)
    moved: Files = {_entry_file(1): None, f"discovered/{HOST}/{RENAMED}.json": _entry(1, 0).replace(old, RENAMED)}
    yield _commit(commits - 3, "Move its entry", moved)
    others = [i for i in range(models) if i != 1]
    yield _commit(commits - 2, "Move all", {f"models/{model_name(i)}.yaml": _manifest(i, commits) for i in others})
    yield _commit(commits - 1, "Update all", {_entry_file(i): _entry(i, commits) for i in others})
    yield b"reset refs/tags/last\nfrom refs/heads/main\n\n"


def _commit(number: int, subject: str, files: Files) -> bytes:
    who = f"Person {number % AUTHORS} <person{number % AUTHORS}@localhost> {1_700_000_000 + number * 60} +0100"
    head = f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n".encode()
    return b"".join([head, _data(subject), *(_file(path, text) for path, text in files.items()), b"\n"])


def _file(path: str, text: str | None) -> bytes:
    return f"D {path}\n".encode() if text is None else f"M 100644 inline {path}\n".encode() + _data(text)


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%b\n" % (len(content), content)


def _revision(model: int, number: int) -> str:
    return sha256(f"{model} {number}".encode()).hexdigest()[:40]


def _manifest(model: int, number: int) -> str:
    lines = manifest_text(model).split("\n")
    return "\n".join(
        f'  revision: "{_revision(model, number)}" # main' if line.startswith("  revision:") else line for line in lines
    )


def _entry_file(model: int) -> str:
    return f"discovered/{HOST}/{model_name(model)}.json"


def _entry(model: int, number: int) -> str:
    digests = [sha256(f"{model} {number} {file}".encode()).hexdigest() for file in range(FILES)]
    files = [{"path": f"model-{i}.safetensors", "size": 5 << 30, "sha256": digest} for i, digest in enumerate(digests)]
    fields = {
        "schema_version": 1,
        "name": model_name(model),
        "managed": True,
        "backend": "unassigned",
        "display_name": f"Benchmark model {model}",
        "download_path": f"/weights/bench/{model_name(model)}",
        "download_files": [file["path"] for file in files],
        "download_size_bytes": FILES * (5 << 30),
        "resolved": {"repo": f"bench/{model}", "revision": _revision(model, number), "ref": "main"},
        "artifacts": {"aggregate_sha256": digests[0], "files": files},
        "capabilities": {"text": True, "vision": True},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Verified"}],
        "metadata": {"acquisition": "installed"},
    }
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"
