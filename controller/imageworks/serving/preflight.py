"""What a server will miss in a model's folder, told before it loads gigabytes; reads names, configs and headers."""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.detection.adapters import Adapter
from imageworks.detection.file_names import Container, Role, classify
from imageworks.detection.local_files import describe_folder, describe_recorded
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.detection.problems import MissingPart
from imageworks.files.digests import Algorithm, hash_file
from imageworks.foundation.home import expanded
from imageworks.foundation.json_values import EMPTY
from imageworks.host.settings import HostSettings
from imageworks.registry.entries.queries import Model, part, text
from imageworks.registry.settings.model_places import ModelPlaces, Use
from imageworks.serving.command_line import LaunchError, ServedModel, Server
from imageworks.serving.compatibility import Answer, ServerVerdict, Trait, traits_of, verdict, verdicts

_GIVEN_APART: Final = {"missing-tokenizer": "--tokenizer", "missing-config": "--hf-config-path"}
"""vLLM's options that say where something is that a model's own folder lacks."""

FindBase = Callable[[str], str | None]
"""Returns the name of an installed model that came from a repository, or stands at a path."""
_OWN_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json")
_NO_TEMPLATE: Final = "no chat template"


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """A target that was looked at.

    Args:
        target: What is served, with the template and the file that the server is given.
        warnings: What it will miss.
        verdict: What the server needs for such a model; ``None`` for what Ollama keeps itself.
    """

    target: ServedModel
    warnings: tuple[str, ...]
    verdict: ServerVerdict | None = None


def check(
    server: Server,
    target: ServedModel,
    *,
    template: Path | None = None,
    words: Sequence[str] = (),
    find_base: FindBase = lambda _: None,
) -> PreflightResult:
    """Look at what is to be served."""
    path = target.path
    if path is None:
        return PreflightResult(target, ())
    if not path.exists():
        raise LaunchError(f"{target.name}: {path} is not there", remedy=_BRING_BACK.format(name=target.name))
    facts = _look(target, path)
    _refuse_incomplete(target, path, facts, words)
    if facts.adapter is not None:
        raise _adapter(server, target, path, facts.adapter, find_base)
    traits = traits_of(facts, target.name)
    known = verdict(server.value, traits)
    if known.answer is Answer.REFUSES:
        raise LaunchError(f"{target.name}: {'; '.join(known.sentences())}", remedy=_elsewhere(path, traits))
    warnings = [problem.message for problem in (*facts.problems, *facts.doubts)]
    if facts.download_format == "gguf":
        target, told = _one_file(target, path)
        warnings.append(told)
    warnings += facts.preflight.get(server.value, ())
    if template is not None:
        target, more = _with_template(server, target, path, template)
        warnings = [one for one in warnings if not one.startswith(_NO_TEMPLATE)] + more
    return PreflightResult(target, tuple(dict.fromkeys(f"{target.name}: {warning}" for warning in warnings)), known)


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
_COMPLETE_IT: Final = (
    "`imageworks-models verify {name} --repair` brings what its repository has; where that lacks it too, choose "
    "another revision or repository."
)


def _look(target: ServedModel, path: Path) -> ModelFacts:
    """Return what is to be served: of a recorded model its own files, of a shard all of them."""
    if target.files:
        return describe_recorded(path, target.files, Subject(repo=target.repo or path.name, library=target.library))
    shards = _shards_of(path)
    if shards:
        return describe_recorded(path.parent, [shard.name for shard in shards], Subject(repo=path.name))
    return describe_folder(path)


def _shards_of(path: Path) -> list[Path]:
    """Return the shards beside one that a person named."""
    said = classify(path.name)
    if path.is_dir() or not said.shards:
        return []
    beside = [one for one in sorted(path.parent.iterdir()) if classify(one.name).shards == said.shards]
    return [one for one in beside if classify(one.name).stem == said.stem]


def _refuse_incomplete(target: ServedModel, path: Path, facts: ModelFacts, words: Sequence[str]) -> None:
    """Refuse what lacks something that nobody gives in another way."""
    fatal = [problem for problem in facts.problems if not _is_given(problem, words)]
    if fatal:
        raise LaunchError(
            f"{target.name}: {path} is not complete: {'; '.join(problem.message for problem in fatal)}",
            remedy=_COMPLETE_IT.format(name=target.name)
            if target.recorded
            else "Complete it, or give another model's name or path.",
        )


def _is_given(problem: MissingPart, words: Sequence[str]) -> bool:
    option = _GIVEN_APART.get(problem.kind)
    return option is not None and any(word.partition("=")[0].replace("_", "-") == option for word in words)


def _adapter(server: Server, target: ServedModel, path: Path, adapter: Adapter, find_base: FindBase) -> LaunchError:
    """Return why an adapter is not served as a model, and how it is served with its base."""
    base = adapter.base
    message = f"{target.name} is an adapter, and no model of its own: it needs its base, {base or 'not named'}"
    if not adapter.peft or adapter.kind not in {None, "LORA"}:
        return LaunchError(message, remedy=f"{server.value} serves no adapter of this kind; its README says what does.")
    given = shlex.quote(f"{target.name}={path}")
    option = f"--enable-lora --lora-modules {given}" if server is Server.VLLM else f"--adapters {given}"
    name = find_base(base) if base else None
    launch = f"`imageworks-models launch {server.value} {shlex.quote(name or base or 'BASE')} -- {option}`"
    if name is None and base is not None:
        return LaunchError(
            message, remedy=f"Bring it, `imageworks-models download {shlex.quote(base)}`, then serve both: {launch}."
        )
    return LaunchError(message, remedy=f"Serve both: {launch}.")


def _one_file(target: ServedModel, path: Path) -> tuple[ServedModel, str]:
    """Return the target with the one GGUF file that vLLM wants to be named."""
    weights = _gguf_files(target, path)
    shards = {classify(file.name).shards for file in weights}
    if len({(file.parent, classify(file.name).stem) for file in weights}) == 1 and shards != {0}:
        raise _split(target, weights)
    if len(weights) != 1:
        raise LaunchError(
            f"{target.name}: {path} holds {len(weights)} GGUF files, and vLLM serves one",
            remedy="Give the path of one of them instead of the name.",
        )
    told = "vLLM's support of GGUF is experimental; Ollama serves it as it is"
    return replace(target, path=weights[0]), told


def _gguf_files(target: ServedModel, path: Path) -> list[Path]:
    """Return the files of weights that are to be served."""
    if target.files:
        found = [path / name for name in target.files]
    else:
        found = _shards_of(path) or (sorted(path.rglob("*.gguf*")) if path.is_dir() else [path])
    said = [(file, classify(f"{file.parent.name}/{file.name}")) for file in found]
    return [file for file, one in said if one.role is Role.WEIGHTS and one.container is Container.GGUF]


def _split(target: ServedModel, shards: list[Path]) -> LaunchError:
    """Return that a GGUF in shards is merged before vLLM reads it, and how."""
    stem = re.sub(
        r"[-_.]\d{4,6}-of-\d{4,6}$|\.gguf[-.](?:split-[a-z]|part\d+of\d+)$", "", shards[0].name.removesuffix(".gguf")
    )
    merged = f"./{stem}.gguf"
    if shards[0].suffix == ".gguf":
        merge = shlex.join(["llama-gguf-split", "--merge", str(shards[0]), merged])
    else:  # cut up as bytes, without a header each
        merge = f"{shlex.join(['cat', *map(str, shards)])} > {shlex.quote(merged)}"
    return LaunchError(
        f"{target.name}: its GGUF is in {len(shards)} shards, and vLLM reads one file",
        remedy=f"Merge them, `{merge}`, then `imageworks-models launch vllm {shlex.quote(merged)}`; "
        "or serve it with llama.cpp, which reads shards.",
    )


def declared_template(model: Model, root: Path, host: HostSettings, recorded: Model = EMPTY) -> Path | None:
    """Return the chat template's file that people or detection named, if it stands outside the tokenizer."""
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
    if (why := ModelPlaces(host).why_not(found, Use.READING)) is not None:
        raise LaunchError(
            f"{text(model, 'name')}: the chat template {found} is no file for a server: {why}",
            remedy="Correct chat_template.path in the manifest.",
        )
    pinned, came = declared.get("sha256"), part(recorded, "chat_template").get("sha256")
    if isinstance(pinned, str) and pinned != came and hash_file(found, Algorithm.SHA256).value != pinned:
        raise LaunchError(
            f"{text(model, 'name')}: the chat template {found} is not the one that chat_template.sha256 names",
            remedy="Bring that one back, or put the digest of this one into the manifest once somebody read it.",
        )
    return found


def _with_template(server: Server, target: ServedModel, path: Path, template: Path) -> tuple[ServedModel, list[str]]:
    """Return the target with a template that the server would not find or not take by itself."""
    if template.parent == path and template.name in _OWN_TEMPLATES:
        return target, []  # the tokenizer's loader takes these names by itself
    if server is Server.LMDEPLOY and template.suffix != ".json":
        told = f"LMDeploy takes its own JSON description and not {template.name}"
        return target, [f"{told}: put the template into tokenizer_config.json, or describe it in a .json file"]
    if server is Server.VLLM and template.suffix == ".json":
        return target, [f"vLLM takes a Jinja file and not {template.name}: it uses what the tokenizer has"]
    return replace(target, template=template), []
