"""What one host's last run reported, as a value and as the JSON that stands on the host's own ref."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.log import redact

SCHEMA_VERSION: Final = 1
LARGEST_BYTES: Final = 256 * 1024
MOST_LISTED: Final = 200
LONGEST_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class ReportedModel:
    """One model that a run changed, or could not bring.

    Args:
        name: The variant name.
        action: What was planned: ``install``, ``blocked`` …
        reason: The word for why it was planned, or for why it failed.
        error: What went wrong; empty when it was done.
    """

    name: str
    action: str
    reason: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """What came of one run on one host.

    Args:
        host: The host's name.
        machine: A random id of the machine, by which two that claim one name are told apart.
        version: The version of this program.
        revision: The commit of the registry that was reconciled; ``None`` where it did not come to that.
        finished: When the run ended.
        seconds: How long it took.
        error: Why the run as a whole failed; empty when it did not.
        models: What was changed, and what could not be.
        more: How many further ones are not listed.
    """

    host: str
    machine: str
    version: str
    revision: str | None
    finished: datetime
    seconds: float = 0.0
    error: str = ""
    models: tuple[ReportedModel, ...] = ()
    more: int = 0

    @property
    def failed(self) -> Mapping[str, ReportedModel]:
        """The models that could not be brought, by name."""
        return {one.name: one for one in self.models if one.error}

    @property
    def succeeded(self) -> bool:
        """Whether the run left nothing undone."""
        return not self.error and not self.failed

    def same_outcome(self, other: "HostReport") -> bool:
        """Return whether two runs say the same of everything but time."""
        return (self.host, self.version, self.revision, self.error, self.models) == (
            *(other.host, other.version, other.revision, other.error, other.models),
        )

    def document(self) -> dict[str, object]:
        """Return the report in JSON's data model."""
        return {
            "schema_version": SCHEMA_VERSION,
            "host": self.host,
            "machine": self.machine,
            "version": self.version,
            "registry_revision": self.revision,
            "finished_at": self.finished.astimezone(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "succeeded": self.succeeded,
            "error": self.error,
            "models": [
                {"name": one.name, "action": one.action, "reason": one.reason, "error": one.error}
                for one in self.models
            ],
            "more": self.more,
        }

    def render(self) -> bytes:
        """Return the report's bytes: what failed first, no more than is worth reading, no secret."""
        return (json.dumps(self.document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def bounded(models: Iterable[ReportedModel]) -> tuple[tuple[ReportedModel, ...], int]:
    """Return as many models as a report lists, failures first and each in short words, and how many are left."""
    listed = sorted(models, key=lambda one: (not one.error, one.name))
    kept = [ReportedModel(one.name, one.action, one.reason, short(one.error)) for one in listed[:MOST_LISTED]]
    return tuple(kept), max(len(listed) - MOST_LISTED, 0)


def short(text: str) -> str:
    """Return a message as a report holds it."""
    words = " ".join(redact(text).split())
    return words if len(words) <= LONGEST_TEXT else words[: LONGEST_TEXT - 1] + "…"


def read_report(host: str, data: bytes) -> HostReport | None:
    """Return the report in a ref's bytes; ``None`` where they are no report of that host that we understand."""
    if len(data) > LARGEST_BYTES:
        return None
    try:
        fields = read_json(data)
        if not isinstance(fields, dict) or fields["schema_version"] != SCHEMA_VERSION or fields["host"] != host:
            return None
        revision = fields["registry_revision"]
        finished = datetime.fromisoformat(str(fields["finished_at"]))
        return HostReport(
            host=host,
            machine=_text(fields, "machine"),
            version=_text(fields, "version"),
            revision=str(revision) if isinstance(revision, str) else None,
            finished=finished if finished.tzinfo is not None else finished.replace(tzinfo=UTC),
            seconds=float(fields.get("seconds") or 0.0),
            error=_text(fields, "error"),
            models=tuple(
                ReportedModel(*(_text(one, key) for key in ("name", "action", "reason", "error")))
                for one in fields["models"][:MOST_LISTED]
            ),
            more=int(fields.get("more") or 0),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""
