"""Which host gets which credentials."""

import pytest

from imageworks.files.artifact import LinkError
from imageworks.providers.credentials import Credentials

NAMED = ("models.example.com=ONE", "models.example.com:8443=OTHER")
TOKENS = {"ONE": "token-of-one", "OTHER": "token-of-other", "NETRC": "/nowhere"}


@pytest.mark.parametrize(
    ("host", "port", "token"),
    [
        ("models.example.com", 443, "token-of-one"),
        ("models.example.com", 8443, "token-of-other"),
        ("models.example.com", 9999, None),
        ("example.com", 443, None),
        ("models.example.com.evil.example", 443, None),
    ],
)
def test_i7_a_token_goes_to_the_host_and_port_that_it_is_named_for(host: str, port: int, token: str | None) -> None:
    header = Credentials(NAMED, TOKENS).header(host, port)
    assert header == ({"authorization": f"Bearer {token}"} if token is not None else {})


def test_a_variable_that_is_not_set_is_told() -> None:
    with pytest.raises(LinkError) as caught:
        Credentials(NAMED, {}).header("models.example.com", 443)
    assert "ONE" in caught.value.render()
