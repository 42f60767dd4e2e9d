"""Plans in files: one that was reviewed is applied later, as long as exactly the same would be done."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.cli.output import complain, json_pieces
from imageworks.foundation.bounded_json import LARGEST, read_json
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.plan.plan import Plan, StalePlanError

if TYPE_CHECKING:
    from imageworks.reconcile.run_options import RunOptions


def save_plan(plan: Plan, out: Path, options: "RunOptions") -> None:
    """Write a plan into a file, and tell by which command it is applied."""
    try:
        with out.open("w", encoding="utf-8") as stream:
            stream.writelines(json_pieces(plan.document_in_pieces(), sort_keys=True))
            stream.write("\n")
    except OSError as error:
        raise ImageworksError(f"{out}: cannot be written: {error.strerror}") from error
    flags = {
        "--offline": options.offline,
        "--prune": options.prune.enabled,
        "--allow-empty": options.prune.allow_empty,
        "--force-prune": options.prune.force,
    }
    asked = (*options.names, *(flag for flag, given in flags.items() if given))
    again = shlex.join(["imageworks-models", "reconcile", *asked, "--plan", str(out), "--yes"])
    complain(f"plan saved to {out}; apply it with `{again}`")


def check_saved(saved: Path, plan: Plan) -> None:
    """Refuse a saved plan unless exactly the same would be done now."""
    try:
        with saved.open("rb") as stream:  # which may be a pipe: `--plan <(…)`
            document = read_json(stream.read(LARGEST + 1))
    except OSError as error:
        raise UsageError(f"{saved}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{saved}: not a saved plan: {error}") from error
    now = json.loads(json.dumps(plan.document()))
    if not isinstance(document, dict) or document.get("format_version") != now["format_version"]:
        raise UsageError(f"{saved}: not a saved plan of this version", remedy="Save it anew with --out.")
    for key in ("host", "registry_revision", "changes"):
        if document.get(key) != now[key]:
            raise StalePlanError(
                f"{saved}: stale: {key.replace('_', ' ')} is not what it was when the plan was saved",
                remedy="Nothing was done. Give the names and options that it was saved with, or review a new plan.",
            )
