"""A loopback Ollama: the daemon's HTTP API over a real store on disk, pulling from registries over HTTP.

It does what ``facts`` say of the real one; `tests/providers/ollama/test_contract.py` runs against both.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imageworks.providers.ollama.names import DEFAULT_HOST, ModelName
from support.ollama_api import (
    FailedError,
    Line,
    aligned,
    body_of,
    config_of,
    details_of,
    fetched,
    layers_of,
    line_of,
    now,
    parsed_name,
    taken_in,
    time_of,
    with_fields,
)
from support.ollama_content import LAYER, Content, Store, assembled, hex_sha256
from support.ollama_http import Answer, Asked, CutError, Loopback, answer_error, answer_json

VERSION = "0.33.0"
NDJSON = {"Content-Type": "application/x-ndjson"}
GARBAGE = b"<html>502 Bad Gateway</html>\n"
CHUNK = 64 * 1024
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")


class LoopbackOllama(Loopback):
    """One daemon; what is set on it changes the next answers.

    ``OLLAMA_HOST`` is its `url`, ``OLLAMA_MODELS`` its `store.folder`.

    Args:
        folder: Its models folder.
        registry: Where names without a host are pulled from, as ``host:port``; the others from their own host.
    """

    def __init__(self, folder: Path, *, registry: str | None = None) -> None:
        self.store = Store(folder)
        self.version = VERSION
        self.registry = registry
        self.loaded: set[str] = set()
        """Names that ``ps`` shows."""
        self.key: str | None = None
        """Wanted as a Bearer token, when set: a proxy before the daemon."""
        self.disk_full = False
        self.repacks = True
        """Whether an uploaded GGUF gets other bytes in a model, as since 0.30."""
        self.die_after_lines: int | None = None
        """After so many lines of a stream the whole daemon is gone."""
        self.cut_after_lines: int | None = None
        """After so many lines of a stream its connection ends."""
        self.end_after_lines: int | None = None
        """After so many lines a stream ends politely, without success."""
        self.garbage_after_lines: int | None = None
        """After so many lines of a stream comes something that is no JSON."""
        self.wait: threading.Event | None = None
        """A pull stands still before its last blob until this is set, ticking as the real one does."""
        self.silent: threading.Event | None = None
        """A pull says nothing before it verifies until this is set."""
        self._turns: dict[str, threading.Lock] = {}
        self.pulling = threading.Event()
        """Set once a pull has begun to fetch."""
        self.left = threading.Event()
        """Set once a client has left in the middle of a stream."""
        super().__init__()

    @property
    def environment(self) -> dict[str, str]:
        """What a user would set to reach it."""
        return {"OLLAMA_HOST": self.url, "OLLAMA_MODELS": str(self.store.folder)}

    def install(self, name: str, content: Content) -> Path:
        """Put a model into the store behind the daemon's back; returns its manifest."""
        return self.store.install(name, content)

    # --- requests ---------------------------------------------------------------------------------------------------

    def respond(self, asked: Asked) -> Answer:
        if not asked.headers.get("host", "").partition(":")[0].startswith(("127.", "localhost")):
            return Answer(403)
        if self.key is not None and asked.headers.get("authorization") != f"Bearer {self.key}":
            return answer_error("unauthorized", 401)
        if asked.path.startswith("/api/blobs/"):
            return self._blob(asked, asked.path.removeprefix("/api/blobs/"))
        routes: dict[str, tuple[tuple[str, ...], Callable[[Asked], Answer]]] = {
            "/api/version": (("GET", "HEAD"), lambda _: answer_json({"version": self.version})),
            "/api/tags": (("GET", "HEAD"), lambda _: answer_json({"models": self._listed()})),
            "/api/ps": (("GET",), lambda _: answer_json({"models": self._loaded()})),
            "/api/show": (("POST",), self._show),
            "/api/pull": (("POST",), self._pull),
            "/api/create": (("POST",), self._create),
            "/api/copy": (("POST",), self._copy),
            "/api/delete": (("DELETE",), self._delete),
        }
        if asked.path not in routes:
            return Answer(404, b"404 page not found", {"Content-Type": "text/plain"})
        methods, answer = routes[asked.path]
        if asked.method not in methods:
            return Answer(405, b"405 method not allowed", {"Content-Type": "text/plain"})
        try:
            return answer(asked)
        except FailedError as error:
            return answer_error(str(error), error.status)

    def _listed(self) -> list[dict[str, object]]:
        rows = []
        for name, path in self.store.manifests():
            read = self.store.read(path)
            if read is None:
                continue
            manifest, config = read
            rows.append(
                {
                    "name": name.shortest,
                    "model": name.shortest,
                    **{key: config[key] for key in ("remote_model", "remote_host") if config.get(key)},
                    "modified_at": time_of(path),
                    "size": sum(row["size"] for row in layers_of(manifest)) + config_of(manifest)["size"],
                    "digest": hex_sha256(taken_in(path.read_bytes())),
                    "details": {**details_of(config), "parent_model": _parent(manifest)},
                    "capabilities": self._capabilities(path, config),
                }
            )
        return sorted(rows, key=lambda row: str(row["modified_at"]), reverse=True)

    def _loaded(self) -> list[dict[str, object]]:
        return [
            {**row, "expires_at": now(), "size_vram": 0, "context_length": 4096}
            for row in self._listed()
            if row["name"] in self.loaded
        ]

    def _show(self, asked: Asked) -> Answer:
        body = body_of(asked)
        name = self._named(body.get("model") or body.get("name"), missing="model is required")
        path = self.store.manifest(name)
        read = self.store.read(path) if path.is_file() else None
        if read is None:
            raise FailedError(f"model '{name}' not found", 404)
        manifest, config = read
        licenses, templates, systems, params = (
            [data.decode() for data in self.store.layers(path, kind)]
            for kind in ("license", "template", "system", "params")
        )
        parameters = aligned(json.loads(params[0])) if params else ""
        shown = {
            "license": "\n".join(licenses),
            "modelfile": f"# Modelfile\nFROM {name}\n",
            "parameters": parameters,
            "template": templates[0] if templates else "",
            "system": systems[0] if systems else "",
            **{key: config.get(key, "") for key in ("remote_model", "remote_host", "requires")},
        }
        return answer_json(
            {
                **{key: value for key, value in shown.items() if value},
                "details": {**details_of(config), "parent_model": _parent(manifest)},
                "model_info": {"general.architecture": config.get("model_family"), "tokenizer.ggml.tokens": []},
                "capabilities": self._capabilities(path, config),
                "modified_at": time_of(path),
            }
        )

    def _copy(self, asked: Asked) -> Answer:
        body = body_of(asked)
        source, target = (
            parsed_name(body.get(key), f"{key} {body.get(key)!r} is invalid") for key in ("source", "destination")
        )
        path = self.store.manifest(self.store.existing(source))
        if not path.is_file():
            raise FailedError(f'model "{body["source"]}" not found', 404)
        self.store.write_manifest(self.store.existing(target), path.read_bytes())
        return Answer(200)

    def _delete(self, asked: Asked) -> Answer:
        body = body_of(asked)
        name = self._named(body.get("model") or body.get("name"), missing="name is invalid")
        if not self.store.manifest(name).is_file():
            raise FailedError(f"model '{name}' not found", 404)
        self.store.remove(name)
        return Answer(200)

    def _blob(self, asked: Asked, digest: str) -> Answer:
        if asked.method not in {"HEAD", "POST"}:
            return Answer(405)
        if not _DIGEST.fullmatch(digest):
            return answer_error("invalid digest format", 400)
        pure = digest[7:]
        if self.store.blob(pure).is_file():
            return Answer(200)
        if asked.method == "HEAD":
            return answer_error(f"blob sha256:{pure} not found", 404)
        if self.disk_full:
            return answer_error(f"write {self.store.blob(pure)}: no space left on device", 500)
        found = hex_sha256(asked.body)
        self.store.write_blob(found, asked.body)  # kept under its true name, also when another was announced
        if found != pure:
            return answer_error(f'digest mismatch, expected "sha256:{pure}", got "sha256:{found}"', 400)
        return Answer(201)

    # --- streams ----------------------------------------------------------------------------------------------------

    def _pull(self, asked: Asked) -> Answer:
        body = body_of(asked)
        name = self._named(body.get("model") or body.get("name"), missing="invalid model name")
        return self._streamed(self._fetch(name, insecure=body.get("insecure") is True), body)

    def _create(self, asked: Asked) -> Answer:
        body = body_of(asked)
        name = self._named(body.get("model") or body.get("name"), missing="invalid model name")
        if not body.get("from") and not body.get("files"):
            raise FailedError("neither 'from' or 'files' was specified", 400)
        for digest in {**body.get("files", {}), **body.get("adapters", {})}.values():
            if not _DIGEST.fullmatch(str(digest)):
                raise FailedError("invalid digest format", 400)
        return self._streamed(self._make(name, body), body)

    def _streamed(self, lines: Iterator[Line], body: Mapping[str, Any]) -> Answer:
        """Answer with lines; what fails first has a status of its own, what fails later is a line under 200."""
        if body.get("stream") is False:
            last: Line = {}
            for line in lines:  # a failure leaves by way of respond()
                last = line
            return answer_json(last)
        first = next(lines)
        return Answer(200, headers=NDJSON, pieces=self._pieces(first, lines))

    def _pieces(self, first: Line, lines: Iterator[Line]) -> Iterator[bytes]:
        sent = 0
        done = False
        try:
            yield line_of(first)
            for line in self._told(lines):
                sent += 1
                if self.garbage_after_lines == sent:
                    yield GARBAGE
                if self.end_after_lines == sent:
                    done = True
                    return
                if sent in {self.cut_after_lines, self.die_after_lines}:
                    if self.die_after_lines == sent:
                        threading.Thread(target=self.stop, daemon=True).start()
                    done = True
                    raise CutError
                yield line_of(line)
            done = True
        finally:
            if not done:
                self.left.set()

    def _told(self, lines: Iterator[Line]) -> Iterator[Line]:
        try:
            yield from lines
        except FailedError as error:
            yield {"error": str(error)}

    def _fetch(self, name: ModelName, *, insecure: bool = False) -> Iterator[Line]:
        """Pull a model from its registry over HTTP, keeping what came in partial blobs.

        A pull that was called off may not have noticed it yet: the next one of the same name waits for it to end.
        """
        yield {"status": "pulling manifest"}
        turn = self._turns.setdefault(str(name), threading.Lock())
        mine = turn.acquire(timeout=60)
        try:
            yield from self._fetch_alone(name, insecure=insecure)
        finally:
            if mine:
                turn.release()

    def _fetch_alone(self, name: ModelName, *, insecure: bool) -> Iterator[Line]:
        host = self.registry if name.host == DEFAULT_HOST else name.host
        if host is None or (name.host != DEFAULT_HOST and not insecure):
            raise FailedError(f'pull model manifest: Get "https://{name.host}/v2/": dial tcp: connection refused')
        place = f"/v2/{name.namespace}/{name.model}"
        status, _, data = fetched(host, f"{place}/manifests/{name.tag}")
        if status == 404:
            raise FailedError("pull model manifest: file does not exist")
        if status != 200:
            said = json.loads(data).get("errors", [{}])[0].get("message", "") if data else ""
            raise FailedError(f"pull model manifest: {status}: {said}")
        self.pulling.set()
        manifest = json.loads(data)
        rows = [*layers_of(manifest), config_of(manifest)]
        for row in rows:
            if row is rows[-1] and self.wait is not None:
                while not self.wait.wait(0.06):
                    yield {"status": "pulling", "digest": row["digest"], "total": row["size"]}
            yield from self._fetch_blob(host, place, row)
        if self.silent is not None:
            self.silent.wait(60)
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        replaced = self.store.manifest(name)
        old = self.store.read(replaced)  # a bad one is pulled over
        self.store.write_manifest(name, data)
        if old is not None:
            yield {"status": "removing unused layers"}
            self.store.drop_orphans({row["digest"] for row in (*layers_of(old[0]), config_of(old[0]))})
        yield {"status": "success"}

    def _fetch_blob(self, host: str, place: str, row: Mapping[str, Any]) -> Iterator[Line]:
        digest, size = row["digest"], row["size"]
        final = self.store.blob(digest)
        told = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
        if final.is_file():
            yield {**told, "completed": size}
            return
        partial, note = (final.with_name(f"{final.name}-partial{end}") for end in ("", "-0"))
        done = json.loads(note.read_bytes())["Completed"] if note.is_file() else 0
        _, headers, _ = fetched(host, f"{place}/blobs/{digest}")
        with partial.open("r+b" if partial.exists() else "w+b") as file:
            file.truncate(size)
            while done < size:
                yield {**told, **({"completed": done} if done else {})}
                if self.disk_full:
                    raise FailedError(f"write {partial}: no space left on device")
                _, _, data = fetched(host, headers["location"], f"bytes={done}-{min(done + CHUNK, size) - 1}")
                file.seek(done)
                file.write(data)
                file.flush()
                done += len(data)
                note.write_text(json.dumps({"N": 0, "Offset": 0, "Size": size, "Completed": done}))
        yield {**told, "completed": done}
        found = hex_sha256(partial.read_bytes())
        if found != digest[7:]:
            partial.unlink()
            note.unlink()
            raise FailedError(f"digest mismatch, file must be downloaded again: want {digest}, got sha256:{found}")
        partial.rename(final)
        note.unlink(missing_ok=True)

    def _make(self, name: ModelName, body: Mapping[str, Any]) -> Iterator[Line]:
        """Create a model from a base or from uploaded files."""
        config: dict[str, Any] = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_type": "1B",
            "file_type": "F16",
        }
        layers: list[tuple[str, bytes]] = []
        parent: str | None = None
        if body.get("from"):
            base = self.store.existing(parsed_name(body["from"], "invalid model name"))
            if not self.store.manifest(base).is_file():
                yield from (line for line in self._fetch(base) if line != {"status": "success"})
            read = self.store.read(self.store.manifest(base))
            assert read is not None
            config, parent = read[1], base.shortest
            for row in layers_of(read[0]):
                yield {"status": f"using existing layer {row['digest']}"}
                layers.append((row["mediaType"].removeprefix(LAYER), self.store.blob(row["digest"]).read_bytes()))
        for key, kind in (("files", "model"), ("adapters", "adapter")):
            uploads = body.get(key, {}).values()
            layers += [(kind, self._uploaded(digest, repack=kind == "model")) for digest in uploads]
        yield {"status": "parsing GGUF"}
        content = assembled(config, with_fields(layers, body), parent=parent)
        if self.disk_full:
            raise FailedError(f"write {self.store.folder}/blobs: no space left on device")
        old = self.store.manifest(name)
        replaced = json.loads(old.read_bytes()) if old.is_file() else None
        for digest in content.blobs:
            yield {"status": f"creating new layer sha256:{digest}"}
        yield {"status": "writing manifest"}
        self.store.install(name, content)
        if replaced is not None:
            self.store.drop_orphans({row["digest"] for row in (*layers_of(replaced), config_of(replaced))})
        yield {"status": "success"}

    def _uploaded(self, digest: str, *, repack: bool) -> bytes:
        path = self.store.blob(digest[7:])
        if not path.is_file():
            raise FailedError(f"open {path}: no such file or directory", 400)
        return path.read_bytes() + (b"\0" if repack and self.repacks else b"")

    # --- names and capabilities -------------------------------------------------------------------------------------

    def _named(self, value: object, *, missing: str) -> ModelName:
        if not value:
            raise FailedError(missing, 400)
        return self.store.existing(parsed_name(value, "invalid model name"))

    def _capabilities(self, path: Path, config: Mapping[str, object]) -> list[str]:
        said = config.get("capabilities")
        if isinstance(said, list):
            return said
        template = b"".join(self.store.layers(path, "template")).decode()
        found = {"completion": True, "tools": ".Tools" in template, "insert": ".Suffix" in template}
        found["vision"] = bool(self.store.layers(path, "projector"))
        return [word for word, there in found.items() if there]


def _parent(manifest: Mapping[str, Any]) -> str:
    return next((row.get("from", "") for row in layers_of(manifest) if row["mediaType"] == f"{LAYER}model"), "")
