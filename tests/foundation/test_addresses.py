"""From where an address is reached, whichever way it is written, and to which of them a server may lead (X15)."""

import socket

import pytest

from imageworks.foundation.addresses import AddressGuard, PrivateAddressError, Reach, reach_of

PUBLIC, INSIDE = "https://93.184.216.34", "http://10.1.2.3:8080"


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("2606:2800:21f:cb07::1", Reach.PUBLIC),
        ("64:ff9b::5db8:d822", Reach.PUBLIC),  # as a network without IPv4 reaches 93.184.216.34
        ("::ffff:93.184.216.34", Reach.PUBLIC),
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.255.1.1", Reach.LOOPBACK),
        ("0.0.0.0", Reach.LOOPBACK),  # noqa: S104 # nothing is bound
        ("0.1.2.3", Reach.LOOPBACK),
        ("::", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("::127.0.0.1", Reach.LOOPBACK),
        ("64:ff9b::7f00:1", Reach.LOOPBACK),
        ("2002:7f00:1::", Reach.LOOPBACK),
        ("169.254.169.254", Reach.LINK_LOCAL),
        ("::ffff:169.254.169.254", Reach.LINK_LOCAL),
        ("64:ff9b::a9fe:a9fe", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("64:ff9b:1::a9fe:a9fe", Reach.LINK_LOCAL),
        ("::ffff:0:169.254.169.254", Reach.LINK_LOCAL),
        ("2a00::200:5efe:169.254.169.254", Reach.LINK_LOCAL),
        ("2a00::5efe:7f00:1", Reach.LOOPBACK),
        ("fe80::5efe:1.2.3.4", Reach.LINK_LOCAL),
        ("64:ff9b::101:101", Reach.PUBLIC),
        ("192.0.0.8", Reach.PRIVATE),
        ("10.0.0.1", Reach.PRIVATE),
        ("172.31.255.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("fec0::1", Reach.PRIVATE),
        ("2002:a00:1::", Reach.PRIVATE),
        ("224.0.0.1", Reach.NOWHERE),
        ("255.255.255.255", Reach.NOWHERE),
        ("ff02::1", Reach.NOWHERE),
    ],
)
def test_x15_an_address_is_told_by_its_numbers(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


WRITTEN = (
    *("127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "[::1]", "[::ffff:10.0.0.1]", "[fe80::1]"),
    *(
        "10.0.0.8",
        "192.168.0.1",
        "0.0.0.0",  # noqa: S104
        "127.0.0.1.",
        "224.0.0.1",
        "a b",
        "127.0.0.1%2e",
        "10。0。0。1",
        "x\\@y",
        "",
    ),
)


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("host", WRITTEN)
def test_x15_a_public_server_leads_to_no_private_address(
    monkeypatch: pytest.MonkeyPatch, host: str, proxied: bool
) -> None:
    if proxied:
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with pytest.raises(PrivateAddressError):
        AddressGuard(PUBLIC).check(f"https://{host}/x")


@pytest.mark.parametrize("host", ["93.184.216.34", "10.0.0.8", "127.0.0.1", "[fd00::1]"])
def test_x15_a_private_server_leads_to_private_addresses(host: str) -> None:
    AddressGuard(INSIDE).check(f"http://{host}/x")
    AddressGuard("http://localhost:1").check(f"http://{host}/x")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "1684301000",
            "0xa83f8110",
        ),
        *("[fd00:ec2::254]", "[fd20:ce::254]", "[fd00:42::42]", "[::ffff:168.63.129.16]", "[64:ff9b::6464:64c8]"),
    ],
)
def test_x15_nothing_leads_to_what_tells_a_machine_its_credentials(host: str) -> None:
    for server in (PUBLIC, INSIDE, "http://127.0.0.1:1"):
        with pytest.raises(PrivateAddressError, match="link-local"):
            AddressGuard(server).check(f"http://{host}/latest/meta-data")


def answers(monkeypatch: pytest.MonkeyPatch, *turns: dict[str, list[str]]) -> None:
    """Let names mean something else at each look-up, the last meaning for good."""
    seen: dict[str, int] = {}

    def look_up(host: str, port: object, **_: object) -> list[tuple[object, ...]]:
        del port
        turn = min(seen.get(host, 0), len(turns) - 1)
        seen[host] = seen.get(host, 0) + 1
        if host not in turns[turn]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in turns[turn][host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_x15_a_name_counts_as_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"hub.example": ["93.184.216.34"], "cdn.example": ["10.0.0.1"], "ok.example": ["1.1.1.1"]})
    guard = AddressGuard("https://hub.example")
    guard.check("https://ok.example/x")
    guard.check("https://nobody.example/x")  # the connection will tell
    with pytest.raises(PrivateAddressError, match=r"cdn\.example.*private address \(10\.0\.0\.1\)"):
        guard.check("https://cdn.example/x")


def test_x15_of_several_addresses_only_the_public_ones_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = ["10.0.0.1", "93.184.216.34", "169.254.169.254", "127.0.0.1"]
    answers(monkeypatch, {"hub.example": mixed, "cdn.example": mixed})
    guard = AddressGuard("https://hub.example")
    assert list(guard.addresses("cdn.example")) == ["93.184.216.34"]
    assert list(guard.addresses("hub.example")) == ["93.184.216.34"]


def test_x15_a_name_that_changes_its_meaning_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"hub.example": ["93.184.216.34"], "cdn.example": ["93.184.216.35"]}
    then = {"hub.example": ["127.0.0.1"], "cdn.example": ["127.0.0.1"]}
    answers(monkeypatch, first, then)
    guard = AddressGuard("https://hub.example")
    guard.check("https://cdn.example/x")
    for host in ("cdn.example", "hub.example"):  # its own name too: it was public when it was first asked
        with pytest.raises(PrivateAddressError):
            guard.connect(host, 1, 1.0)


def test_x15_what_the_hosts_settings_name_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"hub.example": ["93.184.216.34"], "s3.corp.example": ["10.9.0.1"], "x.example": ["10.8.0.1"]})
    guard = AddressGuard("https://hub.example", ["corp.example", "10.8.0.0/16"])
    guard.check("https://s3.corp.example/x")
    guard.check("https://x.example/x")
    with pytest.raises(PrivateAddressError):
        guard.check("https://10.7.0.1/x")
