"""When each model was last used on this host: kept beside the other state, never in git, shown on output only."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.log import warn


def touch(state_dir: Path, name: str) -> None:
    """Record that a model is used now; where that cannot be written, it is told and nothing stops."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        with StateDatabase.open(state_dir / STATE_FILE) as state:
            state.set_last_accessed(name, now)
    except (ImageworksError, OSError) as error:
        warn(f"last_accessed of {name} is not kept: {error}")


def last_accessed(state_dir: Path) -> Mapping[str, str]:
    """Return when each model was last used; writes nothing, and loads no database where there is none."""
    file = state_dir / STATE_FILE
    if not file.is_file():
        return {}
    with StateDatabase.open(file, read_only=True) as state:
        return state.all_last_accessed()
