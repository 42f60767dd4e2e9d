"""A download by name is held to the registry's policies before any byte, and declares nothing that breaks them."""

from support.git import git
from support.reconcile import MODEL, REPO, World, command


def test_a_model_that_breaks_a_policy_is_neither_fetched_nor_declared(world: World) -> None:
    world.serve({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04w" * 1000})
    world.configure(policies={"forbid_pickle": True})
    head = world.head()
    result = command("download", REPO, "--registry", world.root, "--no-progress")
    assert result.code == 1
    assert "policies.forbid_pickle: pytorch_model.bin can run code" in result.err
    assert world.head() == head
    assert git(world.git_root, "status", "--porcelain").strip() == ""
    assert "pytorch_model.bin" not in world.served.files


def test_what_a_download_writes_is_pinned_as_policies_ask(world: World) -> None:
    world.serve(MODEL)
    world.configure(policies={"require_pins": True, "allowed_owners": ["acme"]})
    assert command("download", REPO, "--registry", world.root, "--no-progress").code == 0
    world.check()
