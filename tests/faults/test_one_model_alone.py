"""F1 and I9: an error that nobody foresaw in one model fails that model; the others are published, recorded, shown."""

import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git import git
from support.mutants import BROKEN, break_one_model, program
from support.registry import HOST, PROGRAM, World, ended, small_model, wait_for, world

OTHERS = ("able", "zest")
LOG = "model_downloader.log"
IN_A_PLAN = (
    "imageworks.reconcile.observe:_recorded",
    "imageworks.providers.folder.observe:_placed",
    "imageworks.providers.upstream:SourceResolver.ask",
    "imageworks.reconcile.planner:decide",
)
IN_A_RUN = (
    "imageworks.providers.folder.apply:_bring",
    "imageworks.providers.folder.describe:describe",
    "imageworks.providers.folder.apply:compose_entry",
    "imageworks.transfer.engine:TransferEngine.fetch",
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[World]:
    """A world with three declared models, put back by ``restore``."""
    with world(tmp_path_factory.mktemp("three") / "world", template) as made:
        for name in (*OTHERS, BROKEN):
            made.publish(f"acme/{name}", small_model(name))
            made.declare(name, repo=f"acme/{name}")
        made.save("declared")
        yield made


@pytest.fixture
def declared(three: World) -> World:
    three.restore("declared")
    return three


def recorded(made: World) -> set[str]:
    """Return the models that the checked-out commit records."""
    files = git(made.registry, "ls-tree", "-r", "--name-only", "HEAD", f"discovered/{HOST}").split()
    return {Path(file).stem for file in files}


def log_of(made: World) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in made.root.rglob(LOG))


@pytest.mark.parametrize("place", [*IN_A_PLAN, *IN_A_RUN])
def test_f1_what_nobody_foresaw_fails_one_model_and_the_others_are_committed(declared: World, place: str) -> None:
    declared.program = program(break_one_model)
    done = declared.reconcile(MUTANT_BREAKS=place)
    assert done.code == 1, done
    assert recorded(declared) == set(OTHERS)
    assert "KeyError: 'planted'" in done.output
    assert f"{BROKEN}: KeyError" in done.output
    assert LOG in done.output
    assert "Traceback" not in done.output
    assert "Traceback" in log_of(declared)
    assert all((declared.weights / "acme" / name / "config.json").is_file() for name in OTHERS)
    declared.program = PROGRAM
    declared.converge()
    assert recorded(declared) == {*OTHERS, BROKEN}


@pytest.mark.parametrize("place", IN_A_PLAN)
def test_f1_status_and_plans_show_the_others(declared: World, place: str) -> None:
    declared.program = program(break_one_model)
    for words in (("reconcile", "--dry-run", "--json"), ("status", "--json")):
        done = declared.run(*words, MUTANT_BREAKS=place)
        assert done.code in {0, 1}, done
        assert all(name in done.stdout for name in (*OTHERS, BROKEN)), done
        assert "internal-error" in done.stdout


def test_f1_debugging_shows_the_traceback(declared: World) -> None:
    declared.program = program(break_one_model)
    done = declared.run("reconcile", "--dry-run", MUTANT_BREAKS=IN_A_PLAN[0], IMAGEWORKS_DEBUG="1")
    assert "Traceback" in done.stderr


def test_f1_a_model_that_could_not_be_looked_at_is_never_taken_for_deleted(declared: World) -> None:
    assert declared.reconcile().code == 0
    declared.program = program(break_one_model)
    for place in IN_A_PLAN[:2]:
        done = declared.reconcile("--prune", "--confirm", BROKEN, MUTANT_BREAKS=place)
        assert done.code == 1, done
        assert recorded(declared) == {*OTHERS, BROKEN}
        assert (declared.weights / "acme" / BROKEN / "config.json").is_file()


@pytest.mark.parametrize(
    "place", ["imageworks.operations.verify.verify:_judge", "imageworks.operations.verify.verify:_look"]
)
def test_f1_verify_says_of_one_that_it_cannot_say_and_judges_the_others(declared: World, place: str) -> None:
    assert declared.reconcile().code == 0
    declared.program = program(break_one_model)
    done = declared.run("verify", "--json", MUTANT_BREAKS=place)
    assert done.code == 3, done
    verdicts = {model["name"]: model["verdict"] for model in json.loads(done.stdout)["models"]}
    assert verdicts == {**dict.fromkeys(OTHERS, "intact"), BROKEN: "unverified"}


@pytest.mark.parametrize(
    "place", ["imageworks.operations.scan.scan:facts_of", "imageworks.operations.scan.record:found_entry"]
)
def test_f1_scan_records_the_others(declared: World, place: str) -> None:
    for name in (*OTHERS, BROKEN):
        git(declared.registry, "rm", "-q", f"models/{name}.yaml")
        folder = declared.weights / "acme" / name
        folder.mkdir(parents=True)
        for file, data in small_model(name).items():
            (folder / file).write_bytes(data)
    git(declared.registry, "commit", "-q", "-m", "Declare nothing")
    declared.program = program(break_one_model)
    done = declared.run("scan", "--base", str(declared.weights), MUTANT_BREAKS=place)
    assert done.code == 1, done
    assert len(recorded(declared)) == len(OTHERS), done
    assert "KeyError" in done.output


def test_f1_an_interrupt_still_ends_the_run(declared: World) -> None:
    declared.meter.rate = 200
    child = declared.start("reconcile", "--yes")
    wait_for(lambda: declared.meter.total() > 0)
    os.kill(child.pid, signal.SIGINT)
    done = ended(child)
    declared.meter.rate = None
    assert done.code == 130, done


HEADERS = {
    "no-offsets": b'{"w": {"dtype": "U8", "shape": [4], "data_offsets": []}}',
    "one-offset": b'{"w": {"dtype": "U8", "shape": [4], "data_offsets": [4]}}',
    "huge": b'{"w": {"dtype": "U8", "shape": [4611686018427387903, 4], "data_offsets": [0, 4611686018427387903]}}',
    "deep": b'{"w": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "nan": b'{"w": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 1e999]}}',
    "list": b"[]",
    "metadata": b'{"__metadata__": [[]], "w": null}',
    "half": b'{"\\ud800": {"dtype": "\\ud800", "shape": [1], "data_offsets": [0, 1]}}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_f1_a_hostile_header_concerns_its_own_file(declared: World, name: str) -> None:
    header = HEADERS[name]
    weights = struct.pack("<Q", len(header)) + header + b"\0" * 16
    hub = declared.publish("acme/hostile", {**small_model("x"), "model.safetensors": weights})
    declared.declare("hostile", repo="acme/hostile", revision=hub.commit_id)
    done = declared.reconcile()
    assert "bug" not in done.output, done
    assert set(OTHERS) <= recorded(declared), done
    assert declared.run("validate").code == 0
    analyzed = declared.run("analyze", "acme/hostile")
    assert "bug" not in analyzed.output, analyzed
    assert "model.safetensors" in analyzed.output
    declared.write_manifest("hostile", None)
