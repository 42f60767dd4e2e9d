"""The check of pinned requirements for known vulnerabilities: what it says, and that it needs no network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ROOT = Path(__file__).parent.parent


def audit(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/audit.py"), *words]
    return subprocess.run(command, env={"OSV_URL": url}, capture_output=True, text=True, check=False, timeout=60)


def serve(server: HTTPServer, vulnerable: str | None) -> list[dict[str, str]]:
    """Answer as osv.dev does; returns what was asked for."""
    asked: list[dict[str, str]] = []

    def answer(request: Request) -> Response:
        queries = json.loads(request.data)["queries"]
        asked.extend({"name": one["package"]["name"], "version": one["version"]} for one in queries)
        known = {"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-2"}]}
        results = [known if one["package"]["name"] == vulnerable else {} for one in queries]
        return Response(json.dumps({"results": results}))

    server.expect_request("/v1/querybatch", method="POST").respond_with_handler(answer)
    return asked


def test_every_pinned_requirement_is_asked_for_by_one_request(httpserver: HTTPServer) -> None:
    asked = serve(httpserver, None)
    done = audit(httpserver.url_for(""), "--strict")
    assert (done.returncode, done.stdout) == (0, "")
    names = {one["name"] for one in asked}
    assert {"pygit2", "hatchling", "pytest"} <= names
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--strict",), 1)])
def test_what_is_known_is_told_and_fails_where_that_is_asked_for(
    httpserver: HTTPServer, words: tuple[str, ...], code: int
) -> None:
    serve(httpserver, "pygit2")
    done = audit(httpserver.url_for(""), *words)
    assert done.returncode == code
    assert done.stdout.startswith("pygit2==")
    assert "https://osv.dev/GHSA-1, https://osv.dev/PYSEC-2" in done.stdout


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"results": []}', b'{"results": 3}', None])
def test_without_an_answer_it_is_skipped_and_says_why(httpserver: HTTPServer, body: bytes | None) -> None:
    if body is not None:
        httpserver.expect_request("/v1/querybatch").respond_with_data(body)
    done = audit(httpserver.url_for("") if body is not None else "http://127.0.0.1:9", "--strict")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("audit skipped: ")
    assert "Traceback" not in done.stderr
