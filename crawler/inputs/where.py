"""A condition on the columns of a table, such as `width >= 512 and lang in ('en', 'de')`: read here, judged by pyarrow."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from crawler.errors import SettingsError, in_one_line
from crawler.extras import require
from crawler.fitting import conversion_of, fitted
from crawler.model import Row

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
_HUGE = 1 << 63
_SIGNS = {"=": "==", "<>": "!="}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b, ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b, ast.Gt: lambda a, b: a > b, ast.GtE: lambda a, b: a >= b,
}  # fmt: skip
_SUMS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
}  # fmt: skip
_QUOTED = re.compile(r"""(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|`(?P<column>[^`]*)`""")
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
        self._types: Mapping[str, Any] = {}
        self.columns: list[str] = []
        try:
            self._tree = ast.parse(self._as_python(text), mode="eval").body
            self.expression = self._judge(self._tree)
        except (SyntaxError, tokenize.TokenError, RecursionError, ValueError):
            raise SettingsError("where", f"{text!r} given, cannot be understood; {_HELP}") from None
        if not self.columns:
            raise SettingsError("where", f"{text!r} given, names no column; {_HELP}")

    def bind(self, types: Mapping[str, Any]) -> None:
        """Tell the types of the columns (`pyarrow.DataType`): a text that is held against a moment is one.

        Raises:
            SettingsError: a text cannot be read so.
        """
        import pyarrow as pa

        self._types = types
        try:
            self.expression = self._judge(self._tree)
        except pa.ArrowException as error:
            raise self._unfit(error) from None

    def _as_python(self, text: str) -> str:
        def replaced(found: re.Match[str]) -> str:
            if found["column"] is None:
                quote = found["text"][0]
                return f" {found['text'][1:-1].replace(2 * quote, quote)!r} "
            if not found["column"]:
                raise ValueError("a column without a name")
            name = f"_column_{len(self._names)}"
            self._names[name] = found["column"]
            return f" {name} "

        plain = _QUOTED.sub(replaced, text)
        if "`" in _QUOTED.sub("", text):
            raise ValueError("a backtick is missing")
        found: list[str] = []
        before = -1
        for token in tokenize.generate_tokens(io.StringIO(plain).readline):
            word = token.string
            if token.type == before == tokenize.STRING:
                raise ValueError("two texts side by side")
            before = token.type
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
            import pyarrow as pa

            if not isinstance(right, ast.Tuple | ast.List):
                right = ast.Tuple([right])
            values = [self._constant(one, left) for one in right.elts]
            found = self._value(left).isin(
                pa.array([value.as_py() for value in values], values[0].type) if values else []
            )
            return ~found if isinstance(how, ast.NotIn) else found
        return _COMPARISONS[type(how)](self._value(left, right), self._value(right, left))

    def _value(self, node: ast.expr, other: ast.expr | None = None) -> Any:
        """A column, a sum, or a constant, which is held against `other`."""
        import pyarrow.dataset as ds

        if isinstance(node, ast.Name):
            return self._column(node)
        if isinstance(node, ast.BinOp):
            return self._sum(node)
        return ds.scalar(self._constant(node, other))

    def _sum(self, node: ast.expr) -> Any:
        """In floating point: whole numbers divide like others, and nothing is too large."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        if isinstance(node, ast.BinOp) and type(node.op) in _SUMS:
            return getattr(pc, _SUMS[type(node.op)])(self._sum(node.left), self._sum(node.right))
        if isinstance(node, ast.Name):
            return self._column(node).cast(pa.float64(), safe=False)
        return ds.scalar(pa.scalar(float(_constant(node)), pa.float64()))

    def _constant(self, node: ast.expr, other: ast.expr | None) -> Any:
        """A constant as a `pyarrow.Scalar`; a text has the type of the column that it is held against."""
        import pyarrow as pa

        value = _constant(node)
        kind = self._types.get(self._names.get(other.id, other.id)) if isinstance(other, ast.Name) else None
        if isinstance(value, str) and kind is not None and (pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
            return pa.scalar(value).cast(kind)
        return pa.scalar(value)

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
            raise self._unfit(error) from None

    def _unfit(self, error: Exception) -> SettingsError:
        return SettingsError("where", f"{self._text!r} does not fit the columns: {in_one_line(error)[:300]}")


class RowFilter:
    """Applies a condition to rows of a text, in which values have no types: what the first rows look like is their type.

    Args:
        head: the first rows.
        texts: all values are texts.
    """

    def __init__(self, condition: Condition, head: Sequence[Row], texts: bool) -> None:
        import pyarrow as pa

        self._condition = condition
        self._texts = texts
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
            elif self._texts:  # nothing tells an empty text from none
                values = [value or None for value in values]
            columns[name] = _numbers(values, kind) if pa.types.is_integer(kind) else fitted(values, kind)
        numbers = pa.array(range(len(good)), pa.int64())
        kept = set(self._condition.chosen(pa.table({**columns, "": numbers})).column("").to_pylist())
        wanted = {id(row) for at, row in enumerate(good) if at in kept}
        return [row for row in rows if row.flaw or id(row) in wanted]


def _numbers(values: Sequence[Any], kind: Any) -> Any:
    """Whole numbers as such, which are exact; with fractions among them, or too large ones, all in floating point."""
    import pyarrow as pa

    if any(isinstance(value, float) or (isinstance(value, int) and abs(value) >= _HUGE) for value in values):
        return pa.array([float(one) if isinstance(one, int | float) else None for one in values], pa.float64())
    return fitted(values, kind)


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        if isinstance(value, str):
            raise ValueError("minus what?")
        return -value
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        value = node.value
        return float(value) if isinstance(value, int) and abs(value) >= _HUGE else value
    raise ValueError("no constant")
