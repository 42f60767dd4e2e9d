"""Addresses of single files as people paste them, with the digest that vouches for the bytes."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from imageworks.detection.file_names import Container, classify
from imageworks.foundation.errors import UsageError
from imageworks.foundation.http import shown_url
from imageworks.naming.model_names import default_variant_name
from imageworks.naming.quantization_labels import find_quantizations
from imageworks.providers.credentials import LOOPBACK
from imageworks.providers.named_source import NamedSource

_SECRET: Final = re.compile(r"(?:^|[&;])[^=&;]*(?:token|key|sig|auth|pass|secret|credential)[^=&;]*=", re.IGNORECASE)
_SHA256: Final = re.compile(r"(?:sha256[:-])?([0-9a-fA-F]{64})")


def named(text: str, sha256: str | None) -> NamedSource | None:
    """Return the file that an address names, ``None`` where it is no address of a file."""
    if not text.lower().startswith(("https://", "http://", "file:")):
        return None
    try:
        parts = urlsplit(text)
        file = unquote(parts.path.rpartition("/")[2])
        known = bool(parts.hostname) or parts.scheme == "file"
    except ValueError:
        known, file = False, ""
    if not known:
        raise UsageError("this is no valid address", remedy="Give the file's https address.")
    shown = shown_url(text)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError(f"{shown}: anybody on the way could change it", remedy="Give an https address.")
    if "@" in parts.netloc or _SECRET.search(parts.query):
        raise UsageError(
            f"{shown}: what lets you in would be committed with the address",
            remedy="Take it out; credentials stand in the netrc file, or in a variable that config.toml names.",
        )
    if sha256 is None:
        raise UsageError(
            f"{shown} is no page of the hub, and nothing vouches for its bytes",
            remedy="Give the digest that its publisher names: --sha256 HEX. If it is a mirror of the hub: HF_ENDPOINT.",
        )
    digest = _SHA256.fullmatch(sha256.strip())
    if digest is None:
        raise UsageError(f"--sha256 {sha256}: not 64 hexadecimal digits", remedy="Copy the digest of the file itself.")
    container = classify(file).container
    if container is None:
        raise UsageError(
            f"{shown} ends in no name of a file with weights",
            remedy="Declare it in a manifest, with `path` as the file's name: source: {files: [{url, sha256, path}]}.",
        )
    found = find_quantizations(file.lower())
    label = found[-1].label if found else None
    backend = "gguf" if container is Container.GGUF else "unassigned"
    stem = file.rpartition(".")[0]
    name = default_variant_name(stem, backend, download_format=container.value, quantization=label)
    declared = {"quantization": label} if label else {}
    return NamedSource({"url": text.partition("#")[0], "sha256": digest[1].lower()}, name, backend, declared)
