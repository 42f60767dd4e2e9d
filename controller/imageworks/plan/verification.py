"""How recorded models compare with their files: what is wrong with which file, and the verdict on the whole. Values."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What came of verifying a model."""

    INTACT = "intact"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNVERIFIED = "unverified"


class Fault(StrEnum):
    """What is wrong with one file, or with the model as a whole."""

    MISSING = "file-missing"
    SIZE = "size-mismatch"
    DIGEST = "digest-mismatch"
    UNREADABLE = "unreadable"
    LOCATION_ABSENT = "location-absent"
    LOCATION_CHANGED_DISK = "location-changed-disk"
    LOCATION_UNREADABLE = "location-unreadable"
    LOCK = "version-lock"
    NO_RECORD = "nothing-recorded"
    INTERNAL = "internal-error"
    MANIFEST = "manifest-mismatch"
    INCOMPLETE = "incomplete"
    UNRECOGNISED = "unrecognised"
    SHARED = "writable-by-others"


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong.

    Args:
        fault: What it is, as a word.
        message: What it is, as a sentence.
        path: The file's relative path; ``None`` for the whole model.
    """

    fault: Fault
    message: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of verifying one model.

    Args:
        name: The variant name.
        verdict: In one word.
        files: How many files are recorded.
        size: Their bytes.
        hashed: Bytes that were read; the others look as they did when they were hashed.
        problems: What is wrong.
    """

    name: str
    verdict: Verdict
    files: int = 0
    size: int = 0
    hashed: int = 0
    problems: tuple[FileProblem, ...] = ()

    def __repr__(self) -> str:
        first = f": {self.problems[0].path or ''} {self.problems[0].message}" if self.problems else ""
        more = f" and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"<{self.name} {self.verdict.value}{first}{more}>"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "files": self.files,
            "size_bytes": self.size,
            "hashed_bytes": self.hashed,
            "problems": [{"path": p.path, "reason": p.fault.value, "message": p.message} for p in self.problems],
        }
