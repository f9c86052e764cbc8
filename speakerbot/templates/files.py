"""One text's file, compiled; whatever is wrong with it is named with file and line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from speakerbot.errors import ConfigError
from speakerbot.templates.environment import TextEnvironment
from speakerbot.templates.limits import MOST_SOURCE, Budget, budget

if TYPE_CHECKING:
    from jinja2 import Template

SAMPLES: Final = Path(__file__).with_name("samples.json")


class TextFile:
    """The text at ``path``. Every method raises ConfigError naming file and line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def source(self) -> str:
        try:
            source = self.path.read_text("utf-8-sig")
        except OSError as error:
            raise self._problem(1, f"cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            line = self.path.read_bytes()[: error.start].count(b"\n") + 1
            raise self._problem(line, "is not UTF-8") from error
        if len(source) > MOST_SOURCE:
            raise self._problem(1, f"the file is larger than {MOST_SOURCE // 1024} kB")
        return source

    def allowance(self) -> Budget:
        """For one text, rendered as often as it takes to make it short enough."""
        self._template  # noqa: B018  # compiled first: that has a limit of its own
        return Budget()

    def render(self, values: Mapping[str, Any], limit: Budget) -> str:
        """The text, without white space around it. Ends about when the budget's time does."""
        template, limit.written = self._template, 0
        token = budget.set(limit)
        try:
            text = template.render(values).strip()
        except Exception as error:  # whatever its expressions raise: a division by zero as well
            raise self._explained(error) from error
        finally:
            budget.reset(token)
        if not text:
            raise self._problem(1, "is empty: Discord takes no message without a text")
        return text

    @cached_property
    def _template(self) -> Template:
        environment = _environment()
        try:
            code = environment.compile(self.source, self.path.name, str(self.path))
            return environment.template_class.from_code(environment, code, environment.globals)
        except ConfigError:
            raise
        except Exception as error:  # of Python's compiler too: it has limits of its own
            raise self._explained(error) from error

    def variables(self) -> dict[str, int]:
        """The variables it uses, each with the line that names it first."""
        try:
            tree = _environment().parse(self.source, self.path.name, str(self.path))
            used = find_undeclared_variables(tree)
        except ConfigError:
            raise
        except Exception as error:
            raise self._explained(error) from error
        lines: dict[str, int] = {}
        for name in tree.find_all(nodes.Name):
            if name.name in used and name.ctx == "load":
                lines[name.name] = min(name.lineno, lines.get(name.name, name.lineno))
        return lines

    def _explained(self, error: Exception) -> ConfigError:
        if isinstance(error, TemplateSyntaxError):
            return self._problem(error.lineno, error.message or "cannot be read")
        if isinstance(error, (RecursionError, SyntaxError)):
            return self._problem(self._line_of(error), "calls itself, or is nested, too deeply")
        return self._problem(self._line_of(error), str(error) or type(error).__name__)

    def _problem(self, line: int, problem: str) -> ConfigError:
        return ConfigError(f"template {self.path}, line {line}: {problem}")

    def _line_of(self, error: Exception) -> int:
        """The line a run-time error came from: jinja rewrites tracebacks to name it."""
        lines, trace = [1], error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(self.path):
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        return lines[-1]


@cache
def _environment() -> TextEnvironment:
    return TextEnvironment()


@cache
def samples() -> dict[str, list[dict[str, Any]]]:
    """Examples of each text's values, by its name; together they name every variable there is."""
    read: dict[str, list[dict[str, Any]]] = json.loads(SAMPLES.read_text("utf-8"))
    return read
