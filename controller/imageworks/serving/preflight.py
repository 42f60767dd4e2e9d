"""What a server will miss in a model's folder, told before it loads gigabytes; reads names, configs and headers."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.config import HostSettings
from imageworks.detect.local import describe_folder
from imageworks.foundation.home import expanded
from imageworks.registry.views import Model, part, text
from imageworks.serving.compatibility import Answer, Trait, Verdict, traits_of, verdict, verdicts
from imageworks.serving.launch import LaunchError, Server, Target

_FATAL: Final = frozenset({"missing-weights", "missing-shard", "empty-file", "truncated-file"})
_OWN_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json")
_NO_TEMPLATE: Final = "no chat template"


@dataclass(frozen=True, slots=True)
class Checked:
    """A target that was looked at.

    Args:
        target: What is served, with the template and the file that the server is given.
        warnings: What it will miss.
        verdict: What the server needs for such a model; ``None`` for what Ollama keeps itself.
    """

    target: Target
    warnings: tuple[str, ...]
    verdict: Verdict | None = None


def check(server: Server, target: Target, *, template: Path | None = None) -> Checked:
    """Look at what is to be served.

    Args:
        server: What serves it.
        target: What is served.
        template: The chat template that people declared for it.

    Raises:
        LaunchError: The files are not there or not complete, or the server cannot read their format.
    """
    path = target.path
    if path is None:
        return Checked(target, ())
    if not path.exists():
        raise LaunchError(f"{target.name}: {path} is not there", remedy=_BRING_BACK.format(name=target.name))
    facts = describe_folder(path)
    fatal = [problem.message for problem in facts.problems if problem.kind in _FATAL]
    if fatal:
        raise LaunchError(
            f"{target.name}: {path} is not complete: {'; '.join(fatal)}", remedy=_BRING_BACK.format(name=target.name)
        )
    traits = traits_of(facts, target.name)
    known = verdict(server.value, traits)
    if known.answer is Answer.REFUSES:
        raise LaunchError(f"{target.name}: {'; '.join(known.sentences())}", remedy=_elsewhere(path, traits))
    warnings = [problem.message for problem in facts.problems]
    if facts.download_format == "gguf":
        target, told = _one_file(target, path)
        warnings.append(told)
    warnings += facts.preflight.get(server.value, ())
    if template is not None:
        target, more = _with_template(server, target, path, template)
        warnings = [one for one in warnings if not one.startswith(_NO_TEMPLATE)] + more
    return Checked(target, tuple(dict.fromkeys(f"{target.name}: {warning}" for warning in warnings)), known)


def _elsewhere(path: Path, traits: frozenset[Trait]) -> str:
    """Return which server a model can be served with instead."""
    others = [one for one in verdicts(traits) if one.answer <= Answer.NEEDS]
    if not others:
        return "None of vLLM, LMDeploy and Ollama serves it; docs/servers.md has what each takes."
    told = [
        f"`imageworks-models launch {one.server} {shlex.quote(str(path))}`"
        if one.server != "ollama"
        else f"Ollama, {one.rules[0].said}"
        for one in others
    ]
    return f"Serve it with {', or '.join(told)}."


_BRING_BACK: Final = "See `imageworks-models verify {name}`; `verify {name} --repair` brings back what is missing."


def _one_file(target: Target, path: Path) -> tuple[Target, str]:
    """Return the target with the one GGUF file that vLLM wants to be named."""
    found = sorted(path.rglob("*.gguf")) if path.is_dir() else [path]
    weights = [file for file in found if "mmproj" not in file.name.lower()]
    if len(weights) != 1:
        raise LaunchError(
            f"{target.name}: {path} holds {len(weights)} GGUF files, and vLLM serves one",
            remedy="Give the path of one of them instead of the name.",
        )
    told = "vLLM's support of GGUF is experimental; Ollama serves it as it is"
    return replace(target, path=weights[0]), told


def declared_template(model: Model, root: Path, host: HostSettings) -> Path | None:
    """Return the chat template's file that people or detection named for a model, if it stands outside the tokenizer.

    Args:
        model: The merged model.
        root: The registry, in which a manifest's relative path is looked up after the model's own folder.
        host: This host's settings, whose roots bound where it may be.

    Raises:
        LaunchError: It is not there, or outside what this host allows.
    """
    declared = part(model, "chat_template")
    named = declared.get("path")
    if declared.get("source") != "external" or not isinstance(named, str):
        return None
    folder, given = Path(text(model, "download_path")), expanded(named)
    found = next((place for place in (folder / given, root / given) if place.is_file()), None)
    if found is None:
        raise LaunchError(
            f"{text(model, 'name')}: the chat template {named} is neither in {folder} nor in {root}",
            remedy="Correct chat_template.path in the manifest.",
        )
    inside = any(found.resolve().is_relative_to(place.resolve()) for place in (folder, root))
    if not inside and not host.allows(found):
        raise LaunchError(
            f"{text(model, 'name')}: the chat template {found} is outside the folders that this host allows",
            remedy="Put it into the registry, or add its folder to roots in the user's config.toml.",
        )
    return found


def _with_template(server: Server, target: Target, path: Path, template: Path) -> tuple[Target, list[str]]:
    """Return the target with a template that the server would not find or not take by itself."""
    if template.parent == path and template.name in _OWN_TEMPLATES:
        return target, []  # the tokenizer's loader takes these names by itself
    if server is Server.LMDEPLOY and template.suffix != ".json":
        told = f"LMDeploy takes its own JSON description and not {template.name}"
        return target, [f"{told}: put the template into tokenizer_config.json, or describe it in a .json file"]
    if server is Server.VLLM and template.suffix == ".json":
        return target, [f"vLLM takes a Jinja file and not {template.name}: it uses what the tokenizer has"]
    return replace(target, template=template), []
