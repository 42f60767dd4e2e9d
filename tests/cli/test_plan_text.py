"""How a plan looks to people: one line a model, what needs them first, totals last."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from imageworks.cli.views.plan import plan_text
from imageworks.plan.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason
from support.reconcile import HOST, NAME, REPO, World, command

GOLDEN = Path(__file__).parent / "golden"
GIB = 1024**3
WIDTH, HEIGHT = 80, 45
GONE = Change(
    "gone-7b-vllm-awq",
    Action.REMOVE,
    Reason.UNDECLARED,
    "no manifest declares it any more",
    path=("/weights/gone", None),
    drop=("model.safetensors",),
    bytes_freed=4 * GIB,
    needs_confirmation=True,
)
NEW = Change(
    "new-7b-gguf-q4_k_m",
    Action.INSTALL,
    Reason.MISSING,
    "not on this host; 3 files at bbbbbbbbbbbb (main)",
    source="huggingface:acme/new",
    revision=(None, "b" * 40),
    path=(None, "/weights/acme/new"),
    fetch=("config.json", "model.gguf"),
    reuse={"README.md": "/elsewhere"},
    bytes_to_fetch=3 * GIB,
    bytes_reused=1024,
    bytes_staged=GIB,
    filesystem="disk",
    warnings=("the branch has moved on",),
    left_out=("model-q8_0.gguf: another quantization",),
)
STUCK = Change(
    "stuck|`<b>`",
    Action.BLOCKED,
    Reason.GATED,
    "ask for access to acme/stuck on the hub\nfirst\x1b[31m, then set HF_TOKEN",
)
UPDATED = Change(
    "qwen2.5-vl-7b-vllm-awq",
    Action.UPDATE,
    Reason.REVISION_CHANGED,
    revision=("a" * 40, "c" * 40),
    path=("/weights/qwen", "/weights/qwen"),
    fetch=("model.safetensors",),
    bytes_to_fetch=6 * GIB,
)
FOUND = Change("found-1b-vllm-bf16", Action.ADOPT, Reason.FOUND, "every byte right", path=(None, "/weights/found"))
SPACE = FilesystemTotal("/weights", 20 * GIB, 11 * GIB, 9 * GIB)
FIVE = Plan(
    host=HOST,
    registry_revision="a" * 40,
    changes=(FOUND, GONE, NEW, UPDATED, STUCK),
    unchanged=1,
    suspended=1,
    drift=(Drift("stray", Reason.UNDECLARED, "nobody declares it"),),
    filesystems=(SPACE, replace(SPACE, name="/mnt/d", bytes_to_fetch=0)),
    diagnostics=("models/x.yaml:1:1: broken",),
    notes=("a note",),
)
FORTY = Plan(
    host=HOST,
    registry_revision="a" * 40,
    changes=(
        *(replace(NEW, name=f"model-{at:02d}-instruct-gguf-q4_k_m", warnings=()) for at in range(34)),
        replace(NEW, name="a-model-with-a-name-that-is-longer-than-its-column-gguf-q8_0", warnings=()),
        UPDATED,
        GONE,
        replace(GONE, name="old-13b-vllm-gptq", needs_confirmation=False),
        STUCK,
        replace(STUCK, name="secret-70b-vllm-fp8"),
    ),
    unchanged=12,
    filesystems=(SPACE, replace(SPACE, name="/mnt/d", bytes_to_fetch=0)),
)
PLANS = {"one": Plan(HOST, None, (NEW,), filesystems=(SPACE,)), "five": FIVE, "forty": FORTY}


@pytest.mark.parametrize("name", PLANS)
def test_u8_a_plan_is_one_line_a_model_with_what_needs_a_person_first_and_totals_last(name: str) -> None:
    """Compare with a golden file; ``PYTHONPATH=tests python tests/cli/test_plan_text.py`` writes them anew."""
    assert plan_text(PLANS[name], colour=False, width=WIDTH) + "\n" == (GOLDEN / f"plan-{name}.txt").read_text("utf-8")


def test_u8_forty_changes_fit_a_screen_of_45_lines() -> None:
    lines = plan_text(FORTY, colour=False, width=WIDTH).splitlines()
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH
    signs = [line[0] for line in lines if re.match(r"[!~>=*+-] \w", line)]
    assert len(signs) == len(FORTY.changes)
    assert signs == sorted(signs, key="!-~+".index)
    assert lines[-4].startswith("Plan: 35 to add, 1 to change, 2 to destroy.")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_u8_no_line_of_a_change_is_wider_than_the_terminal(width: int) -> None:
    for line in plan_text(FORTY, colour=False, width=width).splitlines()[: len(FORTY.changes)]:
        assert len(line) <= max(width, 60)


def test_u8_a_few_blocked_models_are_explained_in_full() -> None:
    assert "then set HF_TOKEN" in " ".join(plan_text(FIVE, colour=False, width=WIDTH).split())


def test_u8_verbose_shows_revisions_paths_and_files() -> None:
    text = plan_text(FIVE, colour=False, verbose=True, width=WIDTH)
    for part in (
        "from huggingface:acme/new @ bbbbbbbbbbbb",
        "to /weights/acme/new",
        "files: 2 to fetch, 3.0 GiB; 1 reused, 1.0 KiB",
        "+ model.gguf",
        "= README.md  from /elsewhere",
        "left out: 1 of the source's files",
        "instead of aaaaaaaaaaaa",
        "at /weights/gone",
        "- model.safetensors",
        "warning: the branch has moved on",
    ):
        assert f"    {part}" in text


def test_u8_what_is_piped_is_not_cut() -> None:
    assert "then set HF_TOKEN" in plan_text(FORTY, colour=False, width=10_000)
    assert FORTY.changes[34].name in plan_text(FORTY, colour=False, width=10_000)


def test_many_warnings_and_much_drift_are_counted() -> None:
    drift = tuple(Drift(f"stray-{at}", Reason.UNDECLARED, "nobody declares it") for at in range(30))
    plan = replace(FIVE, drift=drift, changes=tuple(replace(NEW, name=f"m{at}") for at in range(20)))
    text = plan_text(plan, colour=False, width=WIDTH)
    assert "  20 models: the branch has moved on" in text
    assert "  and 22 more: -v shows them" in text
    assert "stray-29" in plan_text(plan, colour=False, verbose=True, width=WIDTH)


def test_text_from_elsewhere_never_drives_the_terminal() -> None:
    assert "\x1b" not in plan_text(FIVE, colour=False)
    assert "\\x1b[31m" in plan_text(FIVE, colour=False)


def test_colour_is_only_paint() -> None:
    coloured = plan_text(FIVE, colour=True, width=WIDTH)
    assert "\x1b[32m+ install\x1b[0m" in coloured
    assert "\x1b[31m- remove " in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plan_text(FIVE, colour=False, width=WIDTH)


def test_an_empty_plan_says_that_all_is_as_declared() -> None:
    assert plan_text(Plan(HOST, None, unchanged=2), colour=False) == f"No changes. 2 models as declared on {HOST}."


# --- what is not committed yet -----------------------------------------------------------------------------------


def preview(world: World, *words: str, code: int = 0) -> str:
    before = {path: path.lstat().st_mtime_ns for path in world.git_root.rglob("*")}
    result = command("reconcile", "--dry-run", "--uncommitted", *words, "--registry", world.root)
    assert result.code == code, result
    assert {path: path.lstat().st_mtime_ns for path in world.git_root.rglob("*")} == before
    return result.out


def test_edits_that_are_not_committed_are_planned_when_asked_for(world: World) -> None:
    world.serve()
    world.declare(commit=False)
    assert world.plan().changes == {}
    shown = preview(world)
    assert re.search(rf"\+ install +{NAME} .* missing", shown)
    assert f"not committed: models/{NAME}.yaml" in shown
    assert re.search(rf"\+ install +{NAME} ", preview(world, NAME))
    world.commit("Declare it")
    world.reconcile()
    world.write("registry.yaml", "schema_version: 1\npolicies: {allowed_licenses: [mit]}\n", commit=False)
    world.write("models/other.yaml", "schema_version: 1\nsource: {}\n", commit=False)
    (world.root / f"models/{NAME}.yaml").unlink()
    shown = preview(world, code=1)
    assert "models/other.yaml:" in shown
    assert "undeclared" in shown
    assert world.plan(code=0).changes == {}


@pytest.mark.parametrize("words", [(), ("--dry-run", "--all-hosts"), ("--dry-run", "--out", "plan.json")])
def test_edits_that_are_not_committed_are_never_applied(world: World, words: tuple[str, ...]) -> None:
    world.declare(source={"huggingface": REPO}, commit=False)
    assert command("reconcile", "--uncommitted", *words, "--registry", world.root).code == 64


def test_an_edit_that_is_a_link_blocks_only_itself(world: World, tmp_path: Path) -> None:
    world.serve()
    world.declare(commit=False)
    (world.root / "models/linked.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    world.write("models/deep/nested.yaml", "schema_version: 1\nsource: {huggingface: a/b}\n", commit=False)
    shown = preview(world, code=1)
    assert "models/linked.yaml" in shown
    assert "models/deep/nested.yaml" in shown
    assert re.search(rf"\+ install +{NAME} ", shown)


if __name__ == "__main__":
    for name, plan in PLANS.items():
        (GOLDEN / f"plan-{name}.txt").write_text(plan_text(plan, colour=False, width=WIDTH) + "\n", encoding="utf-8")
