"""Design section 7, what holds of registry, network and other controllers: I2, I6, I7, I9, I10."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from support import hub
from support.git import assert_sound, git, user_work
from support.kills import OLD
from support.registry import HOST, NAME, REPO, SHARDS, World, ended, model, small_model, tree, wait_for, world

CANARY = "hf_canaryTokenThatNobodyMaySee0123456789"


def test_i2_every_commit_validates_and_its_snapshot_is_what_manifests_and_entries_give(
    fresh: World, tmp_path: Path
) -> None:
    repository = fresh.publish(REPO, small_model("a"))
    fresh.publish("acme/other", small_model("other"))
    fresh.declare(revision=repository.commit_id)
    fresh.declare("other", repo="acme/other")
    fresh.converge()
    fresh.declare(revision=repository.commit(small_model("b")), display_name="Renamed")
    fresh.converge()
    fresh.declare(revision=repository.commit_id, location="attic")
    fresh.converge()
    fresh.write_manifest("other", None)
    assert fresh.reconcile("--prune", "--confirm", "other").code == 0
    commits = git(fresh.registry, "rev-list", "--reverse", "HEAD").split()
    ours = git(fresh.registry, "rev-list", "--grep", "^Reconciled-Revision:", "HEAD").split()
    assert len(ours) == 4
    for commit in commits:
        at = tmp_path / commit
        git(fresh.registry, "worktree", "add", "-q", "--detach", str(at), commit)
        assert (found := fresh.run("validate", "--registry", str(at))).code == 0, found
        if commit in ours:
            assert (found := fresh.run("snapshot", "check", "--registry", str(at))).code == 0, found
    compatible = json.loads((fresh.registry / "model_registry.json").read_bytes())
    snapshot = json.loads((fresh.registry / f"snapshot/{HOST}.json").read_bytes())
    assert [model["name"] for model in compatible] == [model["name"] for model in snapshot]


def test_i6_the_users_uncommitted_work_is_never_committed_staged_reverted_or_lost(fresh: World) -> None:
    fresh.publish(REPO, small_model("a"))
    fresh.declare()
    fresh.declare("draft", repo="acme/never", extra="state: suspended\n")
    registry = fresh.registry
    (registry / "stashed.txt").write_text("stashed", encoding="utf-8")
    git(registry, "add", "stashed.txt")
    git(registry, "stash")
    (registry / "staged.txt").write_text("staged", encoding="utf-8")
    git(registry, "add", "staged.txt")
    (registry / "staged.txt").write_text("staged, then edited", encoding="utf-8")
    (registry / "untracked.txt").write_text("untracked", encoding="utf-8")
    (registry / "models/draft.yaml").write_text("half a manifest: [", encoding="utf-8")
    (registry / "README.md").unlink()
    git(registry, "rm", "-q", "--cached", ".gitignore")
    ours = (f"discovered/{HOST}/{NAME}.json", f"snapshot/{HOST}.json", "model_registry.json")
    before = user_work(registry, without=ours)
    done = fresh.reconcile()
    assert done.code == 0, done
    assert "models/draft.yaml has uncommitted changes" in done.output
    assert user_work(registry, without=ours) == before
    changed = git(registry, "show", "--format=", "--name-only", "HEAD").split()
    assert changed == [f"discovered/{HOST}/{NAME}.json", f"snapshot/{HOST}.json"]
    assert_sound(registry)


def test_i7_a_token_is_in_no_argument_log_plan_commit_error_or_request_to_another_host(
    tmp_path: Path, template: Path
) -> None:
    with world(tmp_path / "world", template, tokens={CANARY: "ada"}, gated={"acme/gated"}, private={REPO}) as made:
        made.environment["HF_TOKEN"] = CANARY
        made.environment["IMAGEWORKS_DEBUG"] = "1"
        made.publish(REPO, model("1"))
        made.publish("acme/gated", small_model("gated"))
        made.publish("acme/broken", small_model("broken"))
        made.declare()
        made.declare("gated", repo="acme/gated")
        made.declare("broken", repo="acme/broken")
        made.declare("gone", repo="acme/gone")
        made.faults.add(hub.wrong_bytes, where="acme/broken", method="GET", origin="cdn", times=-1)
        made.meter.rate = 2 << 20
        plan = made.run("reconcile", "--dry-run", "--json")
        child = made.start("reconcile", "--yes")
        spied = set[bytes]()
        over = threading.Event()
        spy = threading.Thread(target=_spy, args=(spied, over))
        spy.start()
        done = ended(child)
        over.set()
        spy.join()
        assert done.code == 1, done
        assert tree(made.target) == OLD
        assert (made.weights / "acme/gated/config.json").is_file()
        again = made.run("status", "--json")
        assert made.meter.tokens_at, "the token was never used: this would prove nothing"
        assert set(made.meter.tokens_at) == {"hub"}
        assert any(b"aria2c" in line for line in spied), "no aria2c was seen: this would prove nothing"
        assert not [line for line in spied if CANARY.encode() in line]
        assert CANARY not in plan.output + done.output + again.output
        objects = ["git", "cat-file", "--batch-all-objects", "--batch"]
        stored = subprocess.run(objects, cwd=made.registry, check=True, capture_output=True).stdout
        assert NAME.encode() in stored
        assert CANARY.encode() not in stored
        holding = [path for path in made.root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
        assert holding == []
        assert "model_downloader.log" in {path.name for path in made.state.rglob("*")}


def _spy(seen: set[bytes], over: threading.Event) -> None:
    """Collect the command line of every process on this machine, and the environment of each aria2c, until told."""
    while not over.is_set():
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                try:
                    line = (process / "cmdline").read_bytes()
                    seen.add(line)
                    if b"aria2c" in line:
                        seen.add((process / "environ").read_bytes())
                except OSError:
                    continue
        time.sleep(0.01)


def test_i9_one_bad_manifest_model_or_host_never_stops_the_others(fresh: World) -> None:
    for name in ("good", "also-good", "broken"):
        fresh.publish(f"acme/{name}", small_model(name))
        fresh.declare(name, repo=f"acme/{name}")
    fresh.declare("gone", repo="acme/gone")
    fresh.write_manifest("invalid", "schema_version: 1\nsorce:\n  huggingface: acme/x\n")
    fresh.write_manifest("torn", "schema_version: 1\nsource: {huggingface: [\n")
    elsewhere = fresh.registry / "discovered/otherhost"
    elsewhere.mkdir(parents=True)
    (elsewhere / "bad.json").write_text("{ not json", encoding="utf-8")
    git(fresh.registry, "add", "discovered")
    git(fresh.registry, "commit", "-q", "-m", "Another host's broken entry")
    fresh.faults.add(hub.wrong_bytes, where="acme/broken", method="GET", origin="cdn", times=-1)
    done = fresh.reconcile()
    assert done.code == 1, done
    for name in ("good", "also-good"):
        assert (fresh.weights / f"acme/{name}/config.json").is_file(), done
        assert (fresh.registry / f"discovered/{HOST}/{name}.json").is_file()
    assert not (fresh.weights / "acme/broken").exists()
    for said in ("models/invalid.yaml:2:1:", "models/torn.yaml:", "gone", "broken"):
        assert said in done.output, done
    assert "source" in done.output
    assert "otherhost" in fresh.run("validate").output


def test_i10_a_second_controller_says_who_holds_the_lock_or_waits_when_asked(fresh: World) -> None:
    fresh.publish(REPO, model("1"))
    fresh.declare()
    release = threading.Event()
    fresh.faults.add(hub.stall(100_000, release), where=SHARDS[0], method="GET", origin="cdn", times=-1)
    first = fresh.start("reconcile", "--yes")
    try:
        wait_for(lambda: any(r.origin == "cdn" and SHARDS[0] in r.path for r in fresh.hub.requests))
        second = fresh.reconcile()
        assert second.code == 1, second
        assert str(first.pid) in second.stderr
        assert "reconcile" in second.stderr
        assert "--wait" in second.stderr
        assert fresh.run("reconcile", "--dry-run").code == 0, "looking needs no lock"
        third = fresh.start("reconcile", "--yes", "--wait", "60")
        fresh.heal()
        release.set()
        assert (one := ended(first)).code == 0, one
        assert (three := ended(third)).code == 0, three
    finally:
        release.set()
        first.kill()
        first.communicate()
    assert "No changes" in three.stdout
    assert tree(fresh.target) == OLD
    assert len(git(fresh.registry, "rev-list", "--grep", "^Host:", "HEAD").split()) == 1
