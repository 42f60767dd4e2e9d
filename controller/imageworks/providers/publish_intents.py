"""What this host was about to publish: written before the rename and removed after the commit.

A controller that is killed between the two leaves a complete model without an entry. The note says that its bytes are
ours, so that the next run records them as installed by us and not as found.
"""

import json
from contextlib import suppress
from pathlib import Path

from imageworks.files.renames import write_durably
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import FILE_MODE, make_private_folder
from imageworks.registry.documents.cache import registry_key


class PublishJournal:
    """One small file for each model that is under way."""

    def __init__(self, state_dir: Path, registry: Path) -> None:
        self.folder = state_dir / "intents" / registry_key(registry)
        """Where the files are."""

    def announce(self, name: str, path: Path) -> None:
        """Say, durably, that a model is about to appear at a path."""
        make_private_folder(self.folder, top=self.folder.parent.parent)
        content = json.dumps({"path": str(path)}).encode()
        write_durably(self.file(name), content, draft=self.folder / f"{name}.new", mode=FILE_MODE)

    def announced(self) -> dict[str, Path]:
        """Return the paths that were announced and not settled, by name."""
        found = {}
        for file in sorted(self.folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found[file.stem] = Path(read_json_file(file)["path"])
        return found

    def file(self, name: str) -> Path:
        """Return where a model's note is, or would be."""
        return self.folder / f"{name}.json"

    def drafts(self) -> list[Path]:
        """Return notes that a kill left unwritten; while nothing else runs, they are of no use to anybody."""
        return sorted(self.folder.glob("*.new"))

    def settle(self, name: str) -> None:
        """Forget a model whose entry is committed."""
        self.file(name).unlink(missing_ok=True)
