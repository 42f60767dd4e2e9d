"""Start the servers of vision-language models from Python, by the names that the registry knows."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.host.settings import ARGUMENT, RegistryNotFoundError, find_registry, load_host_settings
from imageworks.reconcile.open_registry import host_models
from imageworks.serving.command_line import Server, Wishes
from imageworks.serving.last_used import touch
from imageworks.serving.prepare import NOTHING_RECORDED, prepare
from imageworks.serving.process import start

if TYPE_CHECKING:
    import subprocess


def start_vllm_server(
    model_name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    extra_args: Sequence[str] = (),
    registry: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Start vLLM beside this process and return it; end it with its ``terminate()``.

    What the server will miss, such as a chat template, is told as a Python warning.

    Args:
        model_name: A model's variant name, served name, alias, display name or repository, or the path of its weights.
        host: The address to listen on; the manifest's, else loopback, when absent.
        port: The port; the manifest's, else vLLM's own, when absent.
        extra_args: More words for vLLM's command line; they win over the manifest's.
        registry: The registry folder; found as for the commands when absent.

    Raises:
        UnknownModelError: No model, or more than one, is called so.
        LaunchError: Its files are not there or not complete, or vLLM is not installed.
    """
    return _start(Server.VLLM, model_name, Wishes(host, port, tuple(extra_args)), registry)


def start_lmdeploy_server(
    model_name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    extra_args: Sequence[str] = (),
    registry: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Start LMDeploy's ``api_server`` beside this process and return it, as `start_vllm_server` does vLLM.

    Args:
        model_name: A model's name, or the path of its weights.
        host: The address to listen on.
        port: The port.
        extra_args: More words for LMDeploy's command line.
        registry: The registry folder.

    Raises:
        UnknownModelError: No model, or more than one, is called so.
        LaunchError: Its files are not there or not complete, or LMDeploy is not installed.
    """
    return _start(Server.LMDEPLOY, model_name, Wishes(host, port, tuple(extra_args)), registry)


def _start(server: Server, name: str, wishes: Wishes, registry: Path | None) -> "subprocess.Popen[bytes]":
    try:
        root: Path | None = find_registry(registry, named_by=ARGUMENT)
    except RegistryNotFoundError:
        root = None  # a path can be served without one
    settings = load_host_settings(registry=root)
    recorded = host_models(root, settings) if root is not None else NOTHING_RECORDED
    prepared = prepare(recorded, root, settings, server, name, wishes)
    for warning in prepared.warnings:
        warnings.warn(warning, stacklevel=3)  # where the caller's own code stands
    process = start(prepared.words)
    if prepared.model is not None:
        touch(settings.state_dir, prepared.model)
    return process
