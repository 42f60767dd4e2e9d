"""This host's own settings: where the registry, the state and the allowed roots are, and where each answer came from.

Precedence, strongest first: command-line option, environment variable, the user's ``config.toml``, the nearest
``pyproject.toml``, ``registry.yaml``, built-in default. What travels with a repository, the last two files, never
overrides what this host's owner said, and never widens the roots that this host allows (decision 7).
"""

import json
import os
import platform
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.home import expanded
from imageworks.foundation.log import warn
from imageworks.foundation.private_files import FILE_MODE, FOLDER_MODE, make_folders
from imageworks.host.lmstudio_home import HOMES, find_lmstudio
from imageworks.host.predecessor_files import refuse_foreign
from imageworks.host.setting_layers import (
    ConfigurationError,
    Layers,
    Setting,
    SettingsFile,
    SettingValue,
    find_project,
    parse_toml,
    read_toml,
)

REGISTRY_FILE: Final = "registry.yaml"
DEFAULT_HOME: Final = Path("~/ai-models")
DEFAULT_REGISTRY: Final = DEFAULT_HOME / "registry"
DEFAULT_WEIGHTS: Final = DEFAULT_HOME / "weights"
DEFAULT_WINDOWS_LMSTUDIO: Final = Path("/mnt/d/ai stuff/models/llm models")
DEFAULT_ROOTS: Final = {"model_root": DEFAULT_WEIGHTS, "lmstudio_root": DEFAULT_WINDOWS_LMSTUDIO}
"""By the settings that name others."""
LMSTUDIO_HOMES: Final = tuple(Path("~", home) for home in HOMES)

DEFAULT_HUB: Final = "https://huggingface.co"
OPTION: Final = "--registry"
ARGUMENT: Final = "registry"
"""What names a registry in Python."""
REGISTRY_VARIABLE: Final = "IMAGEWORKS_REGISTRY_DIR"
PLATFORM: str = sys.platform  # typed as text, so that the checker looks at every platform's branch
LONGEST_HOST_BYTES: Final = 200  # with a suffix it is a file's name


class RegistryNotFoundError(ImageworksError):
    """No registry could be found from here."""


class NothingThereError(UsageError):
    """What ``--registry`` names is nothing yet."""


class HostSettings(NamedTuple):  # making a dataclass takes long, in every command
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
        mirrors: Where bytes come from before the hub, as addresses or names of hosts; ``None`` where only the registry
            says.
        max_connections: Connections for each large file; the registry's when absent.
        max_concurrent_downloads: Large files at once; the registry's when absent.
        preferred_formats: Which format a download takes of several, the preferred one first.
        require_signed: Whether only signed manifests count, whatever a registry says.
        require_signed_since: Commits of which a signed registry follows one; all that is newer is signed.
        registry_ids: The ids of which a signed registry has one; any where there is none.
        allowed_launch_options: Options that load code, read files or open the machine, and that a registry may say.
        credentials: ``host=VARIABLE``: by which variable each host of `url` sources knows us.
        private_hosts: Hosts and networks of this network's own to which a public hub may lead.
        trusted_owners: Users besides this one, by name or number, whose files are linked rather than copied.
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
    mirrors: tuple[str, ...] | None = None
    max_connections: int | None = None
    max_concurrent_downloads: int | None = None
    preferred_formats: tuple[str, ...] = ()
    require_signed: bool = False
    require_signed_since: tuple[str, ...] = ()
    registry_ids: tuple[str, ...] = ()
    allowed_launch_options: frozenset[str] = frozenset()
    private_hosts: tuple[str, ...] = ()
    trusted_owners: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()

    def origin_of(self, name: str) -> str:
        """Return where a setting comes from, in words."""
        return next((setting.origin for setting in self.settings if setting.name == name), "default")

    def environment(self) -> dict[str, str]:
        """Return the process's environment, in which the hub and where it may lead are as these settings say."""
        from imageworks.foundation.addresses import PRIVATE_HOSTS

        return {**os.environ, "HF_ENDPOINT": self.hub_endpoint, PRIVATE_HOSTS: ",".join(self.private_hosts)}

    @property
    def trusted_users(self) -> frozenset[int]:
        """The numbers of the users whose files are linked rather than copied."""
        from imageworks.files.writers import user_ids

        return user_ids(self.trusted_owners)

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
    """Add a folder to the roots in the user's ``config.toml``, and return that file; the rest of it stays as it is."""
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
        make_folders(file.parent, FOLDER_MODE)
        from imageworks.files.renames import write_durably

        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else FILE_MODE
        write_durably(file, changed.encode(), mode=mode)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    return file


def _says(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return parse_toml(text) == wanted
    except ValueError:
        return False


def how_to_allow(folder: Path) -> str:
    """Return what to type so that models may be below a folder."""
    return f"if you trust it: `imageworks-models config --allow {shlex.quote(str(folder))}`"


def load_host_settings(*, registry: Path | None = None, start: Path | None = None) -> HostSettings:
    """Return this host's settings from the environment, the user's config and the project around a folder."""
    file = user_config_file()
    user = SettingsFile(file, read_toml(file))
    project, nearly = find_project(_here(start))
    layers = Layers(os.environ, (user, project) if project else (user,))
    host = layers.text("host") or _told(layers, "host", platform.node().split(".")[0] or "localhost")
    weights = _root(layers, "model_root", "linux_wsl_root", "weights")
    lmstudio = _root(layers, "lmstudio_root", "windows_lmstudio_root")
    state_dir = _folder(layers, "state_dir", _platform_folder("state"))
    roots = _roots(layers, weights, lmstudio)
    mirrors = layers.find("mirror")
    since = tuple(map(_checked_commit, layers.texts("require_signed_since")))
    settings = HostSettings(
        host=checked_host(host),
        state_dir=state_dir,
        cache_dir=_folder(layers, "cache_dir", _platform_folder("cache")),
        log_dir=_folder(layers, "log_dir", state_dir / "logs"),
        model_root=weights.path if weights else None,
        lmstudio_root=lmstudio.path if lmstudio else None,
        roots=roots,
        hub_endpoint=layers.text("hub_endpoint") or _told(layers, "hub_endpoint", DEFAULT_HUB),
        mirrors=mirrors.value if mirrors is not None and isinstance(mirrors.value, tuple) else None,
        max_connections=layers.number("max_connections"),
        max_concurrent_downloads=layers.number("max_concurrent_downloads"),
        require_signed=layers.flag("require_signed") or bool(since),
        require_signed_since=since,
        registry_ids=layers.texts("registry_ids"),
        allowed_launch_options=frozenset(name.replace("_", "-") for name in layers.texts("allowed_launch_options")),
        private_hosts=layers.texts("private_hosts"),
        trusted_owners=layers.texts("trusted_owners"),
        credentials=layers.texts("credentials"),
        preferred_formats=tuple(form.lower() for form in layers.texts("preferred_formats")),
        settings=(),
    )
    outside = _outside(settings, weights, lmstudio)
    shown = [Setting("registry", str(registry), _registry_origin(registry))] if registry is not None else []
    warnings = (*nearly, *layers.warnings(), *outside)
    for warning in warnings:
        warn(warning)
    return settings._replace(settings=(*shown, *layers.settings), warnings=warnings, former=layers.former())


class _Root(NamedTuple):
    """A root for models that some layer names.

    Args:
        path: The folder, absolute.
        key: The key that names it.
        found: What that key says.
    """

    path: Path
    key: str
    found: SettingValue


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


def _checked_commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise ConfigurationError(
            f"require_signed_since: {text!r} is no full commit id", remedy="Take it from: git rev-parse COMMIT"
        )
    return text


def checked_host(host: str) -> str:
    """Return a host's name."""
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
        f"nothing is put there; {how_to_allow(root.path)}"
        for root in own
        if root is not None and root.found.project and not settings.allows(root.path)
    )


def find_registry(explicit: Path | None = None, *, start: Path | None = None, named_by: str = OPTION) -> Path:
    """Return the registry folder to use; what named it is told where it is none."""
    if explicit is not None:
        return _named_registry(explicit, named_by)
    variable = os.environ.get(REGISTRY_VARIABLE, "")
    if variable.strip():
        return _named_registry(Path(variable), REGISTRY_VARIABLE)
    here = _here(start)
    for folder in (here, *here.parents):
        for candidate in (folder, folder / "registry"):
            if (candidate / REGISTRY_FILE).is_file():
                return candidate
    file = user_config_file()
    configured = Layers({}, (SettingsFile(file, read_toml(file)),)).text("registry")
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


def registry_to_make(given: Path | None = None) -> Path:
    """Return where the first download makes a registry: where somebody says, else the usual place."""
    file = user_config_file()
    named = given or Layers(os.environ, (SettingsFile(file, read_toml(file)),)).text("registry")
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
    if named_by == OPTION:
        nothing = not os.path.lexists(path) or (path.is_dir() and next(path.iterdir(), None) is None)
        raise (NothingThereError if nothing else UsageError)(message, remedy=remedy)
    raise RegistryNotFoundError(message, remedy=remedy)


def _registry_origin(registry: Path) -> str:
    variable = os.environ.get(REGISTRY_VARIABLE)
    if variable and expanded(variable).absolute() in (registry, registry.parent):
        return f"environment {REGISTRY_VARIABLE}"
    if registry == DEFAULT_REGISTRY.expanduser():
        return "default"
    return "found"
