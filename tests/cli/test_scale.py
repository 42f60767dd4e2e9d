"""Growth: what a command reads, writes and asks grows no faster than what it is about. Counted, never timed."""

import gc
import json
import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import pygit2
import pytest

from imageworks.files.progress import TotalProgress
from imageworks.git import commit as tree_entries
from imageworks.git import packing
from imageworks.git.repository import RegistryRepository
from imageworks.git.trees.compare import TreeComparer
from imageworks.host.settings import load_host_settings
from imageworks.operations import hash_files
from imageworks.operations.history import open_history
from imageworks.operations.restore import restore
from imageworks.plan.verification import Fault
from imageworks.providers.ollama import verify as ollama_verify
from imageworks.providers.ollama.verify import StoreManifests
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.current_models import CurrentModels
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry import load, related, validate
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.documents.schema import check
from imageworks.registry.entries import entry as load_entries
from imageworks.registry.entries import merge
from imageworks.registry.entries.entry import LARGEST_BYTES, known_entry
from imageworks.registry.history import reader as history_reader
from imageworks.registry.history import states
from imageworks.registry.history.model import Version
from imageworks.registry.reader import WorkTreeReader
from imageworks.serving import model_list
from support.found import awq, put
from support.git import git
from support.reconcile import HOST, NAME, World, command
from support.recorded import record, write_snapshot

SNAPSHOT = f"snapshot/{HOST}.json"


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare(backend="vllm")
    world.reconcile()
    return world


def as_before(world: World) -> bytes:
    """Return the snapshot as earlier versions wrote it: with every file of every model."""
    models = [model | {"artifacts": world.entry(name)["artifacts"]} for name, model in world.snapshot().items()]
    lines = [json.dumps(model, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for model in models]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def test_c10_the_snapshot_counts_the_files_that_entries_list(installed: World) -> None:
    recorded = installed.entry()["artifacts"]
    assert isinstance(recorded, dict)
    shown = {"aggregate_sha256": recorded["aggregate_sha256"], "count": len(recorded["files"])}
    assert installed.snapshot()[NAME]["artifacts"] == shown
    (listed,) = json.loads(command("list", "--json", "--registry", installed.root).out)
    assert listed["artifacts"] == shown
    (old,) = json.loads((installed.root / "model_registry.json").read_bytes())
    assert old["artifacts"] == recorded


def test_c10_a_snapshot_of_an_earlier_version_counts_and_is_written_anew(installed: World) -> None:
    now = (installed.root / SNAPSHOT).read_bytes()
    before = as_before(installed)
    assert check("snapshot", json.loads(before)) == []
    (installed.root / SNAPSHOT).write_bytes(before)
    installed.commit("As an earlier version wrote it")
    installed.check()
    assert command("list", "--registry", installed.root).code == 0
    installed.write("models/other.yaml", '{"schema_version": 1, "roles": ["caption"]}')
    installed.check()  # it is behind its manifests, as always until the next run
    installed.reconcile()
    assert now.splitlines()[1].rstrip(b",") in (installed.root / SNAPSHOT).read_bytes()
    assert installed.reconcile("--detailed-exitcode").code == 0


def test_c10_a_wrong_snapshot_of_an_earlier_version_is_refused(installed: World) -> None:
    wrong = as_before(installed).replace(b'"backend":"vllm"', b'"backend":"ollama"')
    (installed.root / SNAPSHOT).write_bytes(wrong)
    installed.commit("Not as manifests and entries give it")
    assert command("snapshot", "check", "--registry", installed.root).code == 1
    assert command("list", "--registry", installed.root).code == 1


def loose(world: World) -> int:
    return int(git(world.git_root, "count-objects").split()[0])


def test_c10_what_commits_left_loose_is_packed_and_that_is_told(
    installed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loose(installed) > 0
    monkeypatch.setattr(packing, "LOOSE_BYTES", 0)
    installed.declare(backend="vllm", roles=["caption"])
    told = installed.reconcile()
    assert "loose objects" in told.out + told.err
    assert loose(installed) == 0
    installed.check()


def test_c10_a_repository_that_is_not_to_be_packed_is_not(installed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LOOSE_BYTES", 0)
    git(installed.git_root, "config", "gc.auto", "0")
    before = loose(installed)
    installed.declare(backend="vllm", roles=["caption"])
    installed.reconcile()
    assert loose(installed) > before


def test_c10_git_is_asked_to_pack_when_its_own_rule_says_so(installed: World) -> None:
    installed.declare(backend="vllm", roles=["caption"])
    for number in range(2):
        git(installed.git_root, "commit", "--quiet", "--allow-empty", "--message", f"Empty {number}")
        git(installed.git_root, "repack", "--quiet")
    git(installed.git_root, "config", "gc.autoPackLimit", "1")  # last, or git itself would pack after a commit
    installed.reconcile()
    assert len(list((installed.git_root / ".git/objects/pack").glob("*.pack"))) == 1


def calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[object]:
    """Let calls of a function be counted, and return what they are written to."""
    real = getattr(owner, name)
    counted: list[object] = []

    def counting(*args: object, **words: object) -> object:
        counted.append(args)
        return real(*args, **words)

    monkeypatch.setattr(owner, name, counting)
    return counted


def forget_manifests(world: World, count: int) -> list[str]:
    """Record models, delete their manifests, each in a commit of its own, and reconcile; return their names."""
    names = [f"gone-{number:02d}" for number in range(count)]
    world.write("models/stays.yaml", '{"schema_version": 1}', commit=False)
    for name in names:
        world.write(
            f"models/{name}.yaml", '{"schema_version": 1, "backend": "vllm", "prune": "disabled"}', commit=False
        )
        entry = {"schema_version": 1, "name": name, "managed": True, "backend": "vllm", "metadata": {}}
        world.write(f"discovered/{HOST}/{name}.json", json.dumps(entry), commit=False)
    world.commit("Declare and record")
    world.reconcile()
    for name in names:
        world.delete(name)
    world.reconcile()
    return names


@pytest.mark.parametrize("count", [3, 9])
def test_c2_history_is_walked_once_for_all_deleted_manifests(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    names = forget_manifests(world, count)
    walks, compared = calls(monkeypatch, pygit2.Repository, "walk"), calls(monkeypatch, TreeComparer, "differences")
    drift = world.plan().json["drift"]
    assert isinstance(drift, list)
    assert [(one["name"], "`prune: disabled` when it was last applied" in one["message"]) for one in drift] == [
        (name, True) for name in names
    ]
    assert len(walks) <= 1
    assert len(compared) <= count + 3


@pytest.mark.parametrize("count", [3, 9])
def test_c2_a_manifest_that_comes_back_is_read_once_to_plan_and_once_to_be_shown(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    forget_manifests(world, count)
    before = git(world.git_root, "log", "--format=%H", "--grep=Declare and record", "-1").strip()
    planned, shown = calls(monkeypatch, validate, "parse_yaml"), calls(monkeypatch, states, "parse_yaml")
    judged = calls(monkeypatch, restore, "usable_entry")
    words = ("restore", "--all", "--from", before, "--no-progress", "--yes", "--registry", world.root)
    done = command(*words)
    assert done.code == 0, done
    assert len(planned) <= count + 4  # with registry.yaml, each time that the registry is read
    assert len(shown) <= count
    assert len(judged) <= count
    assert len(list((world.root / "models").glob("gone-*.yaml"))) == count


BIG = "many-files"


def too_large(world: World) -> Path:
    """Commit an entry of too many files, as earlier versions did, and return its file."""
    world.write("models/other.yaml", '{"schema_version": 1}', commit=False)
    files = [{"path": f"{n:06d}-{'long-' * 9}.bin", "size": 1, "sha256": f"{n:064x}"} for n in range(18_000)]
    names = [file["path"] for file in files]
    fields = {
        "schema_version": 1,
        "name": BIG,
        "managed": False,
        "download_files": names,
        "artifacts": {"files": files},
    }
    world.write(f"discovered/{HOST}/{BIG}.json", json.dumps(fields, indent=2), commit=False)
    world.commit("Record what nobody can read")
    write_snapshot(world)
    return world.root / f"discovered/{HOST}/{BIG}.json"


def test_c1_an_entry_that_nobody_can_read_is_told_of_and_can_be_removed(world: World) -> None:
    file = too_large(world)
    assert file.stat().st_size > LARGEST_BYTES
    remedy = f"remove {BIG} --purge"
    for words, code in ((("validate",), 1), (("status",), 1), (("verify",), 3), (("reconcile", "--yes"), 1)):
        told = command(*words, "--registry", world.root)
        assert told.code == code, words
        assert remedy in " ".join((told.out + told.err).split()), words
    assert command("snapshot", "check", "--registry", world.root).code == 0
    removed = command(*remedy.split(), "--force", "--registry", world.root)
    assert removed.code == 0, removed
    assert not file.exists()
    world.check()
    assert command("list", "--registry", world.root).err == ""
    assert world.status().keys() == {"other"}


def test_c1_the_manifest_of_an_entry_that_nobody_can_read_goes_with_it(world: World) -> None:
    too_large(world)
    world.write(f"models/{BIG}.yaml", '{"schema_version": 1, "source": {"path": "/srv/nothing"}}')
    assert command("remove", BIG, "--purge", "--force", "--registry", world.root).code == 0
    assert not (world.root / f"models/{BIG}.yaml").exists()
    world.check()


def test_c1_a_folder_of_too_many_files_is_refused_before_the_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_entries, "LARGEST_BYTES", 12_000)
    put(world.folder / "found/small-7b-awq")
    put(world.folder / "found/tiny-7b-awq", awq() | {f"extra-{n:03d}.txt": b"x" for n in range(60)})
    scanned = command("scan", "--base", world.folder / "found", "--registry", world.root)
    assert "has 62 files" in scanned.out + scanned.err
    assert [name for name in world.entries() if "tiny" in name] == []
    assert len(world.entries()) == 1
    world.check()


def test_c1_a_download_of_too_many_files_is_refused_before_the_first_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    world.declare()
    monkeypatch.setattr(load_entries, "LARGEST_BYTES", 600)
    world.served.forget()
    assert world.reconcile(code=1, valid=False).out.count("has 4 files") == 1
    assert world.served.files == {}
    assert world.plan(code=1).changes == {NAME: ("blocked", "invalid-entry")}


def record_hosts(world: World, count: int) -> None:
    """Let several hosts record two models, each in a commit of its own."""
    names = [f"host-{number}" for number in range(count)]
    world.configure(hosts={HOST: {}, **{name: {} for name in names}})
    for model in ("one", "two"):
        world.write(f"models/{model}.yaml", '{"schema_version": 1, "backend": "vllm"}')
    for backend in ("vllm", "lmdeploy"):
        for name in names:
            for model in ("one", "two"):
                entry = {"schema_version": 1, "name": model, "managed": True, "backend": backend}
                world.write(f"discovered/{name}/{model}.json", json.dumps(entry), commit=False)
            if backend == "lmdeploy":
                world.commit(f"Record {name}\n\nHost: {name}")
                write_snapshot(world, name)
    world.write("models/three.yaml", '{"schema_version": 1, "backend": "vllm"}')  # nobody has seen it


@pytest.mark.parametrize("count", [2, 6])
def test_c6_manifests_are_read_once_for_all_hosts(world: World, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    record_hosts(world, count)
    read, listed = calls(monkeypatch, load, "declare"), calls(monkeypatch, load, "check_manifest")
    held = calls(monkeypatch, load, "validate_documents")
    walks, entries = calls(monkeypatch, pygit2.Repository, "walk"), calls(monkeypatch, load_entries, "read_entry")
    for words, walked in ((("snapshot", "check"), 1), (("reconcile", "--dry-run", "--all-hosts"), count + 1)):
        for counted in (read, listed, held, walks, entries):
            counted.clear()
        assert command(*words, "--registry", world.root).code == 0
        assert len(held) <= 2
        assert len(listed) <= 5
        assert len(read) == 0
        assert len(walks) <= walked
        assert len(entries) <= 2 * 2 * count


def test_c6_a_snapshot_that_is_behind_and_one_that_is_wrong_are_told_apart(world: World) -> None:
    record_hosts(world, 3)
    (world.root / "snapshot/host-1.json").write_text("[]\n", encoding="utf-8")
    world.commit("Empty one")
    told = command("snapshot", "check", "--registry", world.root)
    assert told.code == 1
    assert [line.partition(":")[0] for line in told.out.splitlines()] == ["snapshot/host-1.json"]


@pytest.mark.parametrize("count", [4, 16])
def test_c5_each_folder_is_read_once_for_a_commit_of_many_files(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    repository = RegistryRepository.open(world.root, host=HOST)
    folders = calls(monkeypatch, tree_entries, "subtree")
    changes = {f"discovered/{HOST}/m-{number}.json": b"{}\n" for number in range(count)}
    assert repository.commit(changes, message="Many", expected=repository.head()).created
    files = [RevisionReader(repository, repository.head()).file(path) for path in changes]
    assert files == list(changes.values())
    assert len(folders) <= 8


def test_c3_hashing_many_files_counts_as_it_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(world.folder / "found/tiny-7b-awq", awq() | {f"extra-{n:03d}.txt": b"x" for n in range(60)})
    sizes = calls(monkeypatch, hash_files, "_remember")
    told: list[tuple[int, int]] = []
    with RecordSession.open(world.root, load_host_settings(registry=world.root), read_only=True) as session:
        counted = TotalProgress(lambda *sums: told.append(sums))
        found = hash_files.hash_all(sorted(folder.iterdir()), session, counted)
    assert len(found) == 62
    assert len(sizes) == 1
    assert told[-1][0] == told[-1][1]


def test_c4_ollamas_models_are_looked_up_by_their_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(30):
        manifest = tmp_path / f"manifests/registry.ollama.ai/library/m{number}/latest"
        manifest.parent.mkdir(parents=True)
        manifest.write_text('{"layers": []}', encoding="utf-8")
    (tmp_path / "blobs").mkdir()
    named = {f"m-{number}": f"M{number}:latest" for number in range(31)}
    entries = [
        known_entry({"name": name, "download_path": str(tmp_path), "served_model_id": served})
        for name, served in named.items()
    ]
    manifests = StoreManifests()
    compared = calls(monkeypatch, ollama_verify, "comparable")
    found = [(entry.name, problem[0]) for entry in entries if (problem := manifests.problem(entry))]
    assert found == [("m-30", Fault.MANIFEST)]
    assert len(compared) == 30 + 31


def test_c7_the_list_of_models_is_built_once_a_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(world.folder / "models/tiny-7b-awq")
    names = [f"m-{number}" for number in range(5)]
    record(world, *({"name": n, "backend": "vllm", "download_path": str(folder)} for n in names))
    host = load_host_settings(registry=world.root)
    built = calls(monkeypatch, model_list, "model_object")
    listed = model_list.ModelList(CurrentModels(world.root, host).models, model_list.Offered(), world.weights)

    def shown() -> list[str]:
        return [one["id"] for one in json.loads(listed.document())["data"]]

    assert shown() == shown() == names
    assert len(built) == len(names)
    shutil.rmtree(folder)
    assert shown() == []
    assert listed.find("m-1") is None
    put(folder)
    assert shown() == names
    found = listed.find("m-1")
    assert found is not None
    assert found["id"] == "m-1"
    assert len(built) <= len(names) + 1
    record(world, {"name": "other", "backend": "vllm", "download_path": str(folder)})
    assert shown() == ["other"]


def test_c9_history_is_printed_commit_by_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        world.write("models/m.yaml", json.dumps({"schema_version": 1, "labels": {"n": str(number)}}))
    at_print: list[int] = []  # how many commits were looked at when one is printed
    compared = calls(monkeypatch, history_reader, "compare")

    def printed(piece: str) -> str:
        at_print.extend([len(compared)] if '"id": ' in piece else [])
        return piece

    monkeypatch.setattr("imageworks.cli.output.escaped", printed)
    shown = command("history", "--limit", "100000", "--json", "--registry", world.root)
    document = json.loads(shown.out)
    assert shown.out == json.dumps(document, indent=2) + "\n"
    assert [len(one["models"]) for one in document["commits"]] == [1] * 7
    assert at_print == [1, 2, 3, 4, 5, 6, 7]  # a commit is printed before the next is looked at
    empty = command("history", "no-such-model", "--json", "--registry", world.root)
    assert empty.code == 1 or json.loads(empty.out)["commits"] == []


def test_c9_history_reads_the_models_that_it_shows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"m-{number:02d}": f"schema_version: 1\nlabels: {{n: '{number}'}}\n" for number in range(40)}
    for name, text in many.items():
        world.write(f"models/{name}.yaml", text, commit=False)
    world.commit("declare many")
    read = calls(monkeypatch, states, "parsed")
    shown = command("history", "--limit", "1", "--registry", world.root)
    assert "and 28 more" in shown.out
    assert len(read) == 12 + 1  # registry.yaml, which says where entries are
    whole = json.loads(command("history", "--limit", "1", "--json", "--registry", world.root).out)
    assert [one["name"] for one in whole["commits"][0]["models"]] == list(many)
    first = git(world.root, "rev-parse", "HEAD~1").strip()
    compared = json.loads(command("diff", f"{first}..HEAD", "--json", "--registry", world.root).out)
    assert compared["changes"] == whole["commits"][0]["models"]


def test_c9_what_history_has_read_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        world.write("models/m.yaml", json.dumps({"schema_version": 1, "labels": {"n": str(number)}}))
    monkeypatch.setattr(states, "MOST_KEPT", 2)
    before = sum(isinstance(one, Version) for one in gc.get_objects())
    kept: list[int] = []
    with open_history(world.root) as reader:
        for step in reader.registry_steps():
            assert step.changes
            kept.append(sum(isinstance(one, Version) for one in gc.get_objects()))
    assert max(kept) - before <= 2 + 2  # and what is compared


CLASHING: Mapping[str, Mapping[str, object]] = {
    "plain": {"source": {"huggingface": "acme/plain"}},
    "same-folder": {"source": {"huggingface": "Acme/Plain", "revision": "dev"}, "location": "second"},
    "other-folder": {"source": {"huggingface": "acme/plain"}, "location": "second", "quantization": "awq"},
    "third-folder": {"source": {"huggingface": "acme/PLAIN", "revision": "dev"}, "location": "second"},
    "outer": {"source": {"huggingface": "data/acme"}, "location": "/srv/weights"},
    "inner": {"source": {"huggingface": "acme/deep"}, "location": "/srv/weights/data"},
    "innermost": {"source": {"huggingface": "more/again"}, "location": "/srv/weights/data/acme/deep"},
    "flat": {"source": {"huggingface": "acme/flat-one"}, "location": "flat"},
    "path-one": {"source": {"path": "/srv/found/tiny"}},
    "path-two": {"source": {"path": "/srv/found/Tiny/"}},
    "path three": {"source": {"path": "/srv/found/with space"}},
    "renamed": {"source": {"huggingface": "acme/renamed"}, "previously": ["plain", "long-gone"]},
    "rival": {"source": {"huggingface": "acme/rival"}, "previously": ["long-gone"]},
    "round-1": {"previously": ["round-2"]},
    "round-2": {"previously": ["round-3"]},
    "round-3": {"previously": ["round-1"]},
    "PLAIN": {"source": {"huggingface": "acme/loud"}},
    "unknown-host": {"hosts": ["nowhere"], "location": "no-such-place"},
    "known-host": {"hosts": ["elsewhere", "recorded"]},
    "made-1": {"source": {"ollama": "made-1", "modelfile": {"from": "made-2"}}},
    "made-2": {"source": {"ollama": "made-2", "modelfile": {"from": "made-1"}}},
    "escaped": {"source": {"huggingface": "acme/hidden"}},
    "hidden": {"source": {"huggingface": "acme/hidden"}, "quantization": "q4"},
    "wrong": {"source": {"huggingface": 7}},
}


def test_c8_one_file_is_judged_as_in_its_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fields in CLASHING.items():
        text = json.dumps({"schema_version": 1, **fields})
        text = text.replace("acme/hidden", "acme/h\\u0069dden") if name == "escaped" else text
        world.write(f"models/{name}.yaml", text, commit=False)
    entry = {"schema_version": 1, "name": "known-host", "managed": True, "backend": "vllm"}
    world.write("discovered/recorded/known-host.json", json.dumps(entry), commit=False)
    whole = validate.validate_registry(WorkTreeReader(world.root))
    assert len(whole.diagnostics) > 15
    monkeypatch.setattr(related, "FEW", 0)
    for name in CLASHING:
        file = world.root / f"models/{name}.yaml"
        wanted = [(one.line, one.message) for one in whole.diagnostics if one.file == f"models/{name}.yaml"]
        assert [(one.line, one.message) for one in validate.validate_files([file]).diagnostics] == wanted, name
    some = [world.root / f"models/{name}.yaml" for name in ("plain", "inner", "round-2")]
    wanted = [(one.line, one.message) for one in whole.diagnostics if (world.root / one.file) in some]
    assert [(one.line, one.message) for one in validate.validate_files(some).diagnostics] == wanted


@pytest.mark.parametrize("count", [10, 40])
def test_c8_one_file_is_checked_with_those_alone_that_concern_it(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for number in range(count):
        fields = {"schema_version": 1, "source": {"huggingface": f"acme/model-{number}"}, "backend": "vllm"}
        world.write(f"models/m-{number}.yaml", json.dumps(fields), commit=False)
    world.write("models/example.yaml.sample", "as `init` writes it", commit=False)
    (world.root / "models/sub").mkdir()
    monkeypatch.setattr(related, "FEW", 0)
    checked = calls(monkeypatch, validate, "check_manifest")
    found = command("validate", world.root / "models/m-3.yaml")
    assert found.code == 0, found
    assert len(checked) == 2


def kept_bytes(made: Callable[[], object]) -> int:
    """Return what something keeps in memory beyond what was there before it was made."""
    made()  # what modules make once
    gc.collect()
    tracemalloc.start()
    try:
        result = made()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if result else 0
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cached", [False, True])
def test_c9_entries_are_kept_as_their_packed_text(world: World, cached: bool) -> None:
    told = {f"key-{number}": {"said": f"text {number}"} for number in range(2_000)}
    fields = [
        {"schema_version": 1, "name": f"m-{n}", "managed": False, "metadata": {"legacy": told, "acquisition": "found"}}
        for n in range(5)
    ]
    for entry in fields:
        world.write(f"discovered/{HOST}/{entry['name']}.json", json.dumps(entry), commit=False)
    world.commit("Record much of few models")
    repository = RegistryRepository.open(world.root, host=HOST)
    file = world.folder / "parsed.json"

    def loaded() -> tuple[load.RegistryState, ParsedDocuments]:
        documents = ParsedDocuments(file, host=HOST)
        state = load.load_registry(repository, HOST, revision=repository.head(), cache=documents)
        if cached:
            documents.save()
        return state, documents

    assert kept_bytes(loaded) < sum(len(json.dumps(entry)) for entry in fields)
    assert file.is_file() == cached
    state, _ = loaded()
    assert [dict(entry.fields) for entry in state.entries.values()] == fields
    assert [entry.installed_by_us for entry in state.entries.values()] == [False] * len(fields)


def test_c9_texts_of_entries_that_were_torn_are_not_believed(world: World) -> None:
    record(world, {"name": "m", "backend": "vllm"})
    repository = RegistryRepository.open(world.root, host=HOST)
    file = world.folder / "parsed.json"

    def backend() -> object:
        documents = ParsedDocuments(file, host=HOST)
        state = load.load_registry(repository, HOST, revision=repository.head(), cache=documents)
        documents.save()
        return state.entries["m"].fields["backend"]

    assert backend() == "vllm"
    whole = file.read_bytes()
    for torn in (whole[:-9] + bytes(9), whole[:-9]):
        file.write_bytes(torn)
        assert backend() == "vllm"
        assert file.read_bytes() == whole


def test_c9_a_registry_whose_snapshot_was_compared_is_let_go(world: World) -> None:
    record(world, {"name": "m", "backend": "vllm"})
    write_snapshot(world)
    committer = RegistryCommitter(
        RegistryRepository.open(world.root, host=HOST), load_host_settings(registry=world.root)
    )
    compared = committer.load()
    assert not committer.records.stale(compared)
    del compared
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, load.RegistryState) and one.root == world.root]
    assert kept == []


def test_c9_models_are_merged_once_for_each_answer_that_a_change_needs(
    installed: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(isolated_environment / ".cache/imageworks")  # and with it what this host noted of the snapshot
    installed.declare(backend="lmdeploy")
    merged = calls(monkeypatch, merge, "merge_one")
    installed.reconcile(valid=False)
    # For the newest commit, for the one that wrote the snapshot, to write it, and to compare and write the consumers'.
    assert len(merged) == 5
    installed.check()
