"""The page: that it is whole, and that nothing in it can run or ask."""

import posixpath
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.page.readme import card_html
from imageworks.page.render import Page, all_files
from imageworks.page.treemap import Area, boxes, group
from imageworks.page.values import PageDetails, PageFacts, SourcePart
from support import page as made_up

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "</title><svg/onload=alert(1)>",
    "\u202egnp.exe",
)
OUTSIDE = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class Seen(HTMLParser):
    """What a browser would run or load of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.handlers += [name for name in said if name.startswith("on") or name == "style"]
        if tag == "script":
            self.scripts.append(said.get("src") or "inline")
        if tag in {"img", "iframe", "object", "embed", "video", "audio", "source", "use", "form", "base"}:
            self.loads.append(said.get("src") or said.get("href") or said.get("action") or "")
        if tag == "link":
            self.loads.append(said.get("href") or "")
        if tag == "a":
            self.links.append(said.get("href") or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check_harmless(document: bytes) -> Seen:
    """Check that a page runs only its own script and loads only its own style."""
    seen = Seen(document.decode())
    assert {script.rpartition("/")[2] for script in seen.scripts} <= {"page.js"}
    assert {load.rpartition("/")[2] for load in seen.loads} <= {"page.css", ""}
    assert not any(OUTSIDE.search(one) for one in (*seen.scripts, *seen.loads))
    assert seen.handlers == []
    assert not any(link.lower().lstrip().startswith(("javascript:", "data:", "vbscript:")) for link in seen.links)
    return seen


@pytest.mark.parametrize("count", [1, 3, 50])
def test_every_file_of_a_page_is_harmless_and_its_links_lead_somewhere(count: int) -> None:
    files = dict(all_files(Page(made_up.facts(count), made_up.details)))
    assert {"index.html", "disks.html", "fit.html", "history.html", "hosts.html", "rules.html"} <= files.keys()
    for path, content in files.items():
        if path.endswith(".html"):
            seen = check_harmless(content)
            for link in seen.links:
                if not OUTSIDE.search(link) and not link.startswith("#"):
                    assert posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) in files


def test_a_page_of_a_thousand_models_is_small() -> None:
    assert sum(len(content) for _, content in all_files(Page(made_up.facts(1000), made_up.details))) < 3 << 20


@given(st.text(max_size=40) | st.sampled_from(HOSTILE))
@settings(max_examples=40, deadline=None)
def test_hostile_names_cards_and_values_run_nothing(text: str) -> None:
    whole = made_up.facts(2)
    model = replace(
        whole.models[0],
        owner=text,
        reason=text,
        format=text,
        location=text,
    )
    details = PageDetails(
        title=text,
        facts={text: text},
        commands=(text,),
        notes=(text,),
        manifest=(SourcePart(text, "0" * 40, made_up.NOW, text),),
        readme=f"{text}\n\n<script>{text}</script><a href='{text}'>x</a><img src='//evil'>\n\n[x]({text})",
        evidence=(text,),
    )
    step = replace(whole.steps[0], author=text, subject=text)
    facts = replace(
        whole, registry=text, host=text, models=(model, *whole.models[1:]), steps=(step,), rules={text: text}
    )
    for path, content in all_files(Page(facts, lambda _: details)):
        if path.endswith(".html"):
            check_harmless(content)


def test_a_card_keeps_its_words_and_loses_what_could_run_or_ask() -> None:
    card = "# Title\n\n![logo](https://cdn.example/p.png) **bold** [home](https://example.org)\n"
    made = card_html(card + "<iframe src=//x></iframe><style>*{}</style><p onclick=x>kept</p>\n\n|a|b|\n|-|-|\n|1|2|\n")
    seen = check_harmless(made.encode())
    assert "<h3>Title</h3>" in made
    assert "<strong>bold</strong>" in made
    assert "<td>1</td>" in made
    assert "kept" in "".join(seen.text)
    assert seen.links == ["https://example.org"]


@given(st.lists(st.integers(0, 10**13), max_size=60))
def test_areas_are_in_proportion_and_inside_of_their_group(sizes: list[int]) -> None:
    areas = [Area(str(number), size) for number, size in enumerate(sizes)]
    found = boxes([group("all", areas)], 1000, 500)
    total = sum(sizes)
    assert bool(found) == (total > 0)
    for box in found:
        assert box.x >= -0.01
        assert box.x + box.width <= 1000.01
        assert box.y >= -0.01
        assert box.y + box.height <= 500.01
    inner = [box for box in found if box.depth == 1]
    for one in inner:
        share = one.area.size / total
        room = sum(box.width * box.height for box in inner) / sum(box.area.size for box in inner)
        assert one.width * one.height == pytest.approx(share * total * room, rel=1e-6)


def test_facts_without_anything_make_a_page() -> None:
    empty = PageFacts(registry="r", host="h", commit="", made=made_up.NOW)
    assert all(
        check_harmless(content) for path, content in all_files(Page(empty, made_up.details)) if path.endswith(".html")
    )
