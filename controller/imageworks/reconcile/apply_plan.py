"""Apply a plan: several models at once, each by the provider that keeps it. One failure never stops another (I9)."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from threading import Event
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.isolation import isolated
from imageworks.foundation.log import event
from imageworks.foundation.system_errors import system_refusal
from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Action, Change
from imageworks.plan.report import CANCELLED, ModelResult
from imageworks.providers.at_once import at_once
from imageworks.providers.base import Store
from imageworks.providers.folder.apply import ApplyContext, bring_ahead, carry_out
from imageworks.registry.entries.entry import Entry, as_packed
from imageworks.registry.validate import check_recordable

_BRINGS: Final = frozenset({Action.INSTALL, Action.UPDATE, Action.REPAIR, Action.ADOPT})


@dataclass(frozen=True, slots=True)
class Hands:
    """What changes this host.

    Args:
        folders: The few narrow classes through which folders are changed.
        open_store: Gives a store by its provider's name.
        cancel: Set by another thread to call off what is under way.
    """

    folders: ApplyContext
    open_store: Callable[[str], Store]
    cancel: Event | None = None


def apply_changes(
    changes: Iterable[Change],
    cases: MutableMapping[str, DeclaredModel],
    entries: Mapping[str, Entry],
    hands: Hands,
    *,
    jobs: int,
    ahead: bool = False,
) -> list[ModelResult]:
    """Carry out changes, several models at once, and return one outcome for each; its case is taken, and let go.

    What is known of ten thousand models is not to stand beside the entries that come of them.
    """
    doing = [change for change in changes if change.action is not Action.BLOCKED]
    if not doing:
        return []
    for name in sorted({change.daemon for change in doing if change.daemon}):
        leaving = [change for change in doing if change.daemon == name and change.action is Action.REMOVE]
        if leaving:
            hands.open_store(name).expect(change.previous_name or change.name for change in leaving)

    def apply_one(change: Change) -> ModelResult:
        if ahead:
            return _apply_one(_bring_one, change, cases.get(change.name), entries, hands)
        return _apply_one(_carry_out, change, cases.pop(change.name, None), entries, hands)

    return at_once(apply_one, doing, threads=jobs, stop=lambda: _stop(doing, hands), cancel=hands.cancel)


def _stop(doing: Iterable[Change], hands: Hands) -> None:
    hands.folders.engine.close()
    for name in {change.daemon for change in doing if change.daemon}:
        hands.open_store(name).cancel()


def _bring_one(change: Change, case: DeclaredModel | None, _entries: Mapping[str, Entry], hands: Hands) -> None:
    if case is not None:
        bring_ahead(change, case, hands.folders)


def _apply_one(
    do: Callable[[Change, DeclaredModel | None, Mapping[str, Entry], Hands], Entry | None],
    change: Change,
    case: DeclaredModel | None,
    entries: Mapping[str, Entry],
    hands: Hands,
) -> ModelResult:
    if hands.cancel is not None and hands.cancel.is_set():
        return ModelResult(change, error="called off", reason=CANCELLED)
    began = time.monotonic()
    event("apply", model=change.name, action=change.action.value, reason=change.reason.value)
    try:
        with isolated(change.name):
            entry = do(change, case, entries, hands)
            if entry is not None:
                check_recordable(entry)
                entry = as_packed(entry)  # as values, ten thousand that one run brings or adopts take 100 MB
    except ImageworksError as error:
        event("failed", model=change.name, error=error.message)
        reason, told = getattr(error, "reason", None), getattr(error, "entry", None)
        seconds = time.monotonic() - began
        return ModelResult(
            change, entry=told, recorded=told is not None, error=error.render(), reason=reason, seconds=seconds
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        refused = system_refusal(error)
        text = refused.render() if refused else f"{where}{os.strerror(error.errno) if error.errno else error}"
        event("failed", model=change.name, error=text)
        reason = refused.reason if refused else "system"
        return ModelResult(change, error=text, reason=reason, seconds=time.monotonic() - began)
    event("done", model=change.name, action=change.action.value, path=change.path[1])
    return ModelResult(change, entry=entry, recorded=True, seconds=time.monotonic() - began)


def _carry_out(change: Change, case: DeclaredModel | None, entries: Mapping[str, Entry], hands: Hands) -> Entry | None:
    if change.daemon:
        return hands.open_store(change.daemon).apply(change, case, entries)
    entry = carry_out(change, case, entries, hands.folders)
    if case is not None and entry is not None and change.action in _BRINGS:
        for name in case.facts:
            entry = hands.open_store(name).complete(case, entry)
    return entry
