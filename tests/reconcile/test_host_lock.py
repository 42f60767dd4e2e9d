"""Two registries on one host may have the same locations, so their controllers take turns (I10)."""

from imageworks.host.settings import load_host_settings
from imageworks.reconcile.ledger import RecordSession
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from support.reconcile import World, command


def test_another_registrys_controller_is_waited_for(world: World) -> None:
    other = world.folder / "other"
    assert command("init", other).code == 0
    with Run.open(world.root, load_host_settings(registry=world.root), RunOptions()):
        refused = command("reconcile", "--yes", "--registry", other, "--no-progress")
        looked = command("reconcile", "--registry", other, "--dry-run")
    assert refused.code == 1
    assert "this host is locked by" in refused.err
    assert "--wait" in refused.err
    assert looked.code == 0
    assert command("reconcile", "--yes", "--registry", other, "--no-progress").code == 0


def test_keeping_records_takes_its_turn_too(world: World) -> None:
    other = world.folder / "other"
    assert command("init", other).code == 0
    with RecordSession.open(other, load_host_settings(registry=other), read_only=False):
        refused = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    assert refused.code == 1
    assert "this host is locked by" in refused.err
