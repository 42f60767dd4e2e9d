"""The one place where an error that nobody foresaw becomes one model's failure, so that the others go on (I9)."""

from types import TracebackType
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.log import log_place, unexpected

REASON: Final = "internal-error"
_SHOWN_CHARACTERS: Final = 200


class InternalError(ImageworksError):
    """Work on one model ended in a way that nobody foresaw; the log has the traceback."""

    reason = REASON

    def __init__(self, about: str, error: Exception) -> None:
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        place = log_place()
        where = f"the traceback is in {place}" if place else "IMAGEWORKS_DEBUG=1 shows the traceback"
        super().__init__(
            f"{about}: {type(error).__name__}{f': {said}' if said else ''}",
            remedy=f"This is a bug in imageworks-models, which concerns this model alone; {where}.",
        )


class isolated:  # noqa: N801 # used as those of contextlib, whose generators cost six times as much, 50,000 times a plan
    """Turn what nobody foresaw into an `InternalError` of one model; refusals and the system's errors pass.

    Only exceptions count: ^C and a request to end still end the run.
    """

    __slots__ = ("_about",)

    def __init__(self, about: str) -> None:
        self._about = about

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, ImageworksError | OSError):
            unexpected(self._about, error)
            raise InternalError(self._about, error) from error
