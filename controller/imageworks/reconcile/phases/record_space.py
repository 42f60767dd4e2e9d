"""Whether what a run does can be recorded afterwards: asked before the first byte."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from imageworks.files.safe_paths import filesystem_key, free_bytes
from imageworks.foundation.errors import ImageworksError
from imageworks.plan.plan import Action, Change

RECORDING_BYTES: Final = 256 * 1024
"""What a commit of ours and the state's journal may need; they fail half-way where there is less."""


class NoRoomToRecordError(ImageworksError):
    """A folder in which is written what was done has no room for that."""

    def __init__(self, folder: Path, free: int) -> None:
        super().__init__(
            f"{folder}: no space left to record what is done: {free} bytes are free, {RECORDING_BYTES} are wanted",
            remedy=f"Nothing was done. Free some space on the filesystem of {folder} and run again.",
        )
        self.reason = "disk-full"


def check_room(changes: Iterable[Change], folders: Iterable[Path]) -> None:
    """Raise NoRoomToRecordError where a folder is full; not where a removal is what makes the room."""
    doing = list(changes)
    if not doing:
        return
    freeing = {
        filesystem_key(Path(change.path[0]))
        for change in doing
        if change.action is Action.REMOVE and change.bytes_freed and change.path[0] is not None
    }
    for folder in folders:
        free = free_bytes(folder)
        if free is not None and free < RECORDING_BYTES and filesystem_key(folder) not in freeing:
            raise NoRoomToRecordError(folder, free)
