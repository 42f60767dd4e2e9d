"""The ``reconcile`` command: plan, show, ask, apply, commit."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.ask import agrees, ask, at_terminal, refuse_unasked
from imageworks.cli.output import complain, human_bytes, human_duration, paint, printable, say, wants_colour
from imageworks.errors import ExitCode, ImageworksError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from imageworks.reconcile.plan import Plan
    from imageworks.reconcile.proposal import HostPlan
    from imageworks.reconcile.report import Outcome, Report
    from imageworks.reconcile.run import Run
    from imageworks.reconcile.sync import Sent


class Format(StrEnum):
    """How a plan is printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class StalePlanError(ImageworksError):
    """A saved plan is not what would be done now."""


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("reconcile")(reconcile_command)


def reconcile_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to consider; all if none.")
    ] = None,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing, anywhere.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before applying.")] = False,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 for no changes, 1 for an error, 2 for changes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How the plan is printed.")] = Format.TEXT,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="REV", help="Show in Markdown only what this commit would not lead to as well."),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="Plan for that host from its committed entries, not from disks."),
    ] = None,
    all_hosts: Annotated[bool, typer.Option("--all-hosts", help="Like --host for every host of the registry.")] = False,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME", help="With --base: a label of the pull request."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, and apply nothing.")] = None,
    saved: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Apply a saved plan; refused when it is stale.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use no network.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove installed models that no manifest declares.")] = False,
    confirm: Annotated[
        list[str] | None, typer.Option("--confirm", metavar="NAME", help="Confirm the removal of a model by name.")
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Let --prune work when nothing is declared at all.")
    ] = False,
    force_prune: Annotated[
        bool, typer.Option("--force-prune", help="Let --prune remove more than 30 % of ten models or more.")
    ] = False,
    commit: Annotated[bool, typer.Option("--commit/--no-commit", help="Commit entries and snapshot.")] = True,
    pull: Annotated[bool, typer.Option("--pull", help="Bring the branch up to date with its remote first.")] = False,
    push: Annotated[
        bool | None, typer.Option("--push/--no-push", help="Send commits to the remote; else as registry.yaml says.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, max=64, help="Models at once.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Download outside the registry's transfer window too.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also name the files that are left out, and why.")
    ] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far downloads are.")] = True,
) -> int:
    """Make this host be as the registry declares: plan, show, ask, apply, commit.

    Reads manifests as the checked-out commit has them; uncommitted edits do not count. It asks before applying, on
    stderr; where stdin is no terminal nobody can be asked, and without --yes nothing is applied.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.run import Run, RunOptions
    from imageworks.reconcile.situation import PruneOptions
    from imageworks.registry.lookup import find_in

    form = Format.JSON if as_json else form
    _refuse_contradictions(dry_run=dry_run, saved=saved is not None, out=out is not None, pull=pull)
    _refuse_review_options(dry_run=dry_run, out=out, form=form, base=base, hosts=hosts or [], all_hosts=all_hosts)
    root = find_registry(registry)
    host = load_host_settings(registry=root)
    shows_only = dry_run or out is not None
    # Whoever cannot be asked is shown the plan, and nothing is written for that.
    unasked = not (shows_only or yes or pull or push or at_terminal())
    if not (dry_run or unasked):
        start_logging(host.log_dir)
    options = RunOptions(
        names=tuple(names or ()),
        prune=PruneOptions(enabled=prune, allow_empty=allow_empty, force=force_prune),
        offline=offline,
        jobs=jobs,
        commit=commit,
        read_only=shows_only or unasked,
        any_time=now,
        pull=pull,
        push=push,
    )
    if hosts or all_hosts:
        from imageworks.cli.plan_markdown import ALL_HOSTS
        from imageworks.reconcile.elsewhere import Asked, plan_elsewhere

        about = hosts[0] if hosts and len(hosts) == 1 else ALL_HOSTS
        review = Asked(
            options.names, tuple(dict.fromkeys(hosts or ())), base, options.prune, offline, tuple(labels or ())
        )
        return _show_hosts(plan_elsewhere(root, host, review), form, about=about, quiet=quiet, detailed=detailed)
    from imageworks.cli.progress import show_progress

    with (
        show_progress(quiet=quiet, wanted=progress) as shown,
        Run.open(root, host, options, progress=shown, wait=wait) as run,
    ):
        plan = run.plan()
        if saved is not None:
            _check_saved(saved, plan)
        allowed = _show_here(run, plan, form, base=base, labels=labels or (), quiet=quiet, verbose=verbose)
        if out is not None:
            asked = {"--offline": offline, "--prune": prune, "--allow-empty": allow_empty, "--force-prune": force_prune}
            _save(plan, out, [*options.names, *(flag for flag, given in asked.items() if given)])
        if not options.read_only and not plan.has_changes:
            run.tidy()
            if not _tell_of(run.publish()):
                return ExitCode.FAILURE
        _tell_of_errors(plan, briefly=form is Format.TEXT and not quiet)
        if shows_only or not plan.has_changes:
            return _plan_code(plan, detailed=detailed) if allowed else ExitCode.FAILURE
        confirmed = {find_in(run.registry, name, whole=True, exit_code=ExitCode.USAGE) for name in confirm or ()}
        skipped = _ask(plan, asked_names=confirmed, yes=yes)
        if skipped is None:
            complain("nothing was changed")
            return ExitCode.FAILURE
        report = run.apply(plan, skipped=skipped)
        sent = run.publish()
    _show_report(report, form, quiet=quiet)
    if not _tell_of(sent) or report.failed or plan.has_errors:
        return ExitCode.FAILURE
    return ExitCode.CHANGES if detailed else ExitCode.SUCCESS


def _refuse_contradictions(*, dry_run: bool, saved: bool, out: bool, pull: bool) -> None:
    if dry_run and saved:
        raise UsageError("--dry-run and --plan exclude each other")
    if pull and (dry_run or out):
        raise UsageError("a run that writes nothing cannot --pull", remedy="Run `git pull` first.")


def _tell(notes: "Iterable[str]") -> None:
    for note in notes:
        complain(f"note: {note}")


def _tell_of(sent: "Sent") -> bool:
    """Tell what was pushed, and return whether that went well."""
    _tell(sent.notes)
    if sent.problem is not None:
        complain(f"error: {sent.problem.render()}")
    return sent.problem is None


def _show(plan: "Plan", form: Format, *, quiet: bool, verbose: bool = False) -> None:
    from imageworks.cli.plan_view import plan_json, plan_text

    if form is Format.JSON:
        say(plan_json(plan))
    elif not quiet:
        say(plan_text(plan, colour=wants_colour(sys.stdout), verbose=verbose))


def _show_here(
    run: "Run", plan: "Plan", form: Format, *, base: str | None, labels: "Collection[str]", quiet: bool, verbose: bool
) -> bool:
    """Show this host's plan, and return whether the request has the labels that it needs."""
    if form is not Format.MARKDOWN:
        _show(plan, form, quiet=quiet, verbose=verbose)
        return True
    from imageworks.cli.plan_markdown import plan_markdown
    from imageworks.reconcile.proposal import compare

    compared = compare(plan, run.situation) if base is None else run.compared(base, labels=labels)
    say(plan_markdown([compared], about=plan.host))
    return _has_labels(compared)


def _show_hosts(plans: "Sequence[HostPlan]", form: Format, *, about: str, quiet: bool, detailed: bool) -> int:
    """Show the plans of hosts that are elsewhere, and return the exit code for all of them."""
    from imageworks.reconcile.plan import FORMAT_VERSION

    if form is Format.MARKDOWN:
        from imageworks.cli.plan_markdown import plan_markdown

        say(plan_markdown(plans, about=about))
    elif form is Format.JSON and about != plans[0].plan.host:
        documents = [one.plan.document() for one in plans]
        say(json.dumps({"format_version": FORMAT_VERSION, "plans": documents}, indent=2, ensure_ascii=False))
    else:
        for one in plans:
            if len(plans) > 1 and not quiet:
                say(printable(f"{one.plan.host}:\n"))
            _show(one.plan, form, quiet=quiet)
    if not _has_labels(plans[0]):
        return ExitCode.FAILURE
    for one in plans:
        _tell_of_errors(one.plan, briefly=form is Format.TEXT and not quiet)
    codes = {_plan_code(one.plan, detailed=detailed) for one in plans}
    return next(code for code in (ExitCode.FAILURE, ExitCode.CHANGES, ExitCode.SUCCESS) if code in codes)


def _has_labels(plan: "HostPlan") -> bool:
    """Return whether a request has the labels that changes of the rules need; tell which it has not."""
    missing = plan.rules.missing_labels
    if missing:
        complain(f"error: policies.change_requires: the rules are loosened, which needs the label {', '.join(missing)}")
    return not missing


def _refuse_review_options(
    *, dry_run: bool, out: Path | None, form: Format, base: str | None, hosts: "Sequence[str]", all_hosts: bool
) -> None:
    if (hosts or all_hosts or base is not None) and not (dry_run and out is None):
        raise UsageError("--host, --all-hosts and --base only show a plan", remedy="Add --dry-run, without --out.")
    if hosts and all_hosts:
        raise UsageError("--host and --all-hosts exclude each other")
    if base is not None and form is not Format.MARKDOWN:
        raise UsageError("--base is for --format markdown", remedy="Leave it out, or add --format markdown.")


def _plan_code(plan: "Plan", *, detailed: bool) -> int:
    if plan.has_errors:
        return ExitCode.FAILURE
    return ExitCode.CHANGES if detailed and plan.has_changes else ExitCode.SUCCESS


def _save(plan: "Plan", out: Path, asked: list[str]) -> None:
    from imageworks.cli.plan_view import plan_json

    try:
        out.write_text(plan_json(plan) + "\n", encoding="utf-8")
    except OSError as error:
        raise ImageworksError(f"{out}: cannot be written: {error.strerror}") from error
    again = shlex.join(["imageworks-models", "reconcile", *asked, "--plan", str(out), "--yes"])
    complain(f"plan saved to {out}; apply it with `{again}`")


def _check_saved(saved: Path, plan: "Plan") -> None:
    """Refuse a saved plan unless exactly the same would be done now."""
    from imageworks.foundation.json_reading import LARGEST, read_json

    try:
        with saved.open("rb") as stream:  # which may be a pipe: `--plan <(…)`
            document = read_json(stream.read(LARGEST + 1))
    except OSError as error:
        raise UsageError(f"{saved}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{saved}: not a saved plan: {error}") from error
    now = json.loads(json.dumps(plan.document()))
    if not isinstance(document, dict) or document.get("format_version") != now["format_version"]:
        raise UsageError(f"{saved}: not a saved plan of this version", remedy="Save it anew with --out.")
    for key in ("host", "registry_revision", "changes"):
        if document.get(key) != now[key]:
            raise StalePlanError(
                f"{saved}: stale: {key.replace('_', ' ')} is not what it was when the plan was saved",
                remedy="Nothing was done. Give the names and options that it was saved with, or review a new plan.",
            )


def _ask(plan: "Plan", *, asked_names: set[str], yes: bool) -> dict[str, str] | None:
    """Ask for what must be asked; return the changes to leave out with why, or ``None`` to do nothing."""
    if not yes:
        refuse_unasked("the plan was not applied")
    skipped: dict[str, str] = {}
    for change in plan.effective:
        if change.needs_confirmation and change.name not in asked_names:
            question = f"Remove {change.name}, {human_bytes(change.bytes_freed)}? Type its name:"
            if not (at_terminal() and ask(question) == change.name):
                skipped[change.name] = f"not confirmed; run again with --confirm {change.name}"
    rest = [change for change in plan.effective if change.name not in skipped]
    if yes or (not rest and not plan.records_stale):
        return skipped
    return skipped if agrees("Apply this plan?") else None


def _tell_of_errors(plan: "Plan", *, briefly: bool) -> None:
    """Say on stderr what makes a run fail, whatever becomes of the plan.

    Args:
        plan: The plan.
        briefly: Whether the plan itself was shown, to people.
    """
    from imageworks.reconcile.plan import Action

    blocked = [change for change in plan.changes if change.action is Action.BLOCKED]
    if briefly and blocked:
        complain(f"error: blocked: {', '.join(change.name for change in blocked)}")
    if briefly:
        return
    for change in blocked:
        complain(f"error: {change.name}: {change.reason.value}: {change.message}")
    for line in plan.diagnostics:
        if not any(line in change.message for change in blocked):
            complain(f"error: {line}")


def _show_report(report: "Report", form: Format, *, quiet: bool) -> None:
    if form is Format.JSON:
        complain(json.dumps(report.document(), sort_keys=True, ensure_ascii=False))
        return
    colour = wants_colour(sys.stdout)
    for outcome in report.outcomes:
        if not outcome.done:
            complain(f"error: {outcome.change.name}: {outcome.error}")
        elif not quiet and form is Format.TEXT:
            say(_outcome_line(outcome, colour=colour))
        if outcome.incomplete is not None:
            complain(printable(f"warning: {outcome.change.name} is incomplete: {outcome.incomplete}"))
    for name, why in (report.skipped or {}).items():
        complain(f"skipped: {name}: {why}")
    _tell(report.notes)
    if quiet or form is not Format.TEXT:
        return
    done = sum(1 for outcome in report.outcomes if outcome.done)
    commit = f"; committed {report.commit[:10]}" if report.commit else ""
    say(f"Done: {done} of {len(report.outcomes)} changes{commit}.")


def _outcome_line(outcome: "Outcome", *, colour: bool) -> str:
    mark = paint(outcome.change.action.symbol, "green", colour=colour)
    where = f"  {outcome.change.path[1]}" if outcome.change.path[1] else ""
    return (
        printable(
            f"{outcome.change.name}: {outcome.change.action.value} done in {human_duration(outcome.seconds)}{where}"
        )
        if not colour
        else f"{mark} {printable(outcome.change.name)}: done{printable(where)}"
    )
