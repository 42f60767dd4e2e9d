"""The page of a real registry: what it tells, and where it may be written."""

import json
import re
import signal
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from support.git import git
from support.registry import NAME, World, ended, small_model


def installed(world: World) -> None:
    world.publish("acme/tiny", small_model("1"))
    world.declare(extra="roles: [caption]\n")
    assert world.reconcile().code == 0


def test_the_page_of_a_real_registry_tells_what_is_there(fresh: World) -> None:
    installed(fresh)
    out = fresh.root / "page"
    done = fresh.run("page", "--out", str(out), "--json")
    assert done.code == 0, done
    said = json.loads(done.stdout)
    assert Path(said["index"]) == out / "index.html"
    assert said["files"] == sum(path.is_file() for path in out.rglob("*")) - 1
    front = (out / "index.html").read_text()
    assert f"models/{NAME}.html" in front
    assert "healthy" in front
    model = (out / f"models/{NAME}.html").read_text()
    for file in (fresh.weights / "acme/tiny").rglob("*"):
        if file.is_file():
            assert file.name in model
    assert "roles: [caption]" in model
    assert "Reconcile" in (out / "history.html").read_text()
    assert "caption" in (out / "rules.html").read_text()


def test_a_card_is_shown_from_behind_its_front_matter_and_as_far_as_there_is_room(fresh: World) -> None:
    front = "license: mit\nmodel-index:\n" + "- {score: 1}\n" * 9_000
    card = f"---\n{front}---\n# About it\n\n" + "many words. " * 9_000
    fresh.publish("acme/tiny", {**small_model("1"), "README.md": card.encode()})
    fresh.declare()
    assert fresh.reconcile().code == 0
    assert fresh.run("page", "--out", str(fresh.root / "page")).code == 0
    model = (fresh.root / f"page/models/{NAME}.html").read_text()
    assert "<h3>About it</h3>" in model
    assert "score" not in model
    assert 50_000 < len(model) < 70_000
    assert "Only its beginning" in model


def test_a_damaged_model_comes_first_with_what_helps(fresh: World) -> None:
    installed(fresh)
    next((fresh.weights / "acme/tiny").glob("*.safetensors")).write_bytes(b"x")
    done = fresh.run("page", "--out", str(fresh.root / "page"))
    assert done.code == 0, done
    front = (fresh.root / "page/index.html").read_text()
    assert "damaged" in front
    (command,) = re.findall(r"<code>imageworks-models (reconcile [^<]+)</code>", front)
    assert fresh.run(*command.split(), "--yes").code == 0
    assert fresh.run("page", "--out", str(fresh.root / "page")).code == 0
    assert "damaged" not in (fresh.root / "page/index.html").read_text()


def test_a_page_is_written_only_where_nothing_else_is(fresh: World) -> None:
    out = fresh.root / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    done = fresh.run("page", "--out", str(out))
    assert done.code == 1, done
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert "--out" in done.stderr
    assert fresh.run("page", "--out", str(fresh.root / "new")).code == 0


def test_a_page_that_is_written_again_leaves_no_model_that_is_gone(fresh: World) -> None:
    installed(fresh)
    out = fresh.root / "page"
    assert fresh.run("page", "--out", str(out)).code == 0
    assert (out / f"models/{NAME}.html").exists()
    assert fresh.run("remove", NAME, "--purge", "--yes").code == 0
    assert fresh.run("page", "--out", str(out)).code == 0
    assert not (out / f"models/{NAME}.html").exists()


def test_a_change_is_shown_beside_as_each_host_would_do_it(fresh: World) -> None:
    base = git(fresh.registry, "rev-parse", "HEAD").strip()
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare(extra="roles: [caption]\nlicense: mit\n")
    out = fresh.root / "page"
    done = fresh.run("page", "--out", str(out), "--diff", base)
    assert done.code == 0, done
    shown = (out / "changes.html").read_text()
    assert f"install {NAME}" in shown or f">{NAME}</a>" in shown
    assert "licence" in shown
    assert "model.safetensors" in shown
    assert 'href="changes.html"' in (out / "index.html").read_text()
    assert fresh.run("page", "--out", str(out)).code == 0
    assert not (out / "changes.html").exists()
    assert fresh.run("page", "--out", str(out), "--diff", "no-such").code == 1


def test_serve_shows_the_page_as_it_is_now(fresh: World) -> None:
    installed(fresh)
    child = fresh.start("serve", "--port", "0", "--quiet")
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip().removesuffix("/v1")
        front, headers = fetched(f"{address}/")
        assert headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert f"models/{NAME}.html" in front
        for path, kind in (
            ("page.css", "text/css"),
            ("page.js", "text/javascript"),
            (f"models/{NAME}.html", "text/html"),
        ):
            assert fetched(f"{address}/{path}")[1]["Content-Type"].startswith(kind)
        for path in ("models/../../registry.yaml", "models/none.html", "templates/base.html", "values.py"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetched(f"{address}/{path}")
            with refused.value:  # it holds its connection
                assert refused.value.code == 404
        assert json.loads(fetched(f"{address}/v1/models")[0])["data"][0]["id"] == NAME
        fresh.write_manifest("second-vllm", "schema_version: 1\nbackend: vllm\nroles: [ocr]\n")
        assert "second-vllm" in fetched(f"{address}/")[0]
    finally:
        child.send_signal(signal.SIGINT)
        assert ended(child).code in {0, 130}


def fetched(address: str) -> tuple[str, Message]:
    with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 # of a server of ours on loopback
        return answer.read().decode(), answer.headers


def test_each_line_of_a_manifest_names_the_commit_that_set_it(fresh: World) -> None:
    fresh.publish("acme/tiny", small_model("1"))
    text = '# ours\nschema_version: 1\nsource:\n  huggingface: acme/tiny\nbackend: {}\nlabels: {{say: "it"}}\n'
    fresh.write_manifest(NAME, text.format("vllm"))
    assert fresh.reconcile().code == 0
    assert shown_manifest(fresh, fresh.root / "one") == [
        "# ours",
        "schema_version: 1 @",
        "source:",
        "  huggingface: acme/tiny",
        "backend: vllm",
        'labels: {say: "it"}',
    ]
    fresh.write_manifest(NAME, text.format("lmdeploy"))
    assert shown_manifest(fresh, fresh.root / "two") == [
        "# ours",
        "schema_version: 1 @",
        "source:",
        "  huggingface: acme/tiny",
        "backend: lmdeploy @",
        'labels: {say: "it"} @',
    ]


def shown_manifest(world: World, folder: Path) -> list[str]:
    """Return the manifest on the model's page, with ``@`` where a commit is named."""
    assert world.run("page", "--out", str(folder)).code == 0
    page = (folder / "models" / f"{NAME}.html").read_text(encoding="utf-8")
    shown = page.partition("<h2>Manifest</h2>")[2].partition("<pre>\n")[2].partition("</pre>")[0]
    return re.sub(r"<i>[0-9a-f]{8} \d{4}-\d\d-\d\d .*?</i>", "@", shown).splitlines()
