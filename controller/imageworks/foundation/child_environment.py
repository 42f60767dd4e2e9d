"""What a child process may see of our environment: what such a program works with, and no other secret."""

import re
from collections.abc import Mapping
from typing import Final

ORDINARY: Final = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "TMP", "TEMP",
        "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "CURL_CA_BUNDLE", "SYSTEMROOT", "WSLENV", "WSL_INTEROP", "WSL_DISTRO_NAME",
    }
)  # fmt: skip
"""What any program works with."""
AGENTS: Final = frozenset(
    {
        "SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_SK_PROVIDER", "GNUPGHOME",
        "GPG_TTY", "PINENTRY_USER_DATA", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS",
        "KRB5CCNAME", "KRB5_CONFIG", "CURL_HOME",
    }
)  # fmt: skip
"""Where ssh, gpg and credential helpers find keys, tickets and somebody to ask; addresses, no secrets."""
_ORDINARY_PREFIXES: Final = ("LC_", "XDG_")
_PROXY: Final = re.compile(r"(?:https?|ftp|all|no)_proxy", re.IGNORECASE)
_SECRET: Final = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|CREDENTIALS?)$")


def child_environment(
    environment: Mapping[str, str], *, also: frozenset[str] = frozenset(), prefixes: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the variables that a child gets."""
    return {
        name: value
        for name, value in environment.items()
        if name in ORDINARY
        or name in also
        or name.startswith(_ORDINARY_PREFIXES)
        or _PROXY.fullmatch(name)
        or (name.startswith(prefixes) and not _SECRET.search(name.upper()))
    }
