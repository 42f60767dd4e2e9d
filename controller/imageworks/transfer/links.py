"""Which links are followed, and how they are shown: a signed link is a secret while it lasts."""

import re
from urllib.parse import urlsplit

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.foundation.addresses import Reach, reach_of, written_address


def check_link(url: str, file: RemoteFile, *, allow_http: bool) -> str:
    """Return a link that is https, or plain http to this machine or where the endpoint is so too; else LinkError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    loopback = any(reach_of(address) is Reach.LOOPBACK for address in written_address(host))
    if host and (parts.scheme == "https" or (parts.scheme == "http" and (allow_http or loopback))):
        return url
    raise LinkError(
        f"{file.path}: the hub links to {parts.scheme or 'no'}://{host}, which is not https",
        remedy="use a hub or mirror that serves its files over https",
        reason="insecure-link",
    )


def without_queries(message: str) -> str:
    """Return a text without the query of any address in it, which may be a signature."""
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?...", message).strip()
