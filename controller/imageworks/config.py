"""This host's own settings: where the registry, the state and the allowed roots are, and where each answer came from.

Precedence, strongest first: command-line option, environment variable, the user's ``config.toml``, ``registry.yaml``,
built-in default. What a registry says can never widen the roots that this host allows.
"""

import json
import os
import re
import socket
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from imageworks.errors import ImageworksError, UsageError

REGISTRY_FILE: Final = "registry.yaml"
DEFAULT_HOME: Final = Path("~/ai-models")
DEFAULT_REGISTRY: Final = DEFAULT_HOME / "registry"
DEFAULT_WEIGHTS: Final = DEFAULT_HOME / "weights"
DEFAULT_WINDOWS_LMSTUDIO: Final = Path("/mnt/d/ai stuff/models/llm models")
LMSTUDIO_HOMES: Final = (Path("~/.lmstudio"), Path("~/.cache/lm-studio"))

ENVIRONMENT: Final = {
    "registry": "IMAGEWORKS_REGISTRY_DIR",
    "host": "IMAGEWORKS_HOST",
    "model_root": "IMAGEWORKS_MODEL_ROOT",
    "lmstudio_root": "IMAGEWORKS_LMSTUDIO_ROOT",
    "state_dir": "IMAGEWORKS_STATE_DIR",
    "cache_dir": "IMAGEWORKS_CACHE_DIR",
    "log_dir": "IMAGEWORKS_LOG_DIR",
    "hub_endpoint": "HF_ENDPOINT",
}
PLATFORM: str = sys.platform  # typed as text, so that the checker looks at every platform's branch
LONGEST_HOST_BYTES: Final = 200  # with a suffix it is a file's name
USER_KEYS: Final = (*(key for key in ENVIRONMENT if key != "hub_endpoint"), "roots")


class ConfigurationError(ImageworksError):
    """A setting of this host cannot be used; the message names its file or variable."""


class RegistryNotFoundError(ImageworksError):
    """No registry could be found from here."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective setting.

    Args:
        name: The setting's key, as in ``config.toml``.
        value: Its effective value, as text.
        origin: Where it came from: ``default``, ``environment NAME``, a file's path, or ``option --x``.
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Everything that this host decides for itself.

    Args:
        host: The name below which this controller writes.
        state_dir: Folder of host-local state (fingerprints, locks).
        cache_dir: Folder of what can be made again (parsed manifests, listings).
        log_dir: Folder of the log file.
        model_root: Root for weights where the environment or the user's config names one.
        lmstudio_root: Root for LM Studio likewise.
        roots: Folders below which manifests and registry.yaml may lead.
        settings: Each setting with its origin, for ``config``.
        warnings: Unknown keys, each with the nearest known one.
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


def read_user_config(path: Path) -> Mapping[str, object]:
    """Return the user's settings, empty when the file does not exist.

    Raises:
        ConfigurationError: The file is not valid TOML or not readable.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}", remedy="Correct or remove the file.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def allow_root(root: Path) -> Path:
    """Add a folder to the roots in the user's ``config.toml``, and return that file; the rest of it stays as it is.

    Args:
        root: The folder below which models may be from now on.

    Raises:
        ConfigurationError: The file cannot be read, changed or written.
    """
    file = user_config_file()
    config = read_user_config(file)
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
        draft = file.with_name(f".{file.name}.new")
        draft.write_text(changed, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    return file


def _says(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def load_host_settings(*, registry: Path | None = None) -> HostSettings:
    """Return this host's settings from the environment and the user's config.

    Args:
        registry: The registry in use, shown among the settings.

    Raises:
        ConfigurationError: A value has the wrong type or cannot be used.
    """
    file = user_config_file()
    config = read_user_config(file)
    settings: list[Setting] = []

    def text(key: str, default: str | None) -> str | None:
        variable = ENVIRONMENT[key]
        if os.environ.get(variable):
            settings.append(Setting(key, os.environ[variable], f"environment {variable}"))
            return os.environ[variable]
        value = config.get(key)
        if value is not None:
            if not isinstance(value, str):
                raise ConfigurationError(f"{file}: {key} must be text", remedy=f'Write {key} = "…".')
            settings.append(Setting(key, value, str(file)))
            return value
        if default is not None:
            settings.append(Setting(key, default, "default"))
        return default

    host = text("host", socket.gethostname().split(".")[0] or "localhost")
    model_root = text("model_root", None)
    lmstudio_root = text("lmstudio_root", None)
    state_dir = Path(text("state_dir", None) or _platform_folder("state")).expanduser()
    cache_dir = Path(text("cache_dir", None) or _platform_folder("cache")).expanduser()
    log_dir = Path(text("log_dir", None) or state_dir / "logs").expanduser()
    text("hub_endpoint", "https://huggingface.co")
    if registry is not None:
        settings.insert(0, Setting("registry", str(registry), _registry_origin(registry)))
    return HostSettings(
        host=_checked_host(host or "localhost"),
        state_dir=state_dir,
        cache_dir=cache_dir,
        log_dir=log_dir,
        model_root=_absolute(model_root),
        lmstudio_root=_absolute(lmstudio_root),
        roots=_roots(config, file, _absolute(model_root), _absolute(lmstudio_root)),
        settings=tuple(settings),
        warnings=_unknown_keys(config, file),
    )


def _absolute(path: str | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


def _checked_host(host: str) -> str:
    unusable = not host.isprintable() or any(c in host for c in "/\\") or host.startswith((".", "-"))
    if not host or unusable or len(host.encode(errors="replace")) > LONGEST_HOST_BYTES:
        raise ConfigurationError(
            f"host name {host!r} cannot name a folder", remedy="Set IMAGEWORKS_HOST, or host in config.toml, to a name."
        )
    return host


def _roots(config: Mapping[str, object], file: Path, *own: Path | None) -> tuple[Path, ...]:
    extra = config.get("roots", [])
    if not isinstance(extra, list) or not all(isinstance(root, str) for root in extra):
        raise ConfigurationError(f"{file}: roots must be a list of paths", remedy='Write roots = ["/data/models"].')
    named = [DEFAULT_HOME, DEFAULT_WINDOWS_LMSTUDIO, *LMSTUDIO_HOMES, *(Path(root) for root in extra)]
    return tuple(dict.fromkeys([*(root for root in own if root is not None), *(p.expanduser() for p in named)]))


def _unknown_keys(config: Mapping[str, object], file: Path) -> tuple[str, ...]:
    warnings = []
    for key in config:
        if key not in USER_KEYS:
            near = get_close_matches(key, USER_KEYS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            warnings.append(f"{file}: unknown key {key!r} is ignored{hint}")
    return tuple(warnings)


def find_registry(explicit: Path | None = None, *, start: Path | None = None) -> Path:
    """Return the registry folder to use.

    Args:
        explicit: What ``--registry`` named, if anything.
        start: Where to look upward from; the current folder when absent.

    Raises:
        UsageError: ``--registry`` names something that is no registry.
        RegistryNotFoundError: No registry exists anywhere we look.
    """
    if explicit is not None:
        return _named_registry(explicit, "--registry")
    variable = os.environ.get(ENVIRONMENT["registry"])
    if variable:
        return _named_registry(Path(variable), ENVIRONMENT["registry"])
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        for candidate in (folder, folder / "registry"):
            if (candidate / REGISTRY_FILE).is_file():
                return candidate
    configured = read_user_config(user_config_file()).get("registry")
    if isinstance(configured, str):
        return _named_registry(Path(configured), str(user_config_file()))
    default = DEFAULT_REGISTRY.expanduser()
    if (default / REGISTRY_FILE).is_file():
        return default
    raise RegistryNotFoundError(
        f"no registry found: neither {here} nor a folder above it has {REGISTRY_FILE}, and {default} does not exist",
        remedy="Make one with `imageworks-models init PATH`, or name one with --registry or IMAGEWORKS_REGISTRY_DIR.",
    )


def _named_registry(path: Path, named_by: str) -> Path:
    path = path.expanduser().absolute()
    for candidate in (path, path / "registry"):
        if (candidate / REGISTRY_FILE).is_file():
            return candidate
    remedy = f"Make one there with `imageworks-models init '{path}'`."
    message = f"{named_by}: {path} has no {REGISTRY_FILE}"
    if named_by == "--registry":
        raise UsageError(message, remedy=remedy)
    raise RegistryNotFoundError(message, remedy=remedy)


def _registry_origin(registry: Path) -> str:
    variable = os.environ.get(ENVIRONMENT["registry"])
    if variable and Path(variable).expanduser().absolute() in (registry, registry.parent):
        return f"environment {ENVIRONMENT['registry']}"
    if registry == DEFAULT_REGISTRY.expanduser():
        return "default"
    return "found"
