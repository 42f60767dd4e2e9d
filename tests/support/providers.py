"""Clients of a hub for tests: a clock that only sleeping moves, and answers typed in by hand."""

import json
from collections.abc import Mapping
from pathlib import Path

from pytest_httpserver import HTTPServer

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.providers.huggingface.client import HubClient
from imageworks.providers.huggingface.rate_limit import Pace
from imageworks.providers.huggingface.token import Token
from support.transfer import git_blob, sha256

CANARY = "hf_canaryTokenThatNobodyMaySee"
COMMIT = "1" * 40

_made: list[HubClient] = []


class Clock:
    """A time that only sleeping moves forward."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def client(
    endpoint: str,
    cache_dir: Path,
    *,
    token: str | None = None,
    clock: Clock | None = None,
    offline: bool = False,
    write_cache: bool = True,
) -> HubClient:
    """Return a client whose pauses take no time."""
    clock = clock or Clock()
    made = HubClient(
        endpoint,
        lambda: Token(token, "HF_TOKEN") if token else None,
        cache_dir=cache_dir,
        offline=offline,
        write_cache=write_cache,
        pace=Pace(now=clock.now, sleep=clock.sleep),
    )
    _made.append(made)
    return made


def close_clients() -> None:
    """Close every client that a test made; a fixture calls it at the end of each."""
    while _made:
        _made.pop().close()


def answer(server: HTTPServer, path: str, content: object, headers: Mapping[str, str] | None = None) -> None:
    """Let a server answer a path with JSON."""
    server.expect_request(path).respond_with_data(json.dumps(content), headers=dict(headers or {}))


def large(path: str, data: bytes) -> RemoteFile:
    return RemoteFile(path, len(data), sha256(data), large=True)


def small(path: str, data: bytes) -> RemoteFile:
    return RemoteFile(path, len(data), git_blob(data), large=False)


def absent(path: str) -> RemoteFile:
    return RemoteFile(path, 4, Digest(Algorithm.GIT_BLOB, "0" * 40), large=False)


def metadata(file: RemoteFile, commit: str = COMMIT) -> dict[str, str]:
    """Return the headers with which a hub vouches for a file."""
    return {
        "X-Repo-Commit": commit,
        "X-Linked-Etag": f'"{file.digest.value}"',
        "X-Linked-Size": str(file.size),
    }
