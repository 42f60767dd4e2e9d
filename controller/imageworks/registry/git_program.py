"""The one door to the git program, for what libgit2 does unsafely or not at all: fetch, push, signatures, merges.

A registry may come from anywhere, so hooks, submodules, file-system monitors and unusual transports stay off, nothing
is asked on a terminal, and what git prints reaches a user only without the secrets that an address may hold.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from imageworks.registry.git_values import RegistryGitError

SETTINGS: Final = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.ext.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "fetch.fsckObjects": "true",
    "http.lowSpeedLimit": "1",  # bytes a second, for as long as below: a server that says nothing is given up
    "http.lowSpeedTime": "60",
}
SSH_COMMAND: Final = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
TIMEOUT_SECONDS: Final = 900.0
TOKENS: Final = {"github.com": ("GH_TOKEN", "GITHUB_TOKEN"), "gitlab.com": ("GITLAB_TOKEN",)}
OWN_TOKEN: Final = "IMAGEWORKS_GIT_TOKEN"  # noqa: S105 # the variable's name
TOKEN_USER: Final = {"github.com": "x-access-token"}
_HELPER_VARIABLE: Final = "IMAGEWORKS_GIT_HELPER_TOKEN"
_CREDENTIALS_IN_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


class GitProgramError(RegistryGitError):
    """The git program is missing, was not answered, or failed."""


@dataclass(frozen=True, slots=True)
class GitAnswer:
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
    def reason(self) -> str:
        """The last telling line of what it complained of."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
        return (telling or lines or [f"exit code {self.code}"])[-1]


class GitProgram:
    """Runs git in one work tree.

    Args:
        folder: The work tree.
        environment: The process's environment; its token variables serve as credentials.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def run(self, *arguments: str, remote: str = "", timeout: float = TIMEOUT_SECONDS) -> GitAnswer:
        """Run git and return its answer, whatever it is.

        Args:
            arguments: The subcommand and its arguments; no secret among them.
            remote: The address that is talked to, which decides whose token counts.
            timeout: Seconds after which it is ended.

        Raises:
            GitProgramError: There is no git, or it did not end in time.
        """
        command = ["git", *_flags(SETTINGS), *arguments]
        token = token_for(remote, self._environment)
        try:
            done = subprocess.run(  # noqa: S603 # a fixed program, no shell
                command,
                cwd=self._folder,
                env=self._child_environment(remote, token),
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise GitProgramError("git is not installed", remedy="For example: sudo apt install git") from error
        except subprocess.TimeoutExpired as error:
            raise GitProgramError(
                f"git {arguments[0]}: no end within {timeout:.0f} s", remedy="Look at the network and run again."
            ) from error
        return GitAnswer(done.returncode, done.stdout, redact(done.stderr, token))

    def _child_environment(self, remote: str, token: str) -> dict[str, str]:
        kept = {key: value for key, value in self._environment.items() if not key.startswith("GIT_TRACE")}
        # A hook or alias that runs us sets these, and they would lead git to another repository than ours.
        for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"):
            kept.pop(key, None)
        kept |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        kept.setdefault("GIT_SSH_COMMAND", SSH_COMMAND)
        if token:
            kept |= _credential_settings(remote, kept) | {_HELPER_VARIABLE: token}
        return kept


def _flags(settings: Mapping[str, str]) -> Sequence[str]:
    return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]


def _credential_settings(remote: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return git settings, as variables, by which git asks us for the token of one server, and of no other."""
    parts = urlsplit(remote)
    user = TOKEN_USER.get(parts.hostname or "", "oauth2")
    helper = f'!f() {{ test "$1" = get && echo "username={user}" && echo "password=${_HELPER_VARIABLE}"; }}; f'
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    first = int(environment.get("GIT_CONFIG_COUNT") or 0)
    return {
        "GIT_CONFIG_COUNT": str(first + 1),
        f"GIT_CONFIG_KEY_{first}": f"credential.{server}.helper",
        f"GIT_CONFIG_VALUE_{first}": helper,
    }


def token_for(remote: str, environment: Mapping[str, str]) -> str:
    """Return the token that the environment has for a server over HTTP; empty when there is none.

    ``IMAGEWORKS_GIT_TOKEN`` is for the registry's own remote, wherever it is; the others only for the service that
    they belong to, and never without TLS unless the server is this machine.

    Args:
        remote: The remote's address.
        environment: The process's environment.
    """
    parts = urlsplit(remote)
    host = parts.hostname or ""
    loopback = host in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        return ""
    names = (OWN_TOKEN, *TOKENS.get(host, ()))
    return next((environment[name] for name in names if environment.get(name)), "")


def redact(text: str, token: str = "") -> str:
    """Return what git printed without the credentials that an address holds, and without a token.

    Args:
        text: What git printed.
        token: A token that was in use.
    """
    shown = _CREDENTIALS_IN_URL.sub(r"\1***@", text)
    return shown.replace(token, "***") if token else shown
