"""This host's own settings: where the registry, the state and the allowed roots are, and where each answer came from.

Precedence, strongest first: command-line option, environment variable, the user's ``config.toml``, the nearest
``pyproject.toml``, ``registry.yaml``, built-in default. What travels with a repository, the last two files, never
overrides what this host's owner said, and never widens the roots that this host allows (decision 7).
"""

import json
import os
import re
import shlex
import socket
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks.config_layers import ConfigurationError, Found, Layer, Layers, Setting, find_project, read_toml
from imageworks.errors import ImageworksError, UsageError
from imageworks.foundation.home import expanded
from imageworks.lmstudio import HOMES, find_lmstudio
from imageworks.log import warn
from imageworks.registry.foreign import refuse_foreign

REGISTRY_FILE: Final = "registry.yaml"
DEFAULT_HOME: Final = Path("~/ai-models")
DEFAULT_REGISTRY: Final = DEFAULT_HOME / "registry"
DEFAULT_WEIGHTS: Final = DEFAULT_HOME / "weights"
DEFAULT_WINDOWS_LMSTUDIO: Final = Path("/mnt/d/ai stuff/models/llm models")
LMSTUDIO_HOMES: Final = tuple(Path("~", home) for home in HOMES)

DEFAULT_HUB: Final = "https://huggingface.co"
REGISTRY_VARIABLE: Final = "IMAGEWORKS_REGISTRY_DIR"
PLATFORM: str = sys.platform  # typed as text, so that the checker looks at every platform's branch
LONGEST_HOST_BYTES: Final = 200  # with a suffix it is a file's name


class RegistryNotFoundError(ImageworksError):
    """No registry could be found from here."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Everything that this host decides for itself.

    Args:
        host: The name below which this controller writes.
        state_dir: Folder of host-local state (fingerprints, locks).
        cache_dir: Folder of what can be made again (parsed manifests, listings).
        log_dir: Folder of the log file.
        model_root: Root for weights where the environment, the user's config or the project names one.
        lmstudio_root: Root for LM Studio likewise.
        roots: Folders below which manifests and registry.yaml may lead.
        settings: Each setting with its origin, for ``config``.
        warnings: What is written in the files and cannot be used, such as unknown keys.
        former: Keys of the earlier tool that the files still have.
        hub_endpoint: The hub's address.
        max_connections: Connections for each large file; the registry's when absent.
        max_concurrent_downloads: Large files at once; the registry's when absent.
        preferred_formats: Which format a download takes of several, the preferred one first.
        require_signed: Whether only signed manifests count, whatever a registry says.
        allowed_launch_options: Options that load code, read files or open the machine, and that a registry may say.
    """

    host: str
    state_dir: Path
    cache_dir: Path
    log_dir: Path
    model_root: Path | None
    lmstudio_root: Path | None
    roots: tuple[Path, ...]
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    hub_endpoint: str = DEFAULT_HUB
    max_connections: int | None = None
    max_concurrent_downloads: int | None = None
    preferred_formats: tuple[str, ...] = ()
    require_signed: bool = False
    allowed_launch_options: frozenset[str] = frozenset()

    def origin_of(self, name: str) -> str:
        """Return where a setting comes from, in words.

        Args:
            name: Its key.
        """
        return next((setting.origin for setting in self.settings if setting.name == name), "default")

    def environment(self) -> dict[str, str]:
        """Return the process's environment, in which ``HF_ENDPOINT`` is the hub that these settings name."""
        return {**os.environ, "HF_ENDPOINT": self.hub_endpoint}

    def allows(self, path: Path) -> bool:
        """Return whether a path lies below one of this host's roots once its symbolic links are followed."""
        resolved = Path(os.path.realpath(path))
        return any(resolved.is_relative_to(os.path.realpath(root)) for root in self.roots)


def user_config_file() -> Path:
    """Return the place of the user's ``config.toml`` on this platform."""
    return _platform_folder("config") / "config.toml"


def _platform_folder(kind: str) -> Path:
    # XDG variables win on every platform, so that a Mac user's dotfiles work too; platformdirs costs 23 ms of import.
    xdg = os.environ.get(f"XDG_{kind.upper()}_HOME")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "imageworks"
    if PLATFORM == "linux":
        linux = {"config": ".config", "state": ".local/state", "cache": ".cache"}[kind]
        return Path.home() / linux / "imageworks"
    import platformdirs

    folder = {
        "config": platformdirs.user_config_path,
        "state": platformdirs.user_state_path,
        "cache": platformdirs.user_cache_path,
    }[kind]
    return folder("imageworks", appauthor=False)


def allow_root(root: Path) -> Path:
    """Add a folder to the roots in the user's ``config.toml``, and return that file; the rest of it stays as it is.

    Args:
        root: The folder below which models may be from now on.

    Raises:
        ConfigurationError: The file cannot be read, changed or written.
    """
    file = user_config_file()
    config = read_toml(file)
    known = config.get("roots", [])
    if not isinstance(known, list) or str(root) in known:
        return file
    try:
        text = file.read_text(encoding="utf-8") if config else ""
        quoted = json.dumps(str(root), ensure_ascii=False)
        changed, places = re.subn(r"(?m)^(\s*roots\s*=\s*\[)", lambda found: f"{found[1]}{quoted}, ", text, count=1)
        if not places:
            changed = f"roots = [{quoted}]\n{text}"  # above everything else: below a table it would belong to that
        if not _says(changed, {**config, "roots": [str(root), *known]}):
            raise ConfigurationError(f"{file}: {root} could not be added to roots", remedy="Add it by hand.")
        file.parent.mkdir(parents=True, exist_ok=True)
        from imageworks.transfer.renames import write_durably

        write_durably(file, changed.encode())
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    return file


def _says(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def load_host_settings(*, registry: Path | None = None, start: Path | None = None) -> HostSettings:
    """Return this host's settings from the environment, the user's config and the project around a folder.

    Args:
        registry: The registry in use, shown among the settings.
        start: Where to look upward from for a project; the current folder when absent.

    Raises:
        ConfigurationError: A value has the wrong type or cannot be used.
    """
    file = user_config_file()
    user = Layer(file, read_toml(file))
    project, nearly = find_project(_here(start))
    layers = Layers(os.environ, (user, project) if project else (user,))
    host = layers.text("host") or _told(layers, "host", socket.gethostname().split(".")[0] or "localhost")
    weights = _root(layers, "model_root", "linux_wsl_root", "weights")
    lmstudio = _root(layers, "lmstudio_root", "windows_lmstudio_root")
    state_dir = _folder(layers, "state_dir", _platform_folder("state"))
    roots = _roots(layers, weights, lmstudio)
    settings = HostSettings(
        host=_checked_host(host),
        state_dir=state_dir,
        cache_dir=_folder(layers, "cache_dir", _platform_folder("cache")),
        log_dir=_folder(layers, "log_dir", state_dir / "logs"),
        model_root=weights.path if weights else None,
        lmstudio_root=lmstudio.path if lmstudio else None,
        roots=roots,
        hub_endpoint=layers.text("hub_endpoint") or _told(layers, "hub_endpoint", DEFAULT_HUB),
        max_connections=layers.number("max_connections"),
        max_concurrent_downloads=layers.number("max_concurrent_downloads"),
        require_signed=layers.flag("require_signed"),
        allowed_launch_options=frozenset(name.replace("_", "-") for name in layers.texts("allowed_launch_options")),
        preferred_formats=tuple(form.lower() for form in layers.texts("preferred_formats")),
        settings=(),
    )
    outside = _outside(settings, weights, lmstudio)
    shown = [Setting("registry", str(registry), _registry_origin(registry))] if registry is not None else []
    warnings = (*nearly, *layers.warnings(), *outside)
    for warning in warnings:
        warn(warning)
    return replace(settings, settings=(*shown, *layers.settings), warnings=warnings, former=layers.former())


@dataclass(frozen=True, slots=True)
class _Root:
    """A root for models that some layer names.

    Args:
        path: The folder, absolute.
        key: The key that names it.
        found: What that key says.
    """

    path: Path
    key: str
    found: Found


def _here(start: Path | None) -> Path:
    """Return the folder to look upward from; the root where the current folder was deleted meanwhile."""
    try:
        return (start or Path.cwd()).absolute()
    except FileNotFoundError:
        return Path("/")


def _told(layers: Layers, name: str, default: str) -> str:
    layers.settings.append(Setting(name, default, "default"))
    return default


def _folder(layers: Layers, name: str, default: Path) -> Path:
    return expanded(layers.text(name) or _told(layers, name, str(default)))


def _root(layers: Layers, own: str, home: str, below: str = "") -> _Root | None:
    """Return a root under its own key, else the one that lies below the folder that the other key names."""
    if (found := layers.find(own)) is not None:
        path = _absolute(str(found.value))
        if path.parent == path:
            raise ConfigurationError(
                f"{found.origin}: {own} is {path}: models cannot be strewn over the whole filesystem",
                remedy="Name a folder for models.",
            )
        return _Root(path, own, found)
    if (found := layers.find(home)) is None:
        return None
    path = _absolute(str(found.value)) / below
    layers.settings.append(Setting(own, str(path), f"{found.origin}, by {home}"))
    return _Root(path, home, found)


def _absolute(path: str) -> Path:
    return expanded(path).absolute()


def _checked_host(host: str) -> str:
    unusable = not host.isprintable() or any(c in host for c in "/\\") or host.startswith((".", "-"))
    if not host or unusable or len(host.encode(errors="replace")) > LONGEST_HOST_BYTES:
        raise ConfigurationError(
            f"host name {host!r} cannot name a folder", remedy="Set IMAGEWORKS_HOST, or host in config.toml, to a name."
        )
    return host


def _roots(layers: Layers, *own: _Root | None) -> tuple[Path, ...]:
    """Return the folders that models may be below: those that this host's owner named, and the usual ones."""
    trusted = {root.path: root.found.origin for root in own if root is not None and not root.found.project}
    usual = (DEFAULT_HOME, DEFAULT_WINDOWS_LMSTUDIO, *LMSTUDIO_HOMES)
    found = layers.find("roots")
    extra = found.value if found is not None and isinstance(found.value, tuple) else ()
    origins = {
        **{expanded(root): found.origin for root in extra if found is not None},
        # What LM Studio's own settings name is this user's word too: no registry and no project writes there.
        **{studio.models: "LM Studio's settings" for studio in find_lmstudio()},
        **{expanded(root): "default" for root in usual},
        **trusted,
    }
    layers.settings = [one for one in layers.settings if one.name != "roots"]
    layers.settings += [Setting("roots", str(root), origin) for root, origin in origins.items()]
    return tuple(origins)


def _outside(settings: HostSettings, *own: _Root | None) -> tuple[str, ...]:
    """Return a warning for each root of a project that lies outside what this host allows: nothing is put there."""
    return tuple(
        f"{root.found.origin}: {root.key} leads to {root.path}, which is outside the folders that this host allows, so "
        f"nothing is put there; if you trust it: imageworks-models config --allow {shlex.quote(str(root.path))}"
        for root in own
        if root is not None and root.found.project and not settings.allows(root.path)
    )


def find_registry(explicit: Path | None = None, *, start: Path | None = None) -> Path:
    """Return the registry folder to use.

    Args:
        explicit: What ``--registry`` named, if anything.
        start: Where to look upward from; the current folder when absent.

    Raises:
        UsageError: ``--registry`` names something that is no registry.
        ForeignFilesError: The folder that is meant holds the predecessor's files.
        RegistryNotFoundError: No registry exists anywhere we look.
    """
    if explicit is not None:
        return _named_registry(explicit, "--registry")
    variable = os.environ.get(REGISTRY_VARIABLE, "")
    if variable.strip():
        return _named_registry(Path(variable), REGISTRY_VARIABLE)
    here = _here(start)
    for folder in (here, *here.parents):
        for candidate in (folder, folder / "registry"):
            if (candidate / REGISTRY_FILE).is_file():
                return candidate
    file = user_config_file()
    configured = Layers({}, (Layer(file, read_toml(file)),)).text("registry")
    if configured is not None:
        return _named_registry(Path(configured), str(file))
    default = DEFAULT_REGISTRY.expanduser()
    if (default / REGISTRY_FILE).is_file():
        return default
    refuse_foreign(default, registry=False)
    raise RegistryNotFoundError(
        f"no registry found: neither {here} nor a folder above it has {REGISTRY_FILE}, and {default} does not exist",
        remedy="Make one with `imageworks-models init PATH`, or name one with --registry or IMAGEWORKS_REGISTRY_DIR.",
    )


def registry_to_make() -> Path:
    """Return where the first download makes a registry: where environment or user config say, else the usual place."""
    file = user_config_file()
    named = Layers(os.environ, (Layer(file, read_toml(file)),)).text("registry")
    return expanded(named or DEFAULT_REGISTRY).absolute()


def _named_registry(path: Path, named_by: str) -> Path:
    path = expanded(path).absolute()
    for candidate in (path, path / "registry"):
        if (candidate / REGISTRY_FILE).is_file():
            return candidate
    refuse_foreign(path, registry=False)
    if os.path.lexists(path / REGISTRY_FILE):
        message = f"{named_by}: {path / REGISTRY_FILE} is there, but is no file"
        remedy = "Put back what git has: move it away, then `git checkout -- registry.yaml` there."
    else:
        message = f"{named_by}: {path} has no {REGISTRY_FILE}"
        remedy = f"Make one there with `imageworks-models init '{path}'`."
    if named_by == "--registry":
        raise UsageError(message, remedy=remedy)
    raise RegistryNotFoundError(message, remedy=remedy)


def _registry_origin(registry: Path) -> str:
    variable = os.environ.get(REGISTRY_VARIABLE)
    if variable and expanded(variable).absolute() in (registry, registry.parent):
        return f"environment {REGISTRY_VARIABLE}"
    if registry == DEFAULT_REGISTRY.expanduser():
        return "default"
    return "found"
