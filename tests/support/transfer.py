"""Files with their digests, and staging areas filled with them."""

import hashlib
import os
from pathlib import Path

from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.staging import StagingArea, write_all


def content(seed: str, size: int) -> bytes:
    """Bytes that look random and are the same on each call; quick enough for hundreds of megabytes."""
    return hashlib.shake_128(seed.encode()).digest(size) if size < 1 << 20 else _long_content(seed, size)


def _long_content(seed: str, size: int) -> bytes:
    block = hashlib.shake_128(seed.encode()).digest(1 << 20)
    numbered = (b"%016d" % number + block[16:] for number in range(-(-size // (1 << 20))))
    return b"".join(numbered)[:size]


def sha256(data: bytes) -> Digest:
    return Digest(Algorithm.SHA256, hashlib.sha256(data).hexdigest())


def git_blob(data: bytes) -> Digest:
    return Digest(Algorithm.GIT_BLOB, hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def remote(path: str, data: bytes, *, large: bool = True) -> RemoteFile:
    return RemoteFile(path, len(data), sha256(data) if large else git_blob(data), large)


def stage(area: StagingArea, files: dict[str, bytes]) -> None:
    """Put verified files into an area's tree, the way a transfer does."""
    for name, data in files.items():
        file = remote(name, data)
        descriptor = area.create_part(file)
        write_all(descriptor, memoryview(data))
        os.close(descriptor)
        area.accept(file)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
