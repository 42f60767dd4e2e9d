"""Design section 7, what holds of files on disk: I1, I4, I5, I8; kills (I1, I3) are tested beside."""

import json
import os
import threading
import time
from pathlib import Path

from support import hub
from support.git import git
from support.kills import FOREIGN, NEW
from support.registry import NAME, REPO, SHARDS, World, digests, footprint, model, small_model, tree, wait_for

BUT_LOCKS_AND_LOG = ("state/logs", "state/imageworks/controller.lock", "registry/.git/imageworks/controller.lock")


def changes_to_second() -> dict[str, bytes | None]:
    return {name: model("2").get(name) for name in model("1") | model("2")}


def test_i1_wrong_bytes_leave_the_published_model_as_it_was(fresh: World) -> None:
    repository = fresh.publish(REPO, model("1"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    before = footprint(fresh.target)
    fresh.declare(revision=repository.commit(changes_to_second()))
    fresh.faults.add(hub.wrong_bytes, where=SHARDS[0], method="GET", origin="cdn", times=-1)
    failed = fresh.reconcile()
    assert failed.code == 1
    assert "digest" in failed.stderr
    assert footprint(fresh.target) == before
    fresh.heal()
    fresh.converge()
    assert tree(fresh.target) == NEW


def test_i1_a_reader_sees_the_old_model_or_the_new_one_and_never_a_mixture(fresh: World) -> None:
    repository = fresh.publish(REPO, small_model("a"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    fresh.declare(revision=repository.commit(small_model("b")))
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            folder = os.open(fresh.target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                inode = os.fstat(folder).st_ino
                config = json.loads(_read(folder, "config.json"))["seed"]
                same = _read(folder, "model.safetensors") == small_model(config)["model.safetensors"]
                if fresh.target.stat().st_ino == inode:  # else the directory was replaced while being read
                    seen.add(config if same else "a mixture")
            except FileNotFoundError:
                if fresh.target.stat().st_ino == inode:
                    seen.add("a gap")
            finally:
                os.close(folder)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert fresh.reconcile().code == 0
        wait_for(lambda: "b" in seen)
    finally:
        done.set()
        reader.join()
    assert seen == {"a", "b"}


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


def test_i4_nothing_to_do_writes_commits_and_asks_nothing(fresh: World) -> None:
    repository = fresh.publish(REPO, model("1"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    time.sleep(2.5)  # from then on the first run with nothing to do notes that, however quick the machine is
    assert fresh.run("reconcile", "--yes").code == 0
    before = footprint(fresh.root, but=BUT_LOCKS_AND_LOG)
    fresh.hub.requests.clear()
    for words in (("reconcile", "--yes", "--detailed-exitcode"), ("reconcile", "--dry-run"), ("status",), ("list",)):
        done = fresh.run(*words)
        assert done.code == 0, done
        assert footprint(fresh.root, but=BUT_LOCKS_AND_LOG) == before, words
    assert fresh.hub.requests == []


def test_i4_files_that_only_look_changed_are_read_once_and_remembered(fresh: World) -> None:
    """After a copy or a restored backup all times differ: the next run reads every byte, those after it none."""
    repository = fresh.publish(REPO, small_model("a"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    os.utime(fresh.target / "model.safetensors", (1, 1))
    looked = footprint(fresh.state, but=("logs", "imageworks"))
    fresh.assert_settled()
    remembered = footprint(fresh.state, but=("logs", "imageworks"))
    assert remembered != looked
    fresh.assert_settled()
    assert footprint(fresh.state, but=("logs", "imageworks")) == remembered


def test_i4_a_dry_run_writes_nothing_anywhere_even_with_everything_to_do(fresh: World) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    before = footprint(fresh.root)
    done = fresh.run("reconcile", "--dry-run", "--detailed-exitcode")
    assert done.code == 2, done
    assert "1 to add" in done.stdout
    assert footprint(fresh.root) == before
    assert fresh.run("status").code == 0
    assert footprint(fresh.root) == before


def test_i4_a_dry_run_after_a_kill_writes_nothing_either(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    assert fresh.reconcile(IMAGEWORKS_FAILPOINT="git.ref-moved").code < 0
    before = footprint(fresh.root)
    assert fresh.run("reconcile", "--dry-run").code == 0
    assert footprint(fresh.root) == before


def test_i5_only_what_an_entry_owns_is_ever_deleted(fresh: World) -> None:
    """Through install beside the user's files, update, move and prune, each foreign file keeps its inode and bytes."""
    mine = fresh.target / "notes" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(FOREIGN["notes.txt"])
    neighbour = fresh.target.parent / "other-model" / "weights.bin"
    neighbour.parent.mkdir()
    neighbour.write_bytes(b"another program's")
    kept = (mine.stat().st_ino, neighbour.stat().st_ino)
    repository = fresh.publish(REPO, model("1"))
    fresh.declare(revision=repository.commit_id)
    fresh.converge()
    fresh.declare(revision=repository.commit(changes_to_second()))
    fresh.converge()
    assert tree(fresh.target) == NEW | digests({"notes/mine.txt": FOREIGN["notes.txt"]})
    fresh.declare(revision=repository.commit_id, location="attic")
    fresh.converge()
    assert tree(fresh.target) == digests({"notes/mine.txt": FOREIGN["notes.txt"]})
    assert tree(fresh.attic / REPO) == NEW
    (fresh.attic / REPO / "added.txt").write_bytes(b"mine too")
    fresh.write_manifest(NAME, None)
    kept_back = fresh.reconcile("--prune", "--allow-empty")
    assert kept_back.code == 0, kept_back
    assert tree(fresh.attic / REPO) == NEW | digests({"added.txt": b"mine too"})
    assert fresh.reconcile("--prune", "--allow-empty", "--confirm", NAME).code == 0
    assert tree(fresh.attic / REPO) == digests({"added.txt": b"mine too"})
    assert (mine.stat().st_ino, neighbour.stat().st_ino) == kept


def test_i5_what_was_found_and_adopted_stays_when_its_manifest_goes(fresh: World) -> None:
    files = small_model("a")
    fresh.publish(REPO, files)
    fresh.target.mkdir(parents=True)
    for name, data in files.items():
        (fresh.target / name).write_bytes(data)
    fresh.declare()
    assert "adopt" in fresh.converge().stdout
    assert fresh.meter.total() == 0
    fresh.write_manifest(NAME, None)
    done = fresh.reconcile("--prune", "--allow-empty", "--confirm", NAME)
    assert done.code == 0, done
    assert tree(fresh.target) == digests(files)
    assert not (fresh.registry / f"discovered/testhost/{NAME}.json").exists()


def test_i5_a_file_of_someone_else_in_the_way_blocks_and_stays(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    (fresh.target).mkdir(parents=True)
    (fresh.target / "config.json").write_bytes(b"not the model's")
    fresh.declare()
    before = footprint(fresh.weights)
    done = fresh.reconcile()
    assert done.code == 1, done
    assert "config.json" in done.output
    assert footprint(fresh.weights) == before


HOSTILE = (
    "../escaped.safetensors",
    "../../../../../../escaped.safetensors",
    "/escaped.safetensors",
    "sub/../../escaped.safetensors",
    "..\\escaped.safetensors",
    "C:\\escaped.safetensors",
    ".git/hooks/post-commit",
    ".imageworks/staging/escaped.safetensors",
    "con.safetensors",
    "esc\x1b[31maped.safetensors",
    "model.safetensors.aria2",
)


def test_i8_no_name_from_a_hub_leads_outside_its_directory(fresh: World) -> None:
    for number, name in enumerate(HOSTILE):
        repo = f"acme/hostile-{number}"
        fresh.publish(repo, small_model("a"))
        listing = [
            {"type": "file", "path": path, "size": 2, "oid": digit * 40}
            for digit, path in (("1", "model.safetensors"), ("2", name))
        ]
        fresh.faults.add(hub.body(json.dumps(listing).encode()), where=f"{repo}/tree/", times=-1)
        fresh.declare(f"hostile-{number}", repo=repo)
    fresh.publish(REPO, small_model("good"))
    fresh.declare()
    for ours in ("state", "cache"):
        (fresh.root / ours).mkdir()
    before = footprint(fresh.root, but=("registry", "state", "cache", "weights"))
    done = fresh.reconcile()
    assert done.code == 1
    assert done.output.count("unsafe file name") == len(HOSTILE), done
    assert "\x1b" not in done.output
    assert footprint(fresh.root, but=("registry", "state", "cache", "weights")) == before
    assert not list(fresh.root.rglob("*escaped*")), "a hostile name reached the disk"
    assert not Path("/escaped.safetensors").exists()
    assert sorted(path.name for path in fresh.weights.iterdir()) == [".imageworks", "acme"]
    assert [path.name for path in (fresh.weights / ".imageworks").iterdir()] == ["location.json"]
    assert tree(fresh.target) == digests(small_model("good"))


def test_i8_a_link_planted_in_a_location_is_not_followed_out_of_it(fresh: World) -> None:
    outside = fresh.root / "outside"
    outside.mkdir()
    (fresh.weights / "acme").symlink_to(outside)
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    done = fresh.reconcile()
    assert done.code == 1, done
    assert list(outside.iterdir()) == []


def test_i8_an_entry_that_leads_elsewhere_deletes_nothing_there(fresh: World) -> None:
    """Entries come by pull request too: one that claims someone else's folder as its own prunes nothing."""
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    fresh.converge()
    precious = fresh.root / "home" / "precious"
    precious.mkdir()
    for name, data in small_model("a").items():
        (precious / name).write_bytes(data)
    file = fresh.registry / f"discovered/testhost/{NAME}.json"
    entry = json.loads(file.read_text(encoding="utf-8"))
    entry["download_path"] = str(precious)
    file.write_text(json.dumps(entry), encoding="utf-8")
    git(fresh.registry, "commit", "-q", "-a", "-m", "Claim what is not ours")
    fresh.write_manifest(NAME, None)
    done = fresh.reconcile("--prune", "--confirm", NAME)
    assert done.code == 1, done
    assert tree(precious) == digests(small_model("a"))
