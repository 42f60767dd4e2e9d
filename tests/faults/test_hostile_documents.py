"""F4 to F6: documents that somebody made to hurt cost no more than their size, and one line says what is wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from imageworks.registry.validate import validate_files
from support.registry import HOST, NAME, World, small_model

DEEP = b"[" * 1_500
DEEPER = b'{"a":' * 100_000
HUGE = 4 << 20
"""Bytes; what grows with the square of the size would take half an hour of them."""


def entry(count: int, make: Callable[[int], object]) -> bytes:
    return json.dumps({"name": NAME, "artifacts": {"files": [make(number) for number in range(count)]}}).encode()


FAULTS: dict[str, Callable[[int], bytes]] = {
    "wrong-types": lambda count: entry(count, lambda number: {"path": number, "size": "x", "sha256": 3}),
    "unknown-keys": lambda count: json.dumps({"name": NAME, **{f"k{i}": i for i in range(2 * count)}}).encode(),
    "late-fault": lambda count: json.dumps({"name": NAME, "download_files": ["a"] * count + [1] * 99}).encode(),
    "empty-lists": lambda count: b'{"name": 1, "capabilities": [' + b"[]," * (4 * count) + b"1]}",
    "far-down": lambda count: b'{"name": ' + b"[" * 90 + b"1," * (6 * count) + b"1" + b"]" * 91 + b"}",
    "late-duplicate": lambda count: b"{" + b"".join(b'"%d":1,' % i for i in range(4 * count)) + b'"0":1}',
}


def calls_of(work: Callable[[], object]) -> int:
    """Count the calls that some work makes, of functions in Python and in C: its size, whatever the machine's speed."""
    count = 0

    def tell(_frame: FrameType, _what: str, _argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(tell)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", FAULTS)
def test_f4_work_grows_with_the_size_of_an_entry_and_not_with_its_square(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{NAME}.json"
    file.write_bytes(FAULTS[name](10))
    validate_files([file])  # what is loaded once is no part of it
    counts = []
    for count in (1_000, 4_000):
        file.write_bytes(FAULTS[name](count))
        counts.append(calls_of(lambda: validate_files([file])))
    assert counts[1] < 6 * counts[0], counts


@pytest.mark.parametrize("name", FAULTS)
def test_f4_f5_an_entry_of_four_mebibytes_is_judged(fresh: World, name: str) -> None:
    one = len(FAULTS[name](1_000)) // 1_000
    file = fresh.registry / "discovered" / HOST / f"{NAME}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(FAULTS[name](HUGE // one))
    done = fresh.run("validate", str(file))  # bounded in time by the world
    assert done.code == 1, done
    assert f"{NAME}.json:" in done.stdout
    assert done.stdout.count("\n") < 300, "a hundred problems of a file are shown, with their remedies"


def test_f4_more_problems_than_are_shown_are_told_of(fresh: World) -> None:
    file = fresh.registry / "discovered" / HOST / f"{NAME}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(FAULTS["unknown-keys"](500))
    assert "only 100 of its problems are shown" in fresh.run("validate", str(file)).stdout


@pytest.mark.parametrize("content", [DEEP, DEEPER, b'{"a":[' * 60, b"", b"\0" * 100, b"\xff", b'"\\ud800"'])
def test_f6_a_saved_plan_that_is_none_is_one_line(fresh: World, content: bytes) -> None:
    plan = fresh.root / "plan.json"
    plan.write_bytes(content)
    done = fresh.run("reconcile", "--yes", "--plan", str(plan))
    assert done.code == 64, done
    assert done.stderr.startswith(f"error: {plan}: not a saved plan"), done
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.output


@pytest.mark.parametrize("content", [DEEPER])
@pytest.mark.parametrize("place", [f"snapshot/{HOST}.json", f"discovered/{HOST}/{NAME}.json", "model_registry.json"])
def test_f6_deep_documents_of_a_registry_are_told_of_and_stop_nothing(fresh: World, content: bytes, place: str) -> None:
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    assert fresh.reconcile().code == 0
    (fresh.registry / place).write_bytes(content)
    for words in (("validate",), ("list",), ("status",), ("reconcile", "--dry-run"), ("diff",), ("snapshot", "check")):
        done = fresh.run(*words)
        assert done.code in {0, 1}, done
        assert "bug" not in done.output, done
        assert "Traceback" not in done.output


@pytest.mark.parametrize("content", [DEEPER, b"\0" * 64])
def test_f6_what_this_host_keeps_for_itself_is_read_with_the_same_bounds(fresh: World, content: bytes) -> None:
    """A torn or spoilt cache, note or journal is none."""
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    assert fresh.reconcile().code == 0
    own = [file for folder in ("state", "cache") for file in (fresh.root / folder).rglob("*.json")]
    assert own
    for file in own:
        file.write_bytes(content)
    (fresh.registry / ".git/imageworks/pending.json").write_bytes(content)
    done = fresh.reconcile("--detailed-exitcode")
    assert done.code == 0, done
    assert "bug" not in done.output


OF_A_REPOSITORY = ("config.json", "tokenizer_config.json", "chat_template.json", "generation_config.json")


@pytest.mark.parametrize("content", [DEEP, DEEPER, b'{"model_type":"\\ud800","chat_template":"\\udfff"}', b'{"a":NaN}'])
def test_f6_deep_files_of_a_repository_do_not_stop_its_model(fresh: World, content: bytes) -> None:
    fresh.publish("acme/tiny", {**small_model("1"), **dict.fromkeys(OF_A_REPOSITORY, content)})
    fresh.declare()
    done = fresh.reconcile()
    assert "bug" not in done.output, done
    assert "Traceback" not in done.output
    assert fresh.run("validate").code == 0
    assert fresh.run("analyze", "acme/tiny").code in {0, 1}
