"""Hand models on: which one a role means, the server that is started with one, the list that clients ask for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imageworks.foundation.http_access import ServerAccess
from imageworks.foundation.log import event, safe_words, start_logging
from imageworks.host.memory import share_heap
from imageworks.host.settings import (
    DEFAULT_WEIGHTS,
    HostSettings,
    RegistryNotFoundError,
    find_registry,
    load_host_settings,
)
from imageworks.operations.page.gather import live_page
from imageworks.operations.session import Session
from imageworks.reconcile.current_models import CurrentModels, current_models
from imageworks.registry.entries.queries import TESTING_VARIABLE, text
from imageworks.serving.command_line import Server, Wishes
from imageworks.serving.http_server import ModelServer
from imageworks.serving.last_used import touch
from imageworks.serving.model_list import ModelList, Offered
from imageworks.serving.prepare import NOTHING_RECORDED, Launch, prepare
from imageworks.serving.process import become, find_program
from imageworks.serving.roles import RoleCandidate, candidates, choose

__all__ = ["LaunchOptions", "Offered", "open_model_server", "prepare_launch", "resolve_role", "start"]


@dataclass(frozen=True, slots=True)
class ResolvedRole:
    """Which model a role means, and which others have it, where they were asked for."""

    host: str
    chosen: RoleCandidate
    candidates: Sequence[RoleCandidate]

    @property
    def name(self) -> str:
        """The variant name of the chosen one."""
        return text(self.chosen.model, "name")


def resolve_role(session: Session, role: str, *, every: bool) -> ResolvedRole:
    """Return the model that a role means, which counts as used now; looking at all of them counts as no use."""
    models = current_models(session.root, session.host)
    patterns = os.environ.get(TESTING_VARIABLE)
    chosen = choose(models, role, patterns=patterns)
    found = candidates(models, role, patterns=patterns) if every else ()
    if not every:
        touch(session.host.state_dir, text(chosen.model, "name"))
    return ResolvedRole(session.host.host, chosen, found)


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Which server is started with which model, and what is said besides."""

    server: str
    name: str
    host: str | None = None
    port: int | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedLaunch:
    """What is about to be started."""

    prepared: Launch
    server: str
    settings: HostSettings


def prepare_launch(registry: Path | None, asked: LaunchOptions, *, logged: bool) -> PreparedLaunch:
    """Return the command line of a server, after a look at the model's files; a path needs no registry."""
    from imageworks.reconcile.open_registry import host_models  # what only shows models loads no git

    try:
        root: Path | None = find_registry(registry)
    except RegistryNotFoundError:
        root = None
    settings = load_host_settings(registry=root)
    if logged:
        start_logging(settings.log_dir)
    recorded = host_models(root, settings) if root is not None else NOTHING_RECORDED
    wishes = Wishes(host=asked.host, port=asked.port, extra=asked.extra)
    return PreparedLaunch(
        prepare(recorded, root, settings, Server(asked.server), asked.name, wishes), asked.server, settings
    )


def start(launch: PreparedLaunch, starting: Callable[[Sequence[str]], None]) -> None:
    """Let the server take this process over."""
    prepared = launch.prepared
    find_program(prepared.words[0])
    words = safe_words(prepared.words)  # a server's own key may be among them
    starting(words)
    event("launch", server=launch.server, model=prepared.model, command=words)
    if prepared.model is not None:
        touch(launch.settings.state_dir, prepared.model)
    become(prepared.words)


def open_model_server(
    session: Session,
    offered: Offered,
    host: str,
    port: int,
    *,
    log: Callable[[str], None] | None,
    access: ServerAccess,
) -> tuple[ModelServer, int]:
    """Return a server of the list of models, not yet started, and how many it shows now."""
    share_heap()
    page = live_page(session.root, session.host)

    def let_go() -> None:
        """Let neither page nor list stand beside what they are made of next."""
        catalogue.let_go()
        page.let_go()  # which gives back to the system what both left

    current = CurrentModels(session.root, session.host, small=True, on_reading=let_go)
    shown = replace(offered, patterns=os.environ.get(TESTING_VARIABLE))
    catalogue = ModelList(current.models, shown, session.host.model_root or DEFAULT_WEIGHTS.expanduser())
    server = ModelServer(catalogue, host=host, port=port, log=log, access=access, page=page.answer)
    return server, len(catalogue.shown())
