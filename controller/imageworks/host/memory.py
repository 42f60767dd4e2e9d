"""What a process that runs long does so that it keeps no more memory than it uses."""

import gc
from contextlib import suppress
from typing import Final

from imageworks.files.renames import c_library

_MOST_HEAPS: Final = -8
_BY_ITSELF_FROM: Final = -3
"""M_ARENA_MAX and M_MMAP_THRESHOLD in glibc's malloc.h."""


def share_heap() -> None:
    """Let all threads take memory from one heap, before there are any; glibc gives each one of its own.

    A server that reads ten thousand models now in this thread and then in that one keeps what each of them left:
    54 MiB after one page. Python's threads take turns anyway, so none waits for the heap. And what is large goes back
    to the system at once: else one file of 18 MB that git gave has all later ones stay in the heap, of up to 40 MiB.
    """
    with suppress(AttributeError):  # another C library
        c_library().mallopt(_MOST_HEAPS, 1)
        c_library().mallopt(_BY_ITSELF_FROM, 1 << 20)


def give_back() -> None:
    """Give back to the system what is in use no more, after much was let go.

    What refers to itself is looked for seldom, and glibc gives back by itself only what lies at the end of its heap.
    """
    gc.collect()
    with suppress(AttributeError):  # another C library
        c_library().malloc_trim(0)
