"""Structured log lines for later review: one JSON object a line, in a rotating file, never a secret."""

import json
import logging
import os
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final
from urllib.parse import quote

from imageworks.foundation.private_files import (
    FILE_MODE,
    FOLDER_MODE,
    ForeignFolderError,
    close_file,
    make_folders,
    make_private_folder,
)

LOG_FILE: Final = "model_downloader.log"
LOGGER: Final = logging.getLogger("imageworks")
MAX_BYTES: Final = 5 * 1024 * 1024
BACKUPS: Final = 3
EARLY_LINES: Final = 200
SHORTEST_HIDDEN: Final = 6  # characters; a shorter text is too likely to be a word of something else
LOGGER.addHandler(logging.NullHandler())  # without a log file, nothing of ours goes to stderr behind the command's back
LOGGER.propagate = False
REDACTED: Final = "[redacted]"
# Patterns as texts: `re` compiles them when there is something to hide, and most commands log nothing.
# Tokens of GitHub, GitLab and Hugging Face, authorization headers, aria2's secret, signatures of links, and in URLs
# user:password@ or token@.
_HIDDEN: Final = (
    r"(?i)gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|gl[a-z]{2,8}-[\w-]{16,}"
    r"|hf_[A-Za-z0-9]{8,}|hf_(?:oauth|jwt)_[\w.-]{8,}|api_org_[A-Za-z0-9]{8,}"
    r"|(?<=Bearer )[^\s\"']+|(?<=Basic )[A-Za-z0-9+/=_-]{8,}|(?<=token:)[^\s\"']+"
    r"|(?<=Signature=)[^&\s\"']+|(?<=Signature%3D)[^&\s\"']+|(?<=://)[^/\s@\"']+(?=@)"
)
_PARAMETER: Final = (
    r"(?i)([?&][\w-]*(?:signature|sig|credential|token|secret|password|policy|key|key-pair-id|auth)=)[^&\s\"'<>#]+"
)
_HIDDEN_NAME: Final = r"(?i)token$|secret|passw|api_?keys?$|authorization|credential|cookie"
_HIDDEN_VARIABLE: Final = r"(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY)$"
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")

_secrets: set[str] = set()
_early: deque[tuple[str, str]] = deque(maxlen=EARLY_LINES)


def keep_secret(text: str) -> None:
    """Remember a text that no line of the log may ever hold, such as a token of a form that only its hub knows."""
    if len(text) >= SHORTEST_HIDDEN:
        _secrets.update((text, quote(text, safe="")))


def redact(text: str) -> str:
    """Return a text with everything that looks like a secret, or is a known one, replaced by ``[redacted]``."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return re.sub(_HIDDEN, REDACTED, re.sub(_PARAMETER, rf"\1{REDACTED}", text))


def debugging() -> bool:
    """Return whether the user asked for debug output with ``IMAGEWORKS_DEBUG``."""
    return os.environ.get("IMAGEWORKS_DEBUG", "") not in {"", "0"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON with time, level, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": record.process,
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # Before the quotes and escapes of JSON are around it: after, a pattern could eat them and leave no JSON.
        return json.dumps(_without_secrets(line), ensure_ascii=False, default=lambda value: redact(str(value)))


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return redact(value).encode("utf-8", "backslashreplace").decode()  # a path may hold bytes that are no text
    if isinstance(value, Mapping):
        return {
            redact(str(key)): REDACTED if re.search(_HIDDEN_NAME, str(key)) and item else _without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else _without_secrets(str(value))


def _file_handler(path: Path) -> logging.Handler:
    from logging.handlers import RotatingFileHandler  # brings socket and pickle, which most commands can do without

    class File(RotatingFileHandler):
        """The log file; one that can no longer be written is told of once and stops nothing."""

        def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 # named and formed by logging
            LOGGER.removeHandler(self)
            with suppress(OSError):
                self.close()
            _tell_unwritable(path, sys.exc_info()[1])

        def doRollover(self) -> None:  # noqa: N802 # named by logging
            with suppress(FileNotFoundError):  # another process was quicker with one of the older files
                super().doRollover()
            if self.stream is None:
                self.stream = self._open()

        def _open(self) -> TextIOWrapper:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            return TextIOWrapper(os.fdopen(os.open(self.baseFilename, flags, FILE_MODE), "ab"), encoding=self.encoding)

    handler = File(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True)
    handler.set_name(LOG_FILE)
    handler.setFormatter(JsonFormatter())
    return handler


def _tell_unwritable(path: Path, error: BaseException | None) -> None:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    sys.stderr.write(f"warning: no log is kept: {path}: {why}\n")  # the log is the only other place to say it


def log_place() -> str | None:
    """Return the file that lines go to, where they go to one."""
    files = (handler for handler in LOGGER.handlers if handler.name == LOG_FILE)
    return next((handler.baseFilename for handler in files if isinstance(handler, logging.FileHandler)), None)


def start_logging(log_dir: Path) -> None:
    """Send log lines to ``model_downloader.log`` in a folder; without one that can be written, say so once."""
    if log_place() is not None:
        return
    for name, value in os.environ.items():
        if re.search(_HIDDEN_VARIABLE, name) and not value.startswith("/"):
            keep_secret(value)
    handler: logging.Handler | None = None
    try:
        make_folders(log_dir, FOLDER_MODE)
        handler = _file_handler(log_dir / LOG_FILE)
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.DEBUG if debugging() else logging.INFO)
        make_private_folder(log_dir)  # which says in the log what it closes
    except (OSError, ForeignFolderError) as error:
        if handler is not None:
            LOGGER.removeHandler(handler)
        _tell_unwritable(log_dir, error)
        return
    for name in (LOG_FILE, *(f"{LOG_FILE}.{number}" for number in range(1, BACKUPS + 1))):
        close_file(log_dir / name)
    while _early:
        _write(*_early.popleft())


class Teller(logging.Handler):
    """Hands what is logged at one level to whoever talks to the user, but for what a command printed already."""

    def __init__(self, level: int, told: Callable[[str], None]) -> None:
        super().__init__(level)
        self._told = told
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a warning once, and each step with its fields."""
        if record.levelno != self.level or hasattr(record, "mirrored"):
            return
        text = record.getMessage()
        if self.level != logging.WARNING:
            fields = getattr(record, "fields", {})
            self._told(redact(" ".join([text, *(f"{key}={value}" for key, value in fields.items())])))
        elif text not in self._seen:
            self._seen.add(text)
            self._told(f"warning: {text}")


def show_steps(told: Callable[[str], None]) -> None:
    """Tell each step of the command that runs, until it ends."""
    LOGGER.addHandler(Teller(logging.INFO, told))
    LOGGER.setLevel(min(LOGGER.level or logging.INFO, logging.INFO))


@contextmanager
def command_log(told: Callable[[str], None], arguments: Sequence[str]) -> Iterator[None]:
    """Log one command: its warnings are told, what it prints is mirrored, and the file says when it ended."""
    talk = Teller(logging.WARNING, told)
    LOGGER.addHandler(talk)
    before = list(LOGGER.handlers)
    began = time.monotonic()
    try:
        yield
    finally:
        _early.clear()
        if log_place() is not None:
            event("command-ended", arguments=safe_words(arguments), seconds=round(time.monotonic() - began, 3))
        for handler in [talk, *(handler for handler in LOGGER.handlers if handler not in before)]:
            LOGGER.removeHandler(handler)
            handler.close()


def safe_words(words: Sequence[str]) -> list[str]:
    """Return a command line without secrets: neither known ones nor what an option for one is given."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, _ = word.partition("=")
        if _is_secret_option(before) and not word.startswith("--"):
            shown.append(REDACTED)
        elif equals and _is_secret_option(option):
            shown.append(f"{option}={REDACTED}")
        else:
            shown.append(redact(word))
    return shown


def _is_secret_option(word: str) -> bool:
    return word.startswith("-") and "=" not in word and bool(re.search(_HIDDEN_NAME, word.replace("-", "_")))


def event(name: str, /, **fields: object) -> None:
    """Write one structured event at level info."""
    LOGGER.info(name, extra={"fields": fields})


def detail(name: str, /, **fields: object) -> None:
    """Write one structured event that only ``IMAGEWORKS_DEBUG`` asks for."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug(name, extra={"fields": fields})


def warn(text: str) -> None:
    """Tell something that a person should know and that stops nothing; the command line shows it."""
    LOGGER.warning("%s", text)


def unexpected(about: str, error: BaseException) -> None:
    """Write an error that nobody foresaw with its traceback, and show that where ``IMAGEWORKS_DEBUG`` asks for it."""
    LOGGER.error("unexpected", exc_info=error, extra={"fields": {"about": about}})
    if debugging():
        sys.stderr.write(redact("".join(traceback.format_exception(error))))


def mirror(text: str, *, stream: str) -> None:
    """Write what a command printed to the log too, a line each; before there is a file it is kept for it."""
    plain = _COLOUR.sub("", text).strip("\n")
    lines = [] if plain.startswith(("{", "[")) else list(filter(str.strip, plain.splitlines()))
    if log_place() is not None:
        for line in lines:
            _write(line, stream)
    elif any(isinstance(handler, Teller) for handler in LOGGER.handlers):  # within a command, which may have one yet
        _early.extend((line, stream) for line in lines)


def _write(line: str, stream: str) -> None:
    start = line.lstrip().lower()
    levels = {"warning": logging.WARNING, "error": logging.ERROR}
    level = next((level for word, level in levels.items() if start.startswith(word)), logging.INFO)
    LOGGER.log(level, "printed", extra={"fields": {"stream": stream, "text": line}, "mirrored": True})
