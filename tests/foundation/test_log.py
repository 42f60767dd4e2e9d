"""The log: lines of JSON that say what happened, and never a secret."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.foundation import log
from imageworks.foundation.log import (
    BACKUPS,
    LOG_FILE,
    LOGGER,
    REDACTED,
    Teller,
    command_log,
    debugging,
    detail,
    event,
    keep_secret,
    mirror,
    redact,
    safe_words,
    start_logging,
    warn,
)
from support.reconcile import HOST, World, closed_log, command
from support.world import started_world

__all__ = ["started_world"]

SIGNED = (
    "https://cas-bridge.example/xet/a1?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDSECRET%2F2026&X-Amz-Date=2026"
    "&X-Amz-Security-Token=SECRETTOKEN%2Bx&X-Amz-Signature=SECRETSIGNATURE&response-content-type=x"
)
CLOUDFRONT = "https://cdn-lfs.example/a?Expires=1&Policy=SECRETPOLICY_&Signature=SECRETSIG~a&Key-Pair-Id=SECRETPAIR"
AZURE = "https://blob.example/a?sv=2026&sig=SECRETAZURE%3D&se=2027"


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log, "_secrets", set())
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


@pytest.mark.parametrize("url", [SIGNED, CLOUDFRONT, AZURE])
def test_a_signed_link_keeps_its_place_and_loses_what_opens_it(url: str) -> None:
    """I7."""
    shown = redact(f"fetched {url} at last")
    assert "SECRET" not in shown
    assert shown.startswith(f"fetched {url.partition('?')[0]}?")
    assert shown.endswith(" at last")


@pytest.mark.parametrize(
    "text", ["hf_x is a prefix", "https://host/path?x=1", "a plain line", "12:30:00", "tokenizer.json"]
)
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


@pytest.mark.parametrize("name", ["HF_TOKEN", "MY_HUB_SECRET", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"])
def test_what_the_environment_holds_as_a_secret_is_known_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """I7: a private hub's token need not begin with hf_."""
    secret = f"plain/words-of-{name}+1"
    monkeypatch.setenv(name, secret)
    start_logging(tmp_path)
    event("asked", url=f"https://hub/x?t={secret}", note=[{"deep": secret}], quoted=f"plain%2Fwords-of-{name}%2B1")
    mirror(f"warning: {secret} was refused", stream="stderr")
    LOGGER.error("broke", exc_info=ValueError(secret))
    written = (tmp_path / LOG_FILE).read_text(encoding="utf-8")
    assert f"words-of-{name}" not in written
    assert len(lines(tmp_path)) == 3


def test_a_secret_that_is_found_later_is_known_from_then_on(tmp_path: Path) -> None:
    """I7."""
    start_logging(tmp_path)
    keep_secret("from-a-token-file")
    event("asked", header="X: from-a-token-file")
    assert "from-a-token-file" not in (tmp_path / LOG_FILE).read_text(encoding="utf-8")


def test_a_field_that_is_called_a_secret_is_one(tmp_path: Path) -> None:
    """I7."""
    start_logging(tmp_path)
    event("asked", api_key="x1", headers={"Authorization": "x2", "Cookie": "x3"}, max_tokens=512, tokenizer="t.json")
    (line,) = lines(tmp_path)
    assert line["api_key"] == REDACTED
    assert line["headers"] == {"Authorization": REDACTED, "Cookie": REDACTED}
    assert (line["max_tokens"], line["tokenizer"]) == (512, "t.json")


def test_a_line_is_json_whatever_a_secret_stands_next_to(tmp_path: Path) -> None:
    start_logging(tmp_path)
    event("asked", text='{"Authorization": "Bearer abc"}', other="token:xyz", bytes="\udcff", path=Path("/a"), n=1.5)
    (line,) = lines(tmp_path)
    assert line["text"] == f'{{"Authorization": "Bearer {REDACTED}"}}'
    assert (line["other"], line["path"], line["n"]) == (f"token:{REDACTED}", "/a", 1.5)


def test_words_of_a_command_line_lose_what_an_option_for_a_secret_is_given() -> None:
    """I7."""
    words = ["serve", "--api-key", "sk-1", "--token=abc", "--max-num-batched-tokens", "8192", "--api-key", "--x"]
    assert safe_words(words) == [
        *("serve", "--api-key", REDACTED, f"--token={REDACTED}"),
        *("--max-num-batched-tokens", "8192", "--api-key", "--x"),
    ]


# --- what commands print -----------------------------------------------------------------------------------------


def test_what_is_printed_stands_in_the_log_line_by_line(tmp_path: Path) -> None:
    start_logging(tmp_path)
    mirror("✅ Done: \x1b[32mtiny\x1b[0m\n\n   📁 here", stream="stdout")
    mirror("warning: no chat template", stream="stderr")
    mirror("error: it broke\n  mend it", stream="stderr")
    assert [(line["level"], line["stream"], line["text"]) for line in lines(tmp_path)] == [
        ("info", "stdout", "✅ Done: tiny"),
        ("info", "stdout", "   📁 here"),
        ("warning", "stderr", "warning: no chat template"),
        ("error", "stderr", "error: it broke"),
        ("info", "stderr", "  mend it"),
    ]


def test_a_document_for_programs_is_not_repeated(tmp_path: Path) -> None:
    start_logging(tmp_path)
    mirror('{"format_version": 1}', stream="stdout")
    mirror("[\n]", stream="stdout")
    event("after")
    assert [line["event"] for line in lines(tmp_path)] == ["after"]


def test_what_was_printed_before_there_was_a_file_is_not_lost(tmp_path: Path) -> None:
    with command_log(lambda _text: None, ["download", "--token", "x"]):
        mirror("note: said early", stream="stderr")
        start_logging(tmp_path)
    first, last = lines(tmp_path)
    assert first["text"] == "note: said early"
    assert (last["event"], last["arguments"]) == ("command-ended", ["download", "--token", REDACTED])


def test_what_an_earlier_command_printed_is_not_kept_for_the_next(tmp_path: Path) -> None:
    with command_log(lambda _text: None, ["list"]):
        mirror("of the first", stream="stdout")
    with command_log(lambda _text: None, ["verify"]):
        start_logging(tmp_path)
    assert [line["event"] for line in lines(tmp_path)] == ["command-ended"]


def test_a_warning_is_told_once_and_logged(tmp_path: Path) -> None:
    told: list[str] = []
    start_logging(tmp_path)
    with command_log(told.append, []):
        warn("x is odd")
        warn("x is odd")
        LOGGER.error("not here")
    warn("after the command")
    assert told == ["warning: x is odd"]
    assert sum("x is odd" in str(line["event"]) for line in lines(tmp_path)) == 2


def test_the_log_of_a_command_ends_with_it(tmp_path: Path) -> None:
    """I4: a command that only looks writes nothing, even after one that wrote in the same process."""
    with command_log(lambda _text: None, ["verify"]):
        start_logging(tmp_path)
    with command_log(lambda _text: None, ["list"]):
        mirror("looking", stream="stdout")
    assert [line["event"] for line in lines(tmp_path)] == ["command-ended"]


def test_what_was_printed_already_is_not_told_again(tmp_path: Path) -> None:
    told: list[str] = []
    LOGGER.addHandler(Teller(logging.WARNING, told.append))
    start_logging(tmp_path)
    mirror("warning: printed by a command", stream="stderr")
    assert told == []


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_file_rotates_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 2000)
    start_logging(tmp_path)
    for number in range(100):
        event("filler", number=number, text="x" * 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        LOG_FILE,
        *(f"{LOG_FILE}.{number}" for number in range(1, BACKUPS + 1)),
    ]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1]["number"] == 99


FILLER = """
import sys
from pathlib import Path
from imageworks.foundation import log
log.MAX_BYTES = 3000
log.start_logging(Path(sys.argv[1]))
for number in range(400):
    log.event("filler", number=number, who=sys.argv[2])
"""


def test_several_processes_rotate_one_log_without_stopping_each_other(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", FILLER, tmp_path / "logs", str(who)], stderr=subprocess.PIPE, text=True)
        for who in range(3)
    ]
    for writer in writers:
        assert writer.communicate(timeout=60)[1] == ""
        assert writer.returncode == 0
    files = sorted((tmp_path / "logs").iterdir())
    allowed = {LOG_FILE, *(f"{LOG_FILE}.{n}" for n in range(1, BACKUPS + 1))}
    assert {LOG_FILE} < {path.name for path in files} <= allowed
    for path in files:
        assert all(json.loads(line)["event"] == "filler" for line in path.read_text(encoding="utf-8").splitlines())


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LOG_FILE).mkdir()
    start_logging(tmp_path)
    event("unheard")
    event("unheard")
    assert capsys.readouterr().err.count("warning: no log is kept") == 1


def test_details_are_written_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_logging(tmp_path)
    detail("request", url="http://a/")
    with closed_log():
        pass
    monkeypatch.setenv("IMAGEWORKS_DEBUG", "1")
    start_logging(tmp_path)
    detail("request", url="http://b/")
    assert [line["url"] for line in lines(tmp_path)] == ["http://b/"]


# --- real commands -----------------------------------------------------------------------------------------------


def test_a_download_is_mirrored_and_no_token_reaches_the_log(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: with a token of each kind in the environment, and debug output on."""
    world.serve()
    folder = tmp_path / "log folder"
    monkeypatch.setenv("IMAGEWORKS_LOG_DIR", str(folder))
    monkeypatch.setenv("IMAGEWORKS_DEBUG", "1")
    monkeypatch.setenv("HF_TOKEN", "odd-token-of-a-private-hub")
    result = command("download", "acme/tiny-1b", "-y", "--registry", world.root)
    assert result.code == 0, result
    written = (folder / LOG_FILE).read_text(encoding="utf-8")
    assert "odd-token" not in written
    assert "Signature=" not in written.replace(f"Signature={REDACTED}", "")
    texts = [str(line.get("text", "")) for line in lines(folder)]
    for printed in (*result.out.splitlines(), *result.err.splitlines()):
        assert not printed.strip() or printed in texts
    assert any("✅" in text for text in texts)
    requests = [line for line in lines(folder) if line["event"] == "http-request"]
    assert {line["level"] for line in requests} == {"debug"}
    assert all(str(line["url"]).startswith(world.hub.url) or line["status"] for line in requests)


def test_a_dry_run_and_commands_that_look_write_no_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I4."""
    world.serve()
    world.declare()
    folder = world.folder / "logs"
    monkeypatch.setenv("IMAGEWORKS_LOG_DIR", str(folder))
    world.plan()
    for words in (("list",), ("status",), ("config",), ("download", "acme/tiny-1b", "--dry-run")):
        command(*words, "--registry", world.root)
    assert not folder.exists()


def test_an_error_is_in_the_log_with_its_traceback_on_request(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEWORKS_DEBUG", "1")
    monkeypatch.setenv("IMAGEWORKS_LOG_DIR", str(tmp_path / "log"))
    result = command("download", "acme/not-there", "-y", "--registry", world.root)
    assert result.code == 1
    assert "Traceback" in result.err
    assert any("Traceback" in str(line.get("traceback")) for line in lines(tmp_path / "log"))
    assert any(str(line.get("text")).startswith("error: ") for line in lines(tmp_path / "log"))


def test_a_warning_of_the_settings_is_shown_by_every_command(world: World, isolated_environment: Path) -> None:
    world.user_config(isolated_environment, 'hots = "x"\n')
    result = command("list", "--registry", world.root)
    assert "warning: " in result.err
    assert "unknown key 'hots' is ignored; did you mean 'host'?" in result.err
    assert HOST in result.out


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
