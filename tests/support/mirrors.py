"""Mirrors of a hub as they are met: below a path, without its headers, its links, limits and hashes passed on."""

import json
from dataclasses import dataclass, field, replace

from imageworks.foundation.http_messages import RawResponse, Request, Response
from imageworks.loopback_hub.server import HubServer
from support.hub import body_of

UPSTREAM = "https://huggingface.co"


@dataclass
class Mirror:
    """Stands between a hub and its clients; give it to the hub as its intercept.

    Args:
        hub: The hub behind it.
        path: What its own addresses begin with.
        dropped: Headers that it does not pass on, in lower case.
        upstream_links: Its pages' links name the upstream hub.
        bare_redirects: Its redirects to itself leave its path out.
        xet: Files have a xetHash, which leads nowhere.
        no_expand: A query with ``expand`` is not known.
        no_head: A HEAD request is not known.
        no_tree: It knows commits, and no trees.
        limited: How many requests are refused with the upstream's 429 first.
    """

    hub: HubServer
    path: str = ""
    dropped: frozenset[str] = frozenset()
    upstream_links: bool = False
    bare_redirects: bool = False
    xet: bool = False
    no_expand: bool = False
    no_head: bool = False
    no_tree: bool = False
    limited: int = 0
    strayed: list[str] = field(default_factory=list)
    """Requests that were not below its path."""

    @property
    def url(self) -> str:
        return self.hub.url + self.path

    def __call__(self, request: Request) -> Response | RawResponse | None:
        if request.origin != "hub":
            return None
        if not request.path.startswith(self.path):
            self.strayed.append(request.path)
            return Response(404)
        if self.limited:
            self.limited -= 1
            return Response(429, (("Retry-After", "0"), ("RateLimit", '"api";r=0;t=0')))
        if (self.no_expand and "expand=" in request.query) or "xet-read-token" in request.path:
            return Response(404)
        if self.no_tree and "/tree/" in request.path:
            return Response(404)
        if self.no_head and request.method == "HEAD":
            return Response(405)
        inner = replace(request, path=request.path[len(self.path) :])
        return self._passed_on(inner, self.hub.respond(inner))

    def _passed_on(self, request: Request, response: Response) -> Response:
        headers = [pair for pair in response.headers if pair[0].lower() not in self.dropped]
        if self.bare_redirects and request.method == "GET" and "/resolve/" in request.path:
            cached = request.path.replace("/resolve/", "/resolve-cache/")
            if response.status == 200:
                return Response(307, (("Location", f"/api/resolve-cache/models{cached}"),))
        base = UPSTREAM if self.upstream_links else self.url
        headers = [(n, v.replace(f"<{self.hub.url}", f"<{base}") if n == "Link" else v) for n, v in headers]
        body = body_of(response)
        if self.xet and "/tree/" in request.path and response.status == 200:
            body = json.dumps([{**entry, "xetHash": "9" * 64} for entry in json.loads(body)]).encode()
            return Response(response.status, tuple(headers), body)
        return replace(response, headers=tuple(headers))


@dataclass
class CachedRedirects:
    """Serves what ``bare_redirects`` leads to, and passes everything else to a mirror."""

    mirror: Mirror

    def __call__(self, request: Request) -> Response | RawResponse | None:
        prefix = f"{self.mirror.path}/api/resolve-cache/models"
        if request.path.startswith(prefix):
            path = request.path[len(prefix) :].replace("/resolve-cache/", "/resolve/")
            return self.mirror.hub.respond(replace(request, path=path))
        return self.mirror(request)
