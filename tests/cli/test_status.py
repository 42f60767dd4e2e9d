"""The ``status`` command: each model's sync and health with the reason, and nothing written."""

from pathlib import Path

from support.reconcile import HOST, MODEL, NAME, QUANTS, REPO, World, command
from support.transfer import write


def test_an_empty_registry_says_so(world: World) -> None:
    result = command("status", "--registry", world.root)
    assert (result.code, result.out) == (0, f"No models are declared or recorded for {HOST}.\n")


def test_a_model_that_is_as_declared_is_synced_and_healthy(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    result = command("status", "--registry", world.root)
    assert result.code == 0
    assert result.out.splitlines()[1].split() == [NAME, "synced", "healthy"]


def test_a_model_that_is_not_there_yet_is_out_of_sync_and_no_fault(world: World) -> None:
    world.serve()
    world.declare()
    result = command("status", "--registry", world.root)
    assert result.code == 0
    assert result.out.splitlines()[1].split()[:3] == [NAME, "out-of-sync", "no-files"]


def test_damage_is_a_fault_and_names_the_file(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    (world.weights / REPO / "config.json").unlink()
    result = command("status", "--registry", world.root)
    assert result.code == 1
    assert "damaged" in result.out
    assert "config.json" in result.out
    assert f"To do: `imageworks-models reconcile {NAME}`" in result.out
    world.reconcile(NAME)
    assert command("status", "--registry", world.root).code == 0


def test_what_is_wrong_comes_first_and_a_line_sums_up(world: World) -> None:
    world.serve()
    world.serve(QUANTS, "acme/many")
    world.declare("a-well-one")
    world.declare("zz-damaged", source={"huggingface": "acme/many"}, quantization="Q4_K_M")
    world.reconcile()
    world.declare("zz-blocked", source={"huggingface": "acme/nowhere"})
    next((world.weights / "acme/many").glob("*.gguf")).unlink()
    result = command("status", "--registry", world.root)
    names = [line.split()[0] for line in result.out.splitlines()[1:4]]
    assert names == ["zz-blocked", "zz-damaged", "a-well-one"]
    assert result.err.splitlines()[-1] == f"{HOST}: 3 models: 1 as declared, 1 out of sync, 1 blocked, 1 damaged"
    statuses = command("status", "--registry", world.root, "--json").json["models"]
    assert isinstance(statuses, list)
    assert {one["name"]: one["remedy"] for one in statuses} == {
        "a-well-one": "",
        "zz-blocked": "",
        "zz-damaged": "reconcile zz-damaged",
    }


def test_a_blocked_model_is_a_fault(world: World) -> None:
    world.declare("nowhere", source={"huggingface": "acme/nowhere"})
    assert world.status() == {"nowhere": ("blocked", "no-files", "repository-not-found")}
    assert command("status", "--registry", world.root).code == 1


def test_undeclared_suspended_and_logical_models_have_words_of_their_own(world: World) -> None:
    world.serve()
    world.serve(QUANTS, "acme/many")
    world.declare()
    world.declare("many", source={"huggingface": "acme/many"}, quantization="Q4_K_M")
    world.reconcile()
    world.delete("many")
    world.declare(state="suspended")
    world.write("models/logical.yaml", '{"schema_version": 1, "roles": ["caption"]}')
    assert world.status() == {
        NAME: ("suspended", "no-files", ""),
        "logical": ("synced", "no-files", ""),
        "many": ("undeclared", "healthy", "undeclared"),
    }


def test_only_the_models_named_are_shown(world: World) -> None:
    world.serve()
    write(world.folder / "mine", dict(MODEL))
    world.declare()
    world.declare("mine", source={"path": str(world.folder / "mine")})
    assert list(world.status("mine")) == ["mine"]


def test_status_writes_nothing(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare()
    before = sorted(path for folder in (world.folder, isolated_environment) for path in folder.rglob("*"))
    command("status", "--registry", world.root)
    assert sorted(path for folder in (world.folder, isolated_environment) for path in folder.rglob("*")) == before


def test_offline_status_asks_no_network(world: World) -> None:
    world.serve()
    world.declare()
    world.served.forget()
    assert world.status("--offline") == {NAME: ("blocked", "no-files", "offline")}
    assert world.served.requests == 0
