"""History in model words: what changed between states, which commits, and who set which field."""

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.registry.history.compare import compare, flatten, layer_of
from imageworks.registry.history.model import ChangeKind, HistoryCommit, HistoryError, ModelChange, RecordKind, Version
from imageworks.registry.history.model_at import model_at
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.history.states import HistoryFilter
from support.git import git, make_registry

A, B = "a" * 40, "b" * 40
HOST = "box"


def manifest(*, revision: str = A, repo: str = "acme/tiny", **fields: object) -> bytes:
    said = {"schema_version": 1, "source": {"huggingface": repo, "revision": revision}, **fields}
    return (json.dumps(said) + "\n").encode()


def entry(
    name: str,
    *,
    revision: str | None = A,
    weights: str = "1",
    size: int = 10,
    path: str | None = "/w/tiny",
    **more: object,
) -> bytes:
    said: dict[str, object] = {"schema_version": 1, "name": name, "managed": True, **more}
    if path is not None:
        files = [
            {"path": "config.json", "size": 2, "sha256": "0" * 64},
            {"path": "w", "size": size, "sha256": weights * 64},
        ]
        said |= {"download_path": path, "download_size_bytes": size + 2, "resolved": {"revision": revision}}
        said |= {"artifacts": {"aggregate_sha256": weights * 64, "files": files}}
    return json.dumps(said, indent=2, sort_keys=True).encode()


def version(data: bytes) -> Version:
    return Version(str(hash(data)), json.loads(data))


def change(path: str, before: bytes | None, after: bytes | None) -> ModelChange:
    sides = (None if before is None else version(before), None if after is None else version(after))
    (found,) = compare({path: sides})
    return found


ENTRY = f"discovered/{HOST}/tiny.json"
MANIFEST = "models/tiny.yaml"
UNCHECKED = [{"type": "Ready", "status": "Unknown", "reason": "NotChecked", "message": "Ollama did not answer"}]
TOLD = [{"type": "Ready", "status": "Unknown", "reason": "Migrated", "message": "nothing was looked at since"}]


@pytest.mark.parametrize(
    ("path", "before", "after", "kind"),
    [
        (MANIFEST, None, manifest(), ChangeKind.DECLARED),
        (MANIFEST, manifest(), None, ChangeKind.UNDECLARED),
        (MANIFEST, manifest(), manifest(revision=B), ChangeKind.CHANGED),
        (MANIFEST, manifest(), manifest() + b" ", ChangeKind.REWRITTEN),
        (ENTRY, None, entry("tiny", metadata={"acquisition": "installed"}), ChangeKind.INSTALLED),
        (ENTRY, None, entry("tiny", metadata={"acquisition": "adopted"}), ChangeKind.ADOPTED),
        (ENTRY, None, entry("tiny", metadata={"acquisition": "adopted"}, conditions=TOLD), ChangeKind.RECORDED),
        (ENTRY, None, entry("tiny", metadata={"acquisition": "adopted"}, conditions=UNCHECKED), ChangeKind.RECORDED),
        (ENTRY, None, entry("tiny"), ChangeKind.FOUND),
        (ENTRY, None, entry("tiny", path=None), ChangeKind.RECORDED),
        (ENTRY, entry("tiny", path=None), entry("tiny", metadata={"acquisition": "installed"}), ChangeKind.INSTALLED),
        (ENTRY, entry("tiny"), entry("tiny", revision=B, weights="2"), ChangeKind.UPDATED),
        (ENTRY, entry("tiny"), entry("tiny", weights="2"), ChangeKind.UPDATED),
        (ENTRY, entry("tiny"), entry("tiny", path="/x/tiny"), ChangeKind.MOVED),
        (ENTRY, entry("tiny"), entry("tiny", path=None), ChangeKind.EMPTIED),
        (ENTRY, entry("tiny"), entry("tiny", deprecated=True), ChangeKind.CHANGED),
        (ENTRY, entry("tiny"), None, ChangeKind.REMOVED),
    ],
)
def test_every_change_of_a_file_has_one_word(
    path: str, before: bytes | None, after: bytes | None, kind: ChangeKind
) -> None:
    assert change(path, before, after).kind is kind


def test_a_change_says_revision_size_files_and_fields() -> None:
    found = change(ENTRY, entry("tiny"), entry("tiny", revision=B, weights="2", size=30))
    assert (found.host, found.name, found.revision, found.size) == (HOST, "tiny", (A, B), (12, 32))
    assert found.files.document() == {"added": [], "removed": [], "changed": ["w"]}
    assert {one.field for one in found.fields} == {
        "artifacts.aggregate_sha256",
        "download_size_bytes",
        "resolved.revision",
    }
    declared = change(MANIFEST, manifest(roles=["caption"]), manifest(revision=B, roles=["chat"]))
    assert declared.revision == (A, B)
    assert [(one.field, one.before, one.after) for one in declared.fields] == [
        ("roles", ["caption"], ["chat"]),
        ("source.revision", A, B),
    ]


def test_a_rename_is_one_change_by_its_manifest_or_by_the_files_of_its_entry() -> None:
    renamed = compare(
        {
            "models/old.yaml": (version(manifest()), None),
            "models/new.yaml": (None, version(manifest(previously=["old"], roles=["chat"]))),
            f"discovered/{HOST}/old.json": (version(entry("old")), None),
            f"discovered/{HOST}/new.json": (None, version(entry("new"))),
            "discovered/other/old.json": (version(entry("old", weights="9")), None),
        }
    )
    assert [(one.layer, one.host, one.name, one.kind, one.previous_name) for one in renamed] == [
        (RecordKind.MANIFEST, None, "new", ChangeKind.RENAMED, "old"),
        (RecordKind.ENTRY, HOST, "new", ChangeKind.RENAMED, "old"),
        (RecordKind.ENTRY, "other", "old", ChangeKind.REMOVED, None),
    ]
    assert [one.field for one in renamed[0].fields] == ["roles"]
    assert not renamed[1].fields


def test_two_models_of_the_same_bytes_are_no_rename_while_both_are_there() -> None:
    (added,) = compare({"models/copy.yaml": (None, version(manifest()))})
    assert added.kind is ChangeKind.DECLARED


def test_files_that_are_none_of_ours_have_no_layer() -> None:
    assert [layer_of(path) for path in ("models/a.yaml", "models/x/a.yaml", "discovered/a.json", "README.md")] == [
        RecordKind.MANIFEST,
        None,
        None,
        None,
    ]
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": [1]}) == {"a.b.c": 1, "d": {}, "e": [1]}


# --- real commits --------------------------------------------------------------------------------------------------


def commit_as(folder: Path, who: str, message: str, files: dict[str, bytes | None]) -> None:
    """Commit files as a person would."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", message, f"--author={who} <{who.lower()}@example.org>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "my registry"
    make_registry(place, {"registry.yaml": b"schema_version: 1\n"})
    commit_as(place, "Ada", "Declare old", {"models/old.yaml": manifest(roles=["caption"])})
    commit_as(place, "Robot", "Install old", {f"discovered/{HOST}/old.json": entry("old")})
    commit_as(place, "Bob", "Chat too", {"models/old.yaml": manifest(roles=["caption", "chat"])})
    renamed = manifest(roles=["caption", "chat"], previously=["old"])
    commit_as(place, "Cleo", "Rename it", {"models/old.yaml": None, "models/new.yaml": renamed})
    moved = {
        f"discovered/{HOST}/old.json": None,
        f"discovered/{HOST}/new.json": entry("new"),
        "snapshot/box.json": b"[]\n",
    }
    commit_as(place, "Robot", "Move its entry", moved)
    commit_as(place, "Dan", "Another", {"models/other.yaml": manifest(repo="acme/other")})
    return place


def reader(folder: Path) -> HistoryReader:
    return HistoryReader(RegistryRepository.open(folder))


def told(steps: list[HistoryCommit]) -> list[tuple[str, str, list[str]]]:
    return [(step.record.author, step.record.subject, [one.kind.value for one in step.changes]) for step in steps]


def test_a_models_history_goes_through_its_rename(folder: Path) -> None:
    assert told(list(reader(folder).steps("new"))) == [
        ("Robot", "Move its entry", ["renamed"]),
        ("Cleo", "Rename it", ["renamed"]),
        ("Bob", "Chat too", ["changed"]),
        ("Robot", "Install old", ["found"]),
        ("Ada", "Declare old", ["declared"]),
    ]
    steps = list(reader(folder).steps("new"))
    assert steps[0].layers == (RecordKind.ENTRY, RecordKind.SNAPSHOT)
    assert [one.name for one in steps[2].changes] == ["old"]


def test_the_old_names_history_ends_with_the_rename(folder: Path) -> None:
    steps = list(reader(folder).steps("old"))
    assert [step.record.subject for step in steps][:2] == ["Move its entry", "Rename it"]
    assert [(one.name, one.previous_name) for one in steps[1].changes] == [("new", "old")]


def test_a_rename_without_a_word_is_followed_by_its_bytes(folder: Path) -> None:
    git(folder, "mv", "models/other.yaml", "models/third.yaml")
    git(folder, "commit", "-q", "-m", "Move it silently")
    assert [step.record.subject for step in reader(folder).steps("third")] == ["Move it silently", "Another"]


def test_the_registrys_history_names_every_model(folder: Path) -> None:
    steps = list(reader(folder).registry_steps())
    assert steps[0].record.subject == "Another"
    assert len(steps) == 7
    assert [(one.layer, one.kind) for one in steps[-1].changes] == [(RecordKind.SETTINGS, ChangeKind.DECLARED)]


def test_only_one_hosts_entries_count_when_asked(folder: Path) -> None:
    commit_as(folder, "Robot", "Elsewhere", {"discovered/laptop/new.json": entry("new")})
    assert next(reader(folder).steps("new", host="laptop")).record.subject == "Elsewhere"
    assert next(reader(folder).steps("new", host=HOST)).record.subject == "Move its entry"


def test_a_merge_tells_only_what_no_parent_had(folder: Path) -> None:
    git(folder, "switch", "-qc", "pr")
    commit_as(folder, "Eve", "In the request", {"models/new.yaml": manifest(revision=B, previously=["old"])})
    git(folder, "switch", "-q", "main")
    commit_as(folder, "Ada", "Meanwhile", {"models/other.yaml": manifest(repo="acme/other", revision=B)})
    git(folder, "merge", "-q", "--no-ff", "-m", "Merge it", "pr")
    subjects = [step.record.subject for step in reader(folder).steps("new")]
    assert subjects[:2] == ["In the request", "Move its entry"]
    blamed = {one.field: one.record.author for one in reader(folder).blame("new", HOST)}
    assert blamed["source.revision"] == "Eve"


def test_a_merge_resolved_by_hand_is_told_and_blamed(folder: Path) -> None:
    git(folder, "switch", "-qc", "pr")
    commit_as(folder, "Eve", "Theirs", {"models/other.yaml": manifest(repo="acme/other", backend="vllm")})
    git(folder, "switch", "-q", "main")
    commit_as(folder, "Ada", "Ours", {"models/other.yaml": manifest(repo="acme/other", backend="ollama")})
    git(folder, "merge", "-q", "--no-commit", "pr", check=False)
    (folder / "models/other.yaml").write_bytes(manifest(repo="acme/other", backend="lmdeploy"))
    git(folder, "commit", "-q", "-a", "-m", "Settle it")
    assert next(reader(folder).steps("other")).record.subject == "Settle it"
    blamed = {one.field: one.record.subject for one in reader(folder).blame("other", HOST)}
    assert (blamed["backend"], blamed["source.huggingface"]) == ("Settle it", "Another")


def test_blame_names_who_set_each_field_through_a_rename(folder: Path) -> None:
    found = reader(folder).blame("new", HOST)
    by_field = {(one.layer, one.field): (one.record.author, one.name) for one in found}
    assert by_field[RecordKind.MANIFEST, "roles"] == ("Bob", "old")
    assert by_field[RecordKind.MANIFEST, "source.revision"] == ("Ada", "old")
    assert by_field[RecordKind.MANIFEST, "previously"] == ("Cleo", "new")
    assert by_field[RecordKind.ENTRY, "download_path"] == ("Robot", "old")
    assert by_field[RecordKind.ENTRY, "name"][1] == "new"


def test_blame_of_a_value_that_was_taken_back_is_the_later_one(folder: Path) -> None:
    for who, backend in (("Ada", "vllm"), ("Bob", "ollama"), ("Eve", "vllm")):
        commit_as(folder, who, f"{backend}", {"models/other.yaml": manifest(repo="acme/other", backend=backend)})
    assert {one.field: one.record.author for one in reader(folder).blame("other", HOST)}["backend"] == "Eve"


def test_blame_of_what_is_not_there_says_so(folder: Path) -> None:
    with pytest.raises(HistoryError, match="no model is called 'nex'") as error:
        reader(folder).blame("nex", HOST)
    assert "'new'" in error.value.render()


def test_two_commits_differ_in_models(folder: Path) -> None:
    history = reader(folder)
    first, last = history.repository.resolve("HEAD~5"), history.repository.head()
    found = history.between(first, last)
    assert [(one.name, one.layer, one.kind) for one in found] == [
        ("new", RecordKind.MANIFEST, ChangeKind.RENAMED),
        ("new", RecordKind.ENTRY, ChangeKind.FOUND),
        ("other", RecordKind.MANIFEST, ChangeKind.DECLARED),
    ]
    assert tuple(history.between(last, last)) == ()
    only = HistoryFilter(frozenset({RecordKind.ENTRY}), frozenset({"new"}), HOST)
    assert [one.layer for one in history.between(first, last, only)] == [RecordKind.ENTRY]
    assert [one.kind for one in history.between(last, first, only)] == [ChangeKind.REMOVED]
    assert len(history.between(None, last)) == 4


def test_uncommitted_work_is_compared_with_a_commit(folder: Path) -> None:
    history = reader(folder)
    assert tuple(history.uncommitted(history.repository.head())) == ()
    (folder / "models/other.yaml").write_bytes(manifest(repo="acme/other", roles=["chat"]))
    (folder / "models/draft.yaml").write_bytes(manifest(repo="acme/draft"))
    (folder / "models/new.yaml").unlink()
    found = {one.name: one.kind for one in history.uncommitted(history.repository.head())}
    assert found == {"other": ChangeKind.CHANGED, "draft": ChangeKind.DECLARED, "new": ChangeKind.UNDECLARED}


def test_the_end_state_of_two_differences_is_that_of_one(folder: Path) -> None:
    """What two neighbouring differences touch covers what their whole does."""
    history = reader(folder)
    ids = git(folder, "rev-list", "--reverse", "HEAD").split()
    whole = {one.name for one in history.between(ids[0], ids[-1])}
    steps = {one.name for older, newer in pairwise(ids) for one in history.between(older, newer)}
    assert whole <= steps


# --- hostile history -----------------------------------------------------------------------------------------------


def test_broken_documents_in_history_are_told_and_stop_nothing(folder: Path) -> None:
    hostile: list[dict[str, bytes | None]] = [
        {"registry.yaml": b"\xff\xfe broken: ["},
        {"models/new.yaml": b"a: &x [*x]\n"},
        {"models/new.yaml": b"x" * 100_000},
        {f"discovered/{HOST}/new.json": b"{" * 5000},
        {f"discovered/{HOST}/new.json": b"[1]"},
        {"models/new.yaml": b"- a list\n"},
        {"models/new.yaml": manifest(), "registry.yaml": b"schema_version: 1\n"},
    ]
    for number, files in enumerate(hostile):
        commit_as(folder, "Mallory", f"Hostile {number}", files)
    history = reader(folder)
    kinds = told(list(history.steps("new")))
    assert kinds[0][2] == ["changed"]
    assert [kind for _who, _what, kind in kinds[1:6]] == [["unreadable"]] * 5
    problems = [one.problem for step in history.registry_steps() for one in step.changes if one.problem]
    assert len(problems) == 6
    assert all(problem.startswith(("models/", "discovered/", "registry.yaml:1:")) for problem in problems)
    assert max(map(len, problems)) <= 300
    assert {one.record.author for one in history.blame("new", HOST)} >= {"Mallory"}


def test_links_and_submodules_in_history_are_refused_by_name(folder: Path) -> None:
    (folder / "models/link.yaml").symlink_to("/etc/passwd")
    git(folder, "add", "models/link.yaml")
    head = git(folder, "rev-parse", "HEAD").strip()
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},models/sub.yaml")
    git(folder, "commit", "-q", "-m", "Lead outside")
    history = reader(folder)
    found = {one.name: one for one in next(history.registry_steps()).changes}
    assert "a symbolic link" in found["link"].problem
    assert "a submodule" in found["sub"].problem
    with pytest.raises(HistoryError, match="a symbolic link"):
        model_at(history.repository, "link", history.repository.head(), HOST)


def test_a_folder_that_became_a_link_ends_no_history(folder: Path) -> None:
    git(folder, "rm", "-q", "-r", "models")
    (folder / "models").symlink_to("/etc")
    git(folder, "add", "models")
    git(folder, "commit", "-q", "-m", "Make it a link")
    history = reader(folder)
    assert next(history.steps("new")).changes[0].kind is ChangeKind.UNDECLARED
    assert {one.name for one in history.uncommitted(history.repository.resolve("HEAD~1"))} >= {"new", "other"}


def test_names_that_are_no_text_are_shown_escaped(folder: Path) -> None:
    blob = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], input=b"a: 1\n", cwd=folder, capture_output=True, check=True
    )
    tree = b"100644 blob " + blob.stdout.strip() + b"\tb\xff\x1b[31m.yaml\n"
    made = (
        subprocess.run(["git", "mktree"], input=tree, cwd=folder, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )
    root = subprocess.run(
        ["git", "mktree"], input=f"040000 tree {made}\tmodels\n".encode(), cwd=folder, capture_output=True, check=True
    )
    commit = git(folder, "commit-tree", root.stdout.decode().strip(), "-p", "HEAD", "-m", "Odd").strip()
    history = reader(folder)
    names = [one.name for one in next(history.registry_steps(revision=commit)).changes]
    assert any("\\xff" in name for name in names)


# --- one model at a commit -----------------------------------------------------------------------------------------


def test_a_model_is_shown_as_it_stood_under_the_name_it_had(folder: Path) -> None:
    repository = RegistryRepository.open(folder)
    then = model_at(repository, "new", repository.resolve("HEAD~4"), HOST)
    assert (then.name, then.manifest) == ("old", "models/old.yaml")
    assert then.model["roles"] == ["caption"]
    assert then.model["download_path"] == "/w/tiny"
    assert then.notes == ("new was called old then",)
    now = model_at(repository, "new", repository.head(), "laptop")
    assert now.notes == ("laptop records nothing of it",)
    with pytest.raises(HistoryError, match="no model is called 'gone'"):
        model_at(repository, "gone", repository.head(), HOST)


def test_a_model_whose_manifest_is_broken_is_shown_by_its_entry(folder: Path) -> None:
    commit_as(folder, "Mallory", "Break it", {"models/new.yaml": b"roles: 1\n"})
    repository = RegistryRepository.open(folder)
    found = model_at(repository, "new", repository.head(), HOST)
    assert found.model["download_path"] == "/w/tiny"
    assert any(note.startswith("not valid: models/new.yaml:1:") for note in found.notes)
