"""What is removed, and above all what is not."""

import pytest

from support.reconcile import MODEL, NAME, QUANTS, REPO, World
from support.transfer import tree, write


def drift_of(world: World, *words: str) -> list[tuple[str, str]]:
    drift = world.plan(*words).json["drift"]
    assert isinstance(drift, list)
    return [(item["name"], item["reason"]) for item in drift]


@pytest.fixture
def installed(world: World) -> World:
    """A world with two installed models, so that deleting one manifest does not empty the registry."""
    world.serve()
    world.serve({**MODEL, "config.json": b'{"other": 1}'}, "acme/other")
    world.declare()
    world.declare("other", source={"huggingface": "acme/other"})
    world.reconcile()
    return world


def test_a_deleted_manifest_alone_removes_nothing(installed: World) -> None:
    installed.delete(NAME)
    assert drift_of(installed) == [(NAME, "undeclared")]
    installed.reconcile()
    assert tree(installed.weights / REPO) == dict(MODEL)
    assert installed.entries() == ["other", NAME]


def test_pruning_asks_for_the_name(installed: World) -> None:
    installed.delete(NAME)
    result = installed.reconcile("--prune")
    assert f"skipped: {NAME}: not confirmed; run again with --confirm {NAME}" in result.err
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_a_confirmed_removal_takes_files_entry_and_snapshot_line(installed: World) -> None:
    installed.delete(NAME)
    result = installed.reconcile("--prune", "--confirm", NAME)
    assert result.planned[NAME] == ("remove", "undeclared")
    assert not (installed.weights / REPO).exists()
    assert installed.entries() == ["other"]
    assert list(installed.snapshot()) == ["other"]
    assert installed.plan().changes == {}


def test_confirming_one_name_removes_no_other(installed: World) -> None:
    installed.delete(NAME, "other")
    installed.declare("kept", state="suspended")
    installed.reconcile("--prune", "--confirm", NAME)
    assert installed.entries() == ["other"]
    assert (installed.weights / "acme/other").is_dir()


def test_files_that_are_not_ours_survive_in_a_pruned_folder(installed: World) -> None:
    """I5."""
    (installed.weights / REPO / "my-notes.txt").write_text("mine", encoding="utf-8")
    installed.delete(NAME)
    installed.reconcile("--prune", "--confirm", NAME)
    assert tree(installed.weights / REPO) == {"my-notes.txt": b"mine"}


def test_adopted_files_stay_and_only_the_record_goes(world: World) -> None:
    """I5."""
    world.serve()
    write(world.weights / REPO, dict(MODEL))
    world.declare()
    world.reconcile()
    world.delete(NAME)
    world.reconcile("--prune", "--allow-empty", "--confirm", NAME)
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.entries() == []


def test_a_manifest_that_enabled_pruning_is_pruned_without_being_asked_for(installed: World) -> None:
    installed.declare(prune="enabled")
    installed.reconcile()
    installed.delete(NAME)
    installed.reconcile()
    assert installed.entries() == ["other"]


def test_a_manifest_that_forbade_pruning_protects_its_model(installed: World) -> None:
    installed.declare(prune="disabled")
    installed.reconcile()
    installed.delete(NAME)
    assert drift_of(installed, "--prune") == [(NAME, "undeclared")]
    installed.reconcile("--prune", "--confirm", NAME)
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_protection_outlives_later_runs_that_record_other_changes(installed: World) -> None:
    installed.declare(prune="disabled")
    installed.reconcile()
    installed.delete(NAME)
    installed.declare("other", source={"huggingface": "acme/other"}, display_name="Other")
    installed.reconcile()
    installed.reconcile("--prune", "--confirm", NAME)
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_protection_that_was_taken_back_in_the_same_change_as_the_manifest_still_holds(installed: World) -> None:
    installed.declare(prune="disabled")
    installed.reconcile()
    installed.declare(prune="enabled")
    installed.delete(NAME)
    installed.reconcile()
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_the_registry_may_ask_for_pruning_once_and_for_all(installed: World) -> None:
    installed.configure(prune=True)
    installed.delete(NAME)
    installed.reconcile("--confirm", NAME)
    assert installed.entries() == ["other"]


def test_an_empty_registry_prunes_nothing_unless_that_is_meant(installed: World) -> None:
    installed.delete(NAME, "other")
    confirm = ("--confirm", NAME, "--confirm", "other")
    result = installed.reconcile("--prune", *confirm, code=1)
    assert result.planned[NAME] == ("blocked", "prune-refused")
    assert installed.entries() == ["other", NAME]
    installed.reconcile("--prune", "--allow-empty", *confirm)
    assert installed.entries() == []
    assert tree(installed.weights) == {}


def test_nothing_is_pruned_while_a_document_is_invalid(installed: World) -> None:
    installed.delete(NAME)
    installed.write("models/broken.yaml", "schema_version: one\n")
    installed.reconcile("--prune", "--confirm", NAME, code=1, valid=False)
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_a_broken_manifest_is_never_taken_for_a_deleted_one(installed: World) -> None:
    installed.write(f"models/{NAME}.yaml", "schema_version: 1\nsource: {\n")
    result = installed.reconcile("--prune", "--confirm", NAME, code=1, valid=False)
    assert result.planned[NAME] == ("blocked", "invalid-manifest")
    assert tree(installed.weights / REPO) == dict(MODEL)
    assert NAME in installed.entries()


def test_nothing_is_pruned_when_another_model_fails(installed: World) -> None:
    installed.delete(NAME)
    installed.declare("nowhere", source={"huggingface": "acme/nowhere"})
    result = installed.reconcile("--prune", "--confirm", NAME, code=1)
    assert f"skipped: {NAME}: nothing is pruned while another model is blocked or failed" in result.err
    assert tree(installed.weights / REPO) == dict(MODEL)


def test_a_removal_that_is_declared_is_made_although_another_model_fails(installed: World) -> None:
    """I9."""
    installed.declare(state="absent")
    installed.declare("nowhere", source={"huggingface": "acme/nowhere"})
    installed.reconcile(code=1)
    assert not (installed.weights / REPO).exists()
    assert installed.status()[NAME] == ("synced", "no-files", "")


def test_one_of_two_quantizations_goes_and_what_they_share_stays(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    world.delete("many-q4")
    world.reconcile("--prune", "--confirm", "many-q4")
    assert set(tree(world.weights / REPO)) == {"README.md", "LICENSE", "many-7b-Q8_0.gguf"}
    assert world.status() == {"many-q8": ("synced", "healthy", "")}


def test_both_of_two_quantizations_go_and_nothing_of_ours_stays(world: World) -> None:
    world.serve(QUANTS)
    world.declare("many-q4", quantization="Q4_K_M")
    world.declare("many-q8", quantization="Q8_0")
    world.reconcile()
    world.delete("many-q4", "many-q8")
    world.reconcile("--prune", "--allow-empty", "--confirm", "many-q4", "--confirm", "many-q8")
    assert tree(world.weights) == {}


def test_a_record_that_leads_outside_the_hosts_roots_removes_nothing(installed: World) -> None:
    """Records come by pull request too."""
    file = f"discovered/testhost/{NAME}.json"
    text = (installed.root / file).read_text(encoding="utf-8")
    outside = installed.folder.parent / "outside"
    write(outside, dict(MODEL))
    installed.write(file, text.replace(str(installed.weights / REPO), str(outside)))
    installed.delete(NAME)
    installed.reconcile("--prune", "--confirm", NAME, code=1, valid=False)
    assert tree(outside) == dict(MODEL)
