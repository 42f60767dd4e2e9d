"""When a model was last used: kept on this host, told on output, and in nobody's way."""

from pathlib import Path

import pytest

from imageworks.foundation.log import command_log
from imageworks.serving.last_used import last_accessed, touch


def test_the_last_use_is_remembered(tmp_path: Path) -> None:
    touch(tmp_path / "state", "a")
    touch(tmp_path / "state", "b")
    found = last_accessed(tmp_path / "state")
    assert sorted(found) == ["a", "b"]
    assert found["a"].endswith("Z")


def test_looking_writes_nothing(tmp_path: Path) -> None:
    """I4."""
    assert last_accessed(tmp_path / "state") == {}
    assert not (tmp_path / "state").exists()
    touch(tmp_path / "state", "a")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "state").iterdir())
    last_accessed(tmp_path / "state")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "state").iterdir()) == before


def test_a_state_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    told: list[str] = []
    with command_log(told.append, []):
        touch(tmp_path / "file" / "state", "a")
    (warning,) = told
    assert warning.startswith("warning: last_accessed of a is not kept: ")


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_state_that_cannot_be_read_is_as_if_nothing_were_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.sqlite3").write_bytes(content)
    assert last_accessed(tmp_path) == {}
