"""What the servers of one host read that switch between models: llama-swap's YAML, llama-server's presets. Pure."""

import shlex
from collections.abc import Iterable
from typing import Final

from imageworks.exports.model import ExportedModel

LONGEST_NAME: Final = 128
_NO_INI_NAME: Final = frozenset("[]")
_NO_INI_VALUE: Final = frozenset(";#\"'")


def llama_swap(models: Iterable[ExportedModel]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return llama-swap's configuration, one model an entry, and why some are not in it."""
    found: dict[str, object] = {}
    notes: list[str] = []
    taken: set[str] = set()
    chosen, left = _servable(models)
    for model in chosen:
        words = ["llama-server", "--host", "127.0.0.1", "--port", "${PORT}", "--model", model.weights]
        words += ["--mmproj", model.projector] if model.projector else []
        words += ["--alias", model.name]
        if any("${" in word for word in words if word != "${PORT}"):
            notes.append(f"{model.name}: a name with '${{' would be a macro of llama-swap; it is left out")
            continue
        named = (one for one in model.aliases if one.isprintable() and "${" not in one)
        aliases = [one for one in named if one != model.name and one not in taken]
        taken.update(aliases)
        metadata: dict[str, object] = {
            "repository": model.repo,
            "revision": model.revision,
            "sha256": model.sha256,
            "size_bytes": model.size,
        }
        entry: dict[str, object] = {"cmd": shlex.join(words).replace("'${PORT}'", "${PORT}")}
        entry |= {"aliases": aliases} if aliases else {}
        entry["metadata"] = {key: value for key, value in metadata.items() if value}
        found[model.name] = entry
    return {"models": found}, (*left, *notes)


def llama_server(models: Iterable[ExportedModel]) -> tuple[str, tuple[str, ...]]:
    """Return llama-server's presets, one model a section, and why some are not in it."""
    lines = ["version = 1"]
    notes: list[str] = []
    chosen, left = _servable(models)
    for model in chosen:
        values = [model.name, model.weights, model.projector]
        odd = not (_NO_INI_NAME.isdisjoint(model.name) and _NO_INI_VALUE.isdisjoint("".join(values)))
        if odd or any(one != one.strip() for one in values) or model.name in {"*", "default"}:
            notes.append(f"{model.name}: a file of presets cannot hold its name or its path; it is left out")
            continue
        lines += ["", f"[{model.name}]", f"model = {model.weights}"]
        lines += [f"mmproj = {model.projector}"] if model.projector else []
    return "\n".join(lines) + "\n", (*left, *notes)


def _servable(models: Iterable[ExportedModel]) -> tuple[list[ExportedModel], tuple[str, ...]]:
    """Return the models that llama.cpp serves from one file, and why others with GGUF files are none of them."""
    chosen, notes = [], []
    for model in sorted(models, key=lambda one: one.name):
        if not model.weights:
            if model.container == "gguf" and model.path:
                notes.append(f"{model.name}: which of its files to serve is not clear; it is left out")
        elif not all(one.isprintable() for one in (model.name, model.weights, model.projector)):
            notes.append(f"{model.name!a}: no configuration file can hold its name or its path; it is left out")
        elif len(model.name) > LONGEST_NAME:
            notes.append(f"{model.name}: longer than {LONGEST_NAME} characters; it is left out")
        else:
            chosen.append(model)
    return chosen, tuple(notes)
