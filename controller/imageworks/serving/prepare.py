"""From a name to a checked command line: what ``launch``, its scripts and the Python door have in common."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imageworks.foundation.home import expanded_or_none
from imageworks.foundation.json_values import EMPTY
from imageworks.host.settings import HostSettings
from imageworks.registry.entries.lookup import UnknownModelError, find_model
from imageworks.registry.entries.merge import HostModels
from imageworks.registry.entries.queries import Model, file_paths, is_installed, part, text
from imageworks.serving.command_line import LaunchError, ServedModel, Server, Wishes, command_line, target_of
from imageworks.serving.preflight import PreflightResult, check, declared_template

NOTHING_RECORDED = HostModels()


@dataclass(frozen=True, slots=True)
class Launch:
    """What would be started.

    Args:
        model: The variant name; ``None`` for a path that no record speaks of.
        words: The command line.
        warnings: What the server will miss, and what else a person should know.
    """

    model: str | None
    words: tuple[str, ...]
    warnings: tuple[str, ...]


def prepare(
    recorded: HostModels, root: Path | None, host: HostSettings, server: Server, asked: str, wishes: Wishes
) -> Launch:
    """Return the command line that serves a model, having looked at its files."""
    path = expanded_or_none(asked) if _is_path(asked) else None
    try:
        model = find_model(recorded.models, asked if path is None else str(path.absolute()))
    except UnknownModelError:
        if asked in recorded.unreadable:
            raise LaunchError(
                f"{asked}: {recorded.unreadable[asked]}", remedy="`imageworks-models validate` lists what is wrong."
            ) from None
        if path is None or server is Server.OLLAMA:
            raise
        return _at_path(server, path.absolute(), wishes)
    entry = recorded.entries.get(text(model, "name"))
    target, notes = target_of(model, server, recorded=entry.fields if entry else {})
    template = declared_template(model, root, host, entry.fields if entry else EMPTY) if root and target.path else None
    if server is Server.OLLAMA and (lost := _lost_layer(model)) is not None:
        raise LaunchError(
            f"{target.name} is not complete: its layer {lost} is not in Ollama's store",
            remedy=f"`imageworks-models verify {target.name} --repair` brings it.",
        )

    def find_base(base: str) -> str | None:
        return next((text(one, "name") for one in recorded.models if _is_base(one, base)), None)

    given = (*target.extra, *wishes.extra)
    checked = check(server, target, template=template, words=given, find_base=find_base)
    words = command_line(server, checked.target, wishes, allowed=host.allowed_launch_options)
    return Launch(text(model, "name"), tuple(words), (*notes, *checked.warnings, *_needed(checked, words)))


def _needed(checked: PreflightResult, words: Sequence[str]) -> list[str]:
    """Return what the server needs for such a model and its command line does not give."""
    told = checked.verdict.sentences(words) if checked.verdict is not None else []
    return [f"{checked.target.name}: {one}" for one in told]


def _is_base(model: Model, base: str) -> bool:
    """Return whether a model is one that an adapter names, by its repository or its folder."""
    same = text(part(model, "resolved"), "repo").lower() == base.lower() or text(model, "download_path") == base
    return same and is_installed(model) and text(model, "download_format") != "gguf"


def _lost_layer(model: Model) -> str | None:
    """Return a recorded blob that is gone from a store that can be seen from here."""
    for path in file_paths(model):
        folder = os.path.dirname(path)  # noqa: PTH120
        if not os.path.lexists(path) and os.access(folder, os.R_OK | os.X_OK):
            return path.rpartition("/")[2]
    return None


def _is_path(asked: str) -> bool:
    return asked.startswith(("/", "~", "./", "../")) or asked in {".", ".."}


def _at_path(server: Server, path: Path, wishes: Wishes) -> Launch:
    if not path.exists():
        raise LaunchError(f"{path} is not there", remedy="Give a model's name, or the folder of its weights.")
    checked = check(server, ServedModel(path.name, path, (path.name,)), words=wishes.extra)
    words = command_line(server, checked.target, wishes)
    return Launch(None, tuple(words), (*checked.warnings, *_needed(checked, words)))
