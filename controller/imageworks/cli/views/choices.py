"""What a person chooses from, and what need not be fetched: quantizations with what they need, bytes that are here."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from imageworks.cli.output import counted, table, terminal_width, wrapped
from imageworks.files.content_index import hub_cache_folder, ollama_stores
from imageworks.foundation.texts import human_bytes
from imageworks.host.hardware import Hardware
from imageworks.plan.plan import Change
from imageworks.providers.selection.model import QuantChoice

INDENT: Final = 2
"""Columns that a question puts before what there is to choose from."""


def quantization_lines(choices: Sequence[QuantChoice], proposed: str | None, hardware: Hardware) -> list[str]:
    """Return a table of quantizations: number, size, bits a weight, and where each fits, as far as that is known."""
    headings = ["", "QUANT", "SIZE", "BITS", "NEEDS", "FITS", ""]
    rows = [
        [
            str(number),
            one.label,
            human_bytes(one.size),
            f"{one.bits:.1f}" if one.bits else "",
            human_bytes(one.need) if one.need else "",
            hardware.fits(one.need) if one.need else "",
            _mark(one, proposed),
        ]
        for number, one in enumerate(choices, 1)
    ]
    known = [at for at in range(len(headings)) if at in {0, 1, 2} or any(row[at] for row in rows)]
    shown = [[row[at] for at in known] for row in rows]
    lines = table([headings[at] for at in known], shown, beside=INDENT).splitlines()
    free = next((one.free for one in choices if one.free is not None), None)
    told = [f"{human_bytes(free)} free on disk"] if free is not None else []
    told += [f"GPU {human_bytes(max(hardware.cards))}"] if hardware.cards else []
    told += [f"memory {human_bytes(hardware.memory)}"] if hardware.memory else []
    needs = " Needs are for 8,192 tokens of context." if any(one.need for one in choices) else ""
    return [*lines, *(wrapped(f"Here: {', '.join(told)}.{needs}", terminal_width() - INDENT) if told else [])]


def _mark(one: QuantChoice, proposed: str | None) -> str:
    if one.free is not None and one.size > one.free:
        return "no room on disk"
    return "proposed" if one.label == proposed else ""


def here_already(change: Change, environment: Mapping[str, str]) -> str | None:
    """Return what of a change is on this machine and where, with what is left to fetch; ``None`` where nothing is."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in map(Path, change.reuse.values()):
        found[_whose(path, environment)].append(_size(path))
    parts = [
        f"{where}: {counted(len(sizes), 'file')}, {human_bytes(sum(sizes))}" for where, sizes in sorted(found.items())
    ]
    if change.bytes_staged:
        parts.append(f"from an interrupted download: {human_bytes(change.bytes_staged)}")
    if not parts:
        return None
    return f"{'; '.join(parts)}; {human_bytes(change.bytes_to_fetch - change.bytes_staged)} to fetch"


def _whose(path: Path, environment: Mapping[str, str]) -> str:
    if path.is_relative_to(hub_cache_folder(environment)):
        return "in your Hugging Face cache"
    if any(path.is_relative_to(store) for store in ollama_stores(environment)):
        return "in Ollama's store"
    return "elsewhere on this machine"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
