"""Turn what Ollama says of a pull into the progress that every download tells."""

from imageworks.providers.ollama_values import PullProgress
from imageworks.reconcile.plan import Change
from imageworks.transfer.files import Progress


class PullLines:
    """Turns the lines of a pull into the progress that every download tells.

    Args:
        progress: Who is told.
        change: The pull.
    """

    def __init__(self, progress: Progress, change: Change) -> None:
        self._progress = progress
        self._model = change.name
        self._wanted = {path.removeprefix("blobs/sha256-") for path in change.fetch} if change.size_known else None
        self._here: dict[str, int] = {}
        self._began = change.size_known
        if self._began:
            progress.start(self._model, change.bytes_to_fetch)

    def __call__(self, line: PullProgress) -> None:
        """Count what came since the last line of the same blob."""
        if line.digest is None or (self._wanted is not None and line.digest not in self._wanted):
            return
        if not self._began:
            self._began = True
            self._progress.start(self._model, line.total or 0)
        came = line.completed - self._here.get(line.digest, 0)
        self._here[line.digest] = line.completed
        if came:
            self._progress.advance(self._model, came)

    def finish(self) -> None:
        """Say that nothing more comes."""
        if self._began:
            self._progress.finish(self._model)
