"""Make a new registry: everything that `init` writes, as one commit of exactly those files."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.config import DEFAULT_WEIGHTS, DEFAULT_WINDOWS_LMSTUDIO, HostSettings
from imageworks.errors import ImageworksError
from imageworks.foundation.home import expanded
from imageworks.lmstudio import find_lmstudio
from imageworks.registry.foreign import refuse_foreign
from imageworks.registry.git import RegistryRepository, init_repository
from imageworks.registry.git_values import NotARegistryRepositoryError
from imageworks.registry.schema import SCHEMA_SUFFIX, schema_text
from imageworks.registry.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings import Location

SCHEMA_FOLDER: Final = ".schemas"
HOOKS_FILE: Final = ".pre-commit-config.yaml"
EXAMPLE_FILE: Final = "models/example.yaml.sample"
"""No manifest, so that no plan, list or role ever shows it; a copy under another name is one."""

WINDOWS_LMSTUDIO: Final = "windows_lmstudio"
WEIGHTS: Final = "linux_wsl"
_EDITED_BY_PEOPLE: Final = ("manifest", "registry")
_LEFT_ALONE_WHEN_PRESENT: Final = (HOOKS_FILE, "README.md", ".gitignore")
_PLAIN: Final = re.compile(r"[A-Za-z0-9~/][A-Za-z0-9~/._@+-]*")

_SETTINGS: Final = """\
# yaml-language-server: $schema={schemas}/registry.schema.json
# The settings of this registry. Your editor checks this file as you type, by the schema that the line above names.
schema_version: 1

# Named places for model files; `init` found these on this machine. A host whose folders are elsewhere overrides them
# below `hosts`. Only folders below the roots that a host allows in its own settings are used: see
# `imageworks-models config`.
locations:
{locations}
# Where a model goes when its manifest names no location, by the format of its weights.
routing:
{routing}
# How downloads may use the network. limit: bytes per second, like 20M. window: hours for large files, 22:00-06:00.
transfer: {{connections: 8, jobs: 4, limit: null, window: null}}

# Whether models without a manifest are removed by a plain `reconcile`; `reconcile --prune` asks for it once.
prune: false

# The hosts of this registry: labels for `hosts:` in manifests, and locations that are elsewhere there.
hosts:{host}

# Entries are committed to the checked-out branch; push: true sends each commit to the remote.
commit: {{branch: null, push: false}}
"""

_EXAMPLE: Final = """\
# yaml-language-server: $schema=../{schemas}/manifest.schema.json
# The line above lets editors check this file as you type. It names a copy of the schema in this registry, so that it
# works offline and fits the version of the registry; `imageworks-models schema manifest` prints the installed one.
#
# One model, one file: the name of the file is the name of the model. This one is no manifest yet. Copy it to
# my-model.yaml, change it, commit it, then look at the plan with `imageworks-models reconcile --dry-run`.
schema_version: 1
source:
  huggingface: Qwen/Qwen2.5-0.5B-Instruct
  revision: "main"              # a branch, a tag or a commit id, always in quotes; a full commit id is a pin
format: safetensors             # detected when absent
backend: unassigned             # vllm, ollama, lmdeploy, gguf, lmstudio or unassigned
location: {weights}             # one of the locations in registry.yaml, or an absolute path
display_name: Qwen2.5 0.5B
roles: [chat]                   # what it is used for
state: present                  # present, absent (keep the entry, not the files) or suspended (hands off)
"""

_README: Final = """\
# Model registry

The AI models that we want, one YAML manifest each in `models/`. Change them by pull request.

| folder | what | written by |
|---|---|---|
| `registry.yaml` | locations, routing, hosts | people |
| `models/<name>.yaml` | what is wanted | people |
| `discovered/<host>/<name>.json` | what is there, by host | the controller |
| `snapshot/<host>.json` | both merged | the controller |

```bash
imageworks-models validate              # is every manifest right?
imageworks-models reconcile --dry-run   # what would change on this machine, and why
imageworks-models reconcile             # make it so, and commit what was found
imageworks-models status                # what is in order, and what is not
```

Editors with a YAML language server check manifests as you type, by the schemas in `.schemas/`.
{hooks}"""

_HOOKS_HERE: Final = """\

`pre-commit install` checks manifests on each commit.
"""

_HOOKS_ABOVE: Final = """\

To check manifests on each commit, add these hooks to the `.pre-commit-config.yaml` of the repository:

```yaml
{hooks}```
"""

_HOOKS: Final = """\
repos:
  - repo: local
    hooks:
      - id: imageworks-validate
        name: validate the model registry
        entry: imageworks-models validate
        language: system
        files: ^{prefix}(models/.*\\.ya?ml|registry\\.yaml)$
      - id: imageworks-snapshot-check
        name: check that the snapshot is what manifests and entries give
        entry: imageworks-models snapshot check{option}
        language: system
        pass_filenames: false
        files: ^{prefix}(models/|discovered/|snapshot/|registry\\.yaml$)
"""

_GITIGNORE: Final = "# The snapshot again, for older tools; made anew by each run.\nmodel_registry.json\n"


class ScaffoldConflictError(ImageworksError):
    """Something stands where the new registry would be written; nothing was changed.

    Args:
        root: The folder of the new registry.
        paths: What is in the way, relative to it.
    """

    def __init__(self, root: Path, paths: tuple[str, ...]) -> None:
        shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")  # noqa: PLR2004
        if SETTINGS_FILE in paths:
            message, remedy = f"{root} already is a registry", "Use it as it is, or name another folder."
        else:
            message = f"{root}: in the way of the new registry: {shown}"
            remedy = "Move them away, or name another folder; nothing was changed."
        super().__init__(message, remedy=remedy)
        self.paths = paths


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A registry that was just made.

    Args:
        root: Its folder.
        commit: The commit that holds its files.
        files: What was written, relative to the folder.
        kept: Files of the same purpose that were there before and stay as they are.
        prefix: The folder's path in the repository; empty when it is the whole.
    """

    root: Path
    commit: str
    files: tuple[str, ...]
    kept: tuple[str, ...]
    prefix: str


def find_locations(host: HostSettings) -> dict[str, Location]:
    """Return the places for models on this machine: our own store, and LM Studio's folders where they exist.

    Args:
        host: This host's settings; folders that the environment names come first.
    """
    weights = host.model_root or DEFAULT_WEIGHTS
    found = {WEIGHTS: Location(WEIGHTS, _below_home(weights))}
    if host.lmstudio_root is not None:  # named on purpose, so it counts before it is made
        own = Location(WINDOWS_LMSTUDIO, _below_home(host.lmstudio_root), layout="publisher/repo", kind="lmstudio")
        found[WINDOWS_LMSTUDIO] = own
    folders = [(DEFAULT_WINDOWS_LMSTUDIO, True), *((one.models, one.windows) for one in find_lmstudio())]
    for folder, windows in folders:
        if folder.is_dir():
            name = WINDOWS_LMSTUDIO if windows else "lmstudio"
            found.setdefault(name, Location(name, _below_home(folder), layout="publisher/repo", kind="lmstudio"))
    return found


def _below_home(path: Path) -> str:
    """Return a path as registry.yaml should have it: with ``~`` where it is below the home folder."""
    full = expanded(path)
    home = Path.home()
    return f"~/{full.relative_to(home).as_posix()}" if full.is_relative_to(home) and full != home else full.as_posix()


def render_files(locations: Mapping[str, Location], *, host: str, prefix: str = "") -> dict[str, bytes]:
    """Return the files of a new registry by their paths within it.

    Args:
        locations: The places for models; one of them is our own store.
        host: The name of the first host.
        prefix: The registry's path in its repository; empty when it is the whole, and gets the hooks too.
    """
    settings = _SETTINGS.format(
        schemas=SCHEMA_FOLDER,
        locations="".join(_render_location(location) for location in locations.values()),
        routing=_render_routing(locations),
        host=f"\n  {_scalar(host)}: {{labels: {{}}, locations: {{}}}}" if _PLAIN.fullmatch(host) else " {}",
    )
    hooks = _HOOKS.format(
        prefix=re.escape(f"{prefix}/") if prefix else "",
        option=f" --registry {shlex.quote(prefix)}" if prefix else "",
    )
    files = {
        SETTINGS_FILE: settings,
        EXAMPLE_FILE: _EXAMPLE.format(schemas=SCHEMA_FOLDER, weights=WEIGHTS),
        "README.md": _README.format(hooks=_HOOKS_ABOVE.format(hooks=hooks) if prefix else _HOOKS_HERE),
        ".gitignore": _GITIGNORE,
    }
    if not prefix:
        files[HOOKS_FILE] = hooks
    for name in _EDITED_BY_PEOPLE:
        files[f"{SCHEMA_FOLDER}/{name}{SCHEMA_SUFFIX}"] = schema_text(name)
    return {path: text.encode() for path, text in files.items()}


def _render_location(location: Location) -> str:
    path = _scalar(location.path)
    return f"  {location.name}: {{path: {path}, layout: {location.layout}, kind: {location.kind}}}\n"


def _render_routing(locations: Mapping[str, Location]) -> str:
    lmstudio = [name for name, location in locations.items() if location.kind == "lmstudio"]
    gguf = f"  gguf: {lmstudio[0]}\n" if lmstudio else ""
    return f"{gguf}  default: {WEIGHTS}\n"


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar; JSON's quoting is YAML's too."""
    return text if _PLAIN.fullmatch(text) and not text[0].isdigit() else json.dumps(text, ensure_ascii=False)


def make_registry(path: Path, host: HostSettings) -> Scaffold:
    """Make a registry in a folder and commit it: a repository of its own, or a part of the one that it is in.

    Args:
        path: The folder, made when missing.
        host: This host's settings.

    Raises:
        ScaffoldConflictError: Files of another content stand where the registry's would be; nothing was changed.
        ForeignFilesError: The predecessor's files are there; nothing was changed.
    """
    root = expanded(path).absolute()
    refuse_foreign(root, registry=False)
    files = render_files(find_locations(host), host=host.host, prefix=_prefix_of(root))
    kept = tuple(name for name in _LEFT_ALONE_WHEN_PRESENT if name in files and os.path.lexists(root / name))
    wanted = {name: content for name, content in files.items() if name not in kept}
    conflicts = tuple(name for name in sorted(wanted) if _is_in_the_way(root, name))
    if conflicts:
        raise ScaffoldConflictError(root, conflicts)
    before = _present(root)
    try:
        repository = init_repository(root, host=host.host)
        result = repository.commit(wanted, message="Start a model registry", expected=repository.head())
    except (ImageworksError, OSError):
        _take_back(root, before)
        raise
    return Scaffold(repository.root, result.id, tuple(sorted(wanted)), kept, repository.prefix)


def _present(root: Path) -> frozenset[Path]:
    """Return which of the folders above a new registry exist, and its git folder."""
    return frozenset(path for path in (root / ".git", root, *root.parents) if os.path.lexists(path))


def _take_back(root: Path, before: frozenset[Path]) -> None:
    """Remove what a failed start made: the git folder that holds nothing, and folders that are empty."""
    if root / ".git" not in before:
        shutil.rmtree(root / ".git", ignore_errors=True)
    for folder in (root, *root.parents):
        if folder in before:
            return
        with suppress(OSError):
            folder.rmdir()


def _prefix_of(root: Path) -> str:
    """Return the path that a folder has, or would have, in the repository around it; empty without one."""
    existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
    try:
        repository = RegistryRepository.open(existing)
    except NotARegistryRepositoryError:
        return ""
    rest = root.relative_to(existing).as_posix()
    return "/".join(part for part in (repository.prefix, rest) if part not in {"", "."})


def _is_in_the_way(root: Path, name: str) -> bool:
    """Return whether something stands at a path, or something that is no folder stands above it."""
    path = root / name
    above = [root, *(root.joinpath(*Path(name).parts[:depth]) for depth in range(1, len(Path(name).parts)))]
    blocked = any(os.path.lexists(folder) and not folder.is_dir() for folder in above)
    linked = any(folder.is_symlink() for folder in above[1:])
    return blocked or linked or os.path.lexists(path)
