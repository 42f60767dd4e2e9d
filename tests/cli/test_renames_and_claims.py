"""A repository that has another name by now (D6), and folders that two manifests claim (D17), by the command line."""

import json

import pytest

from imageworks.foundation.http_messages import Request, Response
from imageworks.loopback_hub.server import HubServer
from support.reconcile import MODEL, QUANTS, World, command

OLD, NEW = "good/name", "evil/name"


class Renamed:
    """Redirects the old name of a repository to its present one, as the hub does."""

    def __init__(self, hub: HubServer) -> None:
        self._hub = hub
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append(request.path)
        if OLD in request.path:
            query = f"?{request.query}" if request.query else ""
            return Response(307, (("Location", request.path.replace(OLD, NEW) + query),))
        return self._hub.respond(request)


@pytest.fixture
def moved(world: World) -> World:
    world.commit_id = world.serve(MODEL, NEW).commit_id  # type: ignore[attr-defined]
    world.hub.intercept = Renamed(world.hub)
    return world


def commit_of(world: World) -> str:
    return str(world.commit_id)  # type: ignore[attr-defined]


@pytest.mark.parametrize("pinned", [True, False])
def test_d6_policies_hold_for_what_the_hub_resolved(moved: World, *, pinned: bool) -> None:
    revision = {"revision": commit_of(moved)} if pinned else {}
    moved.declare("tiny", source={"huggingface": OLD, **revision}, location="flat")
    moved.configure(policies={"allowed_owners": ["good"]})
    assert command("validate", "--registry", moved.root).code == 0  # the files show nothing
    planned = moved.reconcile("--dry-run", code=1)
    assert "evil" in planned.out
    assert OLD in planned.out
    assert moved.plan(code=1).changes == {"tiny": ("blocked", "policy-violated")}
    moved.reconcile("-y", code=1, valid=False)
    assert not (moved.folder / "flat").exists() or not any((moved.folder / "flat").glob("tiny*"))
    refused = command("download", OLD, "--registry", moved.root)
    assert refused.code == 1
    assert "evil" in refused.err


def test_d6_an_exception_lets_it_come_and_the_rename_is_told_everywhere(moved: World) -> None:
    moved.declare("tiny", source={"huggingface": OLD, "revision": commit_of(moved)}, location="flat")
    renamed = moved.hub.intercept
    assert isinstance(renamed, Renamed)
    excepted = [{"name": "tiny", "policy": "allowed_owners", "reason": "moved", "expires": "2999-01-01"}]
    moved.configure(policies={"allowed_owners": ["good"], "exceptions": excepted})
    told = f"{OLD} is {NEW}"
    assert told in " ".join(moved.reconcile("-y").out.split())
    assert moved.entry("tiny")["resolved"]["repo"] == NEW  # type: ignore[index]
    asked = len(renamed.asked)
    noop = moved.plan()
    assert noop.changes == {}
    assert told in str(noop.json["notes"])
    assert len(renamed.asked) == asked
    moved.configure(policies={"allowed_owners": ["good"]})  # what is installed stays, and is told of
    assert "policies.allowed_owners" in " ".join(moved.reconcile("--dry-run").out.split())
    outdated = command("outdated", "--registry", moved.root, "--json").json["models"]
    assert [(one["renamed_from"], one["repo"]) for one in outdated] == [(OLD, NEW)]  # type: ignore[attr-defined]
    assert told in command("outdated", "--registry", moved.root).err
    assert told in command("analyze", OLD).out
    assert command("analyze", OLD, "--json").json["renamed_from"] == OLD


def test_d6_another_spelling_of_case_is_no_rename(world: World) -> None:
    world.serve(MODEL, "Good/Name")

    def canonical(request: Request) -> Response:
        if "/good/name" in request.path:
            return Response(307, (("Location", request.path.replace("/good/name", "/Good/Name")),))
        return world.hub.respond(request)

    world.hub.intercept = canonical
    world.declare("tiny", source={"huggingface": "good/name"}, location="flat")
    world.configure(policies={"allowed_owners": ["GOOD"]})
    planned = world.plan()
    assert planned.changes == {"tiny": ("install", "missing")}
    assert planned.json["notes"] == []


def test_d17_an_old_and_a_new_name_claim_one_folder(moved: World) -> None:
    moved.declare("old", source={"huggingface": OLD, "revision": commit_of(moved)})
    moved.declare("new", source={"huggingface": NEW, "revision": commit_of(moved)})
    assert command("validate", "--registry", moved.root).code == 0
    planned = moved.plan(code=1)
    assert planned.changes == {"old": ("blocked", "folder-claimed"), "new": ("blocked", "folder-claimed")}
    for change in planned.json["changes"]:  # type: ignore[attr-defined]
        assert "models/old.yaml" in change["message"]
        assert "models/new.yaml" in change["message"]
    moved.reconcile("-y", code=1)
    assert not (moved.weights / NEW).exists()


@pytest.mark.parametrize("first", ["old", "new"])
def test_d17_who_is_there_stays_and_the_other_is_refused(moved: World, first: str) -> None:
    second = {"old": "new", "new": "old"}[first]
    names = {"old": OLD, "new": NEW}
    moved.declare(first, source={"huggingface": names[first], "revision": commit_of(moved)})
    moved.reconcile("-y")
    moved.declare(second, source={"huggingface": names[second], "revision": commit_of(moved)})
    assert moved.plan(code=1).changes == {second: ("blocked", "folder-claimed")}
    assert moved.plan(second, code=1).changes == {second: ("blocked", "folder-claimed")}
    (moved.weights / NEW / "config.json").unlink()
    assert moved.plan(code=1).changes == {second: ("blocked", "folder-claimed"), first: ("repair", "file-missing")}
    moved.delete(second)
    moved.reconcile("-y")
    assert moved.plan().changes == {}


def test_d17_two_quantizations_under_two_names_may_share(world: World) -> None:
    commit = world.serve(QUANTS, NEW).commit_id
    world.hub.intercept = Renamed(world.hub)
    world.declare("q4", source={"huggingface": OLD, "revision": commit}, quantization="Q4_K_M")
    world.declare("q8", source={"huggingface": NEW, "revision": commit}, quantization="Q8_0")
    world.reconcile("-y")
    assert world.entries() == ["q4", "q8"]


def test_d17_a_link_between_locations_is_seen_through(world: World) -> None:
    world.serve(MODEL, "acme/a")
    world.serve(MODEL, "acme/b")
    real, link = world.folder / "real", world.folder / "link"
    (real / "acme").mkdir(parents=True)
    link.symlink_to(real)
    (real / "acme/b").symlink_to(real / "acme/a")
    world.declare("one", source={"huggingface": "acme/a"}, location=str(real))
    world.declare("two", source={"huggingface": "acme/a"}, location=str(link))
    world.declare("three", source={"huggingface": "acme/b"}, location=str(real))
    changes = world.plan(code=1).changes
    assert changes == dict.fromkeys(("one", "two", "three"), ("blocked", "folder-claimed"))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("{folder}/w", "{folder}/w/acme/a"),
        ("{folder}/w", "{folder}/w/acme/a/deep"),
        ("{folder}/w/", "{folder}//w/./ACME/A"),
        ("{folder}/w", "{folder}/W"),
    ],
)
def test_d17_validate_sees_one_folder_however_it_is_written(world: World, one: str, two: str) -> None:
    world.serve(MODEL, "acme/a")
    for name, location in (("one", one), ("two", two)):
        world.declare(name, source={"huggingface": "acme/a"}, location=location.format(folder=world.folder))
    checked = command("validate", "--registry", world.root)
    assert checked.code == 1
    assert "models/one.yaml" in checked.out
    assert "models/two.yaml" in checked.out
    assert set(world.plan(code=1).changes.values()) == {("blocked", "invalid-manifest")}


def test_d17_one_inside_the_other_is_refused_by_the_plan_too(world: World) -> None:
    world.serve(MODEL, "acme/a")
    real = world.folder / "real"
    real.mkdir()
    (world.folder / "inner").symlink_to(real / "acme/a")
    world.declare("one", source={"huggingface": "acme/a"}, location=str(real))
    world.reconcile("-y")
    world.declare("two", source={"huggingface": "acme/a"}, location=str(world.folder / "inner"))
    assert world.plan(code=1).changes == {"two": ("blocked", "folder-claimed")}


def test_d17_models_of_other_hosts_and_those_that_are_absent_claim_nothing(moved: World) -> None:
    pinned = {"revision": commit_of(moved)}
    moved.declare("old", source={"huggingface": OLD, **pinned}, state="absent")
    moved.declare("away", source={"huggingface": OLD, **pinned}, hosts=["elsewhere"])
    moved.declare("new", source={"huggingface": NEW, **pinned})
    moved.reconcile("-y")
    assert moved.entries() == ["new"]


def test_d17_a_download_says_whose_folder_it_is(moved: World) -> None:
    moved.declare("old", source={"huggingface": OLD, "revision": commit_of(moved)})
    moved.reconcile("-y")
    before = json.dumps(moved.entry("old"))
    refused = command("download", NEW, "--registry", moved.root)
    assert refused.code == 1
    assert "models/old.yaml" in refused.err
    assert json.dumps(moved.entry("old")) == before
    assert moved.entries() == ["old"]


@pytest.mark.parametrize("named", [True, False], ids=["named by hand", "named by us"])
@pytest.mark.parametrize("words", [(), ("--force",)], ids=["plain", "force"])
def test_d17_the_former_name_of_an_installed_model_is_that_model(
    world: World, words: tuple[str, ...], *, named: bool
) -> None:
    world.serve(MODEL, OLD)
    if named:
        world.declare("ours", source={"huggingface": OLD}, backend="vllm")
        world.reconcile()
    else:
        assert command("download", OLD, "--registry", world.root).code == 0
    (name,) = world.entries()
    world.serve(MODEL, NEW)
    world.hub.intercept = Renamed(world.hub)
    again = command("download", OLD, *words, "--registry", world.root)
    assert again.code == 0, again
    assert world.entries() == [name]
    assert [path.stem for path in (world.root / "models").glob("*.yaml")] == [name]
    assert NEW in again.err
    assert command("verify", name, "--full", "--registry", world.root).code == 0
    world.check()
