"""The page in a real browser: every view, narrow and wide, light and dark, without an error, a request or a barrier."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from imageworks.page.render import GPUS, VIEWS, all_files
from imageworks.page.render import Page as Files
from support import page as made_up

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
WIDTHS = {360: "dark", 1600: "light"}
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=120_000)
        yield made
        made.close()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Pages of 3, 50 and 1,000 models, by their number."""
    root, found = tmp_path_factory.mktemp("sites"), {}
    for count in (3, 50, 1000):
        found[count] = root / str(count)
        for path, content in all_files(Files(made_up.facts(count), made_up.details)):
            target = found[count] / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return found


class Visit:
    """A visit to one page, and what the browser said of it."""

    def __init__(self, browser: Browser, width: int, scheme: str, *, script: bool = True) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=script,
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def check(self, folder: Path) -> None:
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(folder.as_uri())] == []


@pytest.mark.parametrize("count", [3, 50, 1000])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_is_shown_without_errors_requests_or_sideways_scrolling(
    browser: Browser, sites: dict[int, Path], count: int, width: int, request: pytest.FixtureRequest
) -> None:
    folder = sites[count]
    pictures = Path(request.config.rootpath) / ".pytest_cache/pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    model = made_up.facts(3).models[2].name if count == 3 else made_up.facts(count).models[1].name
    with Visit(browser, width, WIDTHS[width]) as visit:
        for view in (*VIEWS, f"models/{model}.html"):
            visit.page.goto((folder / view).as_uri())
            assert visit.page.locator("h1").count() == 1
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            style = visit.page.evaluate("getComputedStyle(document.querySelector('header')).display")
            assert style == "flex", "the style sheet did not come"
            if view in {"index.html", "fit.html"}:  # what a person looks for is there without a finger on the table
                inside = "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth)"
                assert visit.page.evaluate(inside)
            visit.page.screenshot(path=pictures / f"{count}-{width}-{Path(view).stem}.png")
        visit.check(folder)


def test_everything_is_there_without_a_script(browser: Browser, sites: dict[int, Path]) -> None:
    with Visit(browser, 1600, "light", script=False) as visit:
        visit.page.goto((sites[50] / "index.html").as_uri())
        assert visit.page.locator("#models tbody tr:visible").count() == 50
        assert not visit.page.locator("#filter").is_visible()
        visit.page.goto((sites[50] / "disks.html").as_uri())
        before = visit.page.locator("svg path.f0").first.evaluate("one => getComputedStyle(one).fill")
        visit.page.locator("#by-age").check()
        assert visit.page.locator("svg path.f0").first.evaluate("one => getComputedStyle(one).fill") != before


def test_words_choose_the_models_that_are_shown(browser: Browser, sites: dict[int, Path]) -> None:
    wanted = made_up.facts(50).models[7].name
    with Visit(browser, 1600, "light") as visit:
        visit.page.goto((sites[50] / "index.html").as_uri())
        visit.page.locator("#filter").fill(wanted)
        assert visit.page.locator("#models tbody tr:visible").all_inner_texts()[0].startswith(wanted)
        assert visit.page.locator("#models tbody tr:visible").count() == 1
        visit.check(sites[50])


def test_what_fits_follows_the_card_and_the_context(browser: Browser, sites: dict[int, Path]) -> None:
    one = made_up.facts(3).models[0]
    assert one.memory is not None
    with Visit(browser, 1600, "light") as visit:
        visit.page.goto((sites[3] / "fit.html").as_uri())
        answer = visit.page.locator("tbody tr .answer").first
        for gpu in ("8", "141"):
            for context in ("2048", "32768"):
                visit.page.locator("#memory").select_option(gpu)
                visit.page.locator("#context").select_option(context)
                total = one.memory.at(int(context)).total
                assert ("fits" in answer.inner_text()) == (total <= int(gpu) << 30)
                assert f"{total / 2**30:.1f} GiB" in answer.inner_text()
                assert visit.page.locator("th").nth(3).inner_text() == f"{gpu} GiB, {context} tokens"
        visit.page.locator("#context").select_option("131072")
        assert answer.inner_text() == f"takes at most {one.memory.context} tokens"


def test_on_a_phone_each_answer_names_its_card(browser: Browser, sites: dict[int, Path]) -> None:
    with Visit(browser, 360, "light") as visit:
        visit.page.goto((sites[3] / "fit.html").as_uri())
        told = "cells => cells.map(one => getComputedStyle(one, '::before').content)"
        shown = visit.page.locator("tbody tr").first.locator("td:nth-child(n+5)").evaluate_all(told)
        assert shown == [f'"{gpu} GiB"' for gpu in GPUS]


def test_the_keyboard_reaches_what_there_is(browser: Browser, sites: dict[int, Path]) -> None:
    with Visit(browser, 1600, "light") as visit:
        visit.page.goto((sites[3] / "index.html").as_uri())
        reached = set()
        for _ in range(30):
            visit.page.keyboard.press("Tab")
            reached.add(visit.page.evaluate("(document.activeElement.textContent || '').trim().slice(0, 40)"))
        assert {"Skip to the content", "Disks", "Roles and rules"} <= reached


@pytest.mark.parametrize("width", WIDTHS)
def test_no_serious_barrier_is_found(browser: Browser, sites: dict[int, Path], width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with Visit(browser, width, WIDTHS[width]) as visit:
        found = {}
        for view in (*VIEWS, f"models/{made_up.facts(3).models[2].name}.html"):
            visit.page.goto((sites[3] / view).as_uri())
            for violation in axe.Axe().run(visit.page).response["violations"]:
                if violation["impact"] in SERIOUS:
                    found[view, violation["id"]] = [node["html"][:200] for node in violation["nodes"][:3]]
        assert found == {}
