"""What can go wrong with Ollama: one error for each, with the word that plans use for it.

All are LinkError, so that whoever retries can tell what is worth another try without knowing Ollama.
"""

from typing import ClassVar

from imageworks.transfer.files import LinkError


class OllamaError(LinkError):
    """Ollama, its store or its registry did not give what was asked.

    Args:
        message: What is wrong, naming the model, file or address; never a key.
        remedy: What to do about it.
        retryable: Whether the same request may succeed later.
    """

    word: ClassVar[str] = "ollama-refused"

    def __init__(self, message: str, *, remedy: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, remedy=remedy, retryable=retryable, reason=self.word)


class OllamaUnreachableError(OllamaError):
    """No daemon answers, or what answers is not Ollama."""

    word = "ollama-unreachable"


class OllamaNotFoundError(OllamaError):
    """No model of that name: not in the store, or not in the registry."""

    word = "ollama-not-found"


class OllamaNeedsNewerError(OllamaError):
    """The model wants a newer Ollama than the one that runs: trying again changes nothing."""

    word = "ollama-needs-newer"


class OllamaInUseError(OllamaError):
    """The model is loaded and must not be taken away now."""

    word = "ollama-in-use"


class OllamaDigestMismatchError(OllamaError):
    """Bytes are not what their digest says."""

    word = "ollama-digest-mismatch"


class OllamaBrokenStreamError(OllamaError):
    """An answer ended before its end, or is not what Ollama says."""

    word = "ollama-broken-stream"


class OllamaNameError(OllamaError):
    """This can be no model's name in Ollama's grammar."""

    word = "ollama-name"


class OllamaDiskFullError(OllamaError):
    """The disk of the daemon's store is full."""

    word = "ollama-disk-full"


class OllamaStoreError(OllamaError):
    """The store on disk cannot be read."""

    word = "ollama-store-unreadable"


class OllamaUnauthorisedError(OllamaError):
    """The daemon, a proxy before it or the registry wants a key, or refuses ours."""

    word = "ollama-unauthorised"


class OllamaCancelledError(OllamaError):
    """We stopped it ourselves; what came so far stays and the next pull goes on from there."""

    word = "ollama-cancelled"


class OllamaOfflineError(OllamaError):
    """The network is needed, and the user forbade it."""

    word = "offline"
