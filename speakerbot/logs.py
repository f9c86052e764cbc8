"""Structured logs on stderr: JSON lines for programs, readable lines on a terminal."""

from __future__ import annotations

import logging
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog

from speakerbot.clock import utc_text
from speakerbot.errors import SpeakerbotError
from speakerbot.process import Output

LogFormat = Literal["json", "pretty"]

_stream: Any = None


def configure(
    log_format: LogFormat | None = None, *, debug: bool = False, stream: Any = None
) -> None:
    """Sets up every later log line of the process; None chooses by whether stderr is a terminal.
    ``stream`` is where lines go; None: stderr."""
    global _stream  # one a process, like structlog's own configuration
    _stream = stream or sys.stderr
    chosen = log_format or _default_format()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(chosen),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug" if debug else "info"),
        logger_factory=structlog.WriteLoggerFactory(_stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[Libraries(logging.WARNING)])
    warnings.showwarning = _show_warning


def finish() -> None:
    """The end of the process: waits, for a moment, until its last lines are written."""
    if isinstance(_stream, Output):
        _stream.drain()


def about(**names: Any) -> None:
    """What every later line of the process names, until this is called again."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**names)


def report(error: SpeakerbotError) -> None:
    """The last line of a command that failed: what is wrong, where, and what to do."""
    if structlog.is_configured() and _writes_json():
        get_logger().error(
            "command_failed",
            error=str(error),
            error_class=type(error).__name__,
            exit_code=error.exit_code,
        )
        return
    (_stream or sys.stderr).write(f"speakerbot: {error}\n")


def report_bug(error: Exception) -> None:
    """The last line of a command that met what nobody thought of."""
    report(
        SpeakerbotError(f"unexpected {type(error).__name__}: {error} (a bug; --debug shows where)")
    )


def _default_format() -> LogFormat:
    return "pretty" if sys.stderr.isatty() else "json"


def _writes_json() -> bool:
    renderer = structlog.get_config()["processors"][-1]
    return isinstance(renderer, structlog.processors.JSONRenderer)


class Libraries(logging.Handler):
    """Warnings of libraries, as lines of ours: a plain one would break the JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        about: dict[str, str] = {"library": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            about["error"] = repr(record.exc_info[1])
        get_logger().warning("library_warned", **about)


def _show_warning(  # as warnings.showwarning is called
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    get_logger().warning(
        "library_warned",
        library=Path(filename).parent.name,
        message=str(message),
        category=category.__name__,
    )


def _with_instants(_log: Any, _method: str, line: Any) -> Any:
    return {k: utc_text(v) if isinstance(v, datetime) else v for k, v in line.items()}


def _no_json(value: Any) -> str:
    return utc_text(value) if isinstance(value, datetime) else repr(value)


def _renderers(log_format: LogFormat) -> list[Any]:
    if log_format == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=_no_json),
        ]
    import os

    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return [_with_instants, structlog.dev.ConsoleRenderer(colors=colours)]


def get_logger() -> Any:
    """The process's logger; events are past-tense snake_case with stable keys."""
    return structlog.get_logger()
