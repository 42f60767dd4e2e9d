"""The list of models as the hub gives it: filtered by words, owner and tags, sorted, with the fields asked for."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Final

from imageworks.loopback_hub.responses import ReplyError

Info = Mapping[str, object]
USUAL: Final = (
    "id", "modelId", "likes", "downloads", "private", "createdAt", "tags", "pipeline_tag", "library_name", "_id"
)  # fmt: skip
FULL: Final = (*USUAL, "author", "sha", "lastModified", "gated", "disabled", "siblings")
DATES: Final = frozenset({"lastModified", "createdAt"})
SORTS: Final = DATES | {"downloads", "likes", "trendingScore"}
TRUE: Final = frozenset({"true", "1"})


def asked_by_name(names: Iterable[str], query: Mapping[str, list[str]]) -> list[str]:
    """Return the repositories whose names a query asks for; what others hold need not be looked at."""
    words = " ".join(query.get("search", [])).lower().split()
    authors = {author.lower() for author in query.get("author", [])}
    return [
        name
        for name in names
        if all(word in name.lower() for word in words) and (not authors or name.rpartition("/")[0].lower() in authors)
    ]


def sort_of(query: Mapping[str, list[str]]) -> str:
    """Return what models are sorted by; but for dates that is their names, as nobody counts downloads here."""
    sort = query.get("sort", ["trendingScore"])[-1]
    if sort not in SORTS:
        raise ReplyError(HTTPStatus.BAD_REQUEST, f"Invalid sort parameter: {sort}")
    return sort


def searched(infos: Iterable[Info], query: Mapping[str, list[str]]) -> Iterator[dict[str, object]]:
    """Yield those of some models, by name, that have the tags that a query asks for, in its order and with its fields.

    In the order of names each is looked at when it is asked for.
    """
    tags = {*query.get("filter", []), *query.get("pipeline_tag", [])}
    chosen = (info for info in infos if tags <= {*_texts(info["tags"]), str(info.get("pipeline_tag"))})
    if (sort := sort_of(query)) in DATES:
        return (_with_fields(info, query) for info in sorted(chosen, key=lambda info: str(info[sort]), reverse=True))
    return (_with_fields(info, query) for info in chosen)


def _with_fields(info: Info, query: Mapping[str, list[str]]) -> dict[str, object]:
    asked: Iterable[str] = USUAL
    if expand := query.get("expand", []):
        asked = ("_id", "id", *expand)
    elif query.get("full", [""])[-1].lower() in TRUE:
        asked = FULL
    if query.get("cardData", [""])[-1].lower() in TRUE:
        asked = (*asked, "cardData")
    return {field: info[field] for field in asked if field in info}


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
