"""A plan that another program made, read back from its document to be shown; nothing is applied by it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from imageworks.plan.plan import FORMAT_VERSION, Action, Change, Drift, FilesystemTotal, Plan, Reason


def read_plan(document: Mapping[str, Any]) -> Plan | None:
    """Return the plan in a document; ``None`` where it is no document that this version writes."""
    try:
        if document["format_version"] != FORMAT_VERSION:
            return None
        return Plan(
            host=str(document["host"]),
            registry_revision=_text(document["registry_revision"]),
            changes=tuple(map(_change, document["changes"])),
            unchanged=int(document["unchanged"]),
            suspended=int(document["suspended"]),
            drift=tuple(Drift(str(d["name"]), _reason(d["reason"]), str(d["message"])) for d in document["drift"]),
            filesystems=tuple(map(_filesystem, document["totals"]["filesystems"])),
            diagnostics=tuple(map(str, document["diagnostics"])),
            notes=tuple(map(str, document["notes"])),
            records_stale=bool(document["records_stale"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _change(found: Mapping[str, Any]) -> Change:
    files = found["files"]
    return Change(
        name=str(found["name"]),
        action=Action(found["action"]),
        reason=_reason(found["reason"]),
        message=str(found["message"]),
        source=str(found["source"]),
        backend=str(found["backend"]),
        revision=(_text(found["revision"]["from"]), _text(found["revision"]["to"])),
        path=(_text(found["path"]["from"]), _text(found["path"]["to"])),
        fetch=tuple(map(str, files["add"])),
        reuse=dict.fromkeys(map(str, files["reuse"]), ""),
        drop=tuple(map(str, files["remove"])),
        keep=int(files["keep"]),
        size_known=bool(found["size_known"]),
        previous_name=_text(found["previous_name"]),
        warnings=tuple(map(str, found["warnings"])),
        needs_confirmation=bool(found["needs_confirmation"]),
        bytes_to_fetch=int(found["bytes_to_fetch"]),
        bytes_reused=int(found["bytes_reused"]),
        bytes_staged=int(found["bytes_staged"]),
        bytes_freed=int(found["bytes_freed"]),
    )


def _filesystem(found: Mapping[str, Any]) -> FilesystemTotal:
    numbers = {name: int(found[name]) for name in ("free_before", "free_after", "bytes_to_fetch")}
    return FilesystemTotal(str(found["name"]), **numbers)


def _reason(word: object) -> StrEnum:
    """Return a reason by its word; providers have some of their own, which are only shown here."""
    if (known := next((one for one in Reason if one.value == word), None)) is not None:
        return known
    told: Any = StrEnum
    found: StrEnum = told("ReportedReason", [("REASON", str(word))]).REASON
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
