"""One text's file, and what it may say: a small part of jinja, checked when the file is read.

Allowed are the values that a job gives and their attributes, ``if``, ``for`` over a list that the
job gives (two deep at most), ``set``, comparisons, arithmetic with numbers, texts joined with ``~``
and the filters and tests listed here. Nothing can be called and no list can be made, so what a
template does is bounded by its own size and by the lists it is given. Only operators and filters
could make a value grow: they stop at ``LONGEST_VALUE``. Errors name file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS

from speakerbot.errors import TemplateError
from speakerbot.templates.values import Deadline, Given, RenderingStopped
from speakerbot.text import did_you_mean

if TYPE_CHECKING:
    from jinja2 import Template

LONGEST_SOURCE: Final = 16 * 1024
"""Characters of a template."""
LONGEST_OUTPUT: Final = 64 * 1024
"""Characters of what it shows."""
LONGEST_VALUE: Final = 64 * 1024
"""Characters of any text on the way."""
LARGEST_NUMBER: Final = 2**63
DEEPEST_LOOP: Final = 2

ARITHMETIC: Final = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod)
ALLOWED: Final = frozenset({
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign,
    nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.List, nodes.Tuple,
    nodes.Filter, nodes.Test, nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Concat, *ARITHMETIC,
})  # fmt: skip
LOOP_ATTRIBUTES: Final = (
    "first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex", "revindex0",
)  # fmt: skip


def _join(values: Iterable[Any], separator: str = "", *, attribute: str | None = None) -> str:
    if isinstance(values, str):
        raise TypeError("join needs a list")
    texts = [str(value) for value in (_map(values, attribute=attribute) if attribute else values)]
    _check_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _map(values: Iterable[Any], *, attribute: str) -> list[Any]:
    return [value[attribute] for value in values]


def _replace(text: str, old: str, new: str) -> str:
    text = str(text)
    _check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    **{
        name: JINJA_FILTERS[name]
        for name in ("capitalize", "count", "d", "default", "first", "int", "last", "length",
                     "lower", "trim", "truncate", "upper")
    },
    "join": _join,
    "map": _map,
    "replace": _replace,
}  # fmt: skip
"""None of them can make a text much longer, but for ours, which look before they do."""


def _remainder(test: str, value: Any, divisor: Any) -> Any:
    """Jinja's own tests would format a text: ``'%1000000000d' % 2``."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{test!r} needs a number")
    return value % divisor


TESTS: Final[dict[str, Any]] = {
    **{name: JINJA_TESTS[name] for name in ("defined", "none", "number", "string", "undefined")},
    "divisibleby": lambda value, divisor: _remainder("divisibleby", value, divisor) == 0,
    "even": lambda value: _remainder("even", value, 2) == 0,
    "odd": lambda value: _remainder("odd", value, 2) == 1,
}


def _check_length(length: int) -> None:
    if length > LONGEST_VALUE:
        raise RenderingStopped(f"a value is longer than {LONGEST_VALUE // 1024} kB")


class _Code(CodeGenerator):
    """Jinja's own, but for ``~``, which it would compute without asking."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - jinja's name
        self.write("environment.join((")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")


class TextEnvironment(ImmutableSandboxedEnvironment):
    """Compiles what :func:`problems` has let through. Unknown names are errors."""

    code_generator_class = _Code
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        # Discord's markdown, not HTML: values come escaped.
        # Not optimized: nothing is computed while it compiles, when no time limit holds.
        super().__init__(undefined=StrictUndefined, autoescape=False, optimized=False)
        self.globals = {}
        self.filters = FILTERS
        self.tests = TESTS

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if not isinstance(value, (int, float)):
                raise TypeError(f"{operator} needs numbers: join texts with ~")
        result = super().call_binop(context, operator, left, right)
        if abs(result) > LARGEST_NUMBER:
            raise RenderingStopped("a number is too large")
        return result

    def join(self, values: Sequence[Any]) -> str:
        """What ``~`` does."""
        return _join(values)


def problems(tree: nodes.Template, given: Given) -> list[tuple[int, str]]:
    """Line and message of everything in a parsed template that is not allowed."""
    checker = _Checker(given)
    checker.visit(tree, frozenset(given.names), 0)
    return checker.problems


class _Checker:
    """Walks the tree. ``scope`` holds the names that exist at a place, ``depth`` its loops."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.made: set[str] = set()
        """Names that a ``set`` or ``for`` of the template has made so far."""
        self.problems: list[tuple[int, str]] = []

    def visit(self, node: nodes.Node, scope: frozenset[str], depth: int) -> frozenset[str]:
        """Checks the node and what is in it; returns the names that exist behind it."""
        if type(node) not in ALLOWED:
            self._refuse(node, _not_allowed(node))
            return scope
        match node:
            case nodes.For():
                self._check_loop(node, scope, depth)
                return scope
            case nodes.Assign(target=target):
                self.visit(node.node, scope, depth)
                return scope | self._new_name(target)
            case nodes.Name(name=name) if name not in scope or name == "loop":
                self._refuse(node, _unknown(name, self.given.names))
            case nodes.Getattr():
                self._check_attribute(node, node.attr)
                if _is_loop(node.node) and "loop" in scope:
                    return scope
            case nodes.Getitem():
                self._check_index(node)
            case nodes.List() | nodes.Tuple():
                self._check_constants(node)
            case nodes.Filter() | nodes.Test():
                self._check_filter(node)
        for child in node.iter_child_nodes():
            scope = self.visit(child, scope, depth)
        return scope

    def _check_loop(self, node: nodes.For, scope: frozenset[str], depth: int) -> None:
        if depth == DEEPEST_LOOP:
            self._refuse(node, f"loops can be nested at most {DEEPEST_LOOP} deep")
        if node.recursive:
            self._refuse(node, "'recursive' is not possible in a text")
        self.visit(node.iter, scope, depth)
        if not self._is_given_list(node.iter):
            lists = ", ".join(sorted(self.given.lists)) or "none"
            self._refuse(
                node.iter, f"'for' goes only over a list that is given; for this text: {lists}"
            )
        inside = scope | self._new_name(node.target)
        if node.test:
            self.visit(node.test, inside, depth)
        self._visit_all(node.body, inside | {"loop"}, depth + 1)
        self._visit_all(node.else_, scope, depth)

    def _visit_all(self, body: Iterable[nodes.Node], scope: frozenset[str], depth: int) -> None:
        for node in body:
            scope = self.visit(node, scope, depth)

    def _is_given_list(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name):
                return name in self.given.lists and name not in self.made
            case nodes.Getattr(attr=name):
                return name in self.given.lists
        return False

    def _new_name(self, target: nodes.Node) -> frozenset[str]:
        if not isinstance(target, nodes.Name):
            self._refuse(target, "only one name can be set at a time")
            return frozenset()
        if target.name == "loop":
            self._refuse(target, "'loop' is the loop's own name: choose another one")
        self.made.add(target.name)
        return frozenset({target.name})

    def _check_attribute(self, node: nodes.Expr, name: str) -> None:
        of_loop = isinstance(node, nodes.Getattr) and _is_loop(node.node)
        known = LOOP_ATTRIBUTES if of_loop else self.given.attributes
        if name not in known:
            self._refuse(node, _unknown(name, known, what="attribute"))

    def _check_index(self, node: nodes.Getitem) -> None:
        match node.arg:
            case nodes.Const(value=str(name)):
                self._check_attribute(node, name)
            case nodes.Slice(start=start, stop=stop, step=step):
                if not all(part is None or _is_number(part) for part in (start, stop, step)):
                    self._refuse(node, "only numbers can stand in [ : ]")
            case _ if not _is_number(node.arg):
                self._refuse(node, "only a number or an attribute's name can stand in [ ]")

    def _check_constants(self, node: nodes.List | nodes.Tuple) -> None:
        if not all(isinstance(item, nodes.Const) for item in node.items):
            self._refuse(node, "a list can hold only numbers and texts in quotes")

    def _check_filter(self, node: nodes.Filter | nodes.Test) -> None:
        is_filter = isinstance(node, nodes.Filter)
        what, known = ("filter", FILTERS) if is_filter else ("test", TESTS)
        if node.name not in known:
            self._refuse(node, _unknown(node.name, known, what=what))
        if node.dyn_args or node.dyn_kwargs:
            self._refuse(node, "* and ** are not possible in a text")
        by_attribute = next((item.value for item in node.kwargs if item.key == "attribute"), None)
        match by_attribute:
            case nodes.Const(value=str(name)):
                self._check_attribute(node, name)
            case None if node.name != "map":
                pass
            case _:
                self._refuse(node, f"{node.name} needs a name in quotes: attribute='…'")

    def _refuse(self, node: nodes.Node, problem: str) -> None:
        # What is put around {% autoescape %} has no line: the first in it that has one.
        lines = (inner.lineno for inner in (node, *node.find_all(nodes.Node)) if inner.lineno)
        self.problems.append((next(lines, 1), problem))


def _unknown(name: str, known: Iterable[str], *, what: str = "") -> str:
    subject = f"{what} {name!r}" if what else repr(name)
    there_are = ", ".join(sorted(known)) or "none"
    return f"{subject} is unknown{did_you_mean(name, known)}; there are {there_are}"


def _is_loop(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop"


def _is_number(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Neg):
        node = node.node
    return isinstance(node, nodes.Const) and isinstance(node.value, int)


def _not_allowed(node: nodes.Node) -> str:
    match node:
        case nodes.Call(node=nodes.Getattr(attr=name)):
            return f"nothing can be called in a text{_filter_instead(name)}"
        case nodes.Call():
            return "nothing can be called in a text"
        case nodes.Pow():
            return "** is not possible in a text"
        case nodes.AssignBlock():
            return "{% set %} needs a value in a text: {% set name = … %}"
        case nodes.Stmt():
            return "only if, for and set are possible in a text"
    return "names, attributes, filters and operators are all that is possible in a text"


def _filter_instead(method: str) -> str:
    return f"; did you mean the filter '|{method}'?" if method in FILTERS else ""


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
        """Checked and compiled the first time: it says nothing but what the language allows."""
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
