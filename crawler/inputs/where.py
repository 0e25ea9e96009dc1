"""A condition on the columns of a table, such as `width >= 512 and lang in ('en', 'de')`: read here, judged by pyarrow."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from crawler.errors import SettingsError
from crawler.extras import require
from crawler.fitting import conversion_of, fitted
from crawler.inputs.rows import Row

_WORDS = {
    "and": "and",
    "or": "or",
    "not": "not",
    "in": "in",
    "is": "is",
    "null": "None",
    "true": "True",
    "false": "False",
}
_SIGNS = {"=": "==", "<>": "!="}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b, ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b, ast.Gt: lambda a, b: a > b, ast.GtE: lambda a, b: a >= b,
}  # fmt: skip
_SUMS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b,
}  # fmt: skip
_HELP = (
    "a condition is made of columns, numbers, 'texts', = != < <= > >=, + - * /, in (...), is null, is not null, and, or, not; "
    "a column whose name is no word stands in backticks: `aspect ratio` > 1"
)


class Condition:
    """Which rows of a table are wanted.

    Attributes:
        columns: that it looks at.
        expression: a `pyarrow.dataset.Expression`.

    Raises:
        SettingsError: it cannot be understood. MissingExtra: pyarrow is not installed.
    """

    def __init__(self, text: str) -> None:
        require("pyarrow", "where")
        self._text = text
        self._names: dict[str, str] = {}  # of columns in backticks, by what stands for them
        self.columns: list[str] = []
        try:
            tree = ast.parse(self._as_python(text), mode="eval")
            self.expression = self._judge(tree.body)
        except (SyntaxError, tokenize.TokenError, RecursionError, ValueError):
            raise SettingsError("where", f"{text!r} given, cannot be understood; {_HELP}") from None
        if not self.columns:
            raise SettingsError("where", f"{text!r} given, names no column; {_HELP}")

    def _as_python(self, text: str) -> str:
        pieces = text.split("`")
        if len(pieces) % 2 == 0:
            raise ValueError("a backtick is missing")
        for at in range(1, len(pieces), 2):
            self._names[f"_column_{at}"] = pieces[at]
            pieces[at] = f" _column_{at} "
        found: list[str] = []
        for token in tokenize.generate_tokens(io.StringIO("".join(pieces)).readline):
            word = token.string
            if token.type == tokenize.NAME and word not in self._names:
                word = _WORDS.get(word.lower(), word)
            elif token.type == tokenize.OP and word == ">" and found and found[-1] == "<":
                found[-1], word = "!=", ""
            elif token.type == tokenize.OP:
                word = _SIGNS.get(word, word)
            elif token.type in (tokenize.COMMENT, tokenize.ERRORTOKEN) and word.strip():
                raise ValueError(word)
            found.append(word)
        return " ".join(found).strip()

    def _judge(self, node: ast.expr) -> Any:
        if isinstance(node, ast.BoolOp):
            return reduce(and_ if isinstance(node.op, ast.And) else or_, map(self._judge, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._judge(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            return reduce(and_, map(self._compare, sides, node.ops, sides[1:]))
        if isinstance(node, ast.Name):
            return self._column(node)
        raise ValueError(type(node).__name__)

    def _compare(self, left: ast.expr, how: ast.cmpop, right: ast.expr) -> Any:
        if isinstance(how, ast.Is | ast.IsNot):
            if not isinstance(right, ast.Constant) or right.value is not None:
                raise ValueError("is what?")
            null = self._value(left).is_null()
            return ~null if isinstance(how, ast.IsNot) else null
        if isinstance(how, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List):
                right = ast.Tuple([right])
            found = self._value(left).isin([_constant(one) for one in right.elts])
            return ~found if isinstance(how, ast.NotIn) else found
        return _COMPARISONS[type(how)](self._value(left), self._value(right))

    def _value(self, node: ast.expr) -> Any:
        import pyarrow.dataset as ds

        if isinstance(node, ast.Name):
            return self._column(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
            return _SUMS[type(node.op)](self._value(node.left), self._value(node.right))
        return ds.scalar(_constant(node))

    def _column(self, node: ast.Name) -> Any:
        import pyarrow.dataset as ds

        name = self._names.get(node.id, node.id)
        if name not in self.columns:
            self.columns.append(name)
        return ds.field(name)

    def chosen(self, table: Any) -> Any:
        """Those rows of a `pyarrow.Table` that are wanted.

        Raises:
            SettingsError: a column has values of a kind that cannot be compared so.
        """
        import pyarrow as pa

        try:
            return table.filter(self.expression)
        except pa.ArrowException as error:
            why = " ".join(str(error).split())[:300]
            raise SettingsError("where", f"{self._text!r} does not fit the columns: {why}") from None


class RowFilter:
    """Applies a condition to rows of a text, in which values have no types: what the first rows look like is their type.

    Args:
        head: the first rows.
        texts: all values are texts.
    """

    def __init__(self, condition: Condition, head: Sequence[Row], texts: bool) -> None:
        import pyarrow as pa

        self._condition = condition
        self._converts = {}
        self._types = {}
        for name in condition.columns:
            values = [row.values.get(name) for row in head if not row.flaw]
            if texts and (convert := conversion_of(values)):
                self._converts[name] = convert
                values = [convert(value) for value in values]
            try:
                self._types[name] = pa.infer_type(values)
            except pa.ArrowException:
                self._types[name] = pa.string()
            if pa.types.is_integer(self._types[name]):  # later rows may have fractions
                self._types[name] = pa.float64()
            if pa.types.is_null(self._types[name]):
                self._types[name] = pa.string()

    def chosen(self, rows: Sequence[Row]) -> list[Row]:
        """Those that are wanted. A row that cannot be read is: it can only be missed. A value that does not fit is null."""
        import pyarrow as pa

        good = [row for row in rows if not row.flaw]
        columns = {}
        for name, kind in self._types.items():
            values = [row.values.get(name) for row in good]
            if convert := self._converts.get(name):
                values = [convert(value) for value in values]
            columns[name] = fitted(values, kind)
        numbers = pa.array(range(len(good)), pa.int64())
        kept = set(self._condition.chosen(pa.table({**columns, "": numbers})).column("").to_pylist())
        wanted = {id(row) for at, row in enumerate(good) if at in kept}
        return [row for row in rows if row.flaw or id(row) in wanted]


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -node.operand.value  # type: ignore[operator]
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        return node.value
    raise ValueError("no constant")
