"""Every text that is sent: a default beside this file, overridden by a file of the same name in
the folder ``SPEAKERBOT_TEMPLATES`` names.

Strict (an unknown variable is an error) and sandboxed. Values are user text and are escaped for
Discord before they reach the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerbot.errors import ConfigError
from speakerbot.messages import Message
from speakerbot.text import LIMIT, escape, length, shorten

if TYPE_CHECKING:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

BUILT_IN = Path(__file__).parent
SUFFIX = ".md"


class Templates:
    """Renders texts by name. The template engine is imported when the first text is needed."""

    def __init__(self, overrides: Path | None = None) -> None:
        self.overrides = overrides

    def names(self) -> list[str]:
        return sorted(path.name.removesuffix(SUFFIX) for path in BUILT_IN.glob(f"*{SUFFIX}"))

    def of(self, message: Message) -> str:
        """The message's text, short enough for any of its routes' mentions in front of it."""
        mentions = (length(route.full_text("")) for route in message.routes)
        return self.render(message.template, message.values, reserve=max(mentions, default=0))

    def render(self, name: str, values: Mapping[str, Any], *, reserve: int = 0) -> str:
        """The text; the longest value is shortened until it fits into one message and leaves
        ``reserve`` characters of it free.

        Raises ConfigError naming the template's file and line.
        """
        values, room = dict(values), LIMIT - reserve
        while length(text := self._render(name, _escaped(values))) > room:
            longest = max(values, key=lambda key: length(str(values[key])))
            over = length(text) - room
            kept = length(escape(str(values[longest]))) - over
            if kept < 1:
                raise ConfigError(
                    f"template {self._file(name)}: the text is {over} characters too long "
                    f"for a message even with {longest!r} left out"
                )
            values[longest] = shorten(str(values[longest]), min(kept, length(values[longest]) - 1))
        return text

    def _render(self, name: str, values: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            return self._engine.get_template(name + SUFFIX).render(values).strip()
        except TemplateError as error:
            raise ConfigError(self._explain(name, error)) from error

    @cached_property
    def _engine(self) -> ImmutableSandboxedEnvironment:
        from jinja2 import FileSystemLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        folders = [folder for folder in (self.overrides, BUILT_IN) if folder is not None]
        return ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folders),
            undefined=StrictUndefined,
            autoescape=False,  # Discord's markdown, not HTML: values come escaped
        )

    def _file(self, name: str) -> Path:
        override = (self.overrides or BUILT_IN) / (name + SUFFIX)
        return override if override.is_file() else BUILT_IN / (name + SUFFIX)

    def _explain(self, name: str, error: TemplateError) -> str:
        line = getattr(error, "lineno", None) or _failing_line(error, self._file(name))
        return f"template {self._file(name)}, line {line}: {error.message or type(error).__name__}"


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(item) for item in value]
    return value


def _failing_line(error: BaseException, file: Path) -> int:
    """The template's line a run-time error came from: jinja rewrites tracebacks to name it."""
    lines, trace = [1], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1]
