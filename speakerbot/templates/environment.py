"""Jinja, sandboxed, and so compiled that :mod:`.limits` sees every value and every step.

Names that start with an underscore, changes to lists and mappings, and other files stay out of
reach by jinja's own sandbox. That knows no limits of time and size, so a template is rewritten
before it is compiled: each expression passes through ``look``, all that is shown through ``write``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import BuiltinMethodType
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from speakerbot.templates.limits import budget, check_operation, listed

LOOK, WRITE = "look at it", "write it"
"""Filters of ours: no template can name them, for the blanks."""
STATEMENTS = (
    nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock, nodes.With, nodes.Macro,
    nodes.Scope,  # jinja puts it around {% autoescape %}, which is refused by its own line
)  # fmt: skip
NOT_FOR_TEXTS = (
    "attr", "e", "escape", "filesizeformat", "forceescape", "format", "pprint", "random", "safe",
    "striptags", "tojson", "urlize", "xmlattr",
)  # fmt: skip
"""Filters for HTML or programs, and those whose result is another one each time."""


class TextEnvironment(ImmutableSandboxedEnvironment):
    """Compiles texts that end: see the module."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        # Discord's markdown, not HTML: values come escaped.
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.globals = {name: self.globals[name] for name in ("range", "dict")}
        for name in NOT_FOR_TEXTS:
            del self.filters[name]
        self.filters = {name: _limited(function) for name, function in self.filters.items()}
        self.filters |= {LOOK: _look, WRITE: _write}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(function, BuiltinMethodType):
            budget.get().work(function.__self__, [*args, *kwargs.values()])
        return super().call(context, function, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> None:
        # A short format can name any width: there is no bound to what it costs.
        if super().wrap_str_format(value):
            raise SecurityError(f"{value.__name__} is not possible here: join texts with ~")

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        watched = _Watched(self, name, filename).visit(source)
        return super()._generate(watched, name, filename, defer_init)


@pass_context  # keeps jinja from computing it once for all while it compiles
def _look(_: Context, value: Any) -> Any:
    return budget.get().look(value)


@pass_context
def _write(_: Context, value: Any) -> str:
    return budget.get().write(value)


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that asks before it works, and whose result is looked at."""
    own = 1 if hasattr(function, "jinja_pass_arg") else 0  # jinja's first argument, not ours

    @functools.wraps(function)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        value, *arguments = args[own:]
        budget.get().work(value, [*arguments, *kwargs.values()])
        return budget.get().look(listed(function(*args, **kwargs)))

    return filter_


class _Watched(NodeTransformer):
    """Rewrites a parsed template. Raises TemplateSyntaxError for what no text needs."""

    def __init__(self, environment: TextEnvironment, name: str | None, file: str | None) -> None:
        self.environment, self.name, self.file = environment, name, file

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        self._refuse(node)
        super().generic_visit(node, *args, **kwargs)
        match node:
            case nodes.Output():
                node.nodes = [self._through(WRITE, child) for child in node.nodes]
            case nodes.For():
                nothing = nodes.TemplateData("", lineno=node.lineno)
                tick = nodes.Output([self._through(WRITE, nothing)], lineno=node.lineno)
                node.body.insert(0, tick)
                if node.test is not None:
                    node.test = self._through(LOOK, node.test)
            case nodes.Tuple(ctx="store") | nodes.Name(ctx="store" | "param"):
                pass  # a place to put a value
            case nodes.Slice() | nodes.Const() | nodes.TemplateData():
                pass  # part of another expression; no larger than the file
            case nodes.Expr():
                return self._through(LOOK, node)
        return node

    def _refuse(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Stmt) and not isinstance(node, STATEMENTS):
            raise self._error("only if, for, set, with and macro are possible in a text", node)
        if isinstance(node, nodes.AssignBlock) and node.filter is not None:
            raise self._error("a filter is not possible in {% set %}…{% endset %}", node)
        if isinstance(node, nodes.Filter) and node.name not in self.environment.filters:
            raise self._error(f"there is no filter {node.name!r}", node)
        if isinstance(node, nodes.Test) and node.name not in self.environment.tests:
            raise self._error(f"there is no test {node.name!r}", node)

    def _error(self, problem: str, node: nodes.Node) -> TemplateSyntaxError:
        return TemplateSyntaxError(problem, node.lineno, self.name, self.file)

    def _through(self, name: str, node: nodes.Node) -> nodes.Filter:
        passed = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        passed.set_environment(self.environment)
        return passed
