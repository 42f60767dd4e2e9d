"""The one door to the git program, for what libgit2 does unsafely or not at all: fetch, push, signatures, merges.

A registry may come from anywhere, so hooks, filters, submodules, file-system monitors, unusual transports and programs
that the clone's own configuration names stay off, nothing is asked on a terminal, and what git prints reaches a user
only without the secrets that an address may hold.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from imageworks.foundation.child_environment import AGENTS, child_environment
from imageworks.foundation.log import redact as without_secrets
from imageworks.git.recovery.damage import index_damage
from imageworks.git.user_programs import GitSetting, names_proxy, overriding, read_listing, server_program
from imageworks.git.values import RegistryGitError

SETTINGS: Final = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "",  # none: before 2.36 git took "false" for the name of a program
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.ext.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "advice.graftFileDeprecated": "false",  # said of the empty file that stands in for a user's grafts
    "fetch.fsckObjects": "true",
    "http.lowSpeedLimit": "1",  # bytes a second, for as long as below: a server that says nothing is given up
    "http.lowSpeedTime": "60",
}
SSH_COMMAND: Final = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
TIMEOUT_SECONDS: Final = 900.0
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})
END_SECONDS: Final = 5.0
MOST_LINES: Final = 20
LONGEST_LINE: Final = 300
TOKENS: Final = {"github.com": ("GH_TOKEN", "GITHUB_TOKEN"), "gitlab.com": ("GITLAB_TOKEN",)}
_HELPER_VARIABLES: Final = frozenset(
    {
        *("GH_TOKEN", "GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GH_HOST", "GH_CONFIG_DIR"),
        *("GITLAB_TOKEN", "GITLAB_HOST", "GLAB_CONFIG_DIR", "CI_JOB_TOKEN", "NETRC"),
    }
)
"""What a user's own credential helpers may read; nobody else runs where the remote is a server over HTTP."""
OWN_TOKEN: Final = "IMAGEWORKS_GIT_TOKEN"  # noqa: S105 # the variable's name
TOKEN_USER: Final = {"github.com": "x-access-token"}
_HELPER_USER: Final = "IMAGEWORKS_GIT_HELPER_USER"
_HELPER_TOKEN: Final = "IMAGEWORKS_GIT_HELPER_TOKEN"  # noqa: S105 # the variable's name
_HELPER: Final = (
    f'!f() {{ test "$1" = get && echo "username=${_HELPER_USER}" && echo "password=${_HELPER_TOKEN}"; }}; f'
)
# What leads git to another repository than ours, to other objects or transports, or to print what it sends. A hook or
# alias that runs us sets some of them.
_UNWANTED_VARIABLES: Final = frozenset(
    {
        "GIT_ALLOW_PROTOCOL",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CURL_VERBOSE",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
_CREDENTIALS_IN_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


class GitProgramError(RegistryGitError):
    """The git program is missing, was not answered, or failed."""


@dataclass(frozen=True, slots=True)
class GitResult:
    """What the git program ended with.

    Args:
        code: Its exit code.
        out: What it printed.
        errors: What it complained of, without secrets.
    """

    code: int
    out: str
    errors: str

    @property
    def from_server(self) -> tuple[str, ...]:
        """What the server had to say, line by line; control characters are left out, and so is what is too long."""
        said = (line.removeprefix("remote:").strip() for line in self.errors.splitlines() if line.startswith("remote:"))
        shown = ("".join(filter(str.isprintable, line))[:LONGEST_LINE] for line in said)
        return tuple(line for line in shown if line)[:MOST_LINES]

    @property
    def reason(self) -> str:
        """The last telling line of what it complained of."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
        return (telling or lines or [f"exit code {self.code}"])[-1]


class GitProgram:
    """Runs git in one work tree."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def run(
        self,
        *arguments: str,
        remote: str = "",
        timeout: float = TIMEOUT_SECONDS,
        stdin: str = "",
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> GitResult:
        """Run git and return its answer, whatever it is."""
        without = names_proxy(self.settings)
        return self._run(
            arguments, remote, timeout, self._overriding, without_proxy=without, stdin=stdin, also=variables
        )

    @cached_property
    def settings(self) -> tuple[GitSetting, ...]:
        """All of git's configuration in this work tree."""
        listed = self._run(("config", "--list", "--show-scope", "-z"), "", TIMEOUT_SECONDS, ())
        if listed.code:
            raise GitProgramError(
                f"git does not say what it is configured with: {listed.reason}",
                remedy="Git 2.31 or newer is needed, and a configuration that `git config --list` can read.",
            )
        return read_listing(listed.out)

    @cached_property
    def _overriding(self) -> Sequence[tuple[str, str]]:
        return tuple(overriding(self.settings, ssh_command=SSH_COMMAND))

    def uncommitted(self, *paths: str) -> tuple[str, ...]:
        """Return the files that differ from the checked-out commit, staged or not, untracked ones included.

        What git compares counts: not line ends that it converts, nor files that a sparse checkout leaves out.
        """
        words = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=all")
        answer = self.run("--no-optional-locks", "--literal-pathspecs", *words, "--", *paths)
        if answer.code:
            if (damage := index_damage(" ".join(answer.errors.split()))) is not None:
                raise damage
            raise GitProgramError(
                f"{self._folder}: git cannot compare its files: {answer.reason}", remedy="Look with `git status` there."
            )
        return tuple(sorted({line[3:] for line in answer.out.split("\0") if line}))

    def server_program(self, remote: str, name: str) -> str:
        """Return the program that answers at a remote, as the user's own configuration has it."""
        return server_program(self.settings, remote, name)

    def _run(
        self,
        arguments: Sequence[str],
        remote: str,
        timeout: float,
        overridden: Sequence[tuple[str, str]],
        *,
        without_proxy: bool = False,
        stdin: str = "",
        also: Mapping[str, str] = NO_VARIABLES,
    ) -> GitResult:
        access = access_to(remote, self._environment)
        environment = self._child_environment(access, remote) | ({"GIT_PROXY_COMMAND": ""} if without_proxy else {})
        environment |= also
        command = ["git", *_flags(SETTINGS), *(access.flags if access else ()), *arguments]
        try:
            # In a session of its own it has no terminal to ask on, and can be ended with all that it started.
            process = subprocess.Popen(  # noqa: S603 # a fixed program, no shell
                command,
                cwd=self._folder,
                env=_with_settings(environment, overridden),
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise GitProgramError(
                f"git cannot be run: {error.strerror}", remedy="Install it, for example: sudo apt install git"
            ) from error
        with process:
            try:
                out, errors = process.communicate(stdin, timeout=timeout)
            except subprocess.TimeoutExpired as error:
                raise GitProgramError(
                    f"git {arguments[0]}: no end within {timeout:.0f} s", remedy="Look at the network and run again."
                ) from error
            finally:
                if process.returncode is None:
                    _end(process)
        return GitResult(process.returncode, out, redact(errors, access.token if access else ""))

    def _child_environment(self, access: "Access | None", remote: str) -> dict[str, str]:
        # A remote that is a folder runs its hooks here, with what git was given.
        over_http = urlsplit(remote).scheme in {"http", "https"}
        also = AGENTS | _HELPER_VARIABLES if over_http else AGENTS
        kept = {
            key: value
            for key, value in child_environment(self._environment, also=also, prefixes=("GIT_", "GCM_")).items()
            if key not in _UNWANTED_VARIABLES and not key.startswith("GIT_TRACE")
        }
        # Replaced and grafted objects are not what a remote has, nor what was signed.
        kept |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull}
        over_ssh = bool(remote) and urlsplit(remote).scheme not in {"http", "https", "file"}
        if over_ssh and not kept.keys() & {"GIT_SSH", "GIT_SSH_COMMAND"} and not self._own_ssh_command:
            kept["GIT_SSH_COMMAND"] = SSH_COMMAND
        return kept | (access.variables(kept) if access else {})

    @cached_property
    def _own_ssh_command(self) -> str:
        """What the user's settings say of ssh; the variable would take precedence over a key that is named there."""
        return self.run("config", "--get", "core.sshCommand").out.strip()


def _with_settings(environment: dict[str, str], settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return an environment that says settings last of all; on a command line, a `=` in a name would cut it short."""
    count = environment.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isascii() and count.isdigit() else 0
    said = {"GIT_CONFIG_COUNT": str(first + len(settings))} if settings else {}
    for number, (key, value) in enumerate(settings, first):
        said |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment | said


def _end(process: "subprocess.Popen[str]") -> None:
    """End git with its helpers, which would go on talking to the remote: first so that it removes its lock files."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Access:
    """How git gets into one server over HTTP, and into no other.

    Args:
        server: Its address, without credentials and path.
        user: Who asks.
        token: The token or password; git gets it from a helper that reads a variable, never on its command line.
        written: The server's address as the remote's has it where that holds the password; git would hand it on to a
            child on the command line.
        alone: Whether the user's own credential helpers are left out: they would store what we lend.
    """

    server: str
    user: str
    token: str
    written: str = ""
    alone: bool = True

    @property
    def flags(self) -> Sequence[str]:
        """What git's command line says of it; no secret."""
        key = f"credential.{self.server}.helper"
        return ("-c", f"{key}=", "-c", f"{key}={_HELPER}") if self.alone else ("-c", f"{key}={_HELPER}")

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return what git's environment says of it."""
        found = {_HELPER_USER: self.user, _HELPER_TOKEN: self.token}
        if not self.written:
            return found
        count = environment.get("GIT_CONFIG_COUNT", "")
        first = int(count) if count.isascii() and count.isdigit() else 0
        return found | {
            "GIT_CONFIG_COUNT": str(first + 1),
            f"GIT_CONFIG_KEY_{first}": f"url.{self.server}/.insteadOf",
            f"GIT_CONFIG_VALUE_{first}": f"{self.written}/",
        }


def _flags(settings: Mapping[str, str]) -> Sequence[str]:
    return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]


def access_to(remote: str, environment: Mapping[str, str]) -> Access | None:
    """Return how git gets into a remote's server, where its address or the environment says; ``None`` otherwise."""
    parts = urlsplit(remote)
    held, _, place = parts.netloc.rpartition("@")
    server = urlunsplit((parts.scheme, place, "", "", ""))
    user, _, password = held.partition(":")
    if password and parts.scheme in {"http", "https"}:
        return Access(server, unquote(user), unquote(password), written=f"{parts.scheme}://{parts.netloc}")
    token = token_for(remote, environment)
    if not token:
        return None
    named = TOKEN_USER.get(parts.hostname or "", "oauth2")
    return Access(server, named, token, alone=token == environment.get(OWN_TOKEN))


def token_for(remote: str, environment: Mapping[str, str]) -> str:
    """Return the token that the environment has for a server over HTTP; empty when there is none.

    ``IMAGEWORKS_GIT_TOKEN`` is for the registry's own remote, wherever it is; the others only for the service that
    they belong to, and never without TLS unless the server is this machine.
    """
    parts = urlsplit(remote)
    host = parts.hostname or ""
    loopback = host in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        return ""
    names = (OWN_TOKEN, *TOKENS.get(host, ()))
    return next((environment[name] for name in names if environment.get(name)), "")


def redact(text: str, token: str = "") -> str:
    """Return what git printed without the credentials that an address holds, and without a token."""
    shown = _CREDENTIALS_IN_URL.sub(r"\1***@", without_secrets(text))
    return shown.replace(token, "***") if token else shown
