"""Everything that reads a registry comes through one door: no command and no function can forget what is checked there.

Each command and public function stands in one of the tables below. A new one fails the first tests until it does, and
then has to refuse what the others refuse.
"""
# typer's own commands

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import typer

import imageworks
from imageworks.api.session import Registry
from imageworks.apps import vlm_backend
from imageworks.cli.group import every_command
from imageworks.cli.scripts import loader, model_registry
from imageworks.foundation.errors import ImageworksError
from imageworks.git.values import UntrustedRegistryError
from imageworks.model_loader import download_adapter, registry, role_selection, service
from imageworks.tools.model_downloader import ModelDownloader
from support.git import git
from support.reconcile import HOST, NAME, REPO, Result, World, command
from support.recorded import write_snapshot
from support.signing import REQUIRED, signers

SNAPSHOT: Final = f"snapshot/{HOST}.json"
BROKEN: Final = f"discovered/{HOST}/broken.json"

READS: Final[Mapping[str, tuple[str, ...]]] = {
    "analyze": (REPO,),
    "apply-simple-slugs": (),
    "backfill-ollama-paths": (),
    "clean": ("--dry-run",),
    "download": (REPO, "--non-interactive"),
    "export kserve": (),
    "export llama-server": (),
    "export llama-swap": (),
    "export ome": (),
    "fleet status": (),
    "hosts list": (),
    "hub serve": ("--port", "0"),
    "hosts rename": ("elsewhere", "renamed", "--dry-run"),
    "hosts retire": ("elsewhere", "--dry-run"),
    "import-ollama": (),
    "launch": ("vllm", NAME, "--print"),
    "list": (),
    "list-roles": (),
    "locations": (),
    "locations forget": ("second",),
    "migrate": ("{configs}",),
    "normalize-formats": (),
    "outdated": ("--offline",),
    "pin": (NAME,),
    "preview-simple-slugs": (),
    "promote": (NAME,),
    "prune-duplicates": (),
    "purge-deprecated": (),
    "purge-hf": (),
    "purge-logical-only": (),
    "remove": (NAME, "--force"),
    "reset-discovered": (),
    "resolve": ("--role", "caption"),
    "restore": ("--from", "HEAD", "--dry-run"),
    "restore-ollama": ("--dry-run",),
    "rollback": ("--dry-run",),
    "scan": (),
    "serve": ("--port", "0"),
    "show": (NAME,),
    "snapshot show": (),
    "stats": (),
    "status": (),
    "page": ("--out", "{configs}/page"),
    "update": ("--dry-run",),
    "verify": (NAME,),
    "loader discover-all": (),
    "loader ingest-local-hf": (),
    "loader purge-imported": (),
    "loader rebuild-ollama": (),
    "loader reset-discovered": (),
    "model-registry list": (),
    "model-registry show": (NAME,),
    "model-registry verify": (NAME,),
}
"""What goes by the registry as it is now, or shows it."""

MENDS: Final[Mapping[str, tuple[str, ...]]] = {"reconcile": ("--dry-run",)}
"""What writes a wrong snapshot anew: the remedy."""

JUDGES: Final[Mapping[str, tuple[str, ...]]] = {"validate": (), "snapshot check": (), "doctor": ("--offline",)}
"""What says what is wrong, wherever it comes from: people need it to put that right."""

LOOKS_BACK: Final[Mapping[str, tuple[str, ...]]] = {"history": (), "diff": ("HEAD~1..HEAD",), "blame": (NAME,)}
"""What shows commits as they are. The history of a forged past is history; nothing is done by it."""

MAKES_ANEW: Final = {"snapshot rebuild", "snapshot merge-driver", "snapshot install-merge-driver"}
"""What makes snapshots out of manifests and entries, in the work tree or for git."""

READS_NONE: Final = {
    *("init", "schema", "config", "fleet", "fleet reconcile", "help", "hosts", "hub", "snapshot", "export", "search"),
    *(f"export {kind}" for kind in ("ansible", "kubernetes", "ray", "systemd", "taskscheduler")),
}
"""What reads no registry, or (`config`) says which settings the files here would give, each with its file."""

READING_FUNCTIONS: Final[Mapping[str, Callable[[Path], object]]] = {
    "load_registry": lambda root: registry.load_registry(registry=root),
    "each_entry": lambda root: list(registry.each_entry(registry=root)),
    "get_entry": lambda root: registry.get_entry(NAME, registry=root),
    "show_entry": lambda root: registry.show_entry(NAME, registry=root),
    "list_models": lambda root: registry.list_models(registry=root),
    "find_by_role": lambda root: registry.find_by_role("caption", registry=root),
    "update_entries": lambda root: registry.update_entries([entry()], registry=root),
    "list_models_for_role": lambda root: role_selection.list_models_for_role("caption", registry=root),
    "select_by_role": lambda root: role_selection.select_by_role("caption", registry=root),
    "select_model": lambda root: service.select_model(NAME, registry=root),
    "record_download": lambda root: download_adapter.record_download(
        path=root.parent / "weights" / REPO, registry=root
    ),
    "list_downloads": lambda root: download_adapter.list_downloads(registry=root),
    "remove_download": lambda root: download_adapter.remove_download(NAME, registry=root),
    "start_vllm_server": lambda root: vlm_backend.start_vllm_server(NAME, registry=root),
    "start_lmdeploy_server": lambda root: vlm_backend.start_lmdeploy_server(NAME, registry=root),
    "ModelDownloader.download": lambda root: ModelDownloader(root).download(REPO, interactive=False),
    "ModelDownloader.list_models": lambda root: ModelDownloader(root).list_models(),
    "ModelDownloader.remove_model": lambda root: ModelDownloader(root).remove_model(NAME),
    "ModelDownloader.verify_model": lambda root: ModelDownloader(root).verify_model(NAME),
    "ModelDownloader.inspect_model": lambda root: ModelDownloader(root).inspect_model(NAME),
    "ModelDownloader.get_stats": lambda root: ModelDownloader(root).get_stats(),
    "imageworks.download": lambda root: imageworks.download(REPO, registry=root),
    "Registry.status": lambda root: Registry(root).status(),
    "Registry.models": lambda root: Registry(root).models(),
    "Registry.model": lambda root: Registry(root).model(NAME),
    "Registry.find_by_role": lambda root: Registry(root).find_by_role("caption"),
    "Registry.download": lambda root: Registry(root).download(REPO),
    "Registry.remove": lambda root: Registry(root).remove(NAME),
    "Registry.verify": lambda root: Registry(root).verify(),
    "Registry.scan": lambda root: Registry(root).scan(),
    "Registry.promote": lambda root: Registry(root).promote(NAME),
    "Registry.outdated": lambda root: Registry(root).outdated(offline=True),
    "Registry.pin": lambda root: Registry(root).pin(),
    "Registry.update": lambda root: Registry(root).update(),
    "Registry.plan_restore": lambda root: Registry(root).plan_restore(revision="HEAD"),
    "Registry.restore": lambda root: Registry(root).restore(revision="HEAD"),
}

OTHER_FUNCTIONS: Final = {
    "Registry.open": "only finds it",
    "Registry.create": "makes one",
    "Registry.plan": "shows what reconcile would do, which writes a wrong snapshot anew",
    "Registry.reconcile": "the remedy",
    "Registry.validate": "judges",
    "Registry.history": "looks back",
    "save_registry": "commits what update_entries left, through the same door",
    "default_backend_port": "a table",
}


def entry() -> registry.RegistryEntry:
    return registry.RegistryEntry(name="new", backend="vllm", fields={"name": "new"})


def walked(app: typer.Typer, before: str = "") -> Iterator[str]:
    """Yield the names of all commands and groups of an application."""

    def below(group: object, above: str) -> Iterator[str]:
        for name, one in getattr(group, "commands", {}).items():
            yield f"{above}{name}"
            yield from below(one, f"{above}{name} ")

    return below(typer.main.get_command(app), before)


def run(name: str, words: tuple[str, ...], world: World) -> Result:
    script, _, rest = name.partition(" ")
    given = [word.format(configs=world.folder / "configs") for word in words]
    if script in {"loader", "model-registry"}:
        app = loader.app if script == "loader" else model_registry.app
        return command(*rest.split(), *given, "--registry", world.root, application=app)
    if name in {"serve", "hub serve"}:  # which would not end
        program = "from imageworks.cli.app import main; main()"
        line = [sys.executable, "-c", program, *name.split(), *given, "--registry", str(world.root)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        return Result(done.returncode, done.stdout, done.stderr)
    return command(*name.split(), *given, "--registry", world.root)


@pytest.fixture
def settled(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A model that stands as declared, and the predecessor's files of none."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    (world.folder / "configs").mkdir()
    (world.folder / "configs/model_registry.json").write_text("[]\n", encoding="utf-8")
    world.serve()
    world.declare(backend="vllm", roles=["caption"])
    world.reconcile()
    return world


def forge(world: World, **fields: object) -> None:
    """Commit a snapshot that says something else of the model."""
    (model,) = json.loads((world.root / SNAPSHOT).read_bytes())
    forged = {**model, "download_path": "/evil", "backend_config": {"host": "0.0.0.0", "port": 1}, **fields}  # noqa: S104
    world.write(SNAPSHOT, json.dumps([forged]))


# --- the tables are whole -----------------------------------------------------------------------------------------


def test_x4_every_command_is_classified() -> None:
    found = {
        *(words for words, _ in every_command()),
        *walked(loader.app, "loader "),
        *walked(model_registry.app, "model-registry "),
    }
    assert found == {*READS, *MENDS, *JUDGES, *LOOKS_BACK, *MAKES_ANEW, *READS_NONE}


def test_x4_every_public_function_is_classified() -> None:
    modules = (registry, role_selection, service, download_adapter, vlm_backend)
    found = {
        name
        for module in modules
        for name, one in vars(module).items()
        if inspect.isfunction(one) and not name.startswith("_") and one.__module__ == module.__name__
    }
    found |= {
        f"{one.__name__}.{name}"
        for one in (ModelDownloader, Registry)
        for name, member in inspect.getmembers(one)
        if name[0] != "_" and inspect.isroutine(member)
    }
    found |= {f"imageworks.{name}" for name in imageworks.__all__ if inspect.isfunction(getattr(imageworks, name))}
    helpers = {"missing_capabilities", "model_table"}  # of values that were read already
    assert found - helpers == {*READING_FUNCTIONS, *OTHER_FUNCTIONS}


OPENING: Final = {
    "imageworks.registry.load.load_registry": {
        "reconcile/commit.py": "the reader that the door uses",
        "registry/snapshot_check.py": "what the door holds snapshots against",
        "operations/snapshots.py": "makes snapshots for git's merges",
        "operations/review_host.py": "plans of other hosts, from commits; nothing is done by them",
        "operations/history.py": "looks back",
    },
    "imageworks.git.repository.RegistryRepository": {
        "operations/history.py": "looks back",
        "operations/restore/run_restore.py": "looks back; what it restores goes through the door",
        "operations/check_registry.py": "judges",
        "operations/export.py": "asks for the remote's address",
        "operations/show_settings.py": "what `config` shows, each value with its file",
        "cli/commands/fleet/export.py": "asks which commit is checked out",
        "operations/fleet/everywhere.py": "asks which commit is checked out; each node reads through its own door",
        "operations/fleet/installed_repositories.py": "asks for tips; reads through the door",
        "operations/fleet/report.py": "writes this host's report; nothing is done by it",
        "operations/fleet/status.py": "reads through the door",
        "operations/fleet/watch.py": "asks whether there is a remote",
        "operations/doctor.py": "judges",
        "operations/hosts.py": "reads through the door",
        "operations/page/gather.py": "looks back, having come through the door",
        "operations/init_registry.py": "makes a registry",
        "operations/snapshots.py": "makes snapshots",
        "operations/migrate.py": "reads through the door",
        "operations/review_host.py": "as above",
        "reconcile/ledger.py": "reads through the door",
        "reconcile/open_registry.py": "the door",
        "reconcile/run.py": "reads through the door",
    },
    "imageworks.registry.reader.WorkTreeReader": {
        "operations/check_registry.py": "judges",
        "operations/show_settings.py": "what `config` shows, each value with its file",
        "reconcile/phases/planning.py": "plans with uncommitted edits, beside what came through the door",
        "operations/snapshots.py": "makes snapshots",
        "registry/history/states.py": "looks at uncommitted edits",
        "registry/snapshot_check.py": "judges",
        "registry/validate.py": "judges",
    },
    "imageworks.reconcile.commit.RegistryCommitter": {
        "operations/fleet/status.py": "reads through the door",
        "operations/hosts.py": "reads through the door",
        "operations/migrate.py": "reads through the door, then its own commits",
        "reconcile/ledger.py": "reads through the door",
        "reconcile/open_registry.py": "the door",
        "reconcile/phases/planning.py": "reads through the door",
    },
}
"""What can open a registry or read its files, and the only modules that may make one of it."""


def test_x4_nothing_opens_a_registry_beside_the_door() -> None:
    package = Path(imageworks.__file__).parent
    found: dict[str, set[str]] = {name: set() for name in OPENING}
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {
            one.asname or one.name: f"{node.module}.{one.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for one in node.names
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func).removesuffix(".open")
            if (name := imported.get(called)) in found:
                found[name].add(file.relative_to(package).as_posix())
    assert found == {name: set(places) for name, places in OPENING.items()}


# --- (a) a forged snapshot ----------------------------------------------------------------------------------------


def refused(settled: World, said: str) -> None:
    """Every command and function stops, and says why, where, and nothing of the model."""
    wrong = {}
    for name, words in READS.items():
        result = run(name, words, settled)
        if result.code != 1 or said not in result.err or "evil" in result.out or NAME in result.out:
            wrong[name] = result
    assert wrong == {}
    let_through = {}
    for name, function in READING_FUNCTIONS.items():
        try:
            let_through[name] = function(settled.root)
        except ImageworksError as error:
            if said not in error.render():
                let_through[name] = error
    assert let_through == {}


def test_x3_a_forged_snapshot_is_refused_everywhere_and_reconcile_writes_it_anew(settled: World) -> None:
    right = (settled.root / SNAPSHOT).read_bytes()
    forge(settled)
    refused(settled, SNAPSHOT)
    for name, words in JUDGES.items():
        result = run(name, words, settled)
        assert result.code == 1, name
        assert "not what manifests and entries give" in result.out, result
        assert f"{SNAPSHOT}:" in result.out
    assert SNAPSHOT in run("reconcile", MENDS["reconcile"], settled).out
    for name, words in LOOKS_BACK.items():
        assert run(name, words, settled).code == 0, name
    assert run("show", (f"{NAME}@HEAD~1",), settled).code == 0
    settled.reconcile()
    assert (settled.root / SNAPSHOT).read_bytes() == right
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (SNAPSHOT, "{}"),
        (SNAPSHOT, "[1]"),
        (SNAPSHOT, "["),
        (SNAPSHOT, "[]\n"),
        (SNAPSHOT, "\0"),
        (f"discovered/{HOST}/{NAME}.json", None),
        (f"discovered/{HOST}/another.json", '{"schema_version": 1, "name": "another", "managed": false}'),
        (BROKEN, '{"name": "broken", "whatever": true}'),
    ],
)
def test_x3_whatever_else_it_says_and_entries_that_were_changed_without_it(
    settled: World, file: str, text: str | None
) -> None:
    if text is None:
        text = (settled.root / file).read_text(encoding="utf-8").replace(str(settled.weights), "/evil")
    settled.write(file, text)
    for name in ("list", "launch", "resolve", "verify"):
        result = run(name, READS[name], settled)
        assert (result.code, result.out) == (1, ""), result
        assert SNAPSHOT in result.err
    assert command("snapshot", "check", "--registry", settled.root).code == 1
    command("reconcile", "--yes", "--registry", settled.root)  # which blocks what leads to where no model may be
    assert command("list", "--registry", settled.root).code == 0


def test_x3_a_rebuilt_snapshot_is_a_remedy_as_well(settled: World) -> None:
    forge(settled)
    assert command("list", "--registry", settled.root).code == 1
    assert command("snapshot", "rebuild", "--registry", settled.root).code == 0
    settled.commit("Rebuild the snapshot")
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"
    assert command("snapshot", "check", "--registry", settled.root).code == 0


@pytest.mark.parametrize("remedy", ["name it", "retire it"])
def test_x3_a_host_that_is_none_is_named_or_retired(settled: World, remedy: str) -> None:
    entry = json.dumps({"schema_version": 1, "name": "m", "managed": False})
    settled.write("discovered/ghost/m.json", entry)
    write_snapshot(settled, "ghost")
    checked = command("snapshot", "check", "--registry", settled.root)
    assert checked.code == 1
    assert "no host is called ghost" in checked.out
    if remedy == "name it":
        settled.configure(hosts={HOST: {}, "elsewhere": {}, "ghost": {}})
    else:
        assert command("hosts", "retire", "ghost", "--registry", settled.root).code == 0
    checked = command("snapshot", "check", "--registry", settled.root)
    assert checked.code == 0, checked


@pytest.mark.parametrize("kind", ["link", "folder", "submodule"])
def test_x3_something_else_in_its_place_is_refused_and_the_remedy_works(settled: World, kind: str) -> None:
    place = settled.root / SNAPSHOT
    place.unlink()
    if kind == "link":
        (settled.folder / "evil.json").write_text('[{"name": "evil"}]', encoding="utf-8")
        place.symlink_to(settled.folder / "evil.json")
    elif kind == "folder":
        place.mkdir()
        (place / "evil.json").write_text("[]", encoding="utf-8")
    else:
        git(settled.root, "rm", "--quiet", "--cached", SNAPSHOT)
        git(settled.root, "update-index", "--add", "--cacheinfo", f"160000,{settled.head()},{SNAPSHOT}")
    if kind == "submodule":
        git(settled.root, "commit", "--quiet", "--message", "A submodule")
    else:
        settled.commit("Something else")
    listed = command("list", "--registry", settled.root)
    assert (listed.code, listed.out) == (1, "")
    assert SNAPSHOT in listed.err
    checked = command("snapshot", "check", "--registry", settled.root)
    assert checked.code == 1
    assert SNAPSHOT in checked.out
    git(settled.root, "rm", "-r", "--quiet", "--", SNAPSHOT)
    git(settled.root, "commit", "--quiet", "--message", "Take it out")
    settled.reconcile()
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"


def test_x3_a_snapshot_that_is_missing_is_told_by_the_check_and_needed_by_nothing(settled: World) -> None:
    words = run("launch", READS["launch"], settled).out
    git(settled.root, "rm", "--quiet", SNAPSHOT)
    settled.commit("Remove it")
    assert run("launch", READS["launch"], settled).out == words
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"
    checked = command("snapshot", "check", "--registry", settled.root)
    assert checked.code == 1
    assert checked.out.startswith(f"{SNAPSHOT}:1:1: missing beside the entries of its host")
    settled.reconcile()


@pytest.mark.parametrize("file", [SNAPSHOT, "model_registry.json"])
def test_x3_an_uncommitted_one_and_the_copy_are_read_by_nothing(settled: World, file: str) -> None:
    shown = command("list", "--json", "--registry", settled.root).out
    (settled.root / file).write_text('[{"name": "evil", "managed": true, "download_path": "/evil"}]', encoding="utf-8")
    os.utime(settled.root / file, (2_000_000_000, 2_000_000_000))
    assert command("list", "--json", "--registry", settled.root).out == shown
    assert registry.list_models(registry=settled.root) == [NAME]
    checked = command("snapshot", "check", "--registry", settled.root)
    assert checked.code == (1 if file == SNAPSHOT else 0)


@pytest.mark.parametrize("way", ["option", "environment", "folder", "config", "default"])
def test_x3_however_the_registry_is_found(
    settled: World, way: str, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(settled)
    words: list[str | Path] = ["list"]
    if way == "option":
        words += ["--registry", settled.root]
    elif way == "environment":
        monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(settled.root))
    elif way == "folder":
        monkeypatch.chdir(settled.root / "models")
    else:
        monkeypatch.chdir(isolated_environment)
    if way == "config":
        settled.user_config(isolated_environment, f'registry = "{settled.root}"\n')
    elif way == "default":
        (isolated_environment / "ai-models").mkdir()
        settled.root.rename(isolated_environment / "ai-models/registry")
    result = command(*words)
    assert (result.code, result.out) == (1, "")
    assert SNAPSHOT in result.err


def test_x3_another_process_and_a_long_lived_one_refuse_what_was_forged_meanwhile(settled: World) -> None:
    assert registry.list_models(registry=settled.root) == [NAME]
    forge(settled)
    with pytest.raises(ImageworksError, match="snapshot"):
        registry.list_models(registry=settled.root)
    program = "from imageworks.model_loader import load_registry; print(load_registry())"
    environment = {**os.environ, "IMAGEWORKS_REGISTRY_DIR": str(settled.root)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SNAPSHOT in done.stderr


def test_x3_a_manifest_that_people_changed_shows_at_once_and_is_no_forgery(settled: World) -> None:
    settled.declare(backend="vllm", roles=["caption"], display_name="Edited")
    assert "Edited" in command("list", "--registry", settled.root).out
    assert registry.get_entry(NAME, registry=settled.root).display_name == "Edited"
    assert command("snapshot", "check", "--registry", settled.root).code == 0


def test_x3_a_shallow_clone_is_not_taken_for_a_forgery(settled: World) -> None:
    settled.declare(backend="vllm", roles=["caption"], display_name="Edited")
    clone = settled.folder / "shallow clone"
    git(settled.folder, "clone", "--quiet", "--depth", "1", settled.git_root.as_uri(), str(clone))
    assert "Edited" in command("list", "--registry", clone).out
    assert "shallow" in command("snapshot", "check", "--registry", clone).err


# --- every host's paths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("snapshot/elsewhere.json", '[{"name": "evil", "managed": true}]'),
        ("snapshot/ghost.json", "[]\n"),
        ("snapshot/notes.txt", "hello"),
        ("snapshot/deep/evil.json", "[]"),
        ("discovered/ghost/m.json", '{"schema_version": 1, "name": "m", "managed": false}'),
        ("discovered/loose.json", "{}"),
        (f"discovered/{HOST}/deep/{NAME}.json", '{"schema_version": 1, "name": "tiny-1b", "managed": true}'),
        (f"discovered/{HOST}/run.sh", "#!/bin/sh\n"),
    ],
)
def test_x3_the_check_looks_at_the_paths_of_all_hosts_and_at_strays(settled: World, file: str, text: str) -> None:
    settled.write(file, text)
    result = command("snapshot", "check", "--registry", settled.root)
    assert result.code == 1
    place = "discovered/ghost" if "ghost" in file else file
    assert result.out.startswith(f"{place}:1:"), result
    assert NAME in command("list", "--quiet", "--registry", settled.root).out
    git(settled.root, "rm", "-r", "--quiet", "--", file)
    settled.commit("Take it out")
    assert command("snapshot", "check", "--registry", settled.root).code == 0


@pytest.mark.parametrize("folder", ["snapshot", "discovered", f"discovered/{HOST}"])
def test_x3_a_link_in_place_of_a_folder_is_found(settled: World, folder: str) -> None:
    (settled.folder / "elsewhere").mkdir()
    git(settled.root, "rm", "-r", "--quiet", folder)
    (settled.root / folder).parent.mkdir(exist_ok=True)
    (settled.root / folder).symlink_to(settled.folder / "elsewhere")
    settled.commit("A link")
    result = command("snapshot", "check", "--registry", settled.root)
    assert result.code == 1
    assert f"{folder}:1:1: is a symbolic link" in result.out, result


def test_x3_a_host_that_committed_itself_need_not_be_named(settled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setenv("IMAGEWORKS_HOST", "newcomer")
        other.setenv("IMAGEWORKS_STATE_DIR", str(settled.folder / "other state"))
        other.setenv("IMAGEWORKS_MODEL_ROOT", str(settled.folder / "other weights"))
        settled.reconcile()
    assert settled.entries("newcomer") == [NAME]
    (settled.root / "snapshot/.gitkeep").touch()
    settled.commit("Keep the folder")
    assert command("snapshot", "check", "--registry", settled.root).code == 0


# --- (b) signatures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the host", "the registry"])
def test_x4_what_must_be_signed_and_is_not_is_refused_everywhere(
    settled: World, tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    ada = signers(settled, tmp_path, monkeypatch)
    if who == "the host":
        settled.user_config(isolated_environment, f'roots = ["{settled.folder}"]\nrequire_signed = true\n')
    else:
        settled.configure(**REQUIRED)
    refused(settled, "signed")
    assert run("reconcile", MENDS["reconcile"], settled).code == 1
    for name, words in {**JUDGES, **LOOKS_BACK}.items():
        assert run(name, words, settled).code == (1 if name == "doctor" else 0), name
    ada.commit()
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"
    assert registry.list_models(registry=settled.root) == [NAME]
    settled.reconcile()
    assert command("list", "--quiet", "--registry", settled.root).out == f"{NAME}\n"


def test_x4_entries_that_somebody_else_changed_are_refused_even_with_their_snapshot(
    settled: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = signers(settled, tmp_path, monkeypatch)
    settled.configure(**REQUIRED)
    ada.amend()
    settled.reconcile()
    file = settled.root / f"discovered/{HOST}/{NAME}.json"
    settled.write(f"discovered/{HOST}/{NAME}.json", file.read_text().replace(str(settled.weights), "/evil"))
    write_snapshot(settled)
    refused(settled, "somebody else has changed what this host recorded")


def test_x4_a_note_of_before_the_rule_does_not_stand_for_a_signature(
    settled: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = signers(settled, tmp_path, monkeypatch)
    before = settled.head()
    assert command("list", "--registry", settled.root).code == 0
    settled.configure(**REQUIRED)
    ada.amend()
    settled.reconcile()
    git(settled.git_root, "reset", "--quiet", "--hard", before)
    listed = command("list", "--registry", settled.root)
    assert (listed.code, listed.out) == (1, "")
    with pytest.raises(UntrustedRegistryError):
        registry.list_models(registry=settled.root)


# --- (c) a broken entry -------------------------------------------------------------------------------------------


def test_x4_a_broken_entry_is_told_of_and_left_out_by_everything_that_lists(settled: World) -> None:
    settled.write(BROKEN, '{"name": "broken", "download_path": "/evil"')
    tells = ("list", "list-roles", "stats", "resolve", "model-registry list", "status", "verify")
    for name in tells:
        result = run(name, () if name in {"status", "verify"} else READS[name], settled)
        assert BROKEN in result.out + result.err, name
        assert "evil" not in result.out, name
    for name in set(READS) - {"serve", "hub serve", "remove", "migrate", "download", "locations forget"}:
        assert "bug" not in run(name, READS[name], settled).err, name
    assert "broken" not in registry.load_registry(registry=settled.root)
    launched = command("launch", "vllm", "broken", "--print", "--registry", settled.root)
    assert (launched.code, launched.out) == (1, "")
    assert BROKEN in launched.err
    for name, words in JUDGES.items():
        assert (run(name, words, settled).code == 1) is (name != "snapshot check")


def test_x4_a_broken_entry_breaks_no_other_model_of_its_registry(settled: World) -> None:
    settled.write(f"discovered/{HOST}/{NAME}.json", "{")
    listed = command("list", "--include-logical", "--registry", settled.root)
    assert listed.code == 0
    assert f"discovered/{HOST}/{NAME}.json" in listed.err
    assert registry.list_models(registry=settled.root) == []
