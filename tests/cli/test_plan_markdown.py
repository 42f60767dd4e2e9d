"""The comment for a pull request: complete, stable, and nothing that others wrote becomes markup in it."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.cli.views.plan_markdown import MOST_CHARACTERS, plan_markdown
from imageworks.naming.hub_identifiers import hub_page
from imageworks.plan.compare import Detail, HostPlan
from imageworks.plan.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason

A, B = "a" * 40, "b" * 40
HOST = "workstation"
HUB = "https://huggingface.co"
INSTALL = Change(
    "new",
    Action.INSTALL,
    Reason.MISSING,
    source="huggingface:acme/new",
    revision=(None, A),
    fetch=("model.safetensors",),
    bytes_to_fetch=3 * 1024**3,
    bytes_reused=1024,
    warnings=("the branch has moved on",),
)
UPDATE = Change("it", Action.UPDATE, Reason.REVISION_CHANGED, revision=(A, B), source="huggingface:acme/it")
REMOVE = Change("gone", Action.REMOVE, Reason.UNDECLARED, drop=("x",), bytes_freed=2048)
BLOCKED = Change("bad", Action.BLOCKED, Reason.POLICY_VIOLATED, message="models/bad.yaml:4:3: policies.require_pins")
DETAILS = {
    "new": Detail((None, A), (None, 4096), added=("model.safetensors",), license=(None, "mit"), license_file="LICENSE"),
    "it": Detail(
        (A, B), (1024, 2048), ("new.bin",), ("old.txt",), ("w.gguf",), ("mit", "gpl"), (("new.bin", "pickle"),)
    ),
    "gone": Detail((A, None), (2048, None), removed=("x",)),
}
PLAN = Plan(
    HOST,
    B,
    changes=(BLOCKED, REMOVE, UPDATE, INSTALL),
    drift=(Drift("stray", Reason.UNDECLARED, "nobody declares it"),),
    filesystems=(FilesystemTotal("/weights", 10 * 1024**3, 7 * 1024**3, 3 * 1024**3),),
    diagnostics=("models/x.yaml:1:1: broken",),
    notes=("a note",),
)
WHOLE = HostPlan(PLAN, PLAN.changes, DETAILS, diagnostics=PLAN.diagnostics, notes=PLAN.notes)
HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "\\",
    "a\\|b",
    "`; rm -rf",
    "``` \n# heading",
    "@everyone #1 https://evil.example ![x](http://evil.example/x.png)",
    "</details><img src=x>",
    "-->",
    "**bold** [link](javascript:x)",
    "\x1b[31m\u202e",
]


def test_a_reviewer_sees_everything_to_decide_by() -> None:
    text = plan_markdown([WHOLE], about=HOST)
    for part in (
        "### Model changes",
        f"#### Host `{HOST}`",
        "**Invalid documents**\n\n- `models/x.yaml:1:1: broken`",
        f"| `+` | `new` | install (missing) | [`{A[:12]}`]({HUB}/acme/new/tree/{A}) | 4.0 KiB | 3.0 GiB |",
        f"| `~` | `it` | update (revision-changed) | `{A[:12]}` → [`{B[:12]}`]({HUB}/acme/it/tree/{B}) | 1.0 KiB → 2.",
        "| `-` | `gone` | remove (undeclared) | `aaaaaaaaaaaa` | 2.0 KiB |  |  |",
        "**Blocked**\n\n- `bad`: `models/bad.yaml:4:3: policies.require_pins`",
        "- `it`: `licence mit -> gpl`, `new.bin can run code (pickle)`",
        f"- `new`: [`licence mit`]({HUB}/acme/new/blob/{A}/LICENSE)",
        "- `it`: `+ new.bin`, `- old.txt`, `~ w.gguf`",
        "- `new`: `warning: the branch has moved on`",
        "- `stray` (undeclared): `nobody declares it`",
        "Plan: 1 to add, 1 to change, 1 to destroy, 1 blocked.",
        "To fetch: 3.0 GiB; reused: 1.0 KiB; freed: 2.0 KiB.",
        "Free below `/weights`: 10.0 GiB now, 7.0 GiB after.",
        "> `a note`",
    ):
        assert part in text
    assert text.count("<details>") == text.count("</details>") == 2


def test_the_first_line_stays_the_same_so_that_one_comment_is_updated() -> None:
    first = plan_markdown([WHOLE], about=HOST).splitlines()[0]
    nothing = plan_markdown([HostPlan(Plan(HOST, A), (), base=A)], about=HOST)
    assert first == nothing.splitlines()[0] == f"<!-- imageworks-plan: {HOST} -->"
    assert plan_markdown([WHOLE], about="a --> b").splitlines()[0] == "<!-- imageworks-plan: a _ b -->"


def test_nothing_to_review_is_said_in_one_line() -> None:
    text = plan_markdown([HostPlan(Plan(HOST, A, unchanged=3), (), base=B, pending=1)], about=HOST)
    assert "No changes." in text.splitlines()
    assert "`workstation`: 1 change is pending already at the base." in text
    assert "|" not in text
    assert f"What `{A[:12]}` changes, compared with `{B[:12]}`." in text


def test_compared_with_a_base_only_what_is_new_is_told() -> None:
    text = plan_markdown([replace(WHOLE, changes=(UPDATE,), base=A, pending=3, settled=("old",))], about=HOST)
    assert text.count("\n| `") == 1
    assert "3 changes are pending already at the base." in text
    assert "No longer pending: `old`." in text
    assert "stray" not in text


def test_every_host_has_a_section_and_what_is_invalid_is_said_once() -> None:
    other = replace(WHOLE, plan=replace(PLAN, host="other"), changes=())
    text = plan_markdown([WHOLE, other], about="all hosts")
    assert re.findall("#### Host `(.*)`", text) == [HOST, "other"]
    assert text.count("models/x.yaml:1:1: broken") == 1
    assert text.count("No changes.") == 1


def test_models_are_linked_to_their_manifests_and_to_the_hub_that_is_asked() -> None:
    manifests = {name: f"registry/models/{name}.yaml" for name in ("new", "bad")}
    text = plan_markdown([replace(WHOLE, manifests=manifests)], about=HOST, hub="https://hub.example/hf")
    assert f"| [`new`](../blob/{B}/registry/models/new.yaml) |" in text
    assert f"- [`bad`](../blob/{B}/registry/models/bad.yaml#L4): " in text
    assert f"](https://hub.example/hf/acme/new/tree/{A})" in text
    assert "](http" not in plan_markdown([WHOLE], about=HOST, hub="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "hub", ["http://x", "https://x y", "https://x)(", "javascript:x", "https://u:p@x", "https://x?q"]
)
def test_nothing_but_a_plain_https_address_becomes_a_link(hub: str) -> None:
    assert hub_page("acme/it", A, hub) is None
    assert hub_page(hub, A) is None
    assert hub_page("acme/it", hub) is None
    assert hub_page("acme/it", A, file=hub) is None


@pytest.mark.parametrize("evil", HOSTILE)
def test_names_from_elsewhere_become_no_markup(evil: str) -> None:
    check_harmless(evil)


@given(st.text(alphabet="ab`|\\<>@#[]()!*_-\n\r\t ~&;:/\x1b\u202e", max_size=30))
def test_no_text_becomes_markup(evil: str) -> None:
    check_harmless(evil)


def check_harmless(evil: str) -> None:
    """Fail unless a text that stands everywhere in a plan is inert everywhere in the comment."""
    change = replace(INSTALL, name=evil, source=evil, revision=(evil[:12], evil), message=evil, warnings=(evil,))
    blocked = replace(change, action=Action.BLOCKED)
    detail = Detail((evil, evil), (1, 2), (evil,), (evil,), (evil,), (evil, evil + "x"), ((evil, evil),), evil, evil)
    plan = Plan(
        evil,
        evil,
        changes=(change, blocked),
        drift=(Drift(evil, Reason.UNDECLARED, evil),),
        filesystems=(FilesystemTotal(evil, 1, 2, 3),),
        diagnostics=(evil,),
        notes=(evil,),
    )
    manifests = {evil: f"models/{evil}.yaml"}
    one = HostPlan(plan, plan.changes, {evil: detail}, settled=(evil,), diagnostics=(evil,), manifests=manifests)
    text = plan_markdown([one], about=evil)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    outside = "\n".join(_without_code(line) for line in text.splitlines()[1:])
    markup = {"<details>", "</details>", "<summary>", "</summary>"}
    assert set(re.findall(r"</?[a-z]*>?", outside)) <= markup
    assert not re.search(r"[@\[\]!\\_~]", outside)
    assert not re.search(r"(?<!\*)\*(?!\*)", outside)
    for row in [line for line in text.splitlines() if line.startswith("| `")]:
        assert row.count("|") == 8


def _without_code(line: str) -> str:
    """Return what is left of a line when its code spans are taken out, as CommonMark pairs backticks."""
    left, at = "", 0
    while at < len(line):
        fence = re.match("`+", line[at:])
        if fence is None:
            left += line[at]
            at += 1
            continue
        end = re.compile(rf"(?<!`){fence.group()}(?!`)").search(line, at + len(fence.group()))
        assert end is not None, line
        at = end.end()
    return left


def test_a_comment_is_cut_before_it_is_too_long_to_be_posted() -> None:
    files = tuple(f"a long name of a file {number}.bin" for number in range(9))
    many = tuple(replace(UPDATE, name=f"model-{number}") for number in range(2000))
    details = {change.name: Detail(added=files) for change in many}
    text = plan_markdown([HostPlan(replace(PLAN, changes=many), many, details)], about=HOST)
    assert len(text) < MOST_CHARACTERS + 200
    assert text.count("<details>") == text.count("</details>")
    assert text.endswith("`reconcile --dry-run` shows all of it.")
