"""One text's file: read, checked, compiled, rendered. Errors name file and line."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import TemplateSyntaxError

from speakerbot.errors import TemplateError
from speakerbot.templates.language import TextEnvironment, problems
from speakerbot.templates.values import Deadline, Given, RenderingStopped

if TYPE_CHECKING:
    from jinja2 import Template

LONGEST_SOURCE: Final = 16 * 1024
"""Characters of a template."""
LONGEST_OUTPUT: Final = 64 * 1024
"""Characters of what it shows."""


class TextFile:
    """The text called ``name``, read from ``path``. Every method raises TemplateError."""

    def __init__(self, name: str, path: Path, given: Given) -> None:
        self.name, self.path, self.given = name, path, given
        self._compiled: Template | None = None

    @cached_property
    def source(self) -> str:
        try:
            source = self.path.read_text("utf-8-sig")
        except OSError as error:
            raise self._error(1, f"cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            line = self.path.read_bytes()[: error.start].count(b"\n") + 1
            raise self._error(line, "is not UTF-8") from error
        if len(source) > LONGEST_SOURCE:
            raise self._error(1, f"the file is larger than {LONGEST_SOURCE // 1024} kB")
        return source

    def compile(self) -> Template:
        """Checked and compiled the first time: it says nothing but what :mod:`.language` allows."""
        if self._compiled is None:
            source = self.source
            try:
                self._compiled = self._compile(source)
            except TemplateError:
                raise
            except Exception as error:  # Python's compiler has limits of its own
                raise self._explained(error) from error
        return self._compiled

    def _compile(self, source: str) -> Template:
        environment = _environment()
        tree = environment.parse(source, self.path.name, str(self.path))
        if found := problems(tree, self.given):
            raise TemplateError(self.name, *(self._problem(*problem) for problem in found))
        code = environment.compile(tree, self.path.name, str(self.path))
        return environment.template_class.from_code(environment, code, environment.globals)

    def render(self, values: Mapping[str, Any], deadline: Deadline) -> str:
        """The text, without white space around it. ``values`` are ``prepared``."""
        template, shown = self.compile(), []
        try:
            pieces = cast("Generator[str, None, None]", template.generate(values))
            size = 0
            for piece in pieces:
                shown.append(piece)
                size += len(piece)
                try:
                    _check(size, deadline)
                except RenderingStopped as stop:
                    pieces.throw(stop)  # into the template, whose line is then named
        except Exception as error:  # whatever its expressions raise: a division by zero as well
            raise self._explained(error) from error
        if text := "".join(shown).strip():
            return text
        raise self._error(1, "is empty: Discord takes no message without a text")

    def too_long(self, characters: int) -> TemplateError:
        """The error of a text that no shortening of its values makes short enough."""
        return self._error(1, f"its own words are {characters} characters too long for a message")

    def _explained(self, error: Exception) -> TemplateError:
        if isinstance(error, TemplateSyntaxError):
            return self._error(error.lineno, error.message or "cannot be read")
        if isinstance(error, (RecursionError, SyntaxError)):
            return self._error(self._line_of(error), "is nested too deeply")
        return self._error(self._line_of(error), str(error) or type(error).__name__)

    def _error(self, line: int, problem: str) -> TemplateError:
        return TemplateError(self.name, self._problem(line, problem))

    def _problem(self, line: int, problem: str) -> str:
        return f"template {self.path}, line {line}: {problem}"

    def _line_of(self, error: Exception) -> int:
        """The line a run-time error came from: jinja rewrites tracebacks to name it."""
        lines, trace = [1], error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(self.path):
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        return lines[-1]


def _check(size: int, deadline: Deadline) -> None:
    if size > LONGEST_OUTPUT:
        raise RenderingStopped(f"the text is longer than {LONGEST_OUTPUT // 1024} kB")
    deadline.check()


@cache
def _environment() -> TextEnvironment:
    return TextEnvironment()
