"""The ``export`` commands: files of other programs, as text."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, Registry
from imageworks.cli.output import complain, printable, say
from imageworks.exports import kubernetes
from imageworks.exports.clusters import ansible_play, ray_commands
from imageworks.exports.kubernetes import ClusterOptions, cluster_base_model, local_model_cache, node_group
from imageworks.exports.model import refuse_control
from imageworks.exports.timers import systemd_units, task_xml
from imageworks.exports.yaml_text import yaml_text
from imageworks.fleet.durations import parse_duration
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import find_registry, load_host_settings
from imageworks.operations.export import SERVER_FILES, models_here, remote_of

if TYPE_CHECKING:
    from imageworks.exports.model import ExportedModel
    from imageworks.host.settings import HostSettings

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to export; all if none.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="PATH", help="Write there instead of printing.")]
RemoteUrl = Annotated[
    str | None, typer.Option("--remote", metavar="URL", help="Where the registry is cloned from; else as this clone.")
]
Selector = Annotated[
    list[str] | None, typer.Option("--node-selector", metavar="KEY=VALUE", help="Only nodes with this label.")
]
NodePath = Annotated[str, typer.Option("--path", metavar="DIR", help="The folder of each node that holds models.")]
Interval = Annotated[str, typer.Option("--interval", metavar="TIME", help="How often, as 15m.")]
Program = Annotated[str | None, typer.Option("--program", metavar="WORDS", help="What starts this program there.")]
Image = Annotated[str, typer.Option("--image", metavar="IMAGE", help="The image with this program in it.")]
LABEL_PARTS: Final = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
FORMAT_VERSION: Final = 1
ONCE: Final = ("reconcile", "--yes", "--pull", "--push", "--report", "--no-progress")


class ClusterKind(StrEnum):
    """What runs the controller in a cluster."""

    DAEMONSET = "daemonset"
    JOB = "job"
    CRONJOB = "cronjob"


app = Commands("Write the files of other programs, as text.")


@app.command("kubernetes")
def kubernetes_command(  # one parameter an option
    image: Image,
    shape: Annotated[ClusterKind, typer.Option("--as", help="What runs it.")] = ClusterKind.DAEMONSET,
    remote: RemoteUrl = None,
    namespace: Annotated[str, typer.Option("--namespace", metavar="NAME", help="The namespace.")] = "default",
    path: NodePath = "/var/lib/imageworks",
    claim: Annotated[
        str, typer.Option("--pvc", metavar="NAME", help="Use this claim instead of a node's folder.")
    ] = "",
    secret: Annotated[str, typer.Option("--secret", metavar="NAME", help="Holds HF_TOKEN.")] = "imageworks-tokens",  # noqa: S107
    selector: Selector = None,
    interval: Interval = "15m",
    schedule: Annotated[str, typer.Option("--schedule", metavar="CRON", help="When a cronjob runs.")] = "*/15 * * * *",
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write a DaemonSet, Job or CronJob that brings models to nodes.

    Examples:
        imageworks-models export kubernetes --image registry.example.com/imageworks-models:1 --node-selector gpu=a100
    """
    parse_duration(interval, "--interval")
    root, host = _registry(registry)
    options = ClusterOptions(
        remote=remote or remote_of(root, host),
        image=image,
        namespace=namespace,
        path=path,
        claim=claim,
        secret=secret,
        selector=_labels(selector),
        interval=interval,
        schedule=schedule,
        revision=RegistryRepository.open(root, host=host.host).head() or "",
    )
    _refuse_control(options)
    make = {
        ClusterKind.DAEMONSET: kubernetes.daemon_set,
        ClusterKind.JOB: kubernetes.job,
        ClusterKind.CRONJOB: kubernetes.cron_job,
    }[shape]
    _write({"": yaml_text([make(options)])}, out, as_json=as_json)
    if not options.remote.startswith("https://"):
        complain(printable(f"note: pods clone {options.remote} without a key or token; they have one over https alone"))


@app.command("kserve")
def kserve_command(
    names: Names = None,
    group: Annotated[str, typer.Option("--node-group", metavar="NAME", help="The group of nodes.")] = "models",
    limit: Annotated[
        str, typer.Option("--storage-limit", metavar="SIZE", help="Room of each node, as 500Gi.")
    ] = "500Gi",
    path: NodePath = "/mnt/models",
    selector: Selector = None,
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write a LocalModelCache for each model at its recorded commit, and their LocalModelNodeGroup.

    Examples:
        imageworks-models export kserve --node-selector gpu=a100
    """
    options = ClusterOptions(remote="", image="", path=path, selector=_labels(selector))
    _refuse_control(options)
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", group):
        raise UsageError(f"--node-group: {group!r} cannot name an object", remedy="Use a-z, 0-9 and -.")
    if not re.fullmatch(r"[0-9]{1,9}(?:[KMGTP]i?)?", limit):
        raise UsageError(f"--storage-limit: {limit!r} is no size of Kubernetes", remedy="Write it like 500Gi.")
    models = _models(names, registry)
    for model in models:
        if not model.is_pinned:
            complain(printable(f"note: {model.name} is no commit of a repository on the Hub; it is left out"))
    caches = [local_model_cache(model, [group]) for model in models if model.is_pinned]
    _write({"": yaml_text([node_group(group, options, limit=limit), *caches])}, out, as_json=as_json)


@app.command("ome")
def ome_command(
    names: Names = None, selector: Selector = None, out: Out = None, as_json: AsJson = False, registry: Registry = None
) -> None:
    """Write a ClusterBaseModel for each model at the place where this host has it.

    Examples:
        imageworks-models export ome my-model
    """
    options = ClusterOptions(remote="", image="", selector=_labels(selector))
    models = [model for model in _models(names, registry) if model.path]
    _write({"": yaml_text([cluster_base_model(model, options) for model in models])}, out, as_json=as_json)


@app.command("systemd")
def systemd_command(
    interval: Interval = "15m",
    program: Program = None,
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write a service and a timer; with --out into that folder, such as ~/.config/systemd/user.

    Examples:
        imageworks-models export systemd --out ~/.config/systemd/user
    """
    root, host = _registry(registry)
    words = [*_program(program), *ONCE, "--registry", str(root)]
    seconds = parse_duration(interval, "--interval")
    _write(systemd_units(words, seconds=seconds, variables={"IMAGEWORKS_HOST": host.host}), out, as_json=as_json)


@app.command("taskscheduler")
def taskscheduler_command(
    interval: Interval = "15m",
    program: Program = None,
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write a task for Windows' Task Scheduler that runs this program in WSL.

    Examples:
        imageworks-models export taskscheduler --out imageworks.xml
    """
    root, _ = _registry(registry)
    start = _program(program) if program else ["wsl.exe", "--exec", *_program(None)]
    text = task_xml([*start, *ONCE, "--registry", str(root)], seconds=parse_duration(interval, "--interval"))
    _write({"": text}, out, as_json=as_json)


@app.command("ray")
def ray_command(
    remote: RemoteUrl = None,
    path: Annotated[
        str, typer.Option("--path", metavar="DIR", help="The clone on each node.")
    ] = "/opt/imageworks/registry",
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write the setup commands of a Ray cluster's YAML, which bring models before a node joins.

    Examples:
        imageworks-models export ray --path /opt/imageworks/registry
    """
    root, host = _registry(registry)
    words = ["imageworks-models", *ONCE, "--registry", path]
    _write({"": yaml_text([ray_commands(remote or remote_of(root, host), path, words)])}, out, as_json=as_json)


@app.command("ansible")
def ansible_command(
    hosts: Annotated[str, typer.Option("--hosts", metavar="PATTERN", help="Which hosts of the inventory.")] = "all",
    path: Annotated[
        str, typer.Option("--path", metavar="DIR", help="The registry on each host.")
    ] = "/opt/imageworks/registry",
    program: Program = None,
    out: Out = None,
    as_json: AsJson = False,
    registry: Registry = None,
) -> None:
    """Write a play that runs this program on each host and tells honestly what changed.

    Examples:
        imageworks-models export ansible --hosts gpus --out play.yaml
    """
    _registry(registry)
    start = _program(program) if program else ["imageworks-models"]
    words = [*start, *ONCE, "--detailed-exitcode", "--registry", path]
    _write({"": yaml_text([ansible_play(words, hosts=hosts)])}, out, as_json=as_json)


@app.command("llama-swap")
def llama_swap_command(
    names: Names = None, out: Out = None, as_json: AsJson = False, registry: Registry = None
) -> None:
    """Write llama-swap's configuration, one GGUF model an entry, commit and digest in its metadata.

    Examples:
        imageworks-models export llama-swap --out llama-swap.yaml
    """
    _server_file("llama-swap", names, out, registry, as_json=as_json)


@app.command("llama-server")
def llama_server_command(
    names: Names = None, out: Out = None, as_json: AsJson = False, registry: Registry = None
) -> None:
    """Write presets for llama-server's --models-preset, one GGUF model a section.

    Examples:
        imageworks-models export llama-server --out presets.ini
    """
    _server_file("llama-server", names, out, registry, as_json=as_json)


def _server_file(kind: str, names: list[str] | None, out: Path | None, registry: Path | None, *, as_json: bool) -> None:

    models = _models(names, registry)
    text, notes = SERVER_FILES[kind](models)
    _write({"": text}, out, as_json=as_json)
    for note in notes:
        complain(printable(f"note: {note}"))
    if not models:
        complain("note: no model is in it: none of this host's is installed")
    elif not any(model.weights for model in models):
        complain("note: no model is in it: none of this host's is a GGUF, which is what llama.cpp serves")


def _registry(registry: Path | None) -> "tuple[Path, HostSettings]":

    root = find_registry(registry)
    return root, load_host_settings(registry=root)


def _models(names: list[str] | None, registry: Path | None) -> "list[ExportedModel]":

    return models_here(*_registry(registry), names or ())


def _program(words: str | None) -> list[str]:

    if words is None:
        beside = Path(sys.executable).with_name("imageworks-models")
        return [str(beside)] if beside.is_file() else [sys.executable, "-m", "imageworks"]
    try:
        found = shlex.split(words)
    except ValueError as error:
        raise UsageError(f"--program: {words!r}: {error}", remedy="Quote it as a shell would.") from None
    if not found:
        raise UsageError("--program is empty", remedy="Leave it out, or name a program.")
    return found


def _labels(selectors: list[str] | None) -> dict[str, str]:
    found = {}
    for selector in selectors or ():
        key, equals, value = selector.partition("=")
        if not equals or not LABEL_PARTS.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise UsageError(f"--node-selector: {selector!r} is no label", remedy="Write it like gpu=a100.")
        found[key] = value
    return found


def _refuse_control(options: "ClusterOptions") -> None:

    refuse_control(
        {
            "--remote": options.remote,
            "--image": options.image,
            "--path": options.path,
            "--schedule": options.schedule,
            "--namespace": options.namespace,
            "--pvc": options.claim,
            "--secret": options.secret,
        }
    )


def _write(files: Mapping[str, str], out: Path | None, *, as_json: bool) -> None:
    """Print texts, or write them: one text to a file, several into a folder."""
    if as_json:
        say(json.dumps({"format_version": FORMAT_VERSION, "files": dict(files)}, indent=2, ensure_ascii=False))
        return
    if out is None:
        for name, text in files.items():
            say((f"# {name}\n" if name else "") + text.rstrip("\n"))
        return
    for name, text in files.items():
        path = out / name if name else out
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ImageworksError(f"{path}: cannot be written: {error.strerror}") from error
        complain(printable(f"wrote {path}"))
