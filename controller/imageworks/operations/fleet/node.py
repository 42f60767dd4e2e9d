"""What one node of a fleet does for itself: say which host it is, reconcile at one commit, say where a model is."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from imageworks.files.progress import Progress
from imageworks.fleet.node_task import NodeAnswer, NodeTask, NodeWork
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.log import start_logging
from imageworks.foundation.private_files import FOLDER_MODE, make_folders
from imageworks.git.controller_lock import hold
from imageworks.git.program import GitProgram
from imageworks.git.remote import RemoteError
from imageworks.host.settings import RegistryNotFoundError, find_registry, load_host_settings, registry_to_make
from imageworks.operations.fleet.node_identity import NodeError
from imageworks.operations.fleet.report import RunReport
from imageworks.operations.fleet.unattended import LOCK_SECONDS, run_unattended
from imageworks.plan.facts import PruneOptions
from imageworks.plan.plan import Plan
from imageworks.reconcile.open_registry import host_models
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.entries.completeness import why_incomplete
from imageworks.registry.entries.lookup import find_model
from imageworks.registry.entries.queries import file_paths, is_installed, part, text

ARRIVING: Final = ".{name}.arriving"
FINDABLE: Final = ("", "registry")
"""Where in a clone its registry is found again by its path alone."""


def perform(task: NodeTask, answer: NodeAnswer, progress: Progress) -> NodeAnswer:
    """Do what an identified node is asked for, and return what came of it; what is wrong is part of the answer."""
    try:
        match task.work:
            case NodeWork.LOCATE:
                return locate(task.names[0], answer)
            case NodeWork.PLAN:
                return _plan(task, answer, progress)
            case _:
                return _reconcile(task, answer, progress)
    except ImageworksError as error:
        return replace(answer, error=error.render())


def _plan(task: NodeTask, answer: NodeAnswer, progress: Progress) -> NodeAnswer:
    with TemporaryDirectory(prefix="imageworks-") as folder:
        scratch = Path(folder).resolve()
        root = _registry(task, new=scratch / "registry")
        host = load_host_settings(registry=root)
        with Run.open(root, host, _options(task, read_only=True), progress=progress) as run:
            plan = run.plan()
            settings = run.registry.settings
            asked = settings.report if task.report is None else task.report
            is_here = not root.resolve().is_relative_to(scratch) and run.is_in_step(task.revision)
        settled = is_here and not (plan.has_changes or plan.has_errors or asked or settings.exports)
        report = RunReport(root, host, asked=False).value(plan)
    return replace(answer, plan=_short(plan), settled=settled, report=report, unchanged=plan.unchanged)


def _short(plan: Plan) -> Plan:
    """Return a plan without the names of files, which are more than is worth sending."""
    return replace(plan, changes=tuple(replace(one, fetch=(), reuse={}, drop=()) for one in plan.changes))


def _reconcile(task: NodeTask, answer: NodeAnswer, progress: Progress) -> NodeAnswer:
    root = _registry(task)
    host = load_host_settings(registry=root)
    start_logging(host.log_dir)
    reports = RunReport(root, host, asked=task.report)
    options = _options(task, read_only=False)
    plan, done, sent, reported, _ = run_unattended(root, host, options, reports, progress=progress)
    problems = [one.problem.render() for one in (sent, reported) if one.problem is not None]
    return replace(
        answer,
        report=reports.value(plan, done),
        unchanged=plan.unchanged,
        error="\n".join(problems),
    )


def _options(task: NodeTask, *, read_only: bool) -> RunOptions:
    return RunOptions(
        names=task.names,
        prune=PruneOptions(enabled=task.prune),
        read_only=read_only,
        any_time=task.any_time,
        pull=not read_only,
        push=not read_only,
        mends_snapshot=True,
        at=task.revision,
        mirrors=task.mirrors,
    )


def _registry(task: NodeTask, new: Path | None = None) -> Path:
    """Return this node's registry, cloned where it has none: to its usual place, or where it is to be new."""
    try:
        return find_registry()
    except RegistryNotFoundError as error:
        target = new or registry_to_make()
        if task.folder not in FINDABLE:
            raise NodeError(
                f"no registry is there yet, and it is the folder {task.folder} of its repository",
                remedy="Clone it there, and name its folder with IMAGEWORKS_REGISTRY_DIR or `registry` in config.toml.",
            ) from error
        host = load_host_settings()
        if new is not None:
            _clone(task, target)
        else:
            with hold(host.state_dir, wait=LOCK_SECONDS, host=host.host, what="this host"):
                _clone(task, target)
    return find_registry(target)


def _clone(task: NodeTask, target: Path) -> None:
    """Clone the registry to a place where nothing is, whole or not at all."""
    arriving = target.with_name(ARRIVING.format(name=target.name))
    make_folders(target.parent, FOLDER_MODE)
    shutil.rmtree(arriving, ignore_errors=True)
    words = ("clone", "--quiet", "--no-tags", "--branch", task.branch, "--", task.remote, str(arriving))
    answer = GitProgram(target.parent, os.environ).run(*words, remote=task.remote)
    if answer.code:
        shutil.rmtree(arriving, ignore_errors=True)
        raise RemoteError(
            f"{task.remote} cannot be cloned: {answer.reason}",
            remedy="Let the node reach it: its network, an ssh agent, a credential helper, IMAGEWORKS_GIT_TOKEN.",
        )
    try:
        arriving.rename(target)
    except OSError as error:
        shutil.rmtree(arriving, ignore_errors=True)
        raise NodeError(
            f"{target} is in the way of the registry: {error.strerror}", remedy="Move it away, or name another place."
        ) from error


def locate(name: str, answer: NodeAnswer, registry: Path | None = None) -> NodeAnswer:
    """Say where a model is on this host, and what a look at its files finds missing."""
    root = find_registry(registry)
    models = host_models(root, load_host_settings(registry=root))
    model = find_model(models.models, name)
    entry = models.entries.get(text(model, "name"))
    fields = model if entry is None else entry.fields
    found = replace(answer, path=text(model, "download_path"), revision=text(part(fields, "resolved"), "revision"))
    if not found.path or not is_installed(model):
        return replace(found, error=f"{name} is not installed")
    if gone := [Path(path).name for path in file_paths(model) if not os.path.exists(path)]:  # noqa: PTH110 # any error
        return replace(found, error=f"{name} lacks files that are recorded: {', '.join(gone[:3])}")
    return replace(found, lacks=why_incomplete(fields, anew=True) or "")
