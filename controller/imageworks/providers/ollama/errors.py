"""What can go wrong with Ollama: one error for each, with the word that plans use for it.

All are LinkError, so that whoever retries can tell what is worth another try without knowing Ollama.
"""

from imageworks.files.artifact import LinkError
from imageworks.providers.ollama.reasons import OllamaReason


class OllamaError(LinkError):
    """Ollama, its store or its registry did not give what was asked."""

    usual_reason = "ollama-refused"


class OllamaPrivateTargetError(OllamaError):
    """A registry leads into this machine or its network, where it is not itself."""

    usual_reason = "private-address"


class OllamaUnreachableError(OllamaError):
    """No daemon answers, or what answers is not Ollama."""

    usual_reason = OllamaReason.UNREACHABLE


class OllamaNotFoundError(OllamaError):
    """No model of that name: not in the store, or not in the registry."""

    usual_reason = OllamaReason.NOT_FOUND


class OllamaNeedsNewerError(OllamaError):
    """The model wants a newer Ollama than the one that runs: trying again changes nothing."""

    usual_reason = OllamaReason.NEEDS_NEWER


class OllamaInUseError(OllamaError):
    """The model is loaded and must not be taken away now."""

    usual_reason = OllamaReason.IN_USE


class OllamaDigestMismatchError(OllamaError):
    """Bytes are not what their digest says."""

    usual_reason = "ollama-digest-mismatch"


class OllamaBrokenStreamError(OllamaError):
    """An answer ended before its end, or is not what Ollama says."""

    usual_reason = "ollama-broken-stream"


class OllamaNameError(OllamaError):
    """This can be no model's name in Ollama's grammar."""

    usual_reason = OllamaReason.NAME


class OllamaDiskFullError(OllamaError):
    """The disk of the daemon's store is full."""

    usual_reason = "ollama-disk-full"


class OllamaStoreError(OllamaError):
    """The store on disk cannot be read."""

    usual_reason = OllamaReason.STORE_UNREADABLE


class OllamaUnauthorisedError(OllamaError):
    """The daemon, a proxy before it or the registry wants a key, or refuses ours."""

    usual_reason = OllamaReason.UNAUTHORISED


class OllamaCancelledError(OllamaError):
    """We stopped it ourselves; what came so far stays and the next pull goes on from there."""

    usual_reason = "ollama-cancelled"


class OllamaOfflineError(OllamaError):
    """The network is needed, and the user forbade it."""

    usual_reason = "offline"
