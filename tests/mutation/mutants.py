"""The mutants of a module: its syntax tree with one small fault put into a function.

Each is a fault that somebody could make and that tests should notice: a condition that is off by
one, a part of it forgotten, a call or a field left out, a function that does nothing. Annotations,
docstrings and texts for people are left alone.
"""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAME = re.compile(r"[$A-Za-z_][\w.$]*")
"""Strings like these name fields, states and operators; others are texts for people or SQL."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DROPPED = (ast.Expr, ast.AugAssign, ast.Delete, ast.Raise)
CONDITIONS = (ast.Compare, ast.BoolOp)
"""Have mutants of their own, so that turning them around as a whole adds nothing."""


@dataclass(frozen=True)
class Mutant:
    name: str
    """``path function: code → what became of it``. Stable while neither changes, wherever in the
    file they stand; the second of two alike ends in ``(2)``."""
    lines: tuple[int, int] | None
    """First and last line of the outermost function it is in; None outside of all."""
    tree: ast.Module


def mutants(path: str, source: str) -> list[Mutant]:
    tree = ast.parse(source)
    found, seen = [], Counter[str]()
    for place in _places(tree, (), None):
        for change, mutated in _changes(place.node):
            what = f"{path} {'.'.join(place.names) or 'module'}: {change}"
            seen[what] += 1
            name = what if seen[what] == 1 else f"{what} ({seen[what]})"
            found.append(Mutant(name, place.lines, _with(tree, place.node, mutated)))
    return found


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


@dataclass(frozen=True)
class _Place:
    node: ast.AST
    names: tuple[str, ...]
    lines: tuple[int, int] | None


def _places(
    node: ast.AST, names: tuple[str, ...], lines: tuple[int, int] | None
) -> Iterator[_Place]:
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        names = (*names, node.name)
    if isinstance(node, FUNCTIONS) and lines is None:
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        lines = (first, node.end_lineno or node.lineno)
    yield _Place(node, names, lines)
    for child in _parts(node):
        if isinstance(node, ast.ClassDef) and _is_member(node, child):
            continue
        yield from _places(child, names, lines)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _left_alone(child):
                yield child


def _is_member(parent: ast.ClassDef, node: ast.AST) -> bool:
    """Another value is another name for the same: that can only be compared with a list of them."""
    enums = [base for base in parent.bases if isinstance(base, ast.Name) and "Enum" in base.id]
    return bool(enums) and isinstance(node, ast.Assign)


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Assert():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
            return True
    return False


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What is changed, in words of the code, and the node that stands there instead."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _doing_nothing(node)
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield _told(node, _but(node, ops=[COMPARISONS[type(op)]()]))
        case ast.BoolOp(values=values):
            for left_out in values:
                rest = [value for value in values if value is not left_out]
                yield _told(node, rest[0] if len(rest) == 1 else _but(node, values=rest))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _told(node, operand)
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield _told(node, _but(node, op=ARITHMETIC[type(op)]()))
        case ast.Constant(value=value):
            yield from _other_constants(node, value)
        case ast.Call():
            yield from _less_one_argument(node)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, (*CONDITIONS, ast.UnaryOp)):
                yield f"{_code(test)} → turned around", _but(node, test=_negated(test))
        case ast.comprehension(ifs=[_, *_] as conditions):
            for left_out in conditions:
                rest = [condition for condition in conditions if condition is not left_out]
                yield f"if {_code(left_out)} → left out", _but(node, ifs=rest)
        case ast.Return(value=ast.expr() as value) if not _is_none_or_bool(value):
            yield _told(node, _but(node, value=ast.Constant(None)))
        case ast.Break():
            yield "break → continue", ast.Continue()
        case ast.Continue():
            yield "continue → break", ast.Break()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield f"{_code(node)} → left out", ast.Pass()
        case ast.stmt() if isinstance(node, DROPPED) and not _is_yield(node):
            yield f"{_code(node)} → left out", ast.Pass()


def _doing_nothing(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[str, ast.AST]]:
    statements = [statement for statement in function.body if not _left_alone(statement)]
    if not statements or (len(statements) == 1 and isinstance(statements[0], ast.Pass)):
        return
    if len(statements) == 1 and isinstance(statements[0], ast.Return):
        return  # the same as returning None
    empty: list[ast.stmt] = [ast.Return(ast.Constant(None))]
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function)):
        empty = [ast.Return(None), ast.Expr(ast.Yield(None))]
    yield "its body → nothing", _but(function, body=empty)


def _less_one_argument(call: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    for left_out in call.keywords:
        if left_out.arg:
            rest = [keyword for keyword in call.keywords if keyword is not left_out]
            what = f"{left_out.arg}={_code(left_out.value)} of {_code(call.func)}"
            yield f"{what} → left out", _but(call, keywords=rest)


def _other_constants(node: ast.Constant, value: object) -> Iterator[tuple[str, ast.AST]]:
    match value:
        case bool():
            yield _told(node, ast.Constant(not value))
        case int() | float():
            yield _told(node, ast.Constant(value + 1))
        case str() if NAME.fullmatch(value):
            yield _told(node, ast.Constant(f"not_{value}"))


def _told(node: ast.AST, instead: ast.AST) -> tuple[str, ast.AST]:
    return f"{_code(node)} → {_code(instead)}", instead


def _code(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())


def _but(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _is_none_or_bool(value: ast.expr) -> bool:
    """None is returned already, or is as good as False, which stands for True in a mutant."""
    return isinstance(value, ast.Constant) and isinstance(value.value, (bool, type(None)))


def _is_yield(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, (ast.Yield, ast.YieldFrom))


class _Replace(ast.NodeTransformer):
    def __init__(self, node: ast.AST, instead: ast.AST) -> None:
        self.node, self.instead = node, instead

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.node:
            return (
                ast.copy_location(self.instead, node) if hasattr(node, "lineno") else self.instead
            )
        # The tree is shared by all mutants of a module: what leads to the change is copied.
        return super().generic_visit(_copied(node))


def _copied(node: ast.AST) -> ast.AST:
    lists = {f: list(value) for f, value in ast.iter_fields(node) if isinstance(value, list)}
    return _but(node, **lists)


def _with(tree: ast.Module, node: ast.AST, instead: ast.AST) -> ast.Module:
    changed = _Replace(node, instead).visit(tree)
    assert isinstance(changed, ast.Module)
    return ast.fix_missing_locations(changed)
