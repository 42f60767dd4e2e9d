"""Where settings are written down and what may stand there: the table of keys, and layers that hold values for them."""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.similar_words import near_words, nearest

PROJECT_FILE: Final = "pyproject.toml"
PROJECT_TABLE: Final = ("tool", "imageworks", "model-downloader")
_MENTION: Final = b"imageworks"
_LARGEST_BYTES: Final = 4 << 20
_MOST_DIGITS: Final = 9


class ConfigurationError(ImageworksError):
    """A setting of this host cannot be used; the message names its file or variable."""


class SettingType(StrEnum):
    """What a key holds."""

    TEXT = "text"
    PATH = "path"
    NUMBER = "whole number"
    TEXTS = "list of texts"
    PATHS = "list of paths"
    FLAG = "true or false"


class Key(NamedTuple):  # making a dataclass takes six times as long, in every command
    """One setting that this host can make.

    Args:
        name: What files call it.
        kind: What it holds.
        variable: The environment variable that says the same.
        project: Whether a pyproject.toml may say it. What travels with a repository may neither name a folder that is
            written to besides models, nor the host that gets the user's token.
        least: The smallest number.
        most: The largest number.
    """

    name: str
    kind: SettingType
    variable: str | None = None
    project: bool = False
    least: int = 0
    most: int = 0


KEYS: Final = {
    key.name: key
    for key in (
        Key("registry", SettingType.PATH, "IMAGEWORKS_REGISTRY_DIR"),
        Key("host", SettingType.TEXT, "IMAGEWORKS_HOST"),
        Key("model_root", SettingType.PATH, "IMAGEWORKS_MODEL_ROOT"),
        Key("lmstudio_root", SettingType.PATH, "IMAGEWORKS_LMSTUDIO_ROOT"),
        Key("linux_wsl_root", SettingType.PATH, project=True),
        Key("windows_lmstudio_root", SettingType.PATH, project=True),
        Key("roots", SettingType.PATHS),
        Key("max_connections", SettingType.NUMBER, "IMAGEWORKS_MAX_CONNECTIONS", project=True, least=1, most=16),
        Key("max_concurrent_downloads", SettingType.NUMBER, "IMAGEWORKS_MAX_DOWNLOADS", project=True, least=1, most=64),
        Key("preferred_formats", SettingType.TEXTS, "IMAGEWORKS_PREFERRED_FORMATS", project=True),
        Key("hub_endpoint", SettingType.TEXT, "HF_ENDPOINT"),
        Key("mirror", SettingType.TEXTS, "IMAGEWORKS_MIRROR"),
        Key("require_signed", SettingType.FLAG),
        Key("require_signed_since", SettingType.TEXTS),
        Key("registry_ids", SettingType.TEXTS),
        Key("allowed_launch_options", SettingType.TEXTS),
        Key("private_hosts", SettingType.TEXTS, "IMAGEWORKS_PRIVATE_HOSTS"),
        Key("trusted_owners", SettingType.TEXTS),
        Key("credentials", SettingType.TEXTS, "IMAGEWORKS_CREDENTIALS"),
        Key("state_dir", SettingType.PATH, "IMAGEWORKS_STATE_DIR"),
        Key("cache_dir", SettingType.PATH, "IMAGEWORKS_CACHE_DIR"),
        Key("log_dir", SettingType.PATH, "IMAGEWORKS_LOG_DIR"),
    )
}


FORMER_NAMES: Final = {"max_connections": "max_connections_per_server"}
"""What the earlier tool called a key; its own name goes first."""

FORMER: Final = {
    "max_connections_per_server": "max_connections says the same; more than 16 count as 16",
    "enable_resume": "what was interrupted always resumes",
    "include_optional_files": "`download --include-optional` asks for it, model by model",
    "timeout_seconds": "a transfer is given up where no byte comes, and not after a fixed time",
    "retry_attempts": "what an error calls for decides on retries",
    "retry_delay_seconds": "what an error calls for decides on retries",
    "registry_subdir": "the registry is found by --registry, IMAGEWORKS_REGISTRY_DIR or its place",
    "cache_subdir": "cache_dir in the user's config.toml names the cache",
}
"""Keys of the earlier tool that projects still have, with what there is instead; they are no mistake of anybody."""


class Setting(NamedTuple):
    """One effective setting.

    Args:
        name: The setting's key, as in ``config.toml``.
        value: Its effective value, as text.
        origin: Where it came from: ``default``, ``environment NAME``, a file's path, or ``option --x``.
    """

    name: str
    value: str
    origin: str


class SettingsFile(NamedTuple):
    """What one file says.

    Args:
        file: The file.
        values: Its keys with their values, not checked.
        table: The table of the file that holds them; empty for the whole.
    """

    file: Path
    values: Mapping[str, object]
    table: tuple[str, ...] = ()

    @property
    def project(self) -> bool:
        """Whether it travels with a repository."""
        return bool(self.table)

    def warnings(self) -> tuple[str, ...]:
        """Return what is in it that nothing reads, each with the nearest key that something does."""
        usable = [key.name for key in KEYS.values() if key.project or not self.project]
        found = []
        for name in self.values:
            if name in usable or name in FORMER:
                continue
            if name in KEYS:
                why = "is not taken from a project; it belongs in the user's config.toml"
                found.append(f"{self.file}: {name} {why}")
                continue
            near = nearest(name, usable)
            hint = f"; did you mean {near!r}?" if near else ""
            found.append(f"{self.file}: unknown key {name!r} is ignored{hint}")
        return tuple(found)

    def former(self) -> tuple[str, ...]:
        """Return which keys of the earlier tool are in it, each with what there is instead."""
        return tuple(
            f"{self.file}: {name} is the earlier tool's: {FORMER[name]}" for name in self.values if name in FORMER
        )


class SettingValue(NamedTuple):
    """A value with where it came from.

    Args:
        value: What was said, checked: text, a number, or texts.
        origin: Where, as ``config`` shows it.
        project: Whether a project said it, whom the user may not know.
    """

    value: str | int | tuple[str, ...]
    origin: str
    project: bool = False


class Layers:
    """Looks settings up in the environment, then in the files, the strongest first."""

    def __init__(self, environment: Mapping[str, str], files: tuple[SettingsFile, ...]) -> None:
        self._environment = environment
        self._files = files
        self.settings: list[Setting] = []
        """What was looked up and found, for ``config``."""

    def warnings(self) -> tuple[str, ...]:
        """Return what the files say that nothing reads."""
        return tuple(warning for layer in self._files for warning in layer.warnings())

    def former(self) -> tuple[str, ...]:
        """Return which keys of the earlier tool the files have."""
        return tuple(line for layer in self._files for line in layer.former())

    def find(self, name: str) -> SettingValue | None:
        """Return what the strongest layer says of a key; an empty variable counts as unset."""
        found = self._search(KEYS[name])
        if found is not None:
            shown = ", ".join(found.value) if isinstance(found.value, tuple) else str(found.value)
            shown = shown.lower() if isinstance(found.value, bool) else shown
            self.settings.append(Setting(name, shown, found.origin))
        return found

    def _search(self, key: Key) -> SettingValue | None:
        said = self._environment.get(key.variable) if key.variable else None
        if key.variable and said and said.strip():
            return SettingValue(_from_variable(key, said), f"environment {key.variable}")
        for layer in self._files:
            if key.name in layer.values and (key.project or not layer.project):
                return SettingValue(_from_file(key, layer), str(layer.file), project=layer.project)
            former = FORMER_NAMES.get(key.name, "")
            said_before = layer.values.get(former)
            # What another tool takes is held to no limit of ours.
            if isinstance(said_before, int) and not isinstance(said_before, bool) and said_before >= key.least:
                return SettingValue(min(said_before, key.most), f"{layer.file}, by {former}", project=layer.project)
        return None

    def text(self, name: str) -> str | None:
        """Return a text or a path, if any layer says it."""
        found = self.find(name)
        return str(found.value) if found else None

    def number(self, name: str) -> int | None:
        """Return a number, if any layer says it."""
        found = self.find(name)
        return found.value if found and isinstance(found.value, int) else None

    def flag(self, name: str) -> bool:
        """Return whether the strongest layer that says anything says yes."""
        found = self.find(name)
        return found is not None and found.value is True

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list, empty if no layer says it."""
        found = self.find(name)
        return found.value if found and isinstance(found.value, tuple) else ()


def _from_variable(key: Key, said: str) -> str | int | tuple[str, ...]:
    if key.kind is SettingType.NUMBER:
        digits = said.strip()
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None
        if number is None or not key.least <= number <= key.most:
            raise ConfigurationError(
                f"{key.variable} must be a {key.kind} from {key.least} to {key.most}, not {said!r}",
                remedy=f"Set {key.variable}={key.most // 2}, for example, or unset it.",
            )
        return number
    if key.kind is SettingType.TEXTS:
        return tuple(part.strip() for part in said.split(",") if part.strip())
    if key.kind is SettingType.PATH:
        check_path(key.variable or key.name, said)
    return said


_LIST_EXAMPLES: Final = {
    "preferred_formats": '["awq", "safetensors"]',
    "allowed_launch_options": '["--trust-remote-code"]',
    "credentials": '["models.example.com=EXAMPLE_TOKEN"]',
    "private_hosts": '["storage.example.com", "10.0.0.0/8"]',
    "mirror": '["http://10.0.0.5:8090"]',
    "require_signed_since": '["536a357… (40 hex digits)"]',
    "registry_ids": '["the id in registry.yaml"]',
}


def _from_file(key: Key, layer: SettingsFile) -> str | int | tuple[str, ...]:
    value = layer.values[key.name]
    where = f"{layer.file}: {'.'.join((*layer.table, key.name))}"
    if key.kind is SettingType.NUMBER:
        if isinstance(value, int) and not isinstance(value, bool) and key.least <= value <= key.most:
            return value
        raise ConfigurationError(
            f"{where} must be a {key.kind} from {key.least} to {key.most}",
            remedy=f"Write {key.name} = {key.most // 2}.",
        )
    if key.kind is SettingType.FLAG:
        if isinstance(value, bool):
            return value
        raise ConfigurationError(f"{where} must be {key.kind}", remedy=f"Write {key.name} = true.")
    if key.kind in {SettingType.TEXT, SettingType.PATH}:
        if not isinstance(value, str) or not _usable(value):
            raise ConfigurationError(f"{where} must be text", remedy=f'Write {key.name} = "…".')
        return _placed(value, layer, where) if key.kind is SettingType.PATH else value
    if not isinstance(value, list) or not all(isinstance(item, str) and _usable(item) for item in value):
        example = _LIST_EXAMPLES.get(key.name, '["/data/models"]')
        raise ConfigurationError(f"{where} must be a {key.kind}", remedy=f"Write {key.name} = {example}.")
    return tuple(_placed(item, layer, where) if key.kind is SettingType.PATHS else item for item in value)


def check_path(where: str, path: str) -> None:
    """Raise where a path would be taken for a relative one, and is none: another system's, or one in quotes."""
    drive = re.match(r"([A-Za-z]):[\\/]+", path)
    if os.name == "posix" and (drive or path.startswith("\\\\")):
        seen = f"/mnt/{drive[1].lower()}/{path[drive.end() :]}".replace("\\", "/") if drive else "/mnt/…"
        raise ConfigurationError(
            f"{where}: {path} is a path of Windows", remedy=f"Write it as this system has it, such as {seen}."
        )
    if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        raise ConfigurationError(f"{where}: {path} has quotes in it", remedy=f"Write it without: {path[1:-1]}.")


def _usable(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text


def _placed(path: str, layer: SettingsFile, where: str) -> str:
    """Return a path as it is written; a relative one counts from its file, wherever the command runs."""
    check_path(where, path)
    return path if path.startswith(("~", "/")) or Path(path).is_absolute() else str(layer.file.parent / path)


def parse_toml(text: str) -> Mapping[str, object]:
    """Return what a TOML text says."""
    import tomllib  # 2 ms, and most hosts have no such file

    return tomllib.loads(text)


def read_toml(path: Path) -> Mapping[str, object]:
    """Return what a TOML file says, empty when it does not exist."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse_toml(text)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:  # also what tomllib lets through, such as a number without end
        raise ConfigurationError(f"{path}: not valid TOML: {error}", remedy="Correct or remove the file.") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error


def find_project(start: Path) -> tuple[SettingsFile | None, tuple[str, ...]]:
    """Return what the nearest pyproject.toml with our table says, and warnings of tables that are nearly ours."""
    warnings: list[str] = []
    for folder in (start, *start.parents):
        file = folder / PROJECT_FILE
        if not _mentions_us(file):
            continue
        table: object = read_toml(file)
        for depth, part in enumerate(PROJECT_TABLE):
            above = table if isinstance(table, Mapping) else {}
            table = above.get(part)
            if table is None and depth == len(PROJECT_TABLE) - 1:
                near = near_words(part, above)
                name = ".".join(PROJECT_TABLE[:-1])
                warnings += [f"{file}: unknown table [{name}.{one}] is ignored; did you mean {part!r}?" for one in near]
        if isinstance(table, Mapping):
            return SettingsFile(file, table, PROJECT_TABLE), tuple(warnings)
        if table is not None:
            raise ConfigurationError(
                f"{file}: {'.'.join(PROJECT_TABLE)} must be a table", remedy=f"Write [{'.'.join(PROJECT_TABLE)}]."
            )
    return None, tuple(warnings)


def _mentions_us(file: Path) -> bool:
    """Return whether a pyproject.toml can hold our table: most do not, and parsing each would slow every command."""
    try:
        if not file.is_file() or os.stat(file).st_size > _LARGEST_BYTES:  # noqa: PTH116 # one call, on every command
            return False
        return _MENTION in file.read_bytes()
    except OSError:
        return False  # what cannot be read says nothing: a command works in any folder
