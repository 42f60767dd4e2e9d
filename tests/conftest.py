"""Fixtures for every test: no real home, no real Hub, no user's git identity, no network beyond loopback."""

import os
import socket
from pathlib import Path

import pytest

PASSED_THROUGH = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "CI")
LOOPBACK = ("127.", "localhost", "::1")


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own and an environment without the developer's settings; returns that home."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name not in PASSED_THROUGH and not name.startswith(("PYTEST_", "COVERAGE_", "HYPOTHESIS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local/state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("IMAGEWORKS_HOST", "testhost")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # a test that forgets its hub is refused, not served
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return home


@pytest.fixture(autouse=True)
def only_loopback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse any connection that would leave this machine, except in tests marked network or ollama."""
    if request.node.get_closest_marker("network") or request.node.get_closest_marker("ollama"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that need the outside world unless they are asked for by marker."""
    asked = config.getoption("markexpr", default="")
    for item in items:
        for marker in ("network", "ollama"):
            if item.get_closest_marker(marker) and marker not in asked:
                item.add_marker(pytest.mark.skip(reason=f"needs -m {marker}"))
