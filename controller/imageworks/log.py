"""Structured log lines for later review: one JSON object a line, in a rotating file, never a secret."""

import json
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Final

LOG_FILE: Final = "model_downloader.log"
LOGGER: Final = logging.getLogger("imageworks")
MAX_BYTES: Final = 5 * 1024 * 1024
BACKUPS: Final = 3
LOGGER.addHandler(logging.NullHandler())  # without a log file, nothing of ours goes to stderr behind the command's back
LOGGER.propagate = False
# Hugging Face tokens, bearer headers, signed links' signatures, and user:password@ or token@ in URLs.
_SECRET: Final = re.compile(
    r"hf_[A-Za-z0-9]{8,}|(?<=Bearer )\S+|(?<=token:)[^\s\"']+"
    r"|(?<=Signature=)[^&\s\"]+|(?<=X-Amz-Signature=)[^&\s\"]+|(?<=://)[^/\s@\"']+(?=@)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text with everything that looks like a secret replaced by ``[redacted]``."""
    return _SECRET.sub("[redacted]", text)


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
        return redact(json.dumps(line, ensure_ascii=False, default=str))


def start_logging(log_dir: Path) -> None:
    """Send log lines to ``model_downloader.log`` in a folder; without one that can be written, say so once and go on.

    Args:
        log_dir: Folder of the log, made when missing.
    """
    from logging.handlers import RotatingFileHandler  # brings socket and pickle, which most commands can do without

    if any(isinstance(handler, RotatingFileHandler) for handler in LOGGER.handlers):
        return
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            log_dir / LOG_FILE, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True
        )
    except OSError as error:
        print(f"warning: no log is kept: {log_dir}: {error.strerror}", file=sys.stderr)  # noqa: T201 # the log is the only other place to say it
        return
    handler.setFormatter(JsonFormatter())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debugging() else logging.INFO)


def event(name: str, /, **fields: object) -> None:
    """Write one structured event at level info.

    Args:
        name: What happened, in kebab-case.
        fields: What to say of it; values are written as JSON.
    """
    LOGGER.info(name, extra={"fields": fields})
