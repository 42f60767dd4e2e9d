"""Which certificates are trusted: one reading of the environment for our own connections and for aria2c.

``SSL_CERT_FILE``, else ``REQUESTS_CA_BUNDLE``, else ``CURL_CA_BUNDLE`` names a file, ``SSL_CERT_DIR`` folders. What
they hold is trusted instead of what the system trusts, as OpenSSL, requests and curl read them.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.foundation.proxies import NetworkSettingError

if TYPE_CHECKING:
    import ssl

_FILES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_FOLDERS: Final = "SSL_CERT_DIR"
_LARGEST_BYTES: Final = 16 * 1024 * 1024
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_REMEDY: Final = "Let it name a file of certificates in PEM form, or unset it."
_FOLDER_REMEDY: Final = "Let it name a folder of certificates in PEM form, or unset it."


def certificates_setting(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return which variable says what is trusted, ``None`` where that is left to the system."""
    return next((name for name in (*_FILES, _FOLDERS) if environment.get(name, "").strip()), None)


def trusted_certificates(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the certificates that the environment names, in PEM form; ``None`` where it is left to the system."""
    found: list[bytes] = []
    variable = next((name for name in _FILES if environment.get(name, "").strip()), None)
    if variable is not None:
        path = Path(environment[variable].strip())
        if path.is_dir() and variable == "SSL_CERT_FILE":
            raise NetworkSettingError(
                variable, f"{path} is a folder", remedy="Let it name a file; SSL_CERT_DIR names folders."
            )
        found += _in_folder(variable, path) if path.is_dir() else _in_file(variable, path)
    folders = environment.get(_FOLDERS, "").strip()
    for folder in filter(None, folders.split(os.pathsep)):
        found += _in_folder(_FOLDERS, Path(folder))
    if not found:
        return None
    return b"\n".join(dict.fromkeys(found)) + b"\n"


def tls_context() -> "ssl.SSLContext":
    """Return what checks the servers of encrypted connections."""
    import ssl

    pem = trusted_certificates()
    if pem is None:
        import httpcore2

        # It would read these two by itself, empty ones too.
        return httpcore2.default_ssl_context()
    try:
        return ssl.create_default_context(cadata=pem.decode("ascii"))
    except ssl.SSLError:
        raise NetworkSettingError(
            certificates_setting() or _FOLDERS, "what it names holds a damaged certificate", remedy=_REMEDY
        ) from None


def _in_file(variable: str, path: Path) -> list[bytes]:
    found = list(_certificates(variable, path))
    if not found:
        raise NetworkSettingError(variable, f"{path} holds no certificate", remedy=_REMEDY)
    return found


def _in_folder(variable: str, folder: Path) -> list[bytes]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise NetworkSettingError(
            variable, f"{folder}: {(error.strerror or 'cannot be read').lower()}", remedy=_FOLDER_REMEDY
        ) from None
    found = [one for path in paths for one in _certificates(variable, path)]
    if not found:
        raise NetworkSettingError(variable, f"{folder} holds no certificate", remedy=_FOLDER_REMEDY)
    return found


def _certificates(variable: str, path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            held = stream.read(_LARGEST_BYTES)
    except OSError as error:
        raise NetworkSettingError(
            variable, f"{path}: {(error.strerror or 'cannot be read').lower()}", remedy=_REMEDY
        ) from None
    yield from (one[0] for one in _CERTIFICATE.finditer(held))
