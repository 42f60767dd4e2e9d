"""The user's Hugging Face token, as huggingface_hub finds and renews it, and where it comes from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.foundation.log import keep_secret
from imageworks.providers.huggingface.errors import VARIABLES, UnauthorisedError

_EXCHANGE: Final = "HF_OIDC_RESOURCE"
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
    """Return the token that the user's environment or login gives, if any; this loads the library."""
    if is_true(environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return None
    import huggingface_hub
    from huggingface_hub.constants import HF_TOKEN_PATH
    from huggingface_hub.errors import OIDCError

    exchanged = environment.get(_EXCHANGE)
    given = next((name for name in VARIABLES if environment.get(name)), None)
    try:
        value = (huggingface_hub.get_token() or "").strip()
    except OIDCError as error:
        raise UnauthorisedError(
            f"the token exchange of {_EXCHANGE} failed: {error}",
            remedy=f"Correct the trusted publisher's settings, or unset {_EXCHANGE}.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnauthorisedError(
            f"{HF_TOKEN_PATH}: the Hugging Face token cannot be read: {type(error).__name__}",
            remedy="Repair or remove the file, or set HF_TOKEN.",
        ) from None
    if not value:
        return None
    is_given = not exchanged and given is not None and bool(environment[given].strip())
    origin = _EXCHANGE if exchanged else given if is_given and given is not None else HF_TOKEN_PATH
    if not _VISIBLE.fullmatch(value):  # the HTTP library would refuse it too, and quote it in its message
        raise UnauthorisedError(
            f"{origin}: the Hugging Face token has characters that no token has",
            remedy="Copy it again from https://huggingface.co/settings/tokens.",
        )
    keep_secret(value)
    return Token(value, origin, renewable=not is_given)
