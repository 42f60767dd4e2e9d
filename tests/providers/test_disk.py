"""What looking at disks teaches is remembered as it comes, where it may be."""

from pathlib import Path

import pytest

from imageworks.files.digests import Algorithm
from imageworks.files.state import StateDatabase
from imageworks.providers import disk


@pytest.mark.parametrize("may_write", [True, False])
def test_an_interrupted_look_reads_little_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, may_write: bool
) -> None:
    monkeypatch.setattr(disk, "REMEMBERED_AT_LEAST_FILES", 2)
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    with StateDatabase.open(tmp_path / "state.db") as state:
        look = disk.DiskObserver(state)
        look.kept_in = state if may_write else None
        digests = [look.digest(file, file.stat(), Algorithm.SHA256) for file in files]
        known = [state.fingerprint(file) for file in files]
        assert [one is not None for one in known] == [may_write, may_write, False]
        assert [look.digest(file, file.stat(), Algorithm.SHA256) for file in files] == digests
