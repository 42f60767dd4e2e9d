"""The ``search`` command: which models the hub has by some words."""

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.options import AsJson, Offline
from imageworks.cli.output import complain, say, table
from imageworks.foundation.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from imageworks.providers.repository import FoundRepository

FORMAT_VERSION: Final = 1
MOST: Final = 100
MOST_QUANTS: Final = 6
THOUSAND: Final = 1000


def search_command(
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="Parts of the name: owner, family, size.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="Most models to show.")] = 20,
    offline: Offline = False,
    as_json: AsJson = False,
) -> int:
    """Find models on the hub.

    Shows the most downloaded ones whose name has all the words, with licence, downloads and quantizations; `analyze`
    says more of one, `download` brings it.

    Examples:
        imageworks-models search qwen2.5 vl awq
        imageworks-models search bartowski gemma --limit 5 --json
    """
    from imageworks.host.settings import load_host_settings
    from imageworks.providers.huggingface.client import HubClient

    asked = " ".join(" ".join(words).split())
    if not asked:
        raise UsageError("there is nothing to search for", remedy="Give a part of the name, such as `search qwen vl`.")
    host = load_host_settings()
    with HubClient.from_environment(
        host.environment(), cache_dir=host.cache_dir, write_cache=False, offline=offline, told=complain
    ) as hub:
        found = hub.search(asked, limit=limit)
    if as_json:
        document = {"format_version": FORMAT_VERSION, "words": asked, "models": [one.document() for one in found]}
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.SUCCESS
    if not found:
        complain(f"No model on {host.hub_endpoint} has {asked!r} in its name.")
        return ExitCode.SUCCESS
    rows = [(one.name, _count(one.downloads), one.license or "", _quants(one), _access(one)) for one in found]
    say(table(("MODEL", "DOWNLOADS", "LICENCE", "QUANTS", ""), rows, right=frozenset({1})))
    return ExitCode.SUCCESS


def _count(number: int | None) -> str:
    if number is None:
        return ""
    for letter, size in (("M", THOUSAND**2), ("k", THOUSAND)):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return str(number)


def _quants(one: "FoundRepository") -> str:
    more = len(one.quantizations) - MOST_QUANTS
    return ", ".join(one.quantizations[:MOST_QUANTS]) + (f" and {more} more" if more > 0 else "")


def _access(one: "FoundRepository") -> str:
    return "gated" if one.gated else ""
