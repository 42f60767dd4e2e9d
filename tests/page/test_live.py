"""A server's page is let go before much else is read, and made anew when it is asked for."""

from datetime import UTC, datetime

from imageworks.page.live import LivePage
from imageworks.page.render import Page
from imageworks.page.values import PageDetails, PageFacts


def page() -> Page:
    return Page(PageFacts("registry", "host", "0" * 40, datetime.now(UTC)), lambda name: PageDetails(name, {}))


def test_a_page_that_was_let_go_is_made_anew() -> None:
    made: list[Page] = []

    def make() -> Page:
        live.let_go()  # somebody reads much meanwhile: a page that is being made stays
        made.append(page())
        return made[-1]

    live = LivePage(make, lambda: "0" * 40)
    assert live.answer("index.html") is not None
    assert live.answer("hosts.html") is not None
    assert len(made) == 1
    live.let_go()
    assert live.answer("index.html") is not None
    assert len(made) == 2
