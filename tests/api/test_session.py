"""The registry as Python code and notebooks use it."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import imageworks
from imageworks.foundation.errors import ImageworksError
from imageworks.git.controller_lock import hold
from imageworks.git.values import LockHeldError
from imageworks.host.settings import load_host_settings
from imageworks.plan.plan import Action, StalePlanError
from imageworks.plan.report import UnfinishedError
from support.git import git
from support.reconcile import MODEL, NAME, REPO, World
from support.transfer import content

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def registry(world: World) -> imageworks.Registry:
    world.serve()
    world.declare(backend="vllm", roles=["caption"])
    return imageworks.Registry.open(world.root)


def test_u16_what_is_public_is_shown_and_nothing_else() -> None:
    program = (
        "import imageworks, imageworks.tools.model_downloader as tools, imageworks.model_loader as loader, sys\n"
        "assert not {'httpx2', 'httpcore2', 'pygit2', 'rich', 'typer', 'imageworks.api.session'} & set(sys.modules)\n"
        "for module in (imageworks, tools, loader):\n"
        "    assert dir(module) == sorted(module.__all__), dir(module)\n"
        "    assert [getattr(module, name) for name in dir(module)]\n"
        "    assert dir(module) == sorted(module.__all__), dir(module)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_u16_plan_reconcile_and_look(registry: imageworks.Registry, world: World) -> None:
    plan = registry.plan()
    assert [(change.name, change.action) for change in plan.changes] == [(NAME, Action.INSTALL)]
    assert not (world.root / "discovered").exists()
    report = registry.reconcile(plan=plan)
    assert report.ok
    assert report.commit == world.head()
    assert registry.plan().changes == ()
    assert [one.name for one in registry.models()] == [NAME]
    model = registry.model(REPO)
    assert model == registry.models()[NAME] == registry.models()[0] == registry.find_by_role("caption")[0]
    assert [(one.name, one.sync, one.health) for one in registry.status()] == [(NAME, "synced", "healthy")]
    assert registry.verify(NAME)[NAME].verdict == "intact"
    assert len(registry.validate()) == 0
    assert [one.record.id for one in registry.history(NAME)] == [world.head(), *git_log(world)[1:2]]
    world.check()


def git_log(world: World) -> list[str]:
    return git(world.git_root, "log", "--format=%H").split()


def test_u16_a_stale_plan_is_refused_and_nothing_done(registry: imageworks.Registry, world: World) -> None:
    plan = registry.plan()
    world.declare("other", source={"huggingface": REPO}, backend="vllm", location="second")
    with pytest.raises(StalePlanError):
        registry.reconcile(plan=plan)
    assert not list(world.weights.iterdir())


def test_u16_what_is_blocked_or_fails_is_said_and_stops_no_other(registry: imageworks.Registry, world: World) -> None:
    world.declare("gone", source={"huggingface": "acme/gone"}, backend="vllm")
    world.write("models/broken.yaml", "schema_version: 1\nbackend: 7\n")
    report = registry.reconcile()
    assert (report.ok, bool(report.commit)) == (False, True)
    assert {"gone", "broken"} <= set(report.blocked)
    with pytest.raises(UnfinishedError, match="acme/gone"):
        report.raise_for_failures()
    assert registry.model(NAME).installed
    assert "models/broken.yaml" in {one.file for one in registry.validate()}


def test_u16_pins_updates_and_the_way_back(registry: imageworks.Registry, world: World) -> None:
    hub = world.serve()
    registry.reconcile()
    assert [move.name for move in registry.pin().moved] == [NAME]
    registry.reconcile()
    pinned = world.head()
    hub.commit({"config.json": b'{"model_type": "llama", "new": 1}\n'})
    assert [one.name for one in registry.outdated() if one.outdated] == [NAME]
    moved = registry.update()
    assert moved.commit == world.head()
    registry.reconcile()
    folder = registry.model(NAME).path
    assert folder is not None
    assert b"new" in (folder / "config.json").read_bytes()
    asked = registry.plan_restore(NAME, revision=pinned)
    assert asked.has_changes
    head = world.head()
    assert registry.restore(NAME, revision=pinned).ok
    assert world.head() != head
    assert (folder / "config.json").read_bytes() == MODEL["config.json"]
    assert registry.remove(NAME, delete_files=True, purge=True).deleted_files == len(MODEL)
    assert len(registry.models()) == 0


def test_u16_scan_and_promote(world: World) -> None:
    registry = imageworks.Registry.open(str(world.root), progress=None)
    for name, data in MODEL.items():
        file = world.weights / "acme/found-1b" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    found = registry.scan(backend="vllm")
    assert [one.name for one in found.recorded] == ["found-1b-vllm"]
    assert found.commit == world.head()
    (manifest,) = registry.promote("found-1b-vllm")
    assert manifest.is_file()
    assert registry.plan().changes == ()


def test_u16_a_registry_is_made_and_a_missing_one_says_what_to_do(tmp_path: Path) -> None:
    made = imageworks.Registry.create(tmp_path / "new")
    assert imageworks.Registry.open(tmp_path / "new").root == made.root
    with pytest.raises(ImageworksError, match="imageworks-models init"):
        imageworks.Registry.open(tmp_path / "nowhere")


def test_u16_an_error_says_its_remedy(registry: imageworks.Registry) -> None:
    with pytest.raises(ImageworksError) as caught:
        registry.model("nothing-of-the-kind")
    assert str(caught.value) == caught.value.render()
    assert caught.value.remedy
    assert caught.value.remedy in str(caught.value)


# --- what a prompt and a notebook show ----------------------------------------------------------------------------


def test_u16_values_are_short_and_html_is_escaped(registry: imageworks.Registry, world: World) -> None:
    world.declare(backend="vllm", display_name=EVIL, labels={"said": EVIL})
    plan = registry.plan()
    model = registry.download(REPO)
    everything = [
        plan,
        plan.changes,
        registry.reconcile(),
        model,
        registry.models(),
        registry.model(NAME),
        registry.status(),
        registry.verify(),
        registry.validate(),
        registry.history(),
        registry.history()[0],
        registry.verify()[0],
        registry.status()[0],
        registry.outdated(),
        registry.outdated()[0],
        registry.plan_restore(revision="HEAD~1"),
        registry,
    ]
    for value in everything:
        assert len(repr(value)) < 1000, value
    assert len(str(imageworks_models(world))) < 500
    for value in everything:
        html = getattr(value, "_repr_html_", lambda: "<table>")()
        assert "<table>" in html or "</" in html
        assert "<script" not in html


def imageworks_models(world: World) -> object:
    from imageworks.model_loader import load_registry

    models = load_registry(registry=world.root)
    assert isinstance(models, dict)
    return models


def test_u16_control_characters_in_a_value_drive_no_terminal() -> None:
    from imageworks.foundation.tables import ResultTable

    table = ResultTable(["a\x1b[2J\nb", "<b>"] * 30, {"value": str}, "things")
    assert "\x1b" not in repr(table) + table._repr_html_()
    assert "<b>" not in table._repr_html_()
    assert len(repr(table).splitlines()) == 1 + 1 + 40 + 1
    assert (len(table), table[1], len(table[5:])) == (60, "<b>", 55)


# --- progress, cancel, threads ------------------------------------------------------------------------------------


def test_u16_a_callback_is_told_and_a_service_is_silent(
    world: World, capfd: pytest.CaptureFixture[str], registry: imageworks.Registry
) -> None:
    told: list[imageworks.ProgressEvent] = []
    imageworks.Registry.open(world.root, progress=told.append).reconcile()
    assert (told[0].kind, told[-1].kind) == ("start", "finish")
    assert {event.model for event in told} == {NAME}
    assert told[-1].received == told[-1].total == sum(map(len, MODEL.values()))
    registry.verify(full=True)
    registry.remove(NAME, delete_files=True)
    assert capfd.readouterr() == ("", "")


def test_u16_a_bar_at_a_terminal(registry: imageworks.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.terminal import Terminal

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    registry.reconcile()
    assert NAME in screen.getvalue()


def big(world: World) -> None:
    """Serve a model that takes a while to come."""
    world.serve({**MODEL, "model.safetensors": content("big", 30_000_000)})
    world.declare(backend="vllm")


def test_u16_cancel_from_another_thread_keeps_what_came(world: World) -> None:
    big(world)
    cancel = threading.Event()

    def stop(event: imageworks.ProgressEvent) -> None:
        if event.received > 0:
            cancel.set()

    registry = imageworks.Registry.open(world.root, progress=stop)
    world.configure(transfer={"limit": 2_000_000})
    with pytest.raises(imageworks.OperationCancelledError) as caught:
        registry.reconcile(cancel=cancel)
    assert caught.value.report is not None
    assert [one.reason for one in caught.value.report.failed] == ["cancelled"]
    assert not (world.root / "discovered").exists()
    assert not list(world.weights.rglob("tiny-1b/config.json"))
    with pytest.raises(imageworks.OperationCancelledError):
        registry.reconcile(cancel=cancel)  # it is called off before it begins
    world.configure()
    assert imageworks.Registry.open(world.root).reconcile().ok
    world.check()


def test_u16_cancel_of_a_download(world: World) -> None:
    big(world)
    world.configure(transfer={"limit": 2_000_000})
    cancel = threading.Event()
    with pytest.raises(imageworks.OperationCancelledError):
        imageworks.download(REPO, registry=world.root, cancel=cancel, progress=lambda _: cancel.set())
    assert list(world.weights.rglob("tiny-1b/model.safetensors")) == []


def test_u16_async_by_threads(registry: imageworks.Registry, world: World) -> None:
    world.serve(name="acme/second-1b")

    async def both() -> None:
        await asyncio.gather(
            asyncio.to_thread(registry.reconcile),
            asyncio.to_thread(imageworks.download, "acme/second-1b", registry=world.root, backend="vllm"),
        )

    asyncio.run(both())
    assert {one.name for one in registry.models()} == {NAME, "second-1b-vllm"}
    world.check()


def test_u16_a_cancelled_task_ends_its_thread_by_the_event(world: World) -> None:
    big(world)
    world.configure(transfer={"limit": 2_000_000})
    cancel, came = threading.Event(), threading.Event()
    registry = imageworks.Registry.open(world.root, progress=lambda event: came.set() if event.received else None)
    ended: list[BaseException] = []

    def reconcile() -> None:
        try:
            registry.reconcile(cancel=cancel)
        except ImageworksError as error:
            ended.append(error)

    async def called_off() -> None:
        task = asyncio.create_task(asyncio.to_thread(reconcile))
        assert await asyncio.to_thread(came.wait, 60)
        task.cancel()
        cancel.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(called_off())  # which waits for its threads
    assert [type(error) for error in ended] == [imageworks.OperationCancelledError]


def test_u16_cancel_while_another_holds_the_registry(registry: imageworks.Registry, world: World) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.1, cancel.set)
    with hold(load_host_settings(registry=world.root).state_dir, wait=0, host="testhost", what="this host"):
        timer.start()
        with pytest.raises(imageworks.OperationCancelledError):
            registry.reconcile(cancel=cancel)
        with pytest.raises(LockHeldError):
            imageworks.Registry.open(world.root, wait=0.2).reconcile(cancel=threading.Event())
    timer.join()
    assert registry.reconcile(cancel=threading.Event()).ok


def test_u16_a_callback_that_raises_fails_its_model_and_hangs_nothing(world: World) -> None:
    world.serve()
    world.declare(backend="vllm")

    def bad(event: imageworks.ProgressEvent) -> None:
        raise ValueError(event.kind)

    report = imageworks.Registry.open(world.root, progress=bad).reconcile()
    assert [(one.change.name, one.reason) for one in report.failed] == [(NAME, "internal-error")]
    assert imageworks.Registry.open(world.root).reconcile().ok


def test_u16_a_notebook_s_output_is_one_and_escaped() -> None:
    from imageworks.api.progress import EventProgress, NotebookProgress

    shown: list[object] = []

    class Display:
        def __init__(self, drawing: object) -> None:
            shown.append(drawing)

        def update(self, drawing: object) -> None:
            shown.append(drawing)

    clock = iter(range(100))
    progress = EventProgress(NotebookProgress(Display, str, lambda: float(next(clock))))
    progress.start(EVIL, 100)
    progress.advance(EVIL, 50)
    progress.note(EVIL, "a note")
    progress.finish(EVIL)
    assert len(shown) == 4
    assert "50 B of 100 B" in str(shown[-1])
    assert "<script" not in "".join(map(str, shown))
