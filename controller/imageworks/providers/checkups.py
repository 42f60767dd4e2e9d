"""How the programs and services are that models come from or go to, for `doctor`: one result for each thing."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from imageworks.host.lmstudio_home import find_lmstudio
from imageworks.host.settings import HostSettings
from imageworks.plan.checkup import CheckResult, note, well, wrong
from imageworks.providers.huggingface.client import HubClient
from imageworks.providers.huggingface.errors import HubError, OfflineError, UnauthorisedError
from imageworks.providers.huggingface.token import find_token
from imageworks.providers.ollama.address import from_environment
from imageworks.providers.ollama.client import OllamaClient
from imageworks.providers.ollama.errors import OllamaError


def checkups(
    host: HostSettings, models: Mapping[str, int], locations: Mapping[str, Path], *, offline: bool
) -> Iterator[CheckResult]:
    """Yield how the programs and services are that models come from or go to."""
    yield from check_hub(host, offline=offline)
    yield check_ollama(host, models=models.get("ollama", 0))
    yield from check_studio(locations)


def check_hub(host: HostSettings, *, offline: bool) -> Iterator[CheckResult]:
    """Yield what can be said of the hub and the token."""
    environment = host.environment()
    try:
        token = find_token(environment)
    except UnauthorisedError as error:
        yield wrong("token", error.message, error.remedy or "")
        return
    if token is None:
        how = "`hf auth login`, or HF_TOKEN, gives one"
        yield note("token", "no Hugging Face token: gated and private repositories cannot be read", how)
    endpoint, account = host.hub_endpoint, None
    try:
        with HubClient.from_environment(
            environment, cache_dir=host.cache_dir, write_cache=False, offline=offline
        ) as client:
            account = client.account()
    except OfflineError:
        yield note("hub", f"{endpoint} was not asked: the network is not to be used")
        if token is not None:
            yield note("token", f"found in {token.origin}; only the hub knows whether it is valid")
        return
    except UnauthorisedError as error:
        yield well("hub", f"{endpoint} answers")
        yield wrong("token", error.message, error.remedy or "")
        return
    except HubError as error:
        yield wrong("hub", error.message, error.remedy or "Check the network, or HF_ENDPOINT; --offline asks nothing.")
        return
    yield well("hub", f"{endpoint} answers")
    if account is not None and token is not None:
        yield well("token", f"{account}, by {token.origin}")


def check_ollama(host: HostSettings, *, models: int) -> CheckResult:
    """Return whether its daemon answers."""
    try:
        with OllamaClient(*from_environment(host.environment())) as client:
            return well("ollama", f"version {client.version()} at {client.address.url}")
    except OllamaError as error:
        if models:
            waiting = f"{models} {'model waits' if models == 1 else 'models wait'} for it"
            return wrong("ollama", f"{error.message}; {waiting}", error.remedy or "Start Ollama.")
        return note("ollama", f"{error.message}; no model needs it")


def check_studio(locations: Mapping[str, Path]) -> Iterator[CheckResult]:
    """Yield what can be said of each LM Studio of this machine."""
    roots = {os.path.realpath(root) for root in locations.values()}
    for studio in find_lmstudio():
        if studio.problem is not None:
            yield note("lmstudio", f"{studio.problem}; {studio.models} is taken for its folder")
        elif os.path.realpath(studio.models) in roots:
            yield well("lmstudio", f"its folder {studio.models} is a location")
        else:
            how = f"Set `lmstudio_root = {str(studio.models)!r}` in config.toml to share models with it."
            yield note("lmstudio", f"its folder {studio.models} is no location of this registry", how)
