"""I7: what a person pasted into an address is not shown again."""

import pytest

from imageworks.foundation.log import redact
from support.reconcile import World, command


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_settings_do_not_show_a_password_in_the_hubs_address(
    world: World, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://me:canary@mirror.example")
    shown = command("config", "--registry", world.root, *words)
    assert "canary" not in shown.out + shown.err
    assert "https://[redacted]@mirror.example" in shown.out


def test_a_token_alone_before_an_at_sign_is_redacted() -> None:
    assert redact("fetch https://canary@git.example/x.git") == "fetch https://[redacted]@git.example/x.git"
    assert redact("see https://git.example/@me") == "see https://git.example/@me"
