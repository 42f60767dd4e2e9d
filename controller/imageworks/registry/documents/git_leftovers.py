"""What git may leave in a file in the place of its content: markers of a conflict, or a pointer of Git LFS."""

import re
from typing import Final

LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
"""How a pointer begins."""
POINTER: Final = "the file is a pointer of Git LFS"
POINTER_REMEDY: Final = (
    "no filter of git is run here: `imageworks-models init --refresh` keeps entries out of it; then "
    "`git add --renormalize discovered snapshot` where the files are whole, else bring them back from an earlier commit"
)
_MARKER: Final = re.compile(rb"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)
CONFLICT: Final = "a conflict of git is not settled here"
CONFLICT_REMEDY: Final = (
    "keep the lines of one side, and remove those that begin with `<<<<<<<`, `|||||||`, `=======` and `>>>>>>>`"
)


def conflict_line(data: bytes) -> int | None:
    """Return the line of the first conflict marker in a file; ``None`` where there is none."""
    found = _MARKER.search(data)
    return None if found is None else data.count(b"\n", 0, found.start()) + 1
