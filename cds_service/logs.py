"""What does the service say about its work, without saying anything about a patient?

One JSON object a line on standard error. An event is a name and fields that we chose. An exception
is logged as its type and the places it came through: its message may quote a record. Lines of
libraries are reduced to their logger's name for the same reason, except the server's, which
speaks of processes and sockets only.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import msgspec

LOGGER: Final = logging.getLogger("cds_service")

#: Loggers whose text is our own or the server's.
_TRUSTED: Final = ("cds_service", "gunicorn")

_FRAMES: Final = 12


def event(
    level: int, name: str, /, *, exception: BaseException | None = None, **fields: object
) -> None:
    """Log that `name` happened. Fields that are None are left out."""
    if not LOGGER.isEnabledFor(level):
        return
    given = {key: value for key, value in fields.items() if value is not None}
    raised = (type(exception), exception, exception.__traceback__) if exception else None
    # Made here and not by LOGGER.log, which would first look for the line that called it.
    record = logging.LogRecord(LOGGER.name, level, "", 0, name, None, raised)
    record.fields = given
    LOGGER.handle(record)


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name.partition(".")[0] in _TRUSTED:
            line["event"] = record.getMessage()
        else:
            line |= {"event": "library", "logger": record.name}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= _exception(record.exc_info[1])
        # Escaped by the encoder: a line break in a field cannot forge a second line.
        return msgspec.json.encode(line, enc_hook=lambda value: type(value).__name__).decode()


def _exception(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return {"exception": [type(link).__name__ for link in _chain(error)], "at": places}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, to a depth that ends."""
    for _ in range(_FRAMES):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _module(filename: str) -> str:
    """The last two parts of a path: enough to find it, nothing about the machine."""
    return "/".join(Path(filename).parts[-2:])


def configure(stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (standard error), as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    LOGGER.setLevel(logging.INFO)
