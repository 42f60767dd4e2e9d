"""What a shell is offered behind a word: light, for it is asked at each press of the key, and it never fails.

Names are read off the folders of the registry, which takes no parser; values from files are found by pattern.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import typer

from imageworks.cli.command_table import ALIASES, COMMANDS
from imageworks.foundation.errors import ImageworksError

MOST_BYTES: Final = 65_536  # of a manifest or of registry.yaml; no larger one is valid
MOST_FILES: Final = 5_000
BACKENDS: Final = ("vllm", "ollama", "lmdeploy", "gguf", "lmstudio", "unassigned")
_ROLES: Final = re.compile(r"^roles:\s*\[([^\]\n]*)\]|^roles:[^\S\n]*\n((?:\s*-[^\n]*\n?)+)", re.MULTILINE)
_ITEM: Final = re.compile(r"""(?:^\s*-|^|,)\s*["']?([\w.-]+)["']?""", re.MULTILINE)
_SAFE: Final = re.compile(r"[\w.@/:+=-]+")
"""What shells take as it is: bash expands and zsh evaluates what it is offered, and files of a registry are data."""


def command_words(incomplete: str) -> list[str]:
    """Return the commands that a word begins."""
    return _begun(incomplete, (*(row.name for row in COMMANDS), *ALIASES))


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the variant names of declared and recorded models."""
    root = _registry(ctx)
    return [] if root is None else _begun(incomplete, (*_declared(root), *_recorded(root)))


def names_at(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return variant names; behind an ``@`` the revisions that one may be shown at."""
    name, at, revision = incomplete.partition("@")
    return [f"{name}@{one}" for one in revisions(ctx, revision)] if at else names(ctx, incomplete)


def undeclared(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of recorded models that no manifest declares."""
    root = _registry(ctx)
    return [] if root is None else _begun(incomplete, set(_recorded(root)) - set(_declared(root)))


def roles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the roles that manifests name."""
    root = _registry(ctx)
    found = (_ROLES.finditer(_text(file)) for file in _files(root / "models", ".yaml")) if root is not None else ()
    texts = (match[1] or match[2] for one in found for match in one)
    return _begun(incomplete, (word for text in texts for word in _ITEM.findall(text)))


def locations(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the locations of the registry, and those that every host has."""
    return _begun(incomplete, ("linux_wsl", "windows_lmstudio", *_keys(_registry(ctx), "locations")))


def hosts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the hosts that the registry names, or that have recorded something."""
    root = _registry(ctx)
    folders = [] if root is None else [one.name for one in _listed(root / "discovered") if one.is_dir()]
    return _begun(incomplete, (*folders, *_keys(root, "hosts")))


def backends(incomplete: str) -> list[str]:
    """Return what can serve a model."""
    return _begun(incomplete, BACKENDS)


def revisions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return branches and tags of the registry's repository."""
    root = _registry(ctx)
    git = next((one for above in (root, *root.parents) if (one := above / ".git").is_dir()), None) if root else None
    if git is None:
        return []
    packed = _WORD_OF_REF.findall(_text(git / "packed-refs"))
    kinds = [git / "refs/heads", git / "refs/tags"]
    loose = (one.relative_to(kind).as_posix() for kind in kinds for one in _below(kind))
    return _begun(incomplete, ("HEAD", *loose, *packed))


_WORD_OF_REF: Final = re.compile(r"^[0-9a-f]{40} refs/(?:heads|tags)/(\S+)$", re.MULTILINE)


def _begun(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete) and _SAFE.fullmatch(word)})


def _registry(ctx: typer.Context) -> Path | None:
    from imageworks.host.settings import find_registry

    above: Any = ctx
    while (given := above.params.get("registry")) is None and above.parent is not None:
        above = above.parent
    with suppress(ImageworksError, OSError):
        return find_registry(None if given is None else Path(given))
    return None


def _declared(root: Path) -> Iterator[str]:
    return (file.stem for file in _files(root / "models", ".yaml", ".yml"))


def _recorded(root: Path) -> Iterator[str]:
    return (file.stem for host in _listed(root / "discovered") for file in _files(host, ".json"))


def _files(folder: Path, *suffixes: str) -> Iterator[Path]:
    return (file for file in _listed(folder) if file.suffix in suffixes)


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [folder / name for name in os.listdir(folder)[:MOST_FILES]]  # noqa: PTH208 # a third of iterdir's cost
    return []


def _below(folder: Path) -> Iterator[Path]:
    for one in _listed(folder):
        if one.is_dir():
            yield from _below(one)
        else:
            yield one


def _text(file: Path) -> str:
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(MOST_BYTES).decode("utf-8", "replace")
    return ""


def _keys(root: Path | None, title: str) -> list[str]:
    """Return the keys below a key of registry.yaml, in block or flow style."""
    text = "" if root is None else _text(root / "registry.yaml")
    found = re.search(rf"^{title}:[^\S\n]*(?:#[^\n]*)?\n((?:[ \t]+[^\n]*\n?|\s*\n)*)", text, re.MULTILINE)
    if found is None:
        return []
    lines = [line for line in found[1].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [match[1] for line in lines if (match := re.match(rf" {{{indent}}}([\w.-]+):", line))]
