"""The page's files, made one by one, so that a server makes only the one that is asked for."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from markupsafe import Markup

from imageworks.detection.sizes.memory import RUNTIME_BYTES, USUAL_CONTEXT, Cache, Demand
from imageworks.foundation.texts import human_bytes
from imageworks.page.charts import Chart, line
from imageworks.page.readme import card_html
from imageworks.page.treemap import Area, Box, boxes, group
from imageworks.page.values import PageDetails, PageFacts, PageModel, Step

if TYPE_CHECKING:
    from jinja2 import Environment

MODEL_POLICY: Final = "default-src 'none';style-src 'self';base-uri 'none';form-action 'none'"
CONTENT_POLICY: Final = f"{MODEL_POLICY};script-src 'self'"
"""What a page may load and run: its own style sheet and, except for a model's, its own script."""
MOST_CANDIDATES: Final = 20
"""Models of one role that are named."""
GPUS: Final = (8, 12, 16, 24, 32, 48, 80, 141)
"""Memory of usual cards, in GiB."""
USUAL_GPU: Final = 24
GIB: Final = 1 << 30
CONTEXTS: Final = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
COLOURS: Final = 6
OTHER: Final = 6
LETTER_WIDTH: Final = 6.6
LETTER_HEIGHT: Final = 16
SHORTEST: Final = 6
"""What a letter takes of the map, and how many letters still say something."""
AGES: Final = ((30, "at most a month"), (90, "at most three months"), (365, "at most a year"))
TYPES: Final = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript"}
VIEWS: Final = {
    "index.html": "Now",
    "disks.html": "Disks",
    "fit.html": "Fit",
    "history.html": "Time",
    "hosts.html": "Hosts",
    "rules.html": "Roles and rules",
}
CHANGES: Final = "changes.html"
MODELS: Final = "models"
PIECES: Final = 1000
"""Of a template that are encoded at a time."""
_HERE: Final = Path(__file__).parent
_PLAIN: Final = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


def model_page(name: str) -> str:
    """Return the path of a model's page, as an address from the page's root."""
    return f"{MODELS}/{quote(name, safe='')}.html"


class Page:
    """The files that show one state of a registry.

    Args:
        facts: What is shown.
        details: Reads what a model's own page says besides: of ten thousand models it would fill the memory.
    """

    def __init__(self, facts: PageFacts, details: Callable[[str], PageDetails]) -> None:
        self.facts = facts
        self._details = details
        self._views = {CHANGES: "Changes", **VIEWS} if facts.reviews else VIEWS
        self._models = {f"{MODELS}/{one.name}.html": one for one in facts.models if _PLAIN.fullmatch(one.name)}

    @property
    def paths(self) -> list[str]:
        """The paths of all files."""
        return [*self._views, *self._models, *(path.name for path in sorted((_HERE / "static").iterdir()))]

    def file(self, path: str) -> bytes | None:
        """Return one file; ``None`` where there is none of that path."""
        if path in ("page.css", "page.js"):
            return (_HERE / "static" / path).read_bytes()
        if path in self._models:
            model, steps = self._models[path], self._steps_of[path]
            return self._rendered("model.html", path, model=model, details=self._details(model.name), steps=steps)
        make: Callable[[], dict[str, object]] | None = {
            "index.html": self._now,
            "disks.html": self._disks,
            "fit.html": self._fit,
            "history.html": self._time,
            "hosts.html": self._hosts,
            "rules.html": self._rules,
            CHANGES: dict,
        }.get(path if path in self._views else "")
        return None if make is None else self._rendered(path, path, **make())

    # --- views -------------------------------------------------------------------------------------------------------

    def _now(self) -> dict[str, object]:
        facts = self.facts
        return {
            "total": sum(one.size for one in facts.models),
            "wrong": [one for one in facts.models if one.wrong],
            "healthy": sum(one.health == "healthy" for one in facts.models),
            "last": next((step for step in facts.steps if step.changes), None),
        }

    def _disks(self) -> dict[str, object]:
        formats, backends = (_palette(self.facts.models, by) for by in (_format, _backend))
        places: dict[str, dict[str, list[Area]]] = {}
        for one in (model for model in self.facts.models if model.size):
            age = _age(one.changed, self.facts.made)
            colours = (f"f{formats.get(_format(one), OTHER)}", f"b{backends.get(_backend(one), OTHER)}", f"a{age}")
            link = model_page(one.name)
            files = [Area(path, size, colours, link) for path, size in one.files]
            owners = places.setdefault(one.location or "elsewhere", {})
            area = Area(one.name, sum(size for _, size in one.files) or one.size, colours, link, tuple(files))
            owners.setdefault(one.owner or "unknown", []).append(area)
        areas = [group(place, [group(owner, ones) for owner, ones in o.items()]) for place, o in places.items()]
        for store in self.facts.stores:
            found = [Area(name, size, ("f6", "b6", "a6")) for name, size in store.items.items()]
            areas.append(group(store.title, found))
        ages = {label: number for number, (_, label) in enumerate(AGES)} | {"older": len(AGES), "unknown": OTHER}
        keys = {"f": {**formats, "other": OTHER}, "b": {**backends, "other": OTHER}, "a": ages}
        return {"boxes": boxes(areas), "keys": keys, "areas": areas}

    def _fit(self) -> dict[str, object]:
        needs = [(one, one.memory) for one in self.facts.models if one.memory is not None]
        rows = [(one, need, [longest(need, gpu * GIB) for gpu in GPUS]) for one, need in needs]
        return {
            "rows": rows,
            "gpus": GPUS,
            "contexts": CONTEXTS,
            "usual": (USUAL_GPU, USUAL_CONTEXT),
            "numbers": _numbers,
        }

    def _hosts(self) -> dict[str, object]:
        return {
            "names": sorted(
                {name for host in self.facts.hosts for name in host.models}, key=lambda name: (name.lower(), name)
            )
        }

    def _rules(self) -> dict[str, object]:
        return {"most": MOST_CANDIDATES}

    def _time(self) -> dict[str, object]:
        return {"chart": self._chart}

    @cached_property
    def _chart(self) -> Chart | None:
        """The host's bytes over time: from what is here now, back through what each commit changed."""
        total = sum(one.size for one in self.facts.models)
        points = [(self.facts.made, total)]
        for step in self.facts.steps:
            changed = sum(one.bytes for one in step.changes if one.host == self.facts.host)
            points.append((step.when, total))
            total = max(0, total - changed)
        return line(sorted(points, key=lambda point: point[0]))

    @cached_property
    def _steps_of(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {path: [] for path in self._models}
        for step in self.facts.steps:
            for name in {one.name for one in step.changes}:
                if (path := f"{MODELS}/{name}.html") in found:
                    found[path].append(step)
        return found

    # --- templates ---------------------------------------------------------------------------------------------------

    def _link(self, name: str, root: str) -> Markup:
        """Return a model's name, which leads to its page where it has one."""
        if f"{MODELS}/{name}.html" not in self._models:
            return Markup.escape(name)
        return Markup("<a href={}{}>{}</a>").format(root, model_page(name), name)

    def _rendered(self, template: str, path: str, **values: object) -> bytes:
        root = "../" * path.count("/")
        policy = MODEL_POLICY if root else CONTENT_POLICY
        shown = {"facts": self.facts, "views": self._views, "link": self._link, **values}
        pieces = _templates().get_template(template).stream(root=root, path=path, policy=policy, **shown)
        pieces.enable_buffering(PIECES)
        written = BytesIO()  # one sign beyond Latin-1 would have all of a table of 8 MB take twice as much as a text
        pieces.dump(written, encoding="utf-8")
        return written.getvalue()


@cache
def _templates() -> "Environment":
    """Return the templates, which know of no page: they refer to themselves, and would keep one's models for long."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(bytes=human_bytes, card=card_html, day=_day, moment=_moment, label=_label, plain=_plain)
    return made


def longest(need: Demand, available: int) -> int | None:
    """Return the longest context that fits; 0 where any does, as the model keeps nothing of it."""
    most = need.longest(available)
    return most if most is None or need.cache is None or need.cache.groups else 0


def _numbers(need: Demand) -> str:
    """Return what the script computes with: weights, what is fixed, the longest context, then four for each group."""
    cache = need.cache or Cache()
    fixed = need.buffer_bytes + RUNTIME_BYTES + cache.state_bytes
    groups = [(one.layers, one.values, one.window or 0, one.ratio) for one in cache.groups]
    return " ".join(map(str, (need.weights, fixed, need.context or 0, *(number for one in groups for number in one))))


def _format(model: PageModel) -> str:
    return model.format or "unknown"


def _backend(model: PageModel) -> str:
    return model.backend or "unknown"


def _palette(models: Sequence[PageModel], by: Callable[[PageModel], str]) -> dict[str, int]:
    """Return colours for the values with the most bytes; the rest share one."""
    size: Counter[str] = Counter()
    for one in models:
        if one.size:
            size[by(one)] += one.size
    return {value: number for number, (value, _) in enumerate(size.most_common(COLOURS))}


def _age(changed: datetime | None, now: datetime) -> int:
    if changed is None:
        return OTHER
    days = (now - changed).days
    return next((number for number, (most, _) in enumerate(AGES) if days <= most), len(AGES))


def _day(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d}" if when is not None else ""


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M %Z}".strip() if when is not None else ""


def _plain(text: str) -> str:
    """Return a text for between two tags, where quotes stay as they are: a manifest has dozens."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _label(box: Box) -> str:
    """Return as much of a name as a rectangle has room for; nothing where that would be too little to read."""
    if not box.titled and (box.area.parts or box.height < LETTER_HEIGHT):
        return ""
    room = int(box.width / LETTER_WIDTH) - 1
    name = box.area.label
    return name if len(name) <= room else f"{name[: room - 1]}…" if room >= SHORTEST else ""


def all_files(page: Page) -> Iterator[tuple[str, bytes]]:
    """Yield every file of a page with its path."""
    for path in page.paths:
        content = page.file(path)
        if content is not None:
            yield path, content
