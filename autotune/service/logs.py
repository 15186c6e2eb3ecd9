"""The log of a server, on stderr: lines for people, or JSON for machines, without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Literal

Form = Literal["text", "json"]

LOGGERS = ("autotune", "uvicorn")

# Wherever a token gets into a line, in a path or an error, its secret stays out.
_SECRET = re.compile(r"(autotune_[0-9]{1,9}_)[A-Za-z0-9_-]{43}")


def configure(form: Form) -> None:
    """Send what the service and its server log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))


class Text(logging.Formatter):
    """A line of time in UTC, level and sentence."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return when it was logged."""
        return _moment(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return hidden(super().format(record))


class Json(logging.Formatter):
    """A JSON object a line, with the parts of a request as members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return hidden(json.dumps(line, ensure_ascii=False, default=str))


def hidden(text: str) -> str:
    """Return a text without the secrets of tokens."""
    return _SECRET.sub(r"\1***", text)


def _moment(record: logging.LogRecord) -> str:
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{second}.{int(record.msecs):03d}Z"
