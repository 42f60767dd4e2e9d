"""Make a new registry: everything that `init` writes, as one commit of exactly those files."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.home import expanded
from imageworks.git.repository import RegistryRepository, init_repository
from imageworks.git.values import CommitResult, LockHeldError, NotARegistryRepositoryError
from imageworks.host.predecessor_files import refuse_foreign
from imageworks.host.settings import HostSettings, find_registry, load_host_settings
from imageworks.operations.snapshots import DRIVER, set_up_driver
from imageworks.providers.libraries import LIBRARY, locations_here
from imageworks.providers.locations import LINUX
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.schema import SCHEMA_FOLDER, SCHEMA_SUFFIX, schema_text
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.load import settings_at
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import Location

HOOKS_FILE: Final = ".pre-commit-config.yaml"
EXAMPLE_FILE: Final = "models/example.yaml.sample"
"""No manifest, so that no plan, list or role ever shows it; a copy under another name is one."""

_EDITED_BY_PEOPLE: Final = ("manifest", "registry")
_RENEWED: Final = (
    *(f"{SCHEMA_FOLDER}/{name}{SCHEMA_SUFFIX}" for name in _EDITED_BY_PEOPLE),
    *(f"{folder}.gitattributes" for folder in ("", "discovered/", "snapshot/")),
)
_LEFT_ALONE_WHEN_PRESENT: Final = (HOOKS_FILE, "README.md", ".gitignore", ".gitattributes")
_PLAIN: Final = re.compile(r"[A-Za-z0-9~/][A-Za-z0-9~/._@+-]*")

ATTRIBUTES_FILE: Final = ".gitattributes"
_GENERATED_ATTRIBUTES: Final = "-text -filter -ident -working-tree-encoding"
_BELOW: Final = (
    "# For git: only the controller writes here, and byte for byte; see ../.gitattributes.\n*.json {rules}\n"
)
_MERGED: Final = f"{_GENERATED_ATTRIBUTES} merge={DRIVER}"

_GITIGNORE: Final = "# The snapshot again, for older tools; made anew by each run.\nmodel_registry.json\n"


class ScaffoldConflictError(ImageworksError):
    """Something stands where the new registry would be written; nothing was changed."""

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
        before: Which of the folders above it, and whether its git folder, were there before.
    """

    root: Path
    commit: str
    files: tuple[str, ...]
    kept: tuple[str, ...]
    prefix: str
    before: frozenset[Path] = frozenset()


def render_files(
    locations: Mapping[str, Location], *, host: str, prefix: str = "", registry_id: str = ""
) -> dict[str, bytes]:
    """Return the files of a new registry by their paths within it."""
    settings = _text("registry.yaml").format(
        schemas=SCHEMA_FOLDER,
        id=registry_id or uuid4(),
        locations="".join(_render_location(location) for location in locations.values()),
        routing=_render_routing(locations),
        host=f"\n  {_scalar(host)}: {{labels: {{}}, locations: {{}}}}" if _PLAIN.fullmatch(host) else " {}",
    )
    hooks = _text("hooks.yaml").format(
        prefix=re.escape(f"{prefix}/") if prefix else "",
        option=f" --registry {shlex.quote(prefix)}" if prefix else "",
    )
    files = {
        SETTINGS_FILE: settings,
        EXAMPLE_FILE: _text("example.yaml").format(schemas=SCHEMA_FOLDER, weights=LINUX),
        "README.md": _text("README.md").format(
            hooks=_text("hooks-above.md").format(hooks=hooks) if prefix else _text("hooks-here.md")
        ),
        ".gitignore": _GITIGNORE,
        ATTRIBUTES_FILE: _text("gitattributes").format(generated=_GENERATED_ATTRIBUTES, driver=DRIVER),
        f"{ENTRIES}/{ATTRIBUTES_FILE}": _BELOW.format(rules=_GENERATED_ATTRIBUTES),
        f"{SNAPSHOT_FOLDER}/{ATTRIBUTES_FILE}": _BELOW.format(rules=_MERGED),
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
    libraries = [name for name, location in locations.items() if location.kind == LIBRARY]
    gguf = f"  gguf: {libraries[0]}\n" if libraries else ""
    return f"{gguf}  default: {LINUX}\n"


def _text(name: str) -> str:
    """Return one of the texts that a new registry is made of."""
    return Path(__file__).with_name("starter").joinpath(name).read_text(encoding="utf-8")


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar; JSON's quoting is YAML's too."""
    return text if _PLAIN.fullmatch(text) and not text[0].isdigit() else json.dumps(text, ensure_ascii=False)


def make_here(path: Path, *, dry_run: bool = False) -> Scaffold:
    """Make a registry by this host's own settings; see `make_registry`."""
    return make_registry(path, load_host_settings(), dry_run=dry_run)


def refresh_here(path: Path | None, *, dry_run: bool = False) -> tuple[Path, tuple[str, ...], CommitResult | None]:
    """Renew what `init` writes; return the registry, the files that change, and the commit."""
    root = find_registry(path)
    host = load_host_settings(registry=root)
    if dry_run:
        return root, tuple(_to_renew(RegistryRepository.open(root, host=host.host), host, _RENEWED)), None
    result = refresh_registry(root, host)
    return root, tuple(map(str, result.changed)) if result is not None else (), result


def make_registry(path: Path, host: HostSettings, *, registry_id: str = "", dry_run: bool = False) -> Scaffold:
    """Make a registry in a folder and commit it: a repository of its own, or a part of the one that it is in."""
    root = expanded(path).absolute()
    refuse_foreign(root, registry=False)
    files = render_files(locations_here(host), host=host.host, prefix=_prefix_of(root), registry_id=registry_id)
    kept = tuple(name for name in _LEFT_ALONE_WHEN_PRESENT if name in files and os.path.lexists(root / name))
    wanted = {name: content for name, content in files.items() if name not in kept}
    conflicts = tuple(name for name in sorted(wanted) if _is_in_the_way(root, name))
    if conflicts:
        raise ScaffoldConflictError(root, conflicts)
    if dry_run:
        return Scaffold(root, "", tuple(sorted(wanted)), kept, _prefix_of(root))
    before = _present(root)
    try:
        repository = init_repository(root, host=host.host)
        result = repository.commit(wanted, message="Start a model registry", expected=repository.head())
        with suppress(ImageworksError):  # without it, git merges snapshots as text
            set_up_driver(repository.program(os.environ))
    except (ImageworksError, OSError):
        _take_back(root, before)
        raise
    return Scaffold(repository.root, result.id, tuple(sorted(wanted)), kept, repository.prefix, before)


def take_back(made: Scaffold) -> None:
    """Remove a registry that was just made, where it has a repository of its own and nothing was committed since."""
    repository = RegistryRepository.open(made.root)
    with suppress(LockHeldError), repository.lock():  # whoever holds it has found a use for the registry
        if made.root / ".git" in made.before or repository.head() != made.commit:
            return
        for name in made.files:
            (made.root / name).unlink(missing_ok=True)
            with suppress(OSError):  # what is not empty is not ours alone
                (made.root / name).parent.rmdir()
        _take_back(made.root, made.before)


def refresh_registry(root: Path, host: HostSettings) -> CommitResult | None:
    """Renew what `init` writes for editors and git where it is of another version; ``None`` where nothing was to do."""
    return _renew(root, host, _RENEWED, "Renew the files of the registry that this program gives")


def install_merge_driver(root: Path, host: HostSettings) -> str | None:
    """Make this program the merge driver of snapshots in one clone; return the commit that asks for it, if any."""
    made = _renew(root, host, (f"{SNAPSHOT_FOLDER}/{ATTRIBUTES_FILE}",), "Let git merge snapshots by a driver")
    return None if made is None else made.id


def _renew(root: Path, host: HostSettings, names: Sequence[str], message: str) -> CommitResult | None:
    repository = RegistryRepository.open(root, host=host.host)
    set_up_driver(repository.program(os.environ))
    wanted = _to_renew(repository, host, names)
    if not wanted:
        return None
    head = repository.head()
    commits = settings_at(repository, head, host.host).commits
    return repository.commit(
        wanted, message=commits.message(message), expected=head, trailers=commits.trailers, sign=commits.sign
    )


def _to_renew(repository: RegistryRepository, host: HostSettings, names: Sequence[str]) -> dict[str, bytes]:
    """Return the files that are of another version, as they are to be."""
    files = render_files({}, host=host.host, prefix=repository.prefix)
    here = RevisionReader(repository, repository.head())
    kept = {name for name in names if name in _LEFT_ALONE_WHEN_PRESENT and here.file(name) is not None}
    return {name: files[name] for name in names if name not in kept and here.file(name) != files[name]}


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
