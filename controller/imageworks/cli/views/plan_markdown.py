"""Plans as one comment for a pull request. What others wrote stands in code spans, where nothing is markup.

Links are made of checked parts alone, and lead to the hub that is asked or into the repository itself: browsers resolve
a relative one beside the request, on GitHub and GitLab alike.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from imageworks.cli.output import printable
from imageworks.foundation.texts import human_bytes
from imageworks.naming.hub_identifiers import DEFAULT_ENDPOINT, hub_page
from imageworks.plan.compare import Detail, HostPlan
from imageworks.plan.plan import Action, Change
from imageworks.registry.settings.changes import RuleReview

ANCHOR: Final = "<!-- imageworks-plan: {about} -->"
ALL_HOSTS: Final = "all hosts"
MOST_CHARACTERS: Final = 60_000
"""GitHub takes comments of up to 65,536 characters."""
MOST_FILES: Final = 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PATH: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_LINE: Final = re.compile(r"[^:\s]+:(\d+):\d+:")
_NOT_IN_ANCHOR: Final = re.compile(r"[^A-Za-z0-9._ ]+")


def plan_markdown(plans: Sequence[HostPlan], *, about: str, hub: str = DEFAULT_ENDPOINT) -> str:
    """Return plans as a comment whose hidden first line stays the same, so that one comment can be updated.

    Args:
        plans: One for each host.
        about: What the comment is about: a host's name, or all hosts.
        hub: The hub that is asked, where models are linked to.
    """
    lines = [ANCHOR.format(about=_NOT_IN_ANCHOR.sub("_", about)), "### Model changes", ""]
    base = next((one.base for one in plans if one.base is not None), None)
    revision = next((one.plan.registry_revision for one in plans), None)
    if base is not None and revision is not None:
        lines += [f"What `{revision[:12]}` changes, compared with `{base[:12]}`.", ""]
    if all(one.is_empty for one in plans):
        lines += ["No changes.", *_pending(plans)]
        return _cut("\n".join(lines))
    lines += [*_rules(plans[0].rules), *_diagnostics(plans)]
    for one in plans:
        lines += _host(one, hub)
    return _cut("\n".join(lines).rstrip())


def _pending(plans: Sequence[HostPlan]) -> Iterator[str]:
    for one in plans:
        if one.pending:
            yield f"\n{_code(one.plan.host)}: {_count(one.pending, 'change')} pending already at the base."
        yield from (f"\n> {_code(note)}" for note in one.notes)


def _rules(review: RuleReview) -> Iterator[str]:
    """Yield what is changed of the rules, which is the same for every host and comes before what they judge."""
    if not review.changes:
        return
    yield from ("**Changes of the rules**", "")
    for one in review.changes:
        mark = "**loosened or reaching further:** " if one.loosened else ""
        yield f"- {mark}{_code(one.where)}: {_code(one.before) or 'nothing'} → {_code(one.after) or 'nothing'}"
    yield ""
    if review.missing_labels:
        named = ", ".join(map(_code, review.missing_labels))
        yield from (f"**Refused until the request has the label {named}** ({_code('policies.change_requires')}).", "")


def _diagnostics(plans: Sequence[HostPlan]) -> Iterator[str]:
    """Yield what is invalid, which is the same on every host."""
    found = dict.fromkeys(line for one in plans for line in one.diagnostics)
    if found:
        yield "**Invalid documents**"
        yield ""
        yield from (f"- {_code(line)}" for line in found)
        yield ""


def _host(one: HostPlan, hub: str) -> Iterator[str]:
    plan = one.plan
    yield f"#### Host {_code(plan.host)}"
    yield ""
    if one.changes:
        yield "| | model | operation | revision | size | to fetch | source |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_row(one, change, hub) for change in one.changes)
        yield ""
    else:
        yield "No changes of files." if one.launched or one.rules.changes or one.records else "No changes."
        yield ""
    if one.records:
        named = ", ".join(map(_code, one.records[:MOST_FILES]))
        more = f" and {len(one.records) - MOST_FILES} more" if len(one.records) > MOST_FILES else ""
        yield from (f"**Records that this request changes:** {named}{more}", "")
        yield from ("Only the host's own controller writes them, and `launch` goes by them.", "")
    yield from _starts(one)
    blocked = [c for c in one.changes if c.action is Action.BLOCKED]
    yield from _section("Blocked", blocked, lambda change: f"{_model(one, change)}: {_code(change.message)}")
    if blocked:
        yield from ("`imageworks-models help REASON` explains the reason in brackets.", "")
    yield from _told("Licences and safety", one, partial(_concerns, hub=hub))
    yield from _told("Where files go", one, _target, folded=True)
    yield from _told("Files", one, _files, folded=True)
    yield from _told("Warnings", one, lambda change, _: (_code(f"warning: {w}") for w in change.warnings), folded=True)
    if plan.drift and one.base is None:
        yield from ("**Drift that no one declared**", "")
        yield from (f"- {_code(d.name)} ({d.reason.value}): {_code(d.message)}" for d in plan.drift)
        yield ""
    yield from _totals(one)
    yield from (f"> {_code(note)}" for note in one.notes)
    yield ""


def _starts(one: HostPlan) -> Iterator[str]:
    if not one.launched:
        return
    yield from ("**How servers are started**", "")
    for model in one.launched:
        was = f" instead of {_code(model.before)}" if model.before and model.before != model.after else ""
        yield f"- {_code(model.name)}: {_code(model.after) or 'nothing'}{was}"
        for key, old, new in model.fields:
            yield f"  - {_code(key)}: {_code(old) or 'nothing'} → {_code(new) or 'nothing'}"
        yield from (f"  - not obeyed unless the host allows it: {_code(told)}" for told in model.reaching)
    yield ""


def _model(one: HostPlan, change: Change) -> str:
    """Return a model's name, linked to its manifest as the request has it: to the line that is told of, if one is."""
    path, revision = one.manifests.get(change.name, ""), one.plan.registry_revision or ""
    if not (_PATH.fullmatch(path) and _COMMIT.fullmatch(revision)):
        return _code(change.name)
    line = _LINE.match(change.message)
    return f"[{_code(change.name)}](../blob/{revision}/{path}{f'#L{line[1]}' if line else ''})"


def _row(one: HostPlan, change: Change, hub: str) -> str:
    detail = one.details.get(change.name, Detail())
    old, new = ((revision or "")[:12] for revision in detail.revision)
    linked = _linked(new, change, detail, hub)
    revision = f"{_code(old)} → {linked}" if old and new and old != new else linked if new else _code(old)
    cells = (
        f"`{change.action.symbol}`",
        _model(one, change),
        f"{change.action.value} ({change.reason.value})",
        revision,
        _size(detail),
        _fetch(change),
        _code(change.source),
    )
    return "| " + " | ".join(cells) + " |"


def _linked(text: str, change: Change, detail: Detail, hub: str, file: str = "") -> str:
    """Return a text, linked to where the hub shows the model, or a file of it, at its commit."""
    repo = change.source.removeprefix("huggingface:")
    page = hub_page(repo, detail.revision[1] or "", hub, file=file) if repo != change.source else None
    return f"[{_code(text)}]({page})" if page else _code(text)


def _fetch(change: Change) -> str:
    if not change.size_known:
        return "not known"
    return human_bytes(change.bytes_to_fetch) if change.bytes_to_fetch else ""


def _size(detail: Detail) -> str:
    before, after = (None if size is None else human_bytes(size) for size in detail.size)
    if before is not None and after is not None and detail.size[0] != detail.size[1]:
        return f"{before} → {after}"
    return after or before or ""


def _section(title: str, changes: Iterable[Change], line: Callable[[Change], str]) -> Iterator[str]:
    lines = [line(change) for change in changes]
    if lines:
        yield from (f"**{title}**", "", *(f"- {text}" for text in lines), "")


def _told(
    title: str, one: HostPlan, tell: Callable[[Change, Detail], Iterable[str]], *, folded: bool = False
) -> Iterator[str]:
    """Yield a section with a line a model, of what is markup already; folded away where it may be long."""
    lines = []
    for change in one.changes:
        told = list(tell(change, one.details.get(change.name, Detail())))
        lines += [f"- {_code(change.name)}: {', '.join(told)}"] if told else []
    if not lines:
        return
    if folded:
        yield from (f"<details><summary>{title}</summary>", "", *lines, "", "</details>", "")
    else:
        yield from (f"**{title}**", "", *lines, "")


def _concerns(change: Change, detail: Detail, *, hub: str) -> Iterator[str]:
    def licence(text: str) -> str:
        return _linked(text, change, detail, hub, detail.license_file) if detail.license_file else _code(text)

    if change.action in {Action.INSTALL, Action.UPDATE, Action.ADOPT}:
        old, new = detail.license
        if old is not None and old != new:
            yield licence(f"licence {old} -> {new or 'not known'}")
        elif old is None:
            yield licence(f"licence {new or 'not known'}")
        if detail.source_license is not None:
            yield licence(f"the source says another licence: {detail.source_license}")
    yield from (_code(f"{path} can run code ({why})") for path, why in detail.risky)


def _target(change: Change, _detail: Detail) -> Iterator[str]:
    if change.action not in {Action.BLOCKED, Action.REMOVE} and change.path[1]:
        yield _code(change.path[1])


def _files(_change: Change, detail: Detail) -> Iterator[str]:
    for sign, files in (("+", detail.added), ("-", detail.removed), ("~", detail.changed)):
        yield from (_code(f"{sign} {path}") for path in files[:MOST_FILES])
        if len(files) > MOST_FILES:
            yield _code(f"{sign} {len(files) - MOST_FILES} more")


def _totals(one: HostPlan) -> Iterator[str]:
    counts = {
        "to add": sum(change.action in {Action.INSTALL, Action.ADOPT} for change in one.changes),
        "to change": sum(change.action in {Action.UPDATE, Action.MOVE, Action.REPAIR} for change in one.changes),
        "to destroy": sum(change.action is Action.REMOVE for change in one.changes),
        "blocked": sum(change.action is Action.BLOCKED for change in one.changes),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what != "blocked")
    fetch = sum(change.bytes_to_fetch - change.bytes_staged for change in one.changes)
    reused = sum(change.bytes_reused for change in one.changes)
    freed = sum(change.bytes_freed for change in one.changes)
    yield f"Plan: {told}."
    yield f"To fetch: {human_bytes(fetch)}; reused: {human_bytes(reused)}; freed: {human_bytes(freed)}."
    for place in one.plan.filesystems:
        after = human_bytes(place.free_after)
        yield f"Free below {_code(place.name)}: {human_bytes(place.free_before)} now, {after} after."
    if one.pending:
        yield f"{_count(one.pending, 'change')} pending already at the base."
    if one.settled:
        yield f"No longer pending: {', '.join(map(_code, one.settled))}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing} is" if number == 1 else f"{number} {thing}s are"


def _code(text: str) -> str:
    """Return a text as a code span, in which neither Markdown nor HTML means anything; nothing for an empty one.

    A table ends its cells at ``|`` even there, and a backslash before it would undo its escape: it is shown as ``¦``.
    """
    shown = " ".join(printable(text).split()).replace("|", "¦")
    if not shown:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _cut(text: str) -> str:
    """Return a text that a comment can hold, cut between lines."""
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[: text.rfind("\n", 0, MOST_CHARACTERS)]
    closing = "\n\n</details>" if kept.count("<details>") > kept.count("</details>") else ""
    return f"{kept}{closing}\n\nThe rest is too long for a comment; `reconcile --dry-run` shows all of it."
