"""Issue 18: how all hosts stand, from git alone, and what each host reports on a ref of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from imageworks.registry.documents.schema_files import schema_dir
from imageworks.registry.entries.entry import Entry, read_entry
from support.git import git
from support.git_server import GitServer
from support.hub import HubRepository
from support.reconcile import HOST, NAME, REPO, Result, World, command
from support.team import served_registry

__all__ = ["served_registry"]
OTHER = "elsewhere"
OWN_REF = f"refs/imageworks/hosts/{HOST}"
REPORT = Draft202012Validator(json.loads((schema_dir() / "host-report.schema.json").read_bytes()))


@contextmanager
def on(world: World, host: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be another host of the same clone, with disks of its own."""
    with patch.context() as there:
        there.setenv("IMAGEWORKS_HOST", host)
        there.setenv("IMAGEWORKS_STATE_DIR", str(world.folder / f"state of {host}"))
        there.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / f"weights of {host}"))
        yield


def fleet(world: World, *words: str, code: int = 0) -> Result:
    result = command("fleet", "status", *words, "--registry", world.root)
    assert result.code == code, result
    return result


def hosts(world: World, *words: str, code: int = 0) -> dict[str, dict[str, object]]:
    listed = fleet(world, *words, "--json", code=code).json["hosts"]
    assert isinstance(listed, list)
    return {one["name"]: one for one in listed}


def standings(host: dict[str, object]) -> dict[str, str]:
    models = host["models"]
    assert isinstance(models, list)
    return {one["name"]: one["standing"] for one in models}


def reported(folder: Path, ref: str = OWN_REF) -> dict[str, object]:
    report: dict[str, object] = json.loads(git(folder, "show", f"{ref}:report.json"))
    assert list(REPORT.iter_errors(report)) == []
    return report


@pytest.fixture(name="repository")
def served_model(world: World) -> HubRepository:
    return world.serve()


@pytest.fixture(name="two")
def two_hosts(world: World, repository: HubRepository, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two hosts that have the same model at a pinned commit."""
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    with on(world, OTHER, monkeypatch):
        world.reconcile()
    world.reconcile()
    return world


def test_all_hosts_that_are_as_declared_exit_with_0(two: World) -> None:
    before = two.head(), git(two.git_root, "for-each-ref"), git(two.git_root, "status", "--porcelain")
    found = hosts(two)
    assert set(found) == {HOST, OTHER}
    for host in found.values():
        assert standings(host) == {NAME: "as-declared"}
        assert host["behind"] == 0
        assert isinstance(host["bytes"], int)
        assert host["bytes"] > 60_000
        assert str(host["revision"]) in git(two.git_root, "rev-list", "HEAD")
    document = fleet(two, "--json").json
    assert document["as_declared"] is True
    assert document["models"] == [{"name": NAME, "copies": 2, "hosts": [OTHER, HOST]}]
    shown = fleet(two).out
    assert "this host" in shown
    assert "2 copies" in shown
    assert (two.head(), git(two.git_root, "for-each-ref"), git(two.git_root, "status", "--porcelain")) == before


def test_a_host_that_has_not_applied_the_newest_commits_is_behind(
    two: World, repository: HubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.declare(source={"huggingface": REPO, "revision": repository.commit({"README.md": b"# 2\n"})})
    two.declare("for-one", hosts=[HOST], location="flat")
    two.declare("logical", source={"huggingface": REPO}, state="absent")
    found = hosts(two, code=1)
    assert (found[HOST]["behind"], found[OTHER]["behind"]) == (3, 3)
    assert standings(found[HOST]) == {"for-one": "missing", "logical": "as-declared", NAME: "outdated"}
    assert standings(found[OTHER]) == {"logical": "as-declared", NAME: "outdated"}
    assert "revision-changed" in fleet(two, code=1).out
    assert set(hosts(two, OTHER, code=1)) == {OTHER}
    with on(two, OTHER, monkeypatch):
        two.reconcile()
    found = hosts(two, code=1)
    assert found[OTHER]["as_declared"] is True
    assert found[OTHER]["behind"] == 0
    assert found[HOST]["behind"] == 3


def test_what_stands_on_a_host_is_said_of_each_kind(two: World) -> None:
    two.declare(state="suspended")
    two.write("models/broken.yaml", "schema_version: 1\nsource: {huggingface: 7}\n")
    two.declare("gone", state="absent")
    two.write("models/logical.yaml", "schema_version: 1\nbackend: vllm\nroles: [caption]\n")
    kinds = standings(hosts(two, code=1)[OTHER])
    assert kinds["broken"] == "blocked"
    assert kinds[NAME] == "suspended"
    assert kinds["gone"] == kinds["logical"] == "as-declared"
    two.delete(NAME, "broken", "gone", "logical")
    found = hosts(two)
    assert standings(found[OTHER]) == {NAME: "undeclared"}
    two.declare(state="absent")
    assert standings(hosts(two, code=1)[OTHER]) == {NAME: "left-over"}


def test_an_incomplete_model_says_what_it_lacks(two: World) -> None:
    entry = two.entry(host=OTHER)
    entry["conditions"] = [
        {"type": "Complete", "status": "False", "reason": "MissingShard", "message": "model-2 is missing"}
    ]
    two.write(f"discovered/{OTHER}/{NAME}.json", json.dumps(entry))
    model = hosts(two, code=1)[OTHER]["models"][0]  # type: ignore[index]
    assert (model["standing"], model["complete"], model["reason"]) == (
        "incomplete",
        False,
        "MissingShard: model-2 is missing",
    )


def test_what_many_hosts_have_alike_is_read_and_judged_once(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (two.root / f"discovered/{OTHER}/{NAME}.json").read_text(encoding="utf-8")
    for number in range(4):
        elsewhere = text.replace("weights of", f"weights {number} of").replace(
            'downloaded_at": "2', 'downloaded_at": "3'
        )
        two.write(f"discovered/host-{number}/{NAME}.json", elsewhere)
    quoted = {**json.loads(text), "display_name": 'say "download_path": "x" and \\"downloaded_at\\": "y"'}
    two.write(f"discovered/quoted/{NAME}.json", json.dumps(quoted))
    read: list[str] = []

    def counted(file: str, data: bytes) -> Entry:
        read.append(file)
        return read_entry(file, data)

    monkeypatch.setattr("imageworks.operations.fleet.standings.read_entry", counted)
    found = hosts(two)
    assert len(found) == 7
    assert all(standings(host) == {NAME: "as-declared"} for host in found.values())
    assert len(read) == 2


def host_like(world: World, name: str, *, snapshot: str = "") -> str:
    """Give a third host what another has, at places of its own, and return the id of its entry."""
    entry, other = (world.root / f"{one}.json" for one in (f"discovered/{OTHER}/{NAME}", f"snapshot/{OTHER}"))
    moved = entry.read_text(encoding="utf-8").replace("weights of", f"weights {name} of")
    world.write(f"discovered/{name}/{NAME}.json", moved)
    world.write(
        f"snapshot/{name}.json",
        snapshot or other.read_text(encoding="utf-8").replace("weights of", f"weights {name} of"),
    )
    return git(world.root, "rev-parse", f"HEAD:discovered/{name}/{NAME}.json").strip()


def pack_without(folder: Path, blob: str) -> None:
    """Leave one pack of everything but a file's content."""
    listed = git(folder, "rev-list", "--objects", "--all").splitlines()
    objects = folder / ".git/objects"
    ids = "\n".join(line.split()[0] for line in listed if not line.startswith(blob)) + "\n"
    packed = subprocess.run(
        ["git", "pack-objects", str(objects / "pack/pack")],
        cwd=folder,
        input=ids.encode(),
        check=True,
        capture_output=True,
    ).stdout.decode()
    for file in [*objects.glob("??/*"), *objects.glob("pack/*")]:
        if packed.strip() not in file.name:
            file.chmod(0o600)
            file.unlink()


def test_what_another_host_and_the_id_prove_is_not_read(two: World) -> None:
    pack_without(two.root, host_like(two, "third"))
    assert standings(hosts(two)["third"]) == {NAME: "as-declared"}


def test_a_snapshot_is_not_believed(two: World) -> None:
    entry = two.entry(host=OTHER)
    entry["resolved"] = {**entry["resolved"], "revision": "0" * 40}  # type: ignore[dict-item]
    before = (two.root / f"snapshot/{OTHER}.json").read_text(encoding="utf-8")
    host_like(two, "third", snapshot=before)
    two.write(f"discovered/third/{NAME}.json", json.dumps(entry))
    git(two.root, "repack", "-a", "-d", "-q")
    assert standings(hosts(two, code=1)["third"]) == {NAME: "outdated"}


def test_one_change_is_no_first_look_again(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.operations.fleet.known_models.WORTH_KEEPING", 1)
    two.declare("second", source={"huggingface": REPO, "revision": "1" * 40}, location="flat")
    for number in range(3):
        host_like(two, f"host-{number}")
        entry = {**two.entry(), "name": "second", "display_name": f"Of {number}"}
        two.write(f"discovered/host-{number}/second.json", json.dumps(entry, indent=2, sort_keys=True))
    read: list[str] = []

    def counted(file: str, data: bytes) -> Entry:
        read.append(file)
        return read_entry(file, data)

    monkeypatch.setattr("imageworks.operations.fleet.standings.read_entry", counted)
    first = hosts(two, code=1)
    assert (len(first), len(read)) == (5, 1 + 3)
    assert hosts(two, code=1) == first
    assert len(read) == 4
    two.declare(state="absent")  # one manifest: entries of it that are alike are judged once
    changed = hosts(two, code=1)
    assert {standings(host)[NAME] for host in changed.values()} == {"left-over"}
    assert read[4:] == [f"discovered/{OTHER}/{NAME}.json"]
    two.write("discovered/host-1/second.json", json.dumps({**two.entry(), "name": "second", "display_name": "Other"}))
    assert hosts(two, "host-2", code=1)["host-2"] == changed["host-2"]
    assert len(read) == 5
    again = hosts(two, code=1)
    assert {name: standings(host) for name, host in again.items()} == {
        name: standings(host) for name, host in changed.items()
    }
    assert read[5:] == ["discovered/host-1/second.json"]


def test_two_processes_find_what_one_does(two: World) -> None:
    for number in range(8):
        host_like(two, f"host-{number}")
    alone = hosts(two)
    two.write("discovered/host-7/other.json", "{")
    program = """
import os, sys
from imageworks.cli.app import main
from imageworks.host import second_process
from imageworks.operations.fleet import host_entries
host_entries._WORTH_A_PROCESS = 1
made = os.fork
os.fork = lambda: print("split", file=sys.stderr, flush=True) or made()
os.sched_getaffinity = lambda _: {0, 1}
sys.argv[1:] = ["fleet", "status", "--json", "--registry", sys.argv[1]]
main()
"""
    done = subprocess.run([sys.executable, "-c", program, str(two.root)], capture_output=True, text=True, check=False)
    assert done.stderr.count("split") == 1
    found = {host["name"]: host for host in json.loads(done.stdout)["hosts"]}
    assert standings(found.pop("host-7"))["other"] == "blocked"
    assert found == {name: host for name, host in alone.items() if name != "host-7"}


def test_an_entry_whose_content_nothing_proves_is_read(two: World) -> None:
    missing = host_like(two, "third", snapshot="[\n]\n")
    pack_without(two.root, missing)
    assert f"git object {missing} is missing or damaged" in fleet(two, code=1).err


def test_an_entry_that_cannot_be_read_is_no_matter_of_other_hosts(two: World) -> None:
    two.write(f"discovered/{OTHER}/{NAME}.json", "{")
    found = hosts(two, code=1)
    assert standings(found[OTHER]) == {NAME: "blocked"}
    assert standings(found[HOST]) == {NAME: "as-declared"}


def test_an_unknown_host_is_an_error_that_names_the_known_ones(two: World) -> None:
    assert OTHER in fleet(two, "nobody", code=1).err
    assert "--silent-after" in fleet(two, "--silent-after", "soon", code=64).err


def test_a_report_commits_nothing_and_says_what_the_run_came_to(two: World) -> None:
    head = two.head()
    two.reconcile("--report")
    assert two.head() == head
    report = reported(two.git_root)
    assert (report["host"], report["registry_revision"], report["succeeded"]) == (HOST, head, True)
    assert report["models"] == []
    two.reconcile("--report")
    assert git(two.git_root, "rev-list", "--count", OWN_REF).strip() == "2"
    assert two.head() == head
    found = hosts(two)[HOST]
    assert found["last_run"] == reported(two.git_root)
    assert found["behind"] == 0


def test_what_failed_is_reported_and_shown(two: World) -> None:
    two.declare("missing", source={"huggingface": "acme/nobody"}, location="flat")
    two.configure(commit={"report": True})
    two.reconcile(code=1)
    report = reported(two.git_root)
    assert report["succeeded"] is False
    assert [(one["name"], one["reason"]) for one in report["models"]] == [  # type: ignore[attr-defined]
        ("missing", "repository-not-found")
    ]
    model = next(one for one in hosts(two, code=1)[HOST]["models"] if one["name"] == "missing")  # type: ignore[attr-defined]
    assert model["standing"] == "failed"
    assert model["reason"].startswith("repository-not-found: ")
    two.reconcile("--no-report", code=1)
    assert git(two.git_root, "rev-list", "--count", OWN_REF).strip() == "1"


def test_a_dry_run_reports_nothing(two: World) -> None:
    two.plan("--report")
    assert git(two.git_root, "for-each-ref", "refs/imageworks") == ""


def test_a_host_is_silent_after_its_time(two: World) -> None:
    two.reconcile("--report")
    fleet(two, "--silent-after", "1h")
    found = hosts(two, "--silent-after", "0", code=1)
    assert (found[HOST]["silent"], found[OTHER]["silent"]) == (True, False)
    assert "silent" in fleet(two, "--silent-after", "0", code=1).out


def test_reports_reach_other_clones_through_the_remote(
    two: World, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.reconcile("--report")
    assert reported(server.folder)["host"] == HOST
    with on(two, OTHER, monkeypatch):
        two.reconcile("--report", "--push")
    clone = two.folder / "office"
    git(two.folder, "clone", "--quiet", server.address, str(clone))
    asked = command("fleet", "status", "--json", "--registry", clone)
    assert {one["last_run"] for one in asked.json["hosts"]} == {None}  # type: ignore[attr-defined]
    asked = command("fleet", "status", "--json", "--fetch", "--registry", clone)
    assert asked.code == 0, asked
    assert all(one["last_run"]["succeeded"] for one in asked.json["hosts"])  # type: ignore[attr-defined]
    two.declare("more", location="flat")
    git(two.git_root, "push", "--quiet")
    head = git(clone, "rev-parse", "HEAD")
    ahead = command("fleet", "status", "--json", "--fetch", "--registry", clone)
    assert {one["behind"] for one in ahead.json["hosts"]} == {1}  # type: ignore[attr-defined]
    assert git(clone, "rev-parse", "HEAD") == head
    assert git(clone, "status", "--porcelain") == ""


def test_two_machines_that_claim_one_name_are_told(
    two: World, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.reconcile("--report")
    twin = two.folder / "twin"
    git(two.folder, "clone", "--quiet", server.address, str(twin))
    first = reported(server.folder)
    with monkeypatch.context() as there:
        there.setenv("IMAGEWORKS_STATE_DIR", str(two.folder / "state of the twin"))
        told = command("reconcile", "--yes", "--report", "--registry", twin)
    assert told.code == 1
    assert "another machine reports as" in told.err
    assert reported(server.folder) == first
    two.reconcile("--report")
    # The same machine in a clone made anew goes on where the remote is.
    again = command("reconcile", "--yes", "--report", "--registry", twin)
    assert again.code == 0, again
    assert git(server.folder, "rev-list", "--count", OWN_REF).strip() == "3"


def test_a_run_that_cannot_begin_is_reported_as_failed(two: World, server: GitServer) -> None:
    two.reconcile("--report")
    git(two.git_root, "checkout", "--quiet", "--detach")
    assert command("reconcile", "--yes", "--pull", "--report", "--registry", two.root).code == 1
    report = reported(two.git_root)
    assert report["error"]
    assert report["succeeded"] is False
    assert reported(server.folder)["succeeded"] is True


def test_a_report_that_cannot_be_sent_is_told_and_stays_here(two: World) -> None:
    git(two.git_root, "remote", "add", "origin", str(two.folder / "nowhere"))
    told = command("reconcile", "--yes", "--report", "--registry", two.root)
    assert told.code == 1
    assert "cannot be pushed to" in told.err
    assert reported(two.git_root)["host"] == HOST
    assert command("reconcile", "--yes", "--report", "--no-push", "--registry", two.root).code == 0


def test_what_others_put_on_a_ref_is_shown_and_never_obeyed(two: World) -> None:
    two.reconcile("--report")
    for text in ("{", '{"schema_version": 1}', json.dumps({**reported(two.git_root), "host": "x"}), "[" * 500):
        blob = two.folder / "report.json"
        blob.write_text(text, encoding="utf-8")
        identifier = git(two.git_root, "hash-object", "-w", str(blob)).strip()
        tree = two.folder / "tree"
        tree.write_text(f"100644 blob {identifier}\treport.json\n", encoding="utf-8")
        made = git(two.git_root, "commit-tree", "-m", "x", _tree(two, identifier)).strip()
        git(two.git_root, "update-ref", f"refs/imageworks/hosts/{OTHER}", made)
        assert hosts(two)[OTHER]["last_run"] is None
    escape = {**reported(two.git_root), "host": OTHER, "error": "\x1b[2Jgone", "succeeded": False}
    identifier = _blob(two, json.dumps(escape))
    made = git(two.git_root, "commit-tree", "-m", "x", _tree(two, identifier)).strip()
    git(two.git_root, "update-ref", f"refs/imageworks/hosts/{OTHER}", made)
    assert "\x1b" not in fleet(two, code=1).out


def _blob(world: World, text: str) -> str:
    file = world.folder / "blob"
    file.write_text(text, encoding="utf-8")
    return git(world.git_root, "hash-object", "-w", str(file)).strip()


def _tree(world: World, blob: str) -> str:
    git(world.git_root, "update-index", "--add", "--cacheinfo", f"100644,{blob},report.json")
    prefix = git(world.git_root, "write-tree").strip()
    git(world.git_root, "rm", "--quiet", "--cached", "report.json")
    return prefix


def test_metrics_are_in_prometheus_text(two: World) -> None:
    lines = fleet(two, "--format", "prometheus").out.splitlines()
    assert "imageworks_fleet_as_declared 1" in lines
    assert f'imageworks_fleet_model_copies{{model="{NAME}"}} 2' in lines
    assert f'imageworks_fleet_host_models{{host="{OTHER}",standing="as-declared"}} 1' in lines
    assert all(line.startswith("#") or " " in line for line in lines)


def test_a_retired_host_leaves_no_report(two: World, server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with on(two, OTHER, monkeypatch):
        two.reconcile("--report", "--push")
    assert command("hosts", "retire", OTHER, "--registry", two.root).code == 0
    assert set(hosts(two)) == {HOST}
    assert git(server.folder, "for-each-ref", "refs/imageworks") == ""
