"""Why a change is made or blocked, as far as only Ollama knows such reasons."""

from enum import StrEnum


class OllamaReason(StrEnum):
    """Reasons beside those of all plans."""

    UNREACHABLE = "ollama-unreachable"
    NOT_FOUND = "ollama-not-found"
    NEEDS_NEWER = "ollama-needs-newer"
    IN_USE = "ollama-in-use"
    NAME = "ollama-name"
    UNAUTHORISED = "ollama-unauthorised"
    STORE_UNREADABLE = "ollama-store-unreadable"
