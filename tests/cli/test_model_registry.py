"""The ``imageworks-model-registry`` console script: verify, lock and unlock, list and show."""

import io
import json
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest

from imageworks.cli.app import run
from imageworks.cli.scripts import model_registry
from imageworks.model_loader.download_adapter import record_download
from support.found import put
from support.reconcile import MODEL, REPO, Result, World, command
from support.transfer import sha256, tree

NAME = "tiny-1b-vllm"
FOUND = "tiny-7b-vllm-awq"


def registry(world: World, *words: str, code: int = 0) -> Result:
    """Run the script and check that what it leaves is valid (I2)."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ended = run([*words, "--registry", str(world.root)], application=model_registry.app)
    result = Result(int(ended), out.getvalue(), err.getvalue())
    assert result.code == code, result
    world.check()
    return result


@pytest.fixture
def declared(world: World) -> Path:
    """A model with a manifest; returns the manifest."""
    world.serve()
    assert command("download", REPO, "--registry", world.root, "--no-progress", "--role", "caption").code == 0
    return world.root / f"models/{NAME}.yaml"


@pytest.fixture
def found(world: World) -> Path:
    """A model without one; returns its folder."""
    folder = put(world.folder / "my models/tiny-7b-awq")
    record_download(backend="vllm", path=folder, registry=world.root)
    return folder


def digest(world: World, name: str = NAME) -> str:
    artifacts = world.entry(name)["artifacts"]
    assert isinstance(artifacts, dict)
    return str(artifacts["aggregate_sha256"])


def test_the_script_is_installed_and_leads_here() -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "scripts"
    ]
    module, _, function = scripts["imageworks-model-registry"].partition(":")
    assert getattr(import_module(module), function) is model_registry.main


def test_a_declared_model_is_locked_in_its_manifest_and_comments_survive(world: World, declared: Path) -> None:
    before = declared.read_text(encoding="utf-8")
    result = registry(world, "verify", NAME, "--lock")
    assert f"✅ {NAME}: intact" in result.out
    after = declared.read_text(encoding="utf-8")
    assert after.startswith(before.rstrip("\n"))
    assert f'version_lock:\n  locked: true\n  expected_aggregate_sha256: "{digest(world)}"\n' in after
    assert "version_lock" not in world.entry(NAME)
    assert world.snapshot()[NAME]["version_lock"] == {"locked": True, "expected_aggregate_sha256": digest(world)}
    assert world.message().startswith(f"Lock {NAME}")
    head = world.head()
    assert "locked to these bytes already" in registry(world, "verify", NAME, "--lock").err
    assert world.head() == head
    assert world.plan().changes == {}
    registry(world, "verify", NAME, "--unlock")
    assert declared.read_text(encoding="utf-8") == before
    assert "is not locked" in registry(world, "verify", NAME, "--unlock").err


@pytest.mark.parametrize(
    ("tail", "left"),
    [
        ("# the end\n", None),
        ("\n\n# after two empty lines\n", None),
        ("model_aliases:\n    - a # one\n    # two\n", None),
        ("version_lock: {locked: false} # not yet\nlabels: {a: b} # here\n", "labels: {a: b} # here\n"),
    ],
)
def test_no_comment_is_lost_by_locking_and_unlocking(world: World, declared: Path, tail: str, left: str | None) -> None:
    before = declared.read_text(encoding="utf-8")
    world.write(f"models/{NAME}.yaml", before + tail)
    registry(world, "verify", NAME, "--lock")
    locked = declared.read_text(encoding="utf-8")
    assert locked.count("#") == (before + tail).count("#")
    registry(world, "verify", NAME, "--unlock")
    assert declared.read_text(encoding="utf-8") == before + (tail if left is None else left)


def test_where_comments_would_go_with_the_lock_it_is_opened_instead(world: World, declared: Path) -> None:
    before = declared.read_text(encoding="utf-8") + "version_lock:\n  # why\n  locked: false\n# behind it\n"
    world.write(f"models/{NAME}.yaml", before)
    for words, said in (("--lock", "true"), ("--unlock", "false")):
        registry(world, "verify", NAME, words)
        now = declared.read_text(encoding="utf-8")
        assert f"  locked: {said}\n" in now
        assert now.count("#") == before.count("#")


def test_a_lock_that_does_not_stand_on_lines_of_its_own_is_opened_where_it_is(world: World, declared: Path) -> None:
    fields = {"schema_version": 1, "source": {"huggingface": REPO}, "backend": "vllm", "location": "linux_wsl"}
    world.write(f"models/{NAME}.yaml", json.dumps(fields) + "\n")
    world.reconcile()
    registry(world, "verify", NAME, "--lock")
    registry(world, "verify", NAME, "--unlock")
    assert "locked: false" in declared.read_text(encoding="utf-8")
    assert "is not locked" in registry(world, "verify", NAME, "--unlock").err
    registry(world, "verify", NAME, "--lock")
    assert "locked: true" in declared.read_text(encoding="utf-8")


def test_a_model_without_a_manifest_is_locked_in_its_entry(world: World, found: Path) -> None:
    registry(world, "verify", FOUND, "--lock")
    assert world.entry(FOUND)["version_lock"] == {"locked": True, "expected_aggregate_sha256": digest(world, FOUND)}
    (found / "config.json").write_text("{}", encoding="utf-8")
    assert "size-mismatch: config.json" in registry(world, "verify", FOUND, code=1).out
    registry(world, "verify", FOUND, "--unlock", code=1)
    assert "version_lock" not in world.entry(FOUND)


def test_a_locked_model_whose_bytes_drift_fails_and_is_not_replaced(world: World, declared: Path) -> None:
    registry(world, "verify", NAME, "--lock")
    config = world.weights / REPO / "config.json"
    config.write_text("{}", encoding="utf-8")
    assert "size-mismatch" in registry(world, "verify", NAME, code=1).out
    assert world.reconcile(code=1).planned[NAME] == ("blocked", "locked")
    assert config.read_text(encoding="utf-8") == "{}"
    refused = registry(world, "verify", NAME, "--lock", code=1)
    assert f"{NAME} is damaged, so it is not locked: config.json has 2 bytes" in refused.err
    assert command("verify", NAME, "--repair", "--registry", world.root).code == 0
    assert tree(world.weights / REPO) == dict(MODEL)
    assert f"models/{NAME}.yaml" == declared.relative_to(world.root).as_posix()


def test_a_lock_on_other_bytes_than_are_recorded_fails(world: World, found: Path) -> None:
    entry = world.entry(FOUND) | {"version_lock": {"locked": True, "expected_aggregate_sha256": "0" * 64}}
    world.write(f"discovered/testhost/{FOUND}.json", json.dumps(entry, indent=2, sort_keys=True) + "\n")
    command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    assert "version-lock: version_lock expects 000000000000" in registry(world, "verify", FOUND, code=1).out
    assert f"verify {FOUND} --unlock" in registry(world, "verify", FOUND, "--lock", code=1).err
    registry(world, "verify", FOUND, "--unlock")
    assert found.is_dir()


def without_digests(world: World, **fields: object) -> None:
    """Leave of the found model's record what an earlier tool recorded: the names of its files."""
    entry = {key: value for key, value in world.entry(FOUND).items() if key != "artifacts"} | fields
    world.write(f"discovered/testhost/{FOUND}.json", json.dumps(entry, indent=2, sort_keys=True) + "\n")
    assert command("reconcile", "--yes", "--registry", world.root, "--no-progress").code == 0


def test_names_of_files_alone_are_verified_by_what_stands_there(world: World, found: Path) -> None:
    recorded = world.entry(FOUND)
    without_digests(world)
    assert "nothing-recorded: only the names of 2 files are recorded" in registry(world, "verify", FOUND, code=3).out
    assert "✅" in registry(world, "verify", FOUND, "--lock").out
    assert world.entry(FOUND)["artifacts"] == recorded["artifacts"]
    assert world.snapshot()[FOUND]["version_lock"] == {
        "locked": True,
        "expected_aggregate_sha256": digest(world, FOUND),
    }
    lock = {"locked": True, "expected_aggregate_sha256": digest(world, FOUND)}
    without_digests(world, version_lock=lock)
    registry(world, "verify", FOUND)
    (found / "config.json").write_text("{}", encoding="utf-8")
    assert "version-lock: version_lock expects" in registry(world, "verify", FOUND, code=1).out
    assert f"verify {FOUND} --unlock" in registry(world, "verify", FOUND, "--lock", code=1).err
    (found / "config.json").unlink()
    assert "file-missing: config.json" in registry(world, "verify", FOUND, code=1).out


def test_one_digest_of_all_files_is_compared_too(world: World, found: Path) -> None:
    aggregate = digest(world, FOUND)
    without_digests(world, artifacts={"aggregate_sha256": aggregate, "files": []})
    registry(world, "verify", FOUND)
    (found / "config.json").write_text("{}", encoding="utf-8")
    assert f"recorded is {aggregate[:12]}" in registry(world, "verify", FOUND, code=1).out


def test_digests_of_an_earlier_tool_are_compared_file_by_file(world: World, found: Path) -> None:
    recorded = world.entry(FOUND)
    artifacts = recorded["artifacts"]
    metadata = recorded["metadata"]
    assert isinstance(artifacts, dict)
    assert isinstance(metadata, dict)
    files = [{key: file[key] for key in ("path", "sha256")} for file in artifacts["files"]]
    without_digests(world, metadata={**metadata, "legacy": {"artifacts": {"files": files}}})
    registry(world, "verify", FOUND)
    (found / "config.json").write_text("{}", encoding="utf-8")
    result = registry(world, "verify", FOUND, code=1)
    assert (
        f"config.json is {sha256(b'{}').value[:12]}, an earlier tool recorded {files[0]['sha256'][:12]}" in result.out
    )
    assert "is not locked" in registry(world, "verify", FOUND, "--lock", code=1).err
    without_digests(world, metadata={**metadata, "legacy": {"artifacts": {"files": files[1:]}}})
    assert "only the names of 1 files are recorded" in registry(world, "verify", FOUND, code=3).out


def test_names_that_lead_elsewhere_are_not_read(world: World, found: Path) -> None:
    without_digests(world, download_files=["../../secret"])
    for words in (["verify", FOUND], ["verify", FOUND, "--lock"]):
        result = registry(world, *words, code=1 if "--lock" in words else 3)
        assert "../../secret" in result.out or "records no files" in result.err
    assert found.is_dir()


def test_a_file_that_cannot_be_read_is_not_locked_to(world: World, found: Path) -> None:
    without_digests(world)
    (found / "config.json").unlink()
    (found / "config.json").mkdir()
    assert "unreadable: config.json cannot be read" in registry(world, "verify", FOUND, code=3).out
    assert "records no files" in registry(world, "verify", FOUND, "--lock", code=1).err


def test_a_manifest_that_is_being_edited_is_left_alone(world: World, declared: Path) -> None:
    declared.write_text(declared.read_text(encoding="utf-8") + "# a thought\n", encoding="utf-8")
    refused = registry(world, "verify", NAME, "--lock", code=1)
    assert f"models/{NAME}.yaml has uncommitted changes" in refused.err
    assert declared.read_text(encoding="utf-8").endswith("# a thought\n")


def test_what_records_no_files_cannot_be_locked(world: World) -> None:
    world.write("models/logical.yaml", '{"schema_version": 1, "roles": ["caption"], "backend": "vllm"}')
    world.reconcile()
    assert "records no files" in registry(world, "verify", "logical", "--lock", code=1).err
    assert registry(world, "verify", "logical", code=3).out.startswith("⚠️  logical: unverified")


def test_models_are_listed_by_variant_name(world: World, declared: Path, found: Path) -> None:
    registry(world, "verify", FOUND, "--lock")
    lines = registry(world, "list").out.splitlines()
    assert lines[0].split() == ["VARIANT", "BACKEND", "FORMAT", "QUANT", "INSTALLED", "LOCKED", "TO", "ROLES"]
    assert lines[1].split() == [NAME, "vllm", "safetensors", "yes", "caption"]
    assert lines[2].split() == [FOUND, "vllm", "safetensors", "awq", "yes", digest(world, FOUND)[:12]]
    listed = json.loads(registry(world, "list", "--json").out)
    assert [model["name"] for model in listed] == [declared.stem, FOUND]
    assert found.is_dir()


def test_nothing_recorded_says_what_to_do(world: World) -> None:
    assert "declare a model" in registry(world, "list").out


def test_a_model_is_shown_as_it_is_merged(world: World, declared: Path) -> None:
    shown = registry(world, "show", NAME).out
    assert shown.startswith(f"{NAME}: tiny 1b\n")
    for key, value in {"roles": "caption", "backend": "vllm", "download_path": str(world.weights / REPO)}.items():
        assert any(line.split(maxsplit=1) == [key, value] for line in shown.splitlines()), key
    assert "model.safetensors" in shown
    whole = world.snapshot()[NAME] | {"artifacts": world.entry(NAME)["artifacts"]}
    assert json.loads(registry(world, "show", NAME, "--json").out) == whole
    assert declared.is_file()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "tiny-1b-vlm"], 1, f"Did you mean '{NAME}'?"),
        (["verify", "tiny-1b-vlm"], 1, f"Did you mean '{NAME}'?"),
        (["verify", NAME, "--lock", "--unlock"], 64, "exclude each other"),
        (["verify"], 64, "NAME"),
        (["frobnicate"], 64, "frobnicate"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    world: World, declared: Path, words: list[str], code: int, told: str
) -> None:
    result = registry(world, *words, code=code)
    assert told in result.err
    assert "Traceback" not in result.err
    assert declared.is_file()


def test_results_are_stable_json(world: World, declared: Path) -> None:
    document = registry(world, "verify", NAME, "--lock", "--json").json
    assert document["format_version"] == 1
    assert document["models"] == [
        {
            "name": declared.stem,
            "verdict": "intact",
            "files": len(MODEL),
            "size_bytes": sum(map(len, MODEL.values())),
            "hashed_bytes": 0,
            "problems": [],
        }
    ]
