"""History: which commits touched what, and the command that shows it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imageworks.cli.program import make_application
from imageworks.git.repository import RegistryRepository
from imageworks.registry.entries.lookup import UnknownModelError
from support.git import git, make_registry


@pytest.fixture
def registry(tmp_path: Path) -> RegistryRepository:
    repository = make_registry(tmp_path, {"registry.yaml": b"schema_version: 1\n", "models/a.yaml": b"1"})
    steps: list[tuple[str, dict[str, bytes | None]]] = [
        ("Install a", {"discovered/h1/a.json": b"1", "snapshot/h1.json": b"1"}),
        ("Add b", {"models/b.yaml": b"1"}),
        ("Install b", {"discovered/h2/b.json": b"1", "snapshot/h2.json": b"1"}),
        ("Change a", {"models/a.yaml": b"2"}),
        ("Remove a", {"models/a.yaml": None, "discovered/h1/a.json": None}),
    ]
    for subject, changes in steps:
        trailers = {"Reconciled-Revision": repository.head() or "", "Host": "h1"} if "Install" in subject else {}
        repository.commit(changes, message=f"{subject}\n\nBody: x", expected=repository.head(), trailers=trailers)
    return repository


def subjects(repository: RegistryRepository, *paths: str, **options: bool) -> list[str]:
    return [record.subject for record in repository.log(paths, **options)]  # type: ignore[arg-type]


def test_a_path_or_pattern_names_exactly_the_commits_that_touched_it(registry: RegistryRepository) -> None:
    assert subjects(registry, "models/a.yaml") == ["Remove a", "Change a", "First"]
    assert subjects(registry, "discovered/*/a.json") == ["Remove a", "Install a"]
    assert subjects(registry, "discovered/h2") == ["Install b"]
    assert subjects(registry, "models/a.yaml", "discovered/*/a.json") == ["Remove a", "Change a", "Install a", "First"]
    assert subjects(registry, "models/c.yaml") == []
    assert len(list(registry.log())) == 6
    assert len(list(registry.log(limit=2))) == 2


def test_a_record_has_everything_that_history_shows(registry: RegistryRepository) -> None:
    record = next(iter(registry.log("discovered/h2")))
    assert record.changed == ("discovered/h2/b.json", "snapshot/h2.json")
    assert record.trailers["Host"] == "h1"
    assert record.author == "imageworks controller"
    assert record.short_id == record.id[:10]
    assert record.when.utcoffset() is not None


def test_merges_show_as_the_commits_they_brought_or_as_one_along_first_parents(
    tmp_path: Path, registry: RegistryRepository
) -> None:
    git(tmp_path, "switch", "-qc", "pr")
    registry.commit({"models/c.yaml": b"1"}, message="Add c", expected=registry.head())
    git(tmp_path, "switch", "-q", "main")
    registry.commit({"other": b"1"}, message="Other", expected=registry.head())
    git(tmp_path, "merge", "-q", "--no-ff", "-m", "Merge pr", "pr")
    assert subjects(registry, "models/c.yaml") == ["Add c"]
    assert subjects(registry, "models/c.yaml", first_parent=True) == ["Merge pr"]


def test_the_log_agrees_with_gits_own(tmp_path: Path, registry: RegistryRepository) -> None:
    for path in ("models/a.yaml", "models", "discovered", "snapshot/h1.json"):
        assert subjects(registry, path) == git(tmp_path, "log", "--format=%s", "--", path).splitlines()


def test_what_touched_a_path_agrees_with_git_in_a_history_of_branches(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"1", "models/a.yaml.bak": b"1"})
    steps: list[dict[str, bytes | None]] = [
        {"models/0.yaml": b"1"},  # what stands before it moves
        {"models/a.yaml": b"2", "discovered/h 1/a.json": b"1"},
        {"models/b a.yaml": b"1"},
        {"models/a.yaml": None},
        {"models/a.yml": b"3", "discovered/h2/a.json": b"1"},
        {"models/a.yml": None, "models/a.yaml": b"4"},
        {"discovered/h 1/a.json": None},
    ]
    for number, changes in enumerate(steps):
        repository.commit(changes, message=f"Step {number}", expected=repository.head())
        git(tmp_path, "switch", "-qc", f"side-{number}", "HEAD~1")
        side = RegistryRepository.open(tmp_path)
        side.commit({f"models/s{number}.yaml": b"1"}, message=f"Side {number}", expected=side.head())
        git(tmp_path, "switch", "-q", "main")
        git(tmp_path, "merge", "-q", "--no-ff", "-m", f"Merge {number}", f"side-{number}")
        repository = RegistryRepository.open(tmp_path)
    asked = {
        "models/a.yaml|a.yml": ("models/a.yaml", "models/a.yml"),
        "discovered/*/a.json": ("discovered",),
        "models/b a.yaml": ("models/b a.yaml",),
        "models": ("models",),
        "models/none.yaml": ("models/none.yaml",),
    }
    plain = set(git(tmp_path, "rev-list", "--no-merges", "HEAD").split())
    for path, literally in asked.items():
        theirs = git(tmp_path, "log", "--full-history", "--no-merges", "--format=%H", "--", *literally).split()
        ours = set(repository.touching([path]))
        assert ours & plain == set(theirs), path
        assert ours <= plain or path == "models"  # a merge that brings two changes of one folder together is its own
    assert (
        repository.touching(["models/a.yaml"], revision=repository.resolve("HEAD~9"))[-1]
        == git(tmp_path, "rev-list", "--max-parents=0", "HEAD").strip()
    )


def test_a_name_within_another_is_not_taken_for_it(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/x 100644 a.yaml": b"1", "models/z.yaml": b"1"})
    steps: dict[str, dict[str, bytes | None]] = {
        "Add": {"models/a.yaml": b"1"},
        "Hide": {"models/x 100644 a.yaml": b"2"},
        "Beside": {"models/a.yaml.bak": b"2"},
        "Delete": {"models/a.yaml": None, "models/c.yaml": b"1"},
    }
    for subject, changes in steps.items():
        repository.commit(changes, message=subject, expected=repository.head())
    touched = repository.touching(["models/a.yaml"])
    assert [repository.record(commit).subject for commit in touched] == ["Delete", "Add"]


def test_last_applied_is_the_hosts_own_newest_commit_and_cannot_be_forged(registry: RegistryRepository) -> None:
    genuine = registry.last_applied("h1")
    assert genuine is not None
    assert genuine.subject == "Install a"
    head = registry.head()
    assert head is not None
    forged = {"Reconciled-Revision": head, "Host": "h1"}
    registry.commit({"models/evil.yaml": b"1"}, message="Looks nice", expected=head, trailers=forged)
    registry.commit(
        {"discovered/h1/evil.json": b"1"},
        message="No such commit",
        expected=registry.head(),
        trailers={"Reconciled-Revision": "0" * 40, "Host": "h1"},
    )
    assert registry.last_applied("h1") == genuine
    assert registry.last_applied("h3") is None


@pytest.fixture(name="branched")
def history_of_hosts_and_branches(tmp_path: Path) -> RegistryRepository:
    """A history in which two hosts record on a branch and beside it, and people declare on branches."""
    make_registry(tmp_path, {"registry.yaml": b"schema_version: 1\n"})
    for number in range(4):
        git(tmp_path, "switch", "-qc", f"side-{number}")
        side = RegistryRepository.open(tmp_path)
        side.commit({f"models/s{number}.yaml": b"1"}, message=f"Declare {number}", expected=side.head())
        if number in {1, 2}:
            host = f"h{number}"
            trailers = {"Reconciled-Revision": side.head() or "", "Host": host}
            side.commit({f"discovered/{host}/a.json": b"2"}, message="Aside", expected=side.head(), trailers=trailers)
        git(tmp_path, "switch", "-q", "main")
        repository = RegistryRepository.open(tmp_path)
        trailers = {"Reconciled-Revision": repository.head() or "", "Host": f"h{number % 3}"}
        files: dict[str, bytes | None] = {f"discovered/h{number % 3}/{number}.json": b"1"}
        repository.commit(files, message=f"Record {number}", expected=repository.head(), trailers=trailers)
        git(tmp_path, "merge", "-q", "--no-ff", "-m", f"Merge {number}", f"side-{number}")
    return RegistryRepository.open(tmp_path)


def test_what_was_last_applied_is_the_same_for_all_hosts_at_once(branched: RegistryRepository) -> None:
    hosts = ("h0", "h1", "h2", "nobody")
    for commit in git(branched.root, "rev-list", "HEAD").split():
        each = {host: branched.last_applied(host, revision=commit) for host in hosts}
        found = branched.last_applied_by(hosts, commit)  # of two of one second, either
        assert {host: one.when for host, one in found.items()} == {host: one.when for host, one in each.items() if one}
    assert set(branched.last_applied_by(hosts, branched.resolve("HEAD"))) == {"h0", "h1", "h2"}


def test_commits_since_are_counted_as_git_counts_them(branched: RegistryRepository) -> None:
    everywhere = git(branched.root, "rev-list", "--all").split()
    for newer in everywhere[::3]:
        found = branched.changes_since([*everywhere, "0" * 40], newer, ["models"])
        words = ("rev-list", "--count", "--full-history", "--no-merges")
        counted = {older: int(git(branched.root, *words, newer, f"^{older}", "--", "models")) for older in everywhere}
        assert found == counted


def run(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(
        make_application(), ["history", *arguments, "--registry", str(folder)], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.output


def test_the_history_command_shows_a_models_commits(tmp_path: Path, registry: RegistryRepository) -> None:
    lines = run(tmp_path, "a").splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.rpartition("  ")[2] for line in heads] == ["Remove a", "Change a", "Install a", "First"]
    assert heads[0].startswith(next(iter(registry.log("models/a.yaml"))).short_id)
    assert len([line for line in run(tmp_path, "--limit", "2").splitlines() if not line.startswith(" ")]) == 2
    for nobody in ("zz", "*"):
        with pytest.raises(UnknownModelError):
            run(tmp_path, nobody)
    assert next(iter(registry.log())).short_id in run(tmp_path)


def test_the_history_command_speaks_json(tmp_path: Path, registry: RegistryRepository) -> None:
    document = json.loads(run(tmp_path, "b", "--json"))
    assert document["format_version"] == 1
    assert [commit["layers"] for commit in document["commits"]] == [["entry", "snapshot"], ["manifest"]]
    assert document["commits"][1]["id"] == next(iter(registry.log("models/b.yaml"))).id
