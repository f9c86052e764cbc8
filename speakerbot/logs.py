"""Structured logs on stderr: JSON lines for programs, readable lines on a terminal."""

from __future__ import annotations

import sys
from typing import Any, Literal

import structlog

from speakerbot.errors import SpeakerbotError

LogFormat = Literal["json", "pretty"]


def configure(log_format: LogFormat | None = None, *, debug: bool = False) -> None:
    """Sets up every later log line of the process; None chooses by whether stderr is a terminal."""
    chosen = log_format or _default_format()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(chosen),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug" if debug else "info"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def report(error: SpeakerbotError) -> None:
    """The last line of a command that failed: what is wrong, where, and what to do."""
    if _default_format() == "json" and structlog.is_configured():
        get_logger().error(
            "command_failed",
            error=str(error),
            error_class=type(error).__name__,
            exit_code=error.exit_code,
        )
        return
    sys.stderr.write(f"speakerbot: {error}\n")


def report_bug(error: Exception) -> None:
    """The last line of a command that met what nobody thought of."""
    report(
        SpeakerbotError(f"unexpected {type(error).__name__}: {error} (a bug; --debug shows where)")
    )


def _default_format() -> LogFormat:
    return "pretty" if sys.stderr.isatty() else "json"


def _renderers(log_format: LogFormat) -> list[Any]:
    if log_format == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    import os

    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return [structlog.dev.ConsoleRenderer(colors=colours)]


def get_logger() -> Any:
    """The process's logger; events are past-tense snake_case with stable keys."""
    return structlog.get_logger()
