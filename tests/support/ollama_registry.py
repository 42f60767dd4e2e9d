"""A registry on loopback that Ollama pulls from: v2 manifests, and blobs by way of a Location header."""

import json
import threading

from imageworks.providers.ollama.names import parse_name
from support.ollama_content import MANIFEST, Content
from support.ollama_http import Answer, Asked, Loopback

NEEDS_NEWER = (
    "\n\nThe model you are attempting to pull requires a newer version of Ollama.\n\n"
    "Please download the latest version at:\n\n\thttps://ollama.com/download\n\n"
)


class OllamaRegistry(Loopback):
    """Serves models by name; what is set on it changes the next answers."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str, str], Content] = {}
        self._lock = threading.Lock()
        self.needs_newer: set[str] = set()
        """Names for which it answers 412."""
        self.corrupt: set[str] = set()
        """Digests whose bytes it sends flipped."""
        self.status: int | None = None
        """Answered to everything, when set."""
        self.bearer: str | None = None
        """Wanted of everyone, when set."""
        super().__init__()

    def name(self, short: str) -> str:
        """Return the full name of a model here, such as ``127.0.0.1:5000/library/tiny:latest``."""
        name = parse_name(short)
        return f"{self.host}/{name.namespace}/{name.model}:{name.tag}"

    def add(self, short: str, content: Content) -> str:
        """Offer a model, in place of an earlier one of that name; returns its full name."""
        name = parse_name(short)
        with self._lock:
            self._models[name.namespace, name.model, name.tag] = content
        return self.name(short)

    def remove(self, short: str) -> None:
        name = parse_name(short)
        del self._models[name.namespace, name.model, name.tag]

    def respond(self, asked: Asked) -> Answer:
        if self.status is not None:
            return Answer(self.status, b"{}")
        if self.bearer is not None and asked.headers.get("authorization") != f"Bearer {self.bearer}":
            return Answer(401, _errors("UNAUTHORIZED", "authentication required"))
        parts = asked.path.strip("/").split("/")
        if asked.method not in {"GET", "HEAD"} or parts[0] != "v2" or len(parts) != 5:
            return Answer(404, _errors("UNKNOWN", "no such route"))
        _, namespace, model, kind, last = parts
        if kind == "manifests":
            return self._manifest(namespace, model, last)
        return self._blob(asked, last.removeprefix("sha256:"))

    def _manifest(self, namespace: str, model: str, tag: str) -> Answer:
        if f"{model}:{tag}" in self.needs_newer:
            return Answer(412, _errors("NEWER", NEEDS_NEWER))
        content = self._models.get((namespace, model, tag))
        if content is None:
            return Answer(404, _errors("MANIFEST_UNKNOWN", "manifest unknown"))
        return Answer(
            200, content.manifest, {"Content-Type": MANIFEST, "Ollama-Content-Digest": f"sha256:{content.digest}"}
        )

    def _blob(self, asked: Asked, digest: str) -> Answer:
        data = next((model.blobs[digest] for model in self._models.values() if digest in model.blobs), None)
        if data is None:
            return Answer(404, _errors("BLOB_UNKNOWN", "blob unknown"))
        if digest in self.corrupt:
            data = bytes(byte ^ 0xFF for byte in data)
        if asked.method == "HEAD":
            return Answer(200, b"", {"Content-Length": str(len(data))})
        wanted = asked.headers.get("range", "")
        if not wanted:  # Ollama asks so first, and only wants to be told where
            return Answer(200, data, {"Location": asked.path})
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(data)
        part = data[int(first) : end]
        return Answer(206, part, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"})


def _errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
