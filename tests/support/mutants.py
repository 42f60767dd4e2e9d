"""The real program with one thing broken on purpose, to show that a judge would notice: ``mutants.py NAME …``."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from imageworks.cli import app
from imageworks.files import publish as publishing
from imageworks.files import renames
from imageworks.files.publish import PublishMethod, PublishReport
from imageworks.files.staging import StagingArea
from imageworks.foundation.failpoints import failpoint


def no_exchange() -> None:
    """No bug: a filesystem that cannot exchange two directories."""

    def refuse(_one: Path, _other: Path) -> None:
        raise renames.RenameUnsupportedError(publishing.__name__)

    renames.exchange = refuse  # type: ignore[assignment]


def write_in_place() -> None:
    """Bug: a new revision is written over the old one, file by file."""
    from imageworks.providers.folder import apply

    def publish(area: StagingArea, target: Path, *, owned: frozenset[str]) -> PublishReport:
        for name in sorted(owned):
            (target / name).unlink(missing_ok=True)
        for path in sorted(area.tree.rglob("*")):
            if path.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(area.tree))
                failpoint("mutant.one-file-written")
        area.discard()
        return PublishReport(target, PublishMethod.RENAME)

    apply.publish = publish  # type: ignore[assignment, attr-defined]


def no_recovery() -> None:
    """Bug: what a killed publish left is not finished by the next run."""
    publishing.recover = lambda _root, **_options: ()


def forget_what_came() -> None:
    """Bug: each run begins its downloads anew."""
    opened: Callable[..., StagingArea] = StagingArea.open

    def open_empty(root: Path, key: str, *, target: Path | None = None, owner: str = "") -> StagingArea:
        StagingArea(root.resolve(), key).discard()
        return opened(root, key, target=target, owner=owner)

    StagingArea.open = open_empty  # type: ignore[method-assign]


def record_nothing() -> None:
    """Bug: the entry is lost on its way to the commit, so that no run ever is the last."""
    from imageworks.reconcile import expected_files as records

    records.entry_file = lambda host, name: f"discovered/{host}/{name}.lost.json"  # type: ignore[attr-defined]


BROKEN: Final = "bad"
"""What a model is called with which something that nobody foresaw happens."""


def break_one_model() -> None:
    """Bug: the function that a variable names raises what nobody foresaw when it works on one model."""
    module, _, name = os.environ["MUTANT_BREAKS"].partition(":")
    *owners, last = name.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    working = getattr(owner, last)

    def breaking(*arguments: object, **options: object) -> object:
        if any(_is_about(argument, BROKEN) for argument in arguments):
            raise KeyError("planted")
        return working(*arguments, **options)

    setattr(owner, last, breaking)


def _is_about(argument: object, name: str) -> bool:
    subject = getattr(argument, "manifest", argument)
    called = (getattr(subject, "name", None), getattr(subject, "path", None), subject)
    return any(name in str(one) for one in called if isinstance(one, (str, Path)))


VARIANTS: Final[dict[str, Callable[[], None]]] = {
    variant.__name__: variant
    for variant in (no_exchange, write_in_place, no_recovery, forget_what_came, record_nothing, break_one_model)
}


def program(variant: Callable[[], None]) -> tuple[str, ...]:
    """Return the command that runs the program in a variant."""
    return (sys.executable, __file__, variant.__name__)


if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
    app.main()
