"""Which programs git runs for us, and which keys count: those of the user's own configuration, never a clone's. Pure.

A clone's own configuration, or a file that it includes, may come from anywhere: an archive, a shared folder, another
program. Filters are off whoever names them, as hooks are: what they give is not what was committed and signed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

LOCAL_SCOPES: Final = frozenset({"local", "worktree"})
_USER_SCOPES: Final = frozenset({"system", "global"})
_DEFAULTS: Final[Mapping[str, str]] = {
    "gpg.program": "gpg",
    "gpg.openpgp.program": "gpg",
    "gpg.ssh.program": "ssh-keygen",
    "gpg.x509.program": "gpgsm",
    "gpg.ssh.defaultkeycommand": "",
    "gpg.ssh.allowedsignersfile": "",
    "gpg.ssh.revocationfile": "",
    "core.sshcommand": "",
    "core.askpass": "",
    "core.pager": "cat",
    "core.editor": "false",
    "core.alternaterefscommand": "false",
    "sequence.editor": "false",
    "diff.external": "",
}
"""What a setting is where the user's own configuration says nothing."""
_NAMED: Final = (
    (re.compile(r"remote\..+\.vcs"), ""),
    (re.compile(r"merge\..+\.driver"), "false"),
    (re.compile(r"diff\..+\.(?:command|textconv)"), "false"),
)
_HELPER: Final = re.compile(r"credential(?:\..+)?\.helper")
_FILTER: Final = re.compile(r"(filter\..+)\.(?:clean|smudge|process|required)")


@dataclass(frozen=True, slots=True)
class GitSetting:
    """One value of git's configuration.

    Args:
        scope: Where it stands: ``system``, ``global``, ``local``, ``worktree`` or ``command``.
        key: Its key, as git lists it: in lower case but for what is between the dots.
        value: Its value.
    """

    scope: str
    key: str
    value: str


def read_listing(text: str) -> tuple[GitSetting, ...]:
    """Return what `git config --list --show-scope -z` printed."""
    words = text.split("\0")
    found = []
    for scope, said in zip(words[::2], words[1::2], strict=False):
        key, _, value = said.partition("\n")
        found.append(GitSetting(scope, key, value))
    return tuple(found)


def overriding(settings: Iterable[GitSetting], *, ssh_command: str) -> Iterator[tuple[str, str]]:
    """Yield what must be said last, so that git runs no filter and no program that the clone names."""
    known = list(settings)
    for name in sorted({match[1] for one in known if (match := _FILTER.fullmatch(one.key))}):
        yield from ((f"{name}.{part}", "") for part in ("clean", "smudge", "process"))
        yield f"{name}.required", "false"
    for key in dict.fromkeys(one.key for one in known if one.scope in LOCAL_SCOPES):
        own = [one.value for one in known if one.key == key and one.scope in _USER_SCOPES]
        if _HELPER.fullmatch(key):
            yield key, ""  # forgets all, so those of the user come again
            yield from ((key, value) for value in own)
        elif (default := _default(key)) is not None:
            yield key, own[-1] if own else (ssh_command if key == "core.sshcommand" else default)


def server_program(settings: Iterable[GitSetting], remote: str, name: str) -> str:
    """Return the program that answers at a remote; of several values git takes the first, so a later one is no help."""
    key = f"remote.{remote}.{name.replace('-', '')}"
    own = [one.value for one in settings if one.key == key and one.scope not in LOCAL_SCOPES]
    return own[0] if own else f"git-{name}"


def ignored_keys(settings: Iterable[GitSetting]) -> tuple[str, ...]:
    """Return the settings of a clone that name programs, and so are not obeyed."""
    local = dict.fromkeys(one.key for one in settings if one.scope in LOCAL_SCOPES)
    return tuple(key for key in local if _default(key) is not None or _HELPER.fullmatch(key))


def names_proxy(settings: Iterable[GitSetting]) -> bool:
    """Return whether a clone names a program as proxy for git's own protocol; of several git takes the first."""
    return any(one.key == "core.gitproxy" and one.scope in LOCAL_SCOPES for one in settings)


def _default(key: str) -> str | None:
    """Return what a setting that names a program is otherwise, ``None`` for one that names none."""
    if key in _DEFAULTS:
        return _DEFAULTS[key]
    return next((default for pattern, default in _NAMED if pattern.fullmatch(key)), None)
