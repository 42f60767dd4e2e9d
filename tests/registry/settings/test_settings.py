"""registry.yaml as a value, as it holds on one host."""

from datetime import time

import pytest

from imageworks.registry.settings.settings import (
    Location,
    RegistrySettings,
    TransferSettings,
    parse_rate,
    read_settings,
)

DOCUMENT: dict[str, object] = {
    "locations": {
        "linux_wsl": {"path": "~/ai-models/weights"},
        "lmstudio": {"path": "/mnt/d/llm", "layout": "publisher/repo", "kind": "lmstudio"},
    },
    "routing": {"gguf": "lmstudio", "default": "linux_wsl"},
    "transfer": {"connections": 3, "jobs": 2, "limit": "20M", "window": "22:00-06:00"},
    "prune": True,
    "policies": {"allowed_licenses": ["mit"], "denied_licenses": ["proprietary"], "future": 1},
    "hosts": {
        "workstation": {"labels": {"gpu": "rtx4090"}, "locations": {"linux_wsl": {"path": "/data"}, "extra": "/extra"}},
        "laptop": {},
    },
    "commit": {"branch": "records", "push": True},
}


def test_everything_that_is_written_is_read() -> None:
    settings = read_settings(DOCUMENT, "laptop")
    assert settings.locations["lmstudio"] == Location("lmstudio", "/mnt/d/llm", "publisher/repo", "lmstudio")
    assert settings.transfer == TransferSettings(3, 2, 20 * 1024**2, "22:00-06:00")
    assert (settings.prune, settings.push, settings.branch) == (True, True, "records")
    assert settings.hosts == ("workstation", "laptop")
    assert (settings.policies.allowed_licenses, settings.policies.denied_licenses) == (("mit",), ("proprietary",))
    assert settings.unenforced == ("policies.future",)


def test_an_empty_file_has_safe_defaults() -> None:
    assert read_settings({}, "laptop") == RegistrySettings()
    assert (RegistrySettings().prune, RegistrySettings().push) == (False, False)


def test_a_host_overrides_locations_field_by_field_and_adds_its_own() -> None:
    settings = read_settings(DOCUMENT, "workstation")
    assert settings.locations["linux_wsl"] == Location("linux_wsl", "/data")
    assert settings.locations["extra"] == Location("extra", "/extra")
    assert settings.labels == {"gpu": "rtx4090"}


@pytest.mark.parametrize("layout", [{}, {"layout": "owner/repo"}, {"layout": "publisher/repo"}])
def test_lm_studio_has_one_layout_however_it_is_written(layout: dict[str, object]) -> None:
    document = {"locations": {"studio": {"path": "/llm", "kind": "lmstudio", **layout}}}
    assert read_settings(document, "any").locations["studio"].layout == "publisher/repo"


def test_another_host_sees_none_of_it() -> None:
    settings = read_settings(DOCUMENT, "laptop")
    assert settings.locations["linux_wsl"].path == "~/ai-models/weights"
    assert "extra" not in settings.locations
    assert settings.labels == {}


@pytest.mark.parametrize(
    ("container", "location"), [("gguf", "lmstudio"), ("safetensors", "linux_wsl"), (None, "linux_wsl")]
)
def test_models_are_routed_by_their_container(container: str | None, location: str) -> None:
    assert read_settings(DOCUMENT, "laptop").route(container) == location


def test_without_routing_nothing_is_routed() -> None:
    assert RegistrySettings().route("gguf") is None


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        (None, None),
        (0, None),
        (1000, 1000),
        ("0", None),
        ("512", 512),
        ("20M", 20 * 1024**2),
        ("20 MiB/s", 20 * 1024**2),
        ("1g", 1024**3),
        ("3kb", 3 * 1024),
        ("fast", None),
        ([], None),
    ],
)
def test_a_rate_is_bytes_a_second_however_it_is_written(written: object, rate: int | None) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize(
    ("window", "now", "is_open"),
    [
        (None, time(12), True),
        ("09:00-17:00", time(9), True),
        ("09:00-17:00", time(17), False),
        ("22:00-06:00", time(23, 30), True),
        ("22:00-06:00", time(5, 59), True),
        ("22:00-06:00", time(12), False),
    ],
)
def test_a_window_may_reach_over_midnight(window: str | None, now: time, is_open: bool) -> None:
    assert TransferSettings(window=window).open_at(now) is is_open
