"""Going back: an earlier state returns as a new commit, with its bytes, and never at the cost of anyone's work."""

import json
import shutil
from random import Random

import pytest

from imageworks.foundation.http_messages import Response
from support.git import assert_sound, git, user_work
from support.hub import HubRepository
from support.reconcile import HOST, MODEL, NAME, REPO, Result, World, command
from support.recorded import write_snapshot
from support.transfer import tree
from support.weights import safetensors_file

NEW_CONFIG = b'{"model_type": "llama", "new": 1}\n'
FOUND = "llama-7b-vllm"


def back(world: World, *words: str, code: int = 0, valid: bool = True) -> Result:
    """Run a command that goes back, and check that what it leaves is valid (I2)."""
    plain = () if words[0] == "restore-ollama" else ("--no-progress", "--yes")
    result = command(*words, "--registry", world.root, *plain)
    assert result.code == code, result
    if valid:
        world.check()
    return result


def pin(world: World, revision: str, *roles: str) -> None:
    said = {"schema_version": 1, "source": {"huggingface": REPO, "revision": revision}, "roles": list(roles)}
    world.write(f"models/{NAME}.yaml", json.dumps({key: value for key, value in said.items() if value}))


@pytest.fixture
def moved_on(world: World) -> tuple[World, HubRepository]:
    """A model that was installed at one commit, with a comment in its manifest, and then at another."""
    repository = world.serve()
    first = repository.commit_id
    text = (
        f'schema_version: 1\nsource: {{huggingface: {REPO}, revision: "{first}"}}   # as reviewed\nroles: [caption]\n'
    )
    world.write(f"models/{NAME}.yaml", text)
    world.reconcile()
    git(world.git_root, "tag", "good")
    second = repository.commit({"config.json": NEW_CONFIG})
    pin(world, second, "chat")
    world.reconcile()
    world.served.forget()
    return world, repository


def test_a_manifest_comes_back_byte_for_byte_with_its_bytes_in_one_commit(
    moved_on: tuple[World, HubRepository],
) -> None:
    world, _ = moved_on
    before = world.head()
    wanted = git(world.git_root, "show", f"good:models/{NAME}.yaml")
    result = back(world, "restore", NAME, "--from", "good")
    assert (world.root / f"models/{NAME}.yaml").read_text(encoding="utf-8") == wanted
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.served.files == {"config.json": len(MODEL["config.json"])}
    assert git(world.git_root, "rev-list", f"{before}..HEAD").split() == [world.head()]
    assert f"~ {NAME}  manifest: revision " in result.out
    assert result.planned[NAME] == ("update", "revision-changed")
    assert world.message().startswith(f"Restore {NAME} from ")
    assert f"Reconciled-Revision: {before}" in world.message()
    assert git(world.git_root, "status", "--porcelain") == ""
    assert "No changes" in world.reconcile().out
    assert_sound(world.git_root)


def test_restoring_again_changes_nothing(moved_on: tuple[World, HubRepository]) -> None:
    """I4."""
    world, _ = moved_on
    back(world, "restore", "--from", "good")
    head = world.head()
    assert "No changes." in back(world, "restore", "--from", "good").out
    assert world.head() == head


def test_a_dry_run_shows_the_plan_and_writes_nothing(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    head, files = world.head(), tree(world.weights)
    work = user_work(world.git_root)
    document = json.loads(back(world, "restore", "--from", "good", "--all", "--dry-run", "--json").out)
    assert document["format_version"] == 1
    assert [(one["name"], one["kind"]) for one in document["manifests"]] == [(NAME, "changed")]
    assert document["plan"]["changes"][0]["action"] == "update"
    assert (world.head(), tree(world.weights), user_work(world.git_root)) == (head, files, work)
    assert world.served.files == {}


def test_only_what_is_declared_comes_back_without_reconcile(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    result = back(world, "restore", NAME, "--from", "good", "--no-reconcile")
    assert "`imageworks-models reconcile` brings the bytes" in result.err
    assert tree(world.weights / REPO)["config.json"] == NEW_CONFIG
    assert world.served.files == {}
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_deleted_manifest_comes_back_and_a_new_one_goes(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    world.delete(NAME)
    world.declare("extra", source={"huggingface": "acme/extra"}, state="suspended")
    result = back(world, "restore", "--from", "good")
    assert "- extra  manifest: deleted" in result.out
    assert f"+ {NAME}  manifest: declared" in result.out
    assert not (world.root / "models/extra.yaml").exists()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_uncommitted_edits_stop_it_by_the_files_name(moved_on: tuple[World, HubRepository]) -> None:
    """I6."""
    world, _ = moved_on
    world.write(f"models/{NAME}.yaml", "mine: [\n", commit=False)
    world.write("models/other.yaml", "mine too", commit=False)
    head, work = world.head(), user_work(world.git_root)
    result = back(world, "restore", "--from", "good", code=1, valid=False)
    assert f"models/{NAME}.yaml has uncommitted changes" in result.err
    assert (world.head(), user_work(world.git_root)) == (head, work)


def test_uncommitted_edits_of_another_model_stay(moved_on: tuple[World, HubRepository]) -> None:
    """I6."""
    world, _ = moved_on
    world.declare("other", source={"huggingface": "acme/other"}, state="suspended")
    world.write("models/other.yaml", "# mine\n", commit=False)
    work = user_work(world.git_root, without=(f"models/{NAME}.yaml", f"discovered/{HOST}/{NAME}.json"))
    back(world, "restore", NAME, "--from", "good", valid=False)
    after = user_work(world.git_root, without=(f"models/{NAME}.yaml", f"discovered/{HOST}/{NAME}.json"))
    assert after.files["models/other.yaml"] == work.files["models/other.yaml"]
    assert after.staged == work.staged


def test_a_manifest_that_is_not_valid_any_more_is_refused_and_the_others_come_back(
    moved_on: tuple[World, HubRepository],
) -> None:
    world, _ = moved_on
    world.write("models/broken.yaml", "schema_version: 1\nrolez: [x]\n")
    git(world.git_root, "tag", "half")
    pin(world, "main")
    world.declare("broken", source={"huggingface": "acme/broken"}, state="suspended")
    result = back(world, "restore", "--from", "half", code=1)
    assert 'refused: not valid any more: models/broken.yaml:2:1: unknown key "rolez"' in result.err
    assert "state" in (world.root / "models/broken.yaml").read_text(encoding="utf-8")
    assert git(world.git_root, "diff", "half", "--", f"models/{NAME}.yaml") == ""


def test_a_link_in_the_earlier_state_is_refused(moved_on: tuple[World, HubRepository]) -> None:
    """I8."""
    world, _ = moved_on
    (world.root / "models/sly.yaml").symlink_to("/etc/passwd")
    world.commit("Lead outside")
    git(world.git_root, "tag", "sly")
    (world.root / "models/sly.yaml").unlink()
    pin(world, "main")
    result = back(world, "restore", "--from", "sly", code=1)
    assert "refused: models/sly.yaml was a symbolic link then" in result.err
    assert not (world.root / "models/sly.yaml").is_symlink()


def test_a_model_that_was_renamed_keeps_its_present_name_when_it_is_named(
    moved_on: tuple[World, HubRepository],
) -> None:
    world, _ = moved_on
    git(world.git_root, "mv", f"models/{NAME}.yaml", "models/better.yaml")
    said = json.loads((world.root / "models/better.yaml").read_text(encoding="utf-8"))
    world.write("models/better.yaml", json.dumps({**said, "previously": [NAME]}))
    world.reconcile()
    refused = back(world, "restore", NAME, "--from", "good", code=1)
    assert f"{NAME} is called better now" in refused.err
    back(world, "restore", "better", "--from", "good")
    text = (world.root / "models/better.yaml").read_text(encoding="utf-8")
    assert "# as reviewed" in text
    assert NAME in text
    assert world.entries() == ["better"]
    assert tree(world.weights / REPO) == dict(MODEL)


def test_the_whole_registry_goes_back_behind_a_rename_without_moving_a_byte(
    moved_on: tuple[World, HubRepository],
) -> None:
    world, _ = moved_on
    git(world.git_root, "tag", "named")
    git(world.git_root, "mv", f"models/{NAME}.yaml", "models/better.yaml")
    said = json.loads((world.root / "models/better.yaml").read_text(encoding="utf-8"))
    world.write("models/better.yaml", json.dumps({**said, "previously": [NAME]}))
    world.reconcile()
    result = back(world, "restore", "--from", "named", "--all")
    assert result.planned[NAME] == ("move", "renamed")
    assert world.entries() == [NAME]
    assert world.served.files == {}
    assert "No changes" in world.reconcile().out


def test_a_transfer_that_fails_commits_nothing(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    head = world.head()
    world.hub.intercept = lambda request: Response(404) if "/resolve/" in request.path else None
    result = back(world, "restore", NAME, "--from", "good", code=1)
    assert "nothing was committed" in result.err
    world.hub.intercept = None
    shutil.rmtree(world.folder / "hub" / REPO)  # of which the plan asks, before anything is fetched
    result = back(world, "restore", NAME, "--from", "good", code=1)
    assert "repository-not-found" in result.err
    assert tree(world.weights / REPO)["config.json"] == NEW_CONFIG
    assert world.head() == head
    back(world, "restore", NAME, "--from", "good", "--no-reconcile")
    assert world.message().startswith("Restore")


def test_what_cannot_be_had_does_not_replace_what_works(moved_on: tuple[World, HubRepository]) -> None:
    world, repository = moved_on
    pin(world, "f" * 40)
    world.declare("draft", source={"huggingface": "acme/draft"}, state="suspended")
    git(world.git_root, "tag", "gone")
    pin(world, repository.commit_id)
    world.delete("draft")
    result = back(world, "restore", "--from", "gone", code=1)
    assert f"refused: {NAME} cannot be brought: " in result.err
    assert repository.commit_id in (world.root / f"models/{NAME}.yaml").read_text(encoding="utf-8")
    assert (world.root / "models/draft.yaml").exists()


@pytest.mark.parametrize("seed", range(4))
def test_every_earlier_state_of_what_is_declared_can_come_back(world: World, seed: int) -> None:
    """A law: after `restore --from REV` the manifests are those of REV, and the registry is valid (I2)."""
    dice = Random(seed)  # noqa: S311 # which states, not secrets
    for number in range(5):
        for name in dice.sample(["one", "two", "three", "four"], dice.randint(1, 3)):
            file = world.root / f"models/{name}.yaml"
            if file.exists() and dice.random() < 0.4:
                file.unlink()
            else:
                world.declare(name, source={"huggingface": f"acme/{name}-{number}"}, state="suspended", commit=False)
        git(world.git_root, "add", "--all")
        git(world.git_root, "commit", "-q", "--allow-empty", "-m", f"State {number}")
        git(world.git_root, "tag", f"state-{number}")
    for number in dice.sample(range(5), 5):
        back(world, "restore", "--from", f"state-{number}")
        assert git(world.git_root, "diff", f"state-{number}", "--", "models") == ""
    assert_sound(world.git_root)


@pytest.mark.parametrize("most", [1, 2_000])
def test_so_many_manifests_come_back_that_room_is_made_for_them(
    world: World, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"model-{number}" for number in range(6)]
    for name in names[:5]:
        world.declare(name, source={"huggingface": f"acme/{name}"}, state="suspended", commit=False)
    world.commit("As they were")
    git(world.git_root, "tag", "then")
    (world.root / f"models/{names[0]}.yaml").unlink()
    for name in names[2:]:
        world.declare(name, source={"huggingface": f"acme/{name}-new"}, state="suspended", commit=False)
    world.commit("As they are")
    world.reconcile()
    monkeypatch.setattr("imageworks.registry.load.MANY", most)
    back(world, "restore", "--from", "then")
    assert git(world.git_root, "diff", "then", "--", "models") == ""
    if most == 1:  # what was parsed for the restore is not parsed again
        monkeypatch.delattr("imageworks.registry.load.check_manifest")
    planned = json.loads(command("reconcile", "--dry-run", "--json", "--registry", world.root).out)
    assert (planned["suspended"], planned["changes"], planned["diagnostics"]) == (5, [], [])
    listed = command("list", "--include-logical", "--quiet", "--registry", world.root)
    assert listed.out.split() == names[:5], listed


def test_settings_stay_and_are_told(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    world.configure(prune=True)
    result = back(world, "restore", "--from", "good")
    assert "note: registry.yaml was another then and stays as it is" in result.err
    assert json.loads((world.root / "registry.yaml").read_text(encoding="utf-8"))["prune"] is True


def test_names_and_options_that_mean_nothing_are_refused(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    assert "Did you mean 'tiny-1b'?" in back(world, "restore", "tiny-2", "--from", "good", code=1).err
    assert "restore needs --from" in back(world, "restore", code=64).err
    assert "names no commit" in back(world, "restore", "--from", "nix", code=1).err
    assert "exclude each other" in back(world, "restore-ollama", "--from", "good", "--backup", "x", code=64).err


# --- entries -------------------------------------------------------------------------------------------------------


@pytest.fixture
def scanned(world: World) -> World:
    """A model that was found and that no manifest declares; the tag ``found`` is where it was recorded."""
    folder = world.weights / "someone/llama-7b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b'{"model_type": "llama"}')
    (folder / "tokenizer.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(safetensors_file({"w": ("F16", [4], 8)}))
    assert command("scan", "--registry", world.root).code == 0
    git(world.git_root, "tag", "found")
    return world


def only_name(world: World) -> str:
    (name,) = world.entries()
    return name


def test_a_purged_entry_comes_back_while_its_files_are_there(scanned: World) -> None:
    name, entry = only_name(scanned), scanned.entry(only_name(scanned))
    command("remove", name, "--purge", "--force", "--registry", scanned.root)
    assert scanned.entries() == []
    result = back(scanned, "restore", name, "--from", "found", "--entries")
    assert f"+ {name}  entry: recorded as it was" in result.out
    assert scanned.entry(name) == entry


def test_an_entry_whose_files_are_gone_comes_back_without_them(scanned: World) -> None:
    name = only_name(scanned)
    command("remove", name, "--purge", "--force", "--registry", scanned.root)
    shutil.rmtree(scanned.weights / "someone")
    result = back(scanned, "restore", "--from", "found", "--entries")
    assert "recorded without files: its files are gone" in result.out
    assert scanned.message().partition("\n")[0].endswith(": 1 restored without files")
    entry = scanned.entry(name)
    assert "download_path" not in entry
    assert "artifacts" not in entry
    assert entry["conditions"][0]["reason"] == "Missing"  # type: ignore[index]


def test_an_entry_whose_files_are_others_claims_none(scanned: World) -> None:
    name = only_name(scanned)
    command("remove", name, "--purge", "--force", "--registry", scanned.root)
    (scanned.weights / "someone/llama-7b/config.json").write_bytes(b'{"model_type": "LLAMA"}')
    result = back(scanned, "restore", "--from", "found", "--entries")
    assert "are not as recorded then (1 of them)" in result.out
    assert "artifacts" not in scanned.entry(name)


def test_an_entry_that_was_not_there_stays_while_its_files_do(scanned: World) -> None:
    """I5."""
    name = only_name(scanned)
    result = back(scanned, "restore", "--from", "found~1", "--entries")
    assert f"kept: {name}: was not recorded then; its files are at " in result.err
    assert scanned.entries() == [name]
    shutil.rmtree(scanned.weights / "someone")
    back(scanned, "restore", "--from", "found~1", "--entries")
    assert scanned.entries() == []


def test_entries_never_claim_the_files_of_another_revision(moved_on: tuple[World, HubRepository]) -> None:
    world, repository = moved_on
    result = back(world, "restore", NAME, "--from", "good", "--entries")
    assert f"kept: {NAME}: other files of {repository.commit_id[:12]} stand there now" in result.err
    assert world.entry()["resolved"]["revision"] == repository.commit_id  # type: ignore[index]


def test_an_entry_recorded_under_another_name_now_is_not_recorded_twice(scanned: World) -> None:
    name = only_name(scanned)
    entry = {**scanned.entry(name), "name": "other"}
    command("remove", name, "--purge", "--force", "--registry", scanned.root)
    scanned.write(f"discovered/{HOST}/other.json", json.dumps(entry))
    write_snapshot(scanned)
    result = back(scanned, "restore", name, "--from", "found", "--entries", valid=False)
    assert f"kept: {name}: its files are recorded as other now" in result.err


def test_a_broken_entry_of_then_is_refused(scanned: World) -> None:
    name = only_name(scanned)
    file = f"discovered/{HOST}/{name}.json"
    good = (scanned.root / file).read_text(encoding="utf-8")
    scanned.write(file, '{"name": "x"}')
    git(scanned.git_root, "tag", "broken")
    scanned.write(file, good)
    result = back(scanned, "restore", "--from", "broken", "--entries", code=1)
    assert f"refused: {file}:1:" in result.err


@pytest.mark.usefixtures("scanned")
def test_both_layers_come_back_in_one_commit(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    name = next(one for one in world.entries() if one != NAME)
    command("remove", name, "--purge", "--force", "--registry", world.root)
    pin(world, "main", "chat", "caption")
    head = world.head()
    back(world, "restore", "--from", "found", "--all")
    assert len(git(world.git_root, "rev-list", f"{head}..HEAD").split()) == 1
    assert sorted(world.entries()) == sorted([NAME, name])


# --- rollback ------------------------------------------------------------------------------------------------------


def test_a_rollback_undoes_what_the_last_reconcile_brought(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    result = back(world, "rollback")
    assert "going back behind" in result.err
    assert "1 updated" in result.err
    assert git(world.git_root, "diff", "good", "--", "models") == ""
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.message().startswith("Roll back ")
    assert "No changes" in world.reconcile().out


def test_a_rollback_can_be_rolled_back(moved_on: tuple[World, HubRepository]) -> None:
    world, repository = moved_on
    back(world, "rollback")
    back(world, "rollback")
    assert repository.commit_id in (world.root / f"models/{NAME}.yaml").read_text(encoding="utf-8")
    assert tree(world.weights / REPO)["config.json"] == NEW_CONFIG


def test_a_rollback_of_a_download_takes_the_manifest_back_and_leaves_the_files(world: World) -> None:
    world.serve()
    assert command("download", REPO, "--registry", world.root, "--non-interactive").code == 0
    files = tree(world.weights / REPO)
    result = back(world, "rollback")
    assert "manifest: deleted" in result.out
    assert list((world.root / "models").glob("*.yaml")) == []
    assert tree(world.weights / REPO) == files
    assert len(world.entries()) == 1


def test_a_rollback_of_a_purge_brings_the_entry_back(scanned: World) -> None:
    name = only_name(scanned)
    command("remove", name, "--purge", "--force", "--registry", scanned.root)
    back(scanned, "rollback")
    assert scanned.entries() == [name]


def test_a_rollback_leaves_what_people_changed_since(moved_on: tuple[World, HubRepository]) -> None:
    world, repository = moved_on
    pin(world, repository.commit_id, "ocr")
    result = back(world, "rollback", code=1)
    assert f"people changed {NAME} since" in result.err
    assert "restore NAME --from REV" in result.err


def test_a_rollback_of_an_update_goes_back_behind_its_pin(moved_on: tuple[World, HubRepository]) -> None:
    world, repository = moved_on
    installed = repository.commit_id
    repository.commit({"config.json": b'{"model_type": "llama", "newest": 1}\n'})
    assert command("update", "--registry", world.root).code == 0
    world.reconcile()
    back(world, "rollback")
    assert installed in (world.root / f"models/{NAME}.yaml").read_text(encoding="utf-8")
    assert tree(world.weights / REPO)["config.json"] == NEW_CONFIG


def test_a_rollback_to_what_was_downloaded_keeps_it_declared(world: World) -> None:
    repository = world.serve()
    assert command("download", REPO, "--registry", world.root, "--non-interactive").code == 0
    (file,) = (world.root / "models").glob("*.yaml")
    declared = file.read_text(encoding="utf-8")
    newer = repository.commit({"config.json": NEW_CONFIG})
    old = world.entry(file.stem)["resolved"]
    assert isinstance(old, dict)
    world.write(f"models/{file.name}", declared.replace(old["revision"], newer))
    world.reconcile()
    back(world, "rollback")
    assert file.read_text(encoding="utf-8") == declared


def test_a_rollback_passes_over_what_changed_no_model(moved_on: tuple[World, HubRepository]) -> None:
    world, _ = moved_on
    undone = world.head()[:10]
    world.write("models/only-a-role.yaml", "schema_version: 1\nroles: [chat]\n")
    world.reconcile()
    assert world.message().startswith(f"Reconcile {HOST}: refresh the snapshot")
    assert f"going back behind {undone}" in back(world, "rollback").err
    assert "only-a-role" in world.snapshot()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_rollback_without_a_controllers_commit_says_so(world: World) -> None:
    result = back(world, "rollback", code=1, valid=False)
    assert "has made no commit that could be rolled back" in result.err
    assert "of elsewhere" in back(world, "rollback", "--host", "elsewhere", code=1, valid=False).err
