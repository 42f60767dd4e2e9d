"""Fills the environment's registry with models that are there: ``python -m benchmarks.fill COUNT [HOSTS [COMMITS]]``.

A process of its own, because it lives in the scratch environment. Calls what reconcile itself calls after a download,
and hands the commits to ``git fast-import``. With more hosts, each has the same models; with more commits, each of them
changes one manifest or one entry, and the last ones put all right.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from benchmarks.registries import REVISION, manifest_text, model_name
from benchmarks.scratch import HOST

from imageworks.detection.problems import complete_condition
from imageworks.files.digests import Algorithm, Digest, hash_file
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import RECONCILED_REVISION
from imageworks.host.settings import find_registry, load_host_settings
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.providers.record import compose_entry
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.entries.entry import ArtifactFile, Entry, entry_file, known_entry, render_entry
from imageworks.registry.entries.merge import load_owners, merge, render_snapshot, snapshot_file
from imageworks.registry.manifests.manifest import Manifest, read_manifest

FILES: Final = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
STRIDE: Final = 7919  # spreads commits over the models
START: Final = 1_700_000_000

Verified = tuple[Path, os.stat_result, Digest]


def main() -> None:
    count, hosts, commits = (int(word) for word in (*sys.argv[1:], *("1", "0")[len(sys.argv) - 2 :]))
    host = load_host_settings()
    repository = RegistryRepository.open(find_registry(), host=host.host)
    installed = [install(number) for number in range(count)]
    with StateDatabase.open(host.state_dir / STATE_FILE) as state:
        state.remember_all(file for _, _, verified in installed for file in verified)
    names = [HOST, *(f"host-{number:02d}" for number in range(1, hosts))]
    manifests = [manifest for manifest, _, _ in installed]
    entries = {name: [_of_host(entry, name) for _, entry, _ in installed] for name in names}
    declared = {f"models/{model_name(number)}.yaml": manifest_text(number) for number in range(count)}
    with _importer(repository) as importer:
        for one in _stream(importer, repository.head(), declared, manifests, entries, commits):
            importer.add(one)
    subprocess.run(("git", "-C", str(repository.root), "reset", "--quiet", "--hard"), check=True)


class _Importer:
    """A running ``git fast-import``, which says the id of the last commit that it was given."""

    def __init__(self, to: IO[bytes], answers: IO[bytes]) -> None:
        self._to = to
        self._answers = answers

    def add(self, command: bytes) -> None:
        self._to.write(command)

    def tip(self) -> str:
        self._to.write(b"get-mark :1\n")
        self._to.flush()
        return self._answers.readline().decode().strip()


@contextmanager
def _importer(repository: RegistryRepository) -> Iterator[_Importer]:
    words = ("git", "-C", str(repository.root), "fast-import", "--quiet")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is not None and process.stdout is not None:
            yield _Importer(process.stdin, process.stdout)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)


def _stream(
    importer: _Importer,
    start: str | None,
    declared: Mapping[str, str],
    manifests: Sequence[Manifest],
    entries: Mapping[str, Sequence[Entry]],
    commits: int,
) -> Iterator[bytes]:
    count = len(manifests)
    yield _commit(1, f"Declare {count} models", declared, follows=start)
    yield b"reset refs/benchmark/declared\nfrom refs/heads/main\n\n"
    recorded = {
        host: {entry_file(host, entry.name): render_entry(entry.fields).decode() for entry in own}
        for host, own in entries.items()
    }
    owners = load_owners()
    snapshots = {host: render_snapshot(merge(manifests, own, owners)).decode() for host, own in entries.items()}
    hosts = list(recorded)
    for number, host in enumerate(hosts):
        files = {**recorded[host], snapshot_file(host): snapshots[host]}
        message = f"Reconcile {host}\n\n{RECONCILED_REVISION}: {importer.tip()}\nHost: {host}"
        yield _commit(2 + number, message, files)
        # Else the next small files are written as what differs from the snapshot of 18 MB. git's own packing never does
        # so: it passes over whatever is 32 times as large.
        yield b"checkpoint\n\n"
    for number in range(len(hosts) + 2, commits):
        name = model_name(number // 2 * STRIDE % count)
        file = f"models/{name}.yaml" if number % 2 else entry_file(hosts[number // 2 % len(hosts)], name)
        text = declared[file] if number % 2 else recorded[file.split("/")[1]][file]
        changed = f"{text}# {number}\n" if number % 2 else text.replace("\n  ", f"\n  {' ' * (number % 7)}", 1)
        yield _commit(number, f"Change {name}", {file: changed})
    everything = {key: value for files in recorded.values() for key, value in files.items()}
    everything |= declared
    yield _commit(max(commits, len(hosts) + 2), "Put all right", everything if commits > len(hosts) + 2 else {})


def _commit(number: int, message: str, files: Mapping[str, str], *, follows: str | None = None) -> bytes:
    who = f"Person {number % 7} <person{number % 7}@localhost> {START + number * 60} +0100"
    head = f"commit refs/heads/main\nmark :1\nauthor {who}\ncommitter {who}\n".encode()
    changes = (f"M 100644 inline {path}\n".encode() + _data(text) for path, text in files.items())
    parent = f"from {follows}\n".encode() if follows else b""
    return b"".join([head, _data(message), parent, *changes, b"\n"])


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%b\n" % (len(content), content)


def _of_host(entry: Entry, host: str) -> Entry:
    """Return an entry as another host would have it, whose models lie elsewhere."""
    if host == HOST:
        return entry
    place = f"/srv/{host}/bench/{entry.name}"
    config = {**entry.part("backend_config"), "model_path": place}
    return known_entry({**entry.fields, "download_path": place, "backend_config": config})


def install(number: int) -> tuple[Manifest, Entry, list[Verified]]:
    """Put one model's files on disk and return its manifest, its entry, and each file with its look and its digest."""
    file = f"models/{model_name(number)}.yaml"
    fields = parse_yaml(manifest_text(number).encode(), file).value
    if not isinstance(fields, dict):
        raise TypeError(file)
    manifest = read_manifest(file, fields)
    root = Path(os.environ["IMAGEWORKS_MODEL_ROOT"])
    folder = root / "bench" / manifest.name
    folder.mkdir(parents=True, exist_ok=True)
    artifacts, verified = [], []
    for name in FILES:
        path = folder / name
        path.write_text(f"{name} of model {number}\n" * 8, encoding="utf-8")
        digest = hash_file(path, Algorithm.SHA256)
        found = path.stat()
        artifacts.append(ArtifactFile(name, found.st_size, digest.value))
        verified.append((path, found, digest))
    revision = REVISION.format(number)
    upstream = ResolvedSource(
        files=(), commit=revision, ref=revision, repo=f"bench/{manifest.name}", container="safetensors"
    )
    place = TargetFolder(root=root, path=folder, location="linux_wsl", filesystem="")
    described: dict[str, object] = {
        "download_format": "safetensors",
        "capabilities": {"vision": True, "text": True},
        "metadata": {"architecture": "Qwen2_5_VLForConditionalGeneration"},
        "conditions": [complete_condition((), ())],  # as a description of real files records it
    }
    case = DeclaredModel(manifest, place=place, upstream=upstream)
    return manifest, compose_entry(case, place, artifacts, described, acquisition="installed"), verified


if __name__ == "__main__":
    main()
