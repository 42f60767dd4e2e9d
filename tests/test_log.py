"""The log: lines of JSON that say what happened, and never a secret."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.log import LOG_FILE, LOGGER, debugging, event, redact, start_logging
from support.reconcile import closed_log


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    with closed_log():
        yield


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token hf_abcdefghijKLMNOP used", "hf_abcdefghijKLMNOP"),
        ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
        ("https://cdn/x?Signature=AbC~d_&Expires=1", "AbC~d_"),
        ("https://s3/x?X-Amz-Signature=0123abcd&x=1", "0123abcd"),
        ("http://user:pass@host/path", "user:pass"),
        ('{"secret": "token:rpc-secret"}', "rpc-secret"),
    ],
)
def test_secrets_are_replaced_wherever_they_stand(text: str, secret: str) -> None:
    """I7."""
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize("text", ["hf_x is a prefix", "https://host/path?x=1", "a plain line", "12:30:00"])
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_an_event_is_one_line_with_its_fields(tmp_path: Path) -> None:
    start_logging(tmp_path / "logs")
    event("apply", model="tiny", path=Path("/weights"), text="two\nlines")
    (line,) = lines(tmp_path / "logs")
    assert (line["event"], line["level"], line["model"], line["path"]) == ("apply", "info", "tiny", "/weights")
    assert line["text"] == "two\nlines"
    assert str(line["time"]).endswith("Z")


def test_secrets_never_reach_the_file(tmp_path: Path) -> None:
    """I7."""
    start_logging(tmp_path)
    event("request", url="https://cdn/x?Signature=SECRETVALUE", headers={"Authorization": "Bearer SECRETVALUE"})
    LOGGER.error("hf_SECRETVALUE0123")
    assert "SECRETVALUE" not in (tmp_path / LOG_FILE).read_text(encoding="utf-8")


def test_a_traceback_is_a_field(tmp_path: Path) -> None:
    start_logging(tmp_path)
    LOGGER.error("broke", exc_info=ValueError("inside"))
    assert "ValueError: inside" in str(lines(tmp_path)[0]["traceback"])


def test_starting_twice_writes_each_line_once(tmp_path: Path) -> None:
    start_logging(tmp_path)
    start_logging(tmp_path)
    event("once")
    assert len(lines(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    start_logging(tmp_path / "file" / "logs")
    event("unheard")
    assert "warning: no log is kept" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "on"), [("", False), ("0", False), ("1", True), ("yes", True)])
def test_debugging_is_asked_for_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    value: str,
    on: bool,
) -> None:
    monkeypatch.setenv("IMAGEWORKS_DEBUG", value)
    assert debugging() is on
    start_logging(tmp_path)
    assert LOGGER.level == (logging.DEBUG if on else logging.INFO)
