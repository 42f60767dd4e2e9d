"""The user's Hugging Face token, found where huggingface_hub finds it, without its 210 ms of import.

The order is that of ``huggingface_hub.get_token`` 2.4 (``utils/_auth.py``, ``constants.py``): a trusted publisher's
exchange when ``HF_OIDC_RESOURCE`` asks for one, ``HF_TOKEN``, ``HUGGING_FACE_HUB_TOKEN``, then the file that
``HF_TOKEN_PATH`` names, else ``token`` in ``HF_HOME``, which is ``huggingface`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
``HF_HUB_DISABLE_IMPLICIT_TOKEN`` forbids them all. Two rare things are left to the library itself: that exchange, and
renewing a browser login's token once a hub refused it. Colab's vault is not asked; set ``HF_TOKEN`` there.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imageworks.foundation.home import expanded
from imageworks.log import keep_secret
from imageworks.providers.hub_errors import VARIABLES, UnauthorisedError

_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})  # huggingface_hub's own reading of a switch
_VISIBLE: Final = re.compile(r"[!#-&(-~]+")  # none has quotes: they are what a file of variables had around it


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that no message, log line or debugger shows.

    Args:
        value: The secret itself.
        origin: Where it was found, for messages.
        renewable: Whether the library may hold a newer one for it.
    """

    value: str = field(repr=False)
    origin: str
    renewable: bool = False


def is_true(value: str | None) -> bool:
    """Return whether an environment variable's value switches something on, as huggingface_hub reads it."""
    return value is not None and value.upper() in _TRUE


def find_token(environment: Mapping[str, str]) -> Token | None:
    """Return the token that the user's environment or login gives, if any.

    Args:
        environment: The process's environment variables.

    Raises:
        UnauthorisedError: There is one, but it cannot be read or cannot stand in a header.
    """
    if is_true(environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return None
    if environment.get("HF_OIDC_RESOURCE"):
        value = _ask_library()
        return None if value is None else _checked(value, "HF_OIDC_RESOURCE", renewable=True)
    variable = next((name for name in VARIABLES if environment.get(name)), VARIABLES[0])
    if (token := _checked(environment.get(variable, ""), variable)) is not None:
        return token
    file = token_file(environment)
    try:
        return _checked(file.read_text(encoding="utf-8"), str(file), renewable=True)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnauthorisedError(
            f"{file}: the Hugging Face token cannot be read: {type(error).__name__}",
            remedy="Repair or remove the file, or set HF_TOKEN.",
        ) from None


def token_file(environment: Mapping[str, str]) -> Path:
    """Return where ``hf auth login`` keeps the token.

    Args:
        environment: The process's environment variables.
    """
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or f"{cache}/huggingface"
    return expanded(os.path.expandvars(environment.get("HF_TOKEN_PATH") or f"{home}/token"))


def renewed(token: Token) -> Token | None:
    """Return a newer token for one that a hub refused, or ``None`` when the library has none.

    Args:
        token: The refused one.
    """
    value = _ask_library() if token.renewable else None
    return None if value is None or value == token.value else _checked(value, token.origin)


def _ask_library() -> str | None:
    import huggingface_hub
    from huggingface_hub.errors import OIDCError

    try:
        return huggingface_hub.get_token()
    except OIDCError as error:
        raise UnauthorisedError(
            f"the token exchange of HF_OIDC_RESOURCE failed: {error}",
            remedy="Correct the trusted publisher's settings, or unset HF_OIDC_RESOURCE.",
        ) from error


def _checked(text: str, origin: str, *, renewable: bool = False) -> Token | None:
    value = text.replace("\r", "").replace("\n", "").strip()
    if not value:
        return None
    if not _VISIBLE.fullmatch(value):  # the HTTP library would refuse it too, and quote it in its message
        raise UnauthorisedError(
            f"{origin}: the Hugging Face token has characters that no token has",
            remedy="Copy it again from https://huggingface.co/settings/tokens.",
        )
    keep_secret(value)
    return Token(value, origin, renewable)
