"""Which proxy the environment means, and what is said of settings that mean none (D19, D20, D21)."""

from pathlib import Path

import pytest

from imageworks.foundation.certificates import tls_context, trusted_certificates
from imageworks.foundation.proxies import NetworkSettingError, proxy_for

HTTPS = "https://hub.example/x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://us%40er:p%3Ass%231@proxy:3128", ("http", "proxy", 3128, "us@er", "p:ss#1")),
        ("proxy:3128", ("http", "proxy", 3128, None, "")),
        ("proxy", ("http", "proxy", 80, None, "")),
        ("https://proxy", ("https", "proxy", 443, None, "")),
        ("HTTP://ada@proxy:1/", ("http", "proxy", 1, "ada", "")),
        ("http://[::1]:3128", ("http", "::1", 3128, None, "")),
        ("socks5h://127.0.0.1", ("socks5", "127.0.0.1", 1080, None, "")),
        ("socks5://ada:%C3%A4@proxy:9", ("socks5", "proxy", 9, "ada", "ä")),
    ],
)
def test_d19_an_address_is_decoded(text: str, expected: tuple[str, str, int, str | None, str]) -> None:
    proxy = proxy_for(HTTPS, {"HTTPS_PROXY": text})
    assert proxy is not None
    assert (proxy.scheme, proxy.host, proxy.port, proxy.user, proxy.password) == expected
    assert "p:ss" not in repr(proxy)


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1",
        "http://proxy:99999",
        "http://proxy:0",
        "http://proxy:port",
        "http://",
        "http://:3128",
        "ftp://proxy:21",
        "socks4://proxy:1080",
        "http://ada:se#cret@proxy:3128",
        "http://ada:se/cret@proxy:3128",
        "http://pro xy:3128",
        "ada:secret:proxy:3128",
        "http://prüxy:3128",
        "://",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_d21_an_address_that_is_none_names_its_variable_and_shows_no_secret(text: str, variable: str) -> None:
    with pytest.raises(NetworkSettingError) as caught:
        proxy_for(HTTPS, {variable: text})
    assert caught.value.variable == variable
    assert caught.value.message.startswith(f"{variable}: ")
    assert "secret" not in caught.value.render()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("environment", "url", "variable"),
    [
        ({"https_proxy": "a:1", "HTTPS_PROXY": "b:1", "ALL_PROXY": "c:1"}, HTTPS, "https_proxy"),
        ({"HTTPS_PROXY": "b:1", "all_proxy": "c:1"}, HTTPS, "HTTPS_PROXY"),
        ({"https_proxy": "", "HTTPS_PROXY": "  ", "ALL_PROXY": "c:1"}, HTTPS, "ALL_PROXY"),
        ({"HTTPS_PROXY": "b:1"}, "http://hub.example/x", None),
        ({"HTTP_PROXY": "b:1"}, "http://hub.example/x", "HTTP_PROXY"),
        ({"HTTP_PROXY": "b:1", "REQUEST_METHOD": "GET"}, "http://hub.example/x", None),
        ({"ALL_PROXY": "c:1"}, "http://hub.example/x", "ALL_PROXY"),
        ({}, HTTPS, None),
    ],
)
def test_d20_which_variable_counts(environment: dict[str, str], url: str, variable: str | None) -> None:
    proxy = proxy_for(url, environment)
    assert (proxy.variable if proxy else None) == variable


@pytest.mark.parametrize(
    ("listed", "url", "direct"),
    [
        ("*", HTTPS, True),
        ("hub.example", HTTPS, True),
        ("HUB.Example.", HTTPS, True),
        (".example", HTTPS, True),
        ("example", HTTPS, True),
        ("*.example", HTTPS, True),
        ("ub.example", HTTPS, False),
        ("other, hub.example", HTTPS, True),
        ("other hub.example", HTTPS, True),
        (",,", HTTPS, False),
        ("hub.example:443", HTTPS, True),
        ("hub.example:8443", HTTPS, False),
        ("hub.example:8443", "https://hub.example:8443/x", True),
        ("10.0.0.0/8", "https://10.1.2.3/x", True),
        ("10.0.0.0/8", "https://11.1.2.3/x", False),
        ("10.1.2.3", "https://10.1.2.3:5/x", True),
        ("10.1.2.3:6", "https://10.1.2.3:5/x", False),
        ("fd00::/8", "https://[fd00::1]/x", True),
        ("::1", "https://[::1]:5/x", True),
        ("[::1]:5", "https://[::1]:5/x", True),
        ("[::1]:6", "https://[::1]:5/x", False),
        ("", HTTPS, False),
    ],
)
def test_d21_who_is_asked_directly(listed: str, url: str, *, direct: bool) -> None:
    for variable in ("NO_PROXY", "no_proxy"):
        assert (proxy_for(url, {"ALL_PROXY": "http://proxy:1", variable: listed}) is None) == direct


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("kind", ["missing", "garbage", "damaged", "folder", "loop"])
def test_d21_certificates_that_are_none_name_their_variable(
    variable: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind == "garbage":
        path.write_bytes(b"\x00\xff no certificate")
    elif kind == "damaged":
        path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(NetworkSettingError) as caught:
        tls_context()
    assert caught.value.variable == variable
    assert caught.value.remedy


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_d21_an_empty_variable_is_none(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "")
    assert trusted_certificates() is None
    assert tls_context().get_ca_certs() is not None
