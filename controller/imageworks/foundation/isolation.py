"""The one place where an error that nobody foresaw becomes one model's failure, so that the others go on (I9)."""

from collections.abc import Iterator
from contextlib import contextmanager

from imageworks.errors import ImageworksError
from imageworks.log import log_place, unexpected

REASON = "internal-error"
_SHOWN_CHARACTERS = 200


class InternalError(ImageworksError):
    """Work on one model ended in a way that nobody foresaw; the log has the traceback.

    Args:
        about: The model.
        error: What was raised.
    """

    reason = REASON

    def __init__(self, about: str, error: Exception) -> None:
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        place = log_place()
        where = f"the traceback is in {place}" if place else "IMAGEWORKS_DEBUG=1 shows the traceback"
        super().__init__(
            f"{about}: {type(error).__name__}{f': {said}' if said else ''}",
            remedy=f"This is a bug in imageworks-models, which concerns this model alone; {where}.",
        )


@contextmanager
def isolated(about: str) -> Iterator[None]:
    """Turn what nobody foresaw into an `InternalError` of one model; refusals and the system's errors pass.

    Only exceptions count: ^C and a request to end still end the run.

    Args:
        about: The model, as it is called in the message.

    Raises:
        InternalError: Anything else was raised inside.
    """
    try:
        yield
    except (ImageworksError, OSError):
        raise
    except Exception as error:
        unexpected(about, error)
        raise InternalError(about, error) from error
