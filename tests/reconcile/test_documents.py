"""Every document that is written keeps to its schema, and says of itself what the schema documents."""

import json

import pytest

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason
from imageworks.plan.report import ModelResult, Report
from imageworks.providers.record import compose_entry, emptied_entry, moved_entry
from imageworks.registry.documents.schema import check, load_schema
from imageworks.registry.entries.entry import Entry, read_entry, render_entry
from imageworks.registry.entries.merge import load_owners, merge
from imageworks.registry.manifests.manifest import Manifest
from support.plans import NOW, A, B, artifacts, entry, manifest, orphan, place, plan_of, upstream

FULL = Plan(
    host="testhost",
    registry_revision=A,
    changes=(
        Change(
            name="m",
            action=Action.UPDATE,
            reason=Reason.REVISION_CHANGED,
            message="a -> b",
            source="huggingface:acme/tiny",
            backend="vllm",
            revision=(A, B),
            path=("/old", "/new"),
            fetch=("b.json", "a.json"),
            reuse={"w.bin": "/elsewhere/w.bin"},
            keep=3,
            drop=("old.json",),
            bytes_to_fetch=10,
            bytes_reused=20,
            bytes_freed=5,
            filesystem="disk",
            previous_name="before",
            warnings=("the branch has moved on",),
            needs_confirmation=True,
        ),
    ),
    unchanged=1,
    suspended=2,
    drift=(Drift("stray", Reason.UNDECLARED, "nobody declares it"),),
    filesystems=(FilesystemTotal("/", 100, 90, 10),),
    diagnostics=("models/x.yaml:1:1: broken",),
    notes=("a note",),
    records_stale=True,
)


def plain(document: object) -> dict[str, object]:
    """Return a document as a program reads it."""
    value: dict[str, object] = json.loads(json.dumps(document))
    return value


@pytest.mark.parametrize(
    "plan", [FULL, Plan("testhost", None), plan_of(orphans=(orphan(),))], ids=["full", "empty", "one"]
)
def test_a_plan_keeps_to_its_schema(plan: Plan) -> None:
    assert check("plan", plain(plan.document())) == []  # type: ignore[arg-type]


def test_the_plan_schema_names_every_reason_that_a_plan_can_give() -> None:
    for reason in Reason:
        plan = Plan("testhost", A, changes=(Change("m", Action.BLOCKED, reason),))
        assert check("plan", plain(plan.document())) == []  # type: ignore[arg-type]


def test_everything_that_a_plan_says_is_documented_and_nothing_else_is() -> None:
    schema = load_schema("plan")

    def compare(rules: object, value: object) -> None:
        assert isinstance(rules, dict)
        if isinstance(value, dict):
            assert set(rules["properties"]) == set(value) == set(rules["required"])
            for key, item in value.items():
                compare(rules["properties"][key], item)
        elif isinstance(value, list) and value:
            compare(rules["items"], value[0])

    compare(schema, plain(FULL.document()))


def test_files_in_a_plan_are_sorted() -> None:
    changes = FULL.document()["changes"]
    assert isinstance(changes, list)
    assert changes[0]["files"] == {"add": ["a.json", "b.json"], "reuse": ["w.bin"], "remove": ["old.json"], "keep": 3}


DECLARED = [
    manifest(),
    manifest(source={"huggingface": "acme/tiny-1b", "revision": "main"}, backend="vllm", quantization="q4_k_m"),
    manifest(
        source={
            "huggingface": "acme/tiny-1b",
            "revision": A,
            "include": ["*.gguf"],
            "subfolder": "onnx",
            "optional": True,
        }
    ),
    manifest(source={"path": "/data/mine"}),
]


@pytest.mark.parametrize("declared", DECLARED, ids=["pinned", "branch", "narrow", "local"])
def test_a_composed_entry_keeps_to_its_schema(declared: Manifest) -> None:
    made = entry(declared, commit=None if declared.fields["source"] == {"path": "/data/mine"} else A)
    assert check("entry", plain(made.fields)) == []  # type: ignore[arg-type]


def test_an_entry_with_everything_that_describing_finds_keeps_to_its_schema() -> None:
    described = {
        "download_format": "gguf",
        "quantization": "q4_k_m",
        "family": "tiny",
        "license": "apache-2.0",
        "capabilities": {"vision": True},
        "chat_template": {"source": "embedded", "path": None, "sha256": "0" * 64},
        "metadata": {"readme_file": "README.md", "readme_sha256": "0" * 64},
    }
    case = DeclaredModel(manifest(), upstream=upstream())
    made = compose_entry(case, place(), artifacts(), described, acquisition="installed", now=NOW)
    assert check("entry", plain(made.fields)) == []  # type: ignore[arg-type]
    assert made.fields["downloaded_at"] == "2026-11-22T00:00:00Z"


@pytest.mark.parametrize(
    "made", [moved_entry(entry(), "new", place("acme/new")), emptied_entry(entry(), "m")], ids=["moved", "emptied"]
)
def test_a_changed_entry_keeps_to_its_schema(made: Entry) -> None:
    assert check("entry", plain(made.fields)) == []  # type: ignore[arg-type]


def test_an_entry_is_read_back_as_it_was_written() -> None:
    made = entry()
    again = read_entry("discovered/testhost/m.json", render_entry(made.fields))
    assert (again.fields, again.files) == (made.fields, made.files)


def test_a_snapshot_of_all_kinds_of_models_keeps_to_its_schema() -> None:
    declared = [
        manifest("both", backend="vllm", backend_config={"port": 24001}, roles=["caption"], hosts=["testhost"]),
        manifest("logical", source={}, roles=["caption"]),
    ]
    merged = merge(declared, [entry(declared[0]), entry(manifest("stray"))], load_owners())
    assert check("snapshot", json.loads(json.dumps(merged))) == []
    assert {model["name"]: model["managed"] for model in merged} == {"both": True, "logical": True, "stray": False}


def test_a_report_says_what_was_done_and_what_went_wrong() -> None:
    done = ModelResult(FULL.changes[0], entry=entry(), recorded=True)
    failed = ModelResult(Change("n", Action.INSTALL, Reason.MISSING), error="disk full", reason="disk-full")
    report = Report("testhost", (done, failed), skipped={"x": "not confirmed"}, commit=A, notes=("a note",))
    assert report.failed == (failed,)
    assert plain(report.document()) == {
        "format_version": 1,
        "host": "testhost",
        "commit": A,
        "outcomes": [
            {
                "name": "m",
                "action": "update",
                "reason": "revision-changed",
                "done": True,
                "error": None,
                "error_reason": None,
            },
            {
                "name": "n",
                "action": "install",
                "reason": "missing",
                "done": False,
                "error": "disk full",
                "error_reason": "disk-full",
            },
        ],
        "skipped": {"x": "not confirmed"},
        "notes": ["a note"],
    }


def test_a_blocked_model_counts_as_an_error_and_not_as_a_change() -> None:
    plan = plan_of(blocked={"b": Blocker(Reason.INVALID_MANIFEST, "broken")})
    assert (plan.has_errors, plan.has_changes, plan.summary) == (True, False, {"add": 0, "change": 0, "destroy": 0})
