"""A model card as HTML that can neither run anything nor ask anybody for anything.

Markdown becomes HTML by markdown-it-py; what is not on the list of harmless tags goes, by nh3 (the library ammonia).
Pictures go too: a picture from elsewhere tells its server who reads the page.
"""

import re
from typing import Final

TAGS: Final = frozenset(
    {"a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h2", "h3", "h4"}
    | {"h5", "h6", "hr", "i", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup"}
    | {"table", "tbody", "td", "th", "thead", "tr", "ul"}
)
_HEADING: Final = re.compile(r"<(/?)h([1-6])\b")


def card_html(text: str) -> str:
    """Return a card's Markdown as HTML that is safe to show; headings begin at the third."""
    import nh3
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    lower = _HEADING.sub(lambda found: f"<{found[1]}h{min(6, int(found[2]) + 2)}", made)
    return nh3.clean(
        lower,
        tags=set(TAGS),
        attributes={"a": {"href"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}},
        url_schemes={"https", "http", "mailto"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
