"""G11, G12, G14, G17: names that differ by case, filters, manifests that went, and schemas of another version."""

import json
import re
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import HOST, NAME, World, command
from support.transfer import content

LOGICAL = "schema_version: 1\nbackend: vllm\nroles: [caption]\n"


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare()
    world.reconcile()
    return world


@pytest.mark.parametrize("name", ["Tiny-1b", "TINY-1B"])
def test_g11_a_manifest_renamed_by_case_alone_is_one_model(installed: World, name: str) -> None:
    git(installed.git_root, "mv", f"models/{NAME}.yaml", f"models/{name}.yaml")
    installed.commit("Rename by case")
    installed.served.forget()
    installed.reconcile()
    assert installed.entries() == [name]
    assert list(installed.snapshot()) == [name]
    assert installed.served.files == {}
    assert installed.plan().changes == {}
    files = git(installed.git_root, "ls-files").splitlines()
    assert len({file.lower() for file in files}) == len(files)


def test_g11_names_that_differ_by_case_alone_are_refused(installed: World) -> None:
    installed.write("models/TINY-1b.yaml", LOGICAL)
    refused = command("validate", "--registry", installed.root)
    assert refused.code == 1
    assert "the same model name as models/tiny-1b.yaml" in refused.out
    installed.reconcile(code=1, valid=False)
    assert installed.entries() == [NAME]


def test_g11_entries_and_hosts_that_differ_by_case_alone_are_told(installed: World) -> None:
    entry = (installed.root / f"discovered/{HOST}/{NAME}.json").read_text(encoding="utf-8")
    installed.write(f"discovered/{HOST}/TINY-1B.json", entry.replace(f'"name": "{NAME}"', '"name": "TINY-1B"'))
    told = command("validate", "--registry", installed.root)
    assert told.code == 1
    assert f"discovered/{HOST}/{NAME}.json:1:1: differs from discovered/{HOST}/TINY-1B.json" in told.out
    installed.configure(hosts={HOST: {}, HOST.upper(): {}})
    told = command("validate", "--registry", installed.root)
    assert re.search(rf"registry\.yaml:1:\d+: .*{HOST}", told.out)


def test_g11_a_host_that_differs_from_another_by_case_alone_is_refused(
    installed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed.head()
    monkeypatch.setenv("IMAGEWORKS_HOST", HOST.upper())
    refused = installed.reconcile(code=1, valid=False)
    assert f"differs from {HOST} by letter case alone" in refused.err
    assert installed.head() == before
    monkeypatch.setenv("IMAGEWORKS_HOST", f"{HOST}-2")
    installed.reconcile(valid=False)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"


@pytest.mark.parametrize("where", [".gitattributes", "models/.gitattributes", "appended"])
def test_g12_filters_never_reach_what_the_controller_writes(tmp_path: Path, where: str) -> None:
    root = tmp_path / "registry"
    assert command("init", root).code == 0
    file = root / (".gitattributes" if where == "appended" else where)
    before = file.read_text(encoding="utf-8") if where == "appended" else ""
    file.write_text(f"{before}*.json filter=lfs diff=lfs merge=lfs -text\n", encoding="utf-8")
    (root / "models/one.yaml").write_text(LOGICAL, encoding="utf-8")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Track with LFS")
    assert command("reconcile", "--yes", "--no-progress", "--registry", root).code == 0
    for path in (f"discovered/{HOST}/x.json", f"snapshot/{HOST}.json"):
        shown = git(root, "check-attr", "filter", "text", "--", path)
        assert "filter: unset" in shown
        assert "text: unset" in shown
    git(root, "add", "--renormalize", "--all")
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "show", f"HEAD:snapshot/{HOST}.json").startswith("[")


def test_g12_a_pointer_is_named_as_what_it_is(installed: World) -> None:
    installed.write(f"discovered/{HOST}/{NAME}.json", POINTER)
    told = command("validate", "--registry", installed.root)
    assert told.code == 1
    assert "a pointer of Git LFS" in told.out
    plan = installed.reconcile("--dry-run", code=1, valid=False)
    assert "a pointer of Git LFS" in plan.out
    installed.write("models/other.yaml", POINTER)
    assert (
        "models/other.yaml:1:1: the file is a pointer of Git LFS"
        in command("validate", "--registry", installed.root).out
    )


def test_g12_the_remedy_of_a_pointer_helps(installed: World) -> None:
    """The file is whole in the work tree, and a filter made a pointer of what was committed."""
    file = installed.root / f"discovered/{HOST}/{NAME}.json"
    whole = file.read_text(encoding="utf-8")
    installed.write(file.relative_to(installed.root).as_posix(), POINTER)
    file.write_text(whole, encoding="utf-8")
    told = installed.reconcile("--dry-run", code=1, valid=False).out
    for line in ("imageworks-models init --refresh", "git add --renormalize discovered snapshot"):
        assert f"`{line}`" in told
    assert command("init", "--refresh", installed.root).code == 0
    git(installed.git_root, "add", "--renormalize", "discovered", "snapshot")
    git(installed.git_root, "commit", "--quiet", "--message", "Bring it back")
    installed.reconcile()
    assert installed.entries() == [NAME]


@pytest.mark.parametrize(
    ("prune", "said"), [("disabled", "so it stays"), ("confirm", "`reconcile --prune"), (None, "`reconcile --prune")]
)
def test_g14_drift_says_what_a_prune_would_do(installed: World, prune: str | None, said: str) -> None:
    installed.serve(
        {"model.safetensors": content("other", 3_000), "config.json": b'{"model_type": "llama"}'}, "acme/other"
    )
    installed.declare("other", source={"huggingface": "acme/other"})
    if prune is not None:
        installed.declare(prune=prune)
    installed.reconcile()
    installed.delete(NAME)
    installed.reconcile()
    drift = {one["name"]: one["message"] for one in installed.plan().json["drift"]}  # type: ignore[attr-defined]
    assert said in drift[NAME]
    assert ("--prune" in drift[NAME]) == (prune != "disabled")
    installed.reconcile("--prune", "--confirm", NAME)
    assert (NAME in installed.entries()) == (prune == "disabled")


def test_g14_while_a_document_is_invalid_nothing_promises_a_prune(installed: World) -> None:
    installed.delete(NAME)
    installed.write("models/bad.yaml", "schema_version: 1\nbackend: vlm\n")
    drift = {one["name"]: one["message"] for one in installed.plan(code=1).json["drift"]}  # type: ignore[attr-defined]
    assert "--prune" not in drift[NAME]


@pytest.mark.parametrize("place", ["models/sub/tiny-1b.yaml", "models/a/b/tiny-1b.yml", "models/tiny-1b.YAML"])
def test_g14_a_manifest_in_the_wrong_place_is_no_deleted_one(installed: World, place: str) -> None:
    (installed.root / place).parent.mkdir(parents=True, exist_ok=True)
    git(installed.git_root, "mv", f"models/{NAME}.yaml", place)
    installed.commit("Move it")
    plan = installed.plan(code=1)
    assert plan.changes == {NAME: ("blocked", "invalid-manifest")}
    assert "--prune" not in plan.out
    installed.reconcile("--prune", "--confirm", NAME, "--allow-empty", code=1, valid=False)
    assert installed.entries() == [NAME]
    remedy = re.search(r"(?:move|rename) it to (\S+\.ya?ml)", command("validate", "--registry", installed.root).out)
    assert remedy is not None
    target = remedy[1] if remedy[1].startswith("models/") else f"models/{remedy[1]}"
    git(installed.git_root, "mv", place, target)
    installed.commit("Follow the remedy")
    assert installed.plan().changes == {}


def test_g17_schemas_of_another_version_are_told_and_renewed(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    assert command("init", root).code == 0
    assert "note:" not in command("validate", "--registry", root).err
    schema = root / ".schemas/manifest.schema.json"
    old = json.loads(schema.read_bytes())
    del old["properties"]["prune"]
    schema.write_text(json.dumps(old), encoding="utf-8")
    git(root, "rm", "--quiet", "--cached", "snapshot/.gitattributes")
    (root / "snapshot/.gitattributes").unlink()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "As an older program made it")
    told = command("validate", "--registry", root)
    assert told.code == 0
    assert ".schemas/manifest.schema.json" in told.err
    assert "`imageworks-models init --refresh`" in told.err
    (root / "models/mine.yaml").write_text("not committed", encoding="utf-8")
    renewed = command("init", "--refresh", root)
    assert renewed.code == 0
    assert sorted(Path(line).name for line in renewed.out.splitlines()) == [".gitattributes", "manifest.schema.json"]
    assert "note:" not in command("validate", "--registry", root, "--json").err
    assert git(root, "status", "--porcelain") == "?? models/mine.yaml\n"
    before = git(root, "rev-parse", "HEAD")
    assert command("init", "--refresh", root).code == 0
    assert git(root, "rev-parse", "HEAD") == before


def test_g17_checked_out_with_other_line_ends_they_are_the_same(tmp_path: Path) -> None:
    assert command("init", tmp_path / "registry").code == 0
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", str(tmp_path / "registry"), "clone")
    assert b"\r\n" in (tmp_path / "clone/.schemas/manifest.schema.json").read_bytes()
    assert "note:" not in command("validate", "--registry", tmp_path / "clone").err


def test_g17_init_still_needs_a_folder_without_refresh() -> None:
    done = command("init")
    assert done.code == 64
