"""The list of models as the hub gives it: filtered by words, owner and tags, sorted, with the fields asked for."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final

from imageworks.loopback_hub.responses import ReplyError

Info = Mapping[str, object]
USUAL: Final = (
    "id", "modelId", "likes", "downloads", "private", "createdAt", "tags", "pipeline_tag", "library_name", "_id"
)  # fmt: skip
FULL: Final = (*USUAL, "author", "sha", "lastModified", "gated", "disabled", "siblings")
SORTS: Final[Mapping[str, Callable[[Info], object]]] = {
    "downloads": lambda info: info["downloads"],
    "likes": lambda info: info["likes"],
    "lastModified": lambda info: str(info["lastModified"]),
    "createdAt": lambda info: str(info["createdAt"]),
    "trendingScore": lambda info: info["downloads"],
}
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


def searched(infos: Iterable[Info], query: Mapping[str, list[str]]) -> list[dict[str, object]]:
    """Return those of some models that have the tags that a query asks for, in its order and with its fields."""
    tags = {*query.get("filter", []), *query.get("pipeline_tag", [])}
    chosen = [info for info in infos if tags <= {*_texts(info["tags"]), str(info.get("pipeline_tag"))}]
    sort = query.get("sort", ["trendingScore"])[-1]
    if sort not in SORTS:
        raise ReplyError(HTTPStatus.BAD_REQUEST, f"Invalid sort parameter: {sort}")
    chosen.sort(key=lambda info: str(info["id"]))
    chosen.sort(key=SORTS[sort], reverse=True)  # type: ignore[arg-type] # each key is of one kind
    return [_with_fields(info, query) for info in chosen]


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
