"""The commands that look back: what they print, as text and as JSON."""

import json
from pathlib import Path

import pytest

from imageworks.operations.history import called, open_history
from support.git import git
from support.reconcile import HOST, NAME, World, command

NOBODY = (
    "error: no model is called '{}' here\n  `imageworks-models list` and `list --details` show what there is.\n"
    "  More: imageworks-models help unknown-model\n"
)


def look(world: World, *words: str, code: int = 0) -> str:
    result = command(*words, "--registry", world.root)
    assert result.code == code, result
    return result.out


@pytest.fixture
def told(world: World) -> World:
    """A model that was declared, installed, changed by another person, and moved to another pin."""
    repository = world.serve()
    world.declare(source={"huggingface": "acme/tiny-1b", "revision": repository.commit_id}, roles=["caption"])
    world.reconcile()
    new = repository.commit({"config.json": b'{"model_type": "llama", "new": 1}\n'})
    source = {"huggingface": "acme/tiny-1b", "revision": new}
    world.declare(source=source, roles=["caption", "chat"], commit=False)
    git(world.git_root, "commit", "-q", "-a", "-m", "Move on", "--author=Bob <bob@example.org>")
    world.reconcile()
    return world


def test_history_tells_a_models_life_in_words(told: World) -> None:
    lines = look(told, "history", NAME).splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.rpartition("  ")[2] for head in heads] == [
        f"Reconcile {HOST}: 1 updated",
        "Move on",
        f"Reconcile {HOST}: 1 installed",
        f"Write models/{NAME}.yaml",
    ]
    assert "  Bob  " in heads[1]
    body = "\n".join(lines)
    assert f"~ {HOST}: revision " in body
    assert "files: 1 changed\n" in body
    assert "roles +chat" in body
    assert f"+ {HOST}: installed acme/tiny-1b @ " in body
    assert "in 4 files" in body


def test_history_as_json_is_versioned_and_complete(told: World) -> None:
    document = json.loads(look(told, "history", NAME, "--json", "--limit", "2"))
    assert document["format_version"] == 1
    updated, declared = document["commits"]
    assert updated["trailers"]["Host"] == HOST
    assert updated["layers"] == ["entry", "snapshot"]
    (change,) = updated["models"]
    assert (change["kind"], change["host"], change["files"]["changed"]) == ("updated", HOST, ["config.json"])
    assert None not in change["revision"].values()
    assert declared["email"] == "bob@example.org"


def test_history_fits_a_narrow_terminal(told: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.cli.views.history.terminal_width", lambda: 50)
    lines = look(told, "history").splitlines()
    assert max(map(len, lines)) <= 50
    assert any(line.startswith("      ") for line in lines)


def test_history_can_start_at_an_earlier_commit_or_another_branch(told: World) -> None:
    document = json.loads(look(told, "history", NAME, "--from", "HEAD~2", "--json"))
    assert [commit["models"][0]["kind"] for commit in document["commits"]] == ["installed", "declared"]


def test_the_history_of_nobody_is_refused(world: World) -> None:
    result = command("history", "nix", "--registry", world.root)
    assert (result.code, result.err) == (1, NOBODY.format("nix"))


def test_diff_without_a_revision_is_about_uncommitted_work(told: World) -> None:
    assert look(told, "diff") == "No differences.\n"
    told.declare("draft", source={"huggingface": "acme/draft"}, commit=False)
    out = look(told, "diff", "--detailed-exitcode", code=2)
    assert out.startswith("+ draft  manifest: declared huggingface:acme/draft")
    assert out.endswith("1 model with differences.\n")
    assert look(told, "diff", "HEAD..") == "No differences.\n"


def test_diff_compares_two_states_by_layer_and_name(told: World) -> None:
    whole = json.loads(look(told, "diff", "HEAD~3..HEAD", "--json"))
    assert [(one["layer"], one["kind"]) for one in whole["changes"]] == [
        ("manifest", "changed"),
        ("entry", "installed"),
    ]
    assert whole["after"] == told.head()
    entries = json.loads(look(told, "diff", "HEAD~3..HEAD", "--entries", "--json"))
    assert [one["layer"] for one in entries["changes"]] == ["entry"]
    manifests = json.loads(look(told, "diff", "HEAD~3..", "--manifests", "--name", NAME, "--json"))
    assert [one["layer"] for one in manifests["changes"]] == ["manifest"]
    look(told, "diff", "HEAD~3..HEAD", "--name", "other", code=1)


def test_diff_with_three_dots_is_what_a_branch_changed(told: World) -> None:
    git(told.git_root, "switch", "-qc", "pr")
    told.declare("proposed", source={"huggingface": "acme/proposed"})
    git(told.git_root, "switch", "-q", "main")
    told.declare("meanwhile", source={"huggingface": "acme/meanwhile"})
    assert "meanwhile" in look(told, "diff", "main..pr")
    shown = look(told, "diff", "main...pr")
    assert "meanwhile" not in shown
    assert "proposed" in shown


def test_a_revision_that_is_none_is_refused_with_a_way_out(told: World) -> None:
    for words in (("diff", "nix..HEAD"), ("show", f"{NAME}@nix")):
        result = command(*words, "--registry", told.root)
        assert result.code == 1
        assert "names no commit, branch, tag or date" in result.err
    assert command("diff", "a..b..c", "--registry", told.root).code == 64
    assert "the registry's first commit is younger" in command("diff", "1999-01-01..", "--registry", told.root).err


def test_show_at_a_revision_is_the_model_as_it_stood(told: World) -> None:
    then = json.loads(look(told, "show", f"{NAME}@HEAD~2", "--json"))
    assert (then["format_version"], then["host"], then["model"]["roles"]) == (1, HOST, ["caption"])
    assert json.loads(look(told, "show", NAME, "--json"))["model"] == {
        **told.snapshot()[NAME],
        "artifacts": told.entry(NAME)["artifacts"],
    }
    shown = look(told, "show", NAME)
    assert f"name: {NAME}\n" in shown
    assert "roles: caption, chat\n" in shown
    assert "  files: 4\n    README.md  7 B  " in shown


def test_blame_says_who_and_when(told: World) -> None:
    lines = look(told, "blame", NAME).splitlines()
    by_field = {line.split()[0]: line for line in lines[1:]}
    assert lines[0].split() == ["FIELD", "VALUE", "COMMIT", "DATE", "AUTHOR", "SUBJECT"]
    assert "Bob" in by_field["roles"]
    assert "Ada" in by_field["source.huggingface"]
    assert "1 updated" in by_field["entry.resolved.revision"]
    found = json.loads(look(told, "blame", NAME, "--json"))
    assert found["format_version"] == 1
    assert {one["field"] for one in found["fields"] if one["author"] == "Bob"} == {"roles", "source.revision"}
    assert command("blame", "nix", "--registry", told.root).code == 1


def test_blame_fits_a_narrow_terminal(told: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("views.history", "output"):
        monkeypatch.setattr(f"imageworks.cli.{module}.terminal_width", lambda: 80)
    lines = look(told, "blame", NAME).splitlines()
    assert lines[0].split() == ["FIELD", "VALUE", "COMMIT", "DATE", "AUTHOR"]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("…artifacts.aggregate_sha256 ") for line in lines)


def test_nothing_is_written_by_looking(told: World, tmp_path: Path) -> None:
    before = git(told.git_root, "status", "--porcelain"), told.head(), sorted(tmp_path.rglob("*"))
    for words in (("history",), ("diff", "HEAD~1"), ("show", NAME), ("blame", NAME)):
        look(told, *words)
    assert (git(told.git_root, "status", "--porcelain"), told.head(), sorted(tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("gone", ["HEAD~2^{tree}", "HEAD~2:models", "HEAD~2"])
def test_a_damaged_repository_is_told_in_one_error(told: World, gone: str) -> None:
    identifier = git(told.git_root, "rev-parse", gone).strip()
    (told.git_root / ".git/objects" / identifier[:2] / identifier[2:]).unlink()
    for words in (("history",), ("history", NAME), ("blame", NAME), ("restore", "--from", "HEAD~2", "--dry-run")):
        result = command(*words, "--registry", told.root)
        assert result.code == 1, (words, result)
        assert "git fsck --full" in result.err or "names no commit" in result.err, (words, result)
        assert "bug" not in result.err, (words, result)


def test_a_model_that_is_there_is_found_without_the_commits_before(told: World) -> None:
    identifier = git(told.git_root, "rev-list", "--max-parents=0", "HEAD").strip()
    (told.git_root / ".git/objects" / identifier[:2] / identifier[2:]).unlink()
    with open_history(told.root) as reader:
        assert called(reader, NAME, HOST) == NAME


def test_details_are_counted_and_what_is_not_known_is_not_told(world: World) -> None:
    told = [{"type": "Ready", "status": "Unknown", "reason": "Migrated", "message": "by another tool"}]
    held = {"schema_version": 1, "name": NAME, "managed": False, "download_path": "/w/tiny", "conditions": told}
    held |= {"download_size_bytes": 2048, "metadata": {"acquisition": "adopted"}}
    details = {"patches": [], **{f"size_{number}": number for number in range(9)}}
    for more in (
        {"downloaded_at": "2025-10-22T08:00:00+00:00"},
        {"downloaded_at": "2025-10-22T09:00:00+00:00"},
        {"metadata": {"acquisition": "adopted", "note": "x", "architecture": details}},
    ):
        world.write(f"discovered/{HOST}/{NAME}.json", json.dumps(held | more))
    shown = [line.strip() for line in look(world, "history", NAME).splitlines() if line.startswith(" ")]
    assert shown == [
        f"~ {HOST}: metadata.architecture in 10 fields, metadata.note none→x",
        f"~ {HOST}: downloaded_at 2025-10-22T08:00:00+00:00→2025-10-22T09:00:00+00:00",
        f"+ {HOST}: recorded, 2.0 KiB",
    ]
    [blamed] = [line for line in look(world, "blame", NAME).splitlines() if "architecture" in line]
    assert blamed.split()[:3] == ["entry.metadata.architecture", "10", "fields"]


def test_a_shallow_clone_says_that_it_is_one(told: World) -> None:
    clone = told.folder / "shallow clone"
    git(told.folder, "clone", "--quiet", "--depth", "1", told.git_root.as_uri(), str(clone))
    root = clone / told.root.relative_to(told.git_root)
    for words in (("history",), ("blame", NAME)):
        assert "note: this clone is shallow" in command(*words, "--registry", root).err
    for revision in ("HEAD~2", "1999-01-01"):
        assert "git fetch --unshallow" in command("diff", revision, "--registry", root).err
    assert "shallow" not in command("history", "--registry", told.root).err


def test_arguments_are_told_in_their_order(world: World) -> None:
    for share, more in (("0.75", ["--seed", "1"]), ("0.87", ["--seed", "1"]), ("0.87", ["--eager", "--seed", "1"])):
        arguments = ["--port", "1", "--share", share, *more]
        world.declare(source={"huggingface": "acme/tiny-1b"}, backend_config={"extra_args": arguments})
    shown = [line.strip() for line in look(world, "history", NAME).splitlines() if line.startswith(" ")]
    assert shown[:2] == [
        '~ manifest: backend_config.extra_args ""→--eager',
        "~ manifest: backend_config.extra_args --share 0.75→--share 0.87",
    ]


def test_blame_without_a_commit_names_the_model(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "registry.yaml").write_text("schema_version: 1\nlocations: {}\n", encoding="utf-8")
    result = command("blame", "x", "--registry", tmp_path)
    assert (result.code, result.err) == (1, NOBODY.format("x"))


def test_blame_of_a_model_that_cannot_be_read_says_so(world: World) -> None:
    world.write("models/bad.yaml", "<<<<<<< ours\n")
    result = command("blame", "bad", "--registry", world.root)
    assert result.code == 0
    assert "nothing that can be read is said of bad" in result.err
