"""Which expressions of sizes may go to sympy, which evaluates what it is given.

Only a tree of numbers, symbols such as s77, arithmetic and the functions that sizes have is let through, and no power
or shift of plain numbers that would take for ever.
"""

from __future__ import annotations

import ast
import re

MAX_TEXT = 4096  # characters
MAX_DEPTH = 40  # brackets in brackets
MAX_NUMBER = 1 << 63
MAX_POWERS = 3  # in one expression
MAX_EXPONENT = 4
SYMBOL = re.compile(r"(s|u|z|zf|uf)\d{1,9}")
FUNCTIONS = frozenset((
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Max", "Min", "Abs", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
    "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And", "Or", "Not",
    "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv",
    "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity",
    "floor", "ceiling",
))  # fmt: skip
POWERS = frozenset(("Pow", "PowByNatural", "FloatPow", "LShift", "RShift"))
NAMES = frozenset(("True", "False", "true", "false", "oo", "int_oo"))
KINDS = frozenset(
    ("positive", "negative", "nonnegative", "nonpositive", "integer", "real", "nonzero", "zero", "finite")
)


def harmless(text: object) -> bool:
    """Whether an expression is one of those."""
    if not isinstance(text, str) or not text.isascii() or len(text) > MAX_TEXT or _depth(text) > MAX_DEPTH:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    powers = 0
    for node in ast.walk(tree):
        if not _allowed(node):
            return False
        powers += isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in POWERS)
    return powers <= MAX_POWERS


def _allowed(node: ast.AST) -> bool:
    """Whether one node of the tree may stand there; the nodes below it are looked at too."""
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return SYMBOL.fullmatch(node.value) is not None
        return isinstance(node.value, bool | int | float) and abs(node.value) < MAX_NUMBER
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS | POWERS | NAMES or SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.Pow) or _small(node.right)
    kinds = (ast.Expression, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)
    return isinstance(node, (*kinds, ast.keyword, ast.expr_context)) and not isinstance(node, ast.LShift | ast.RShift)


def _call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS | POWERS:
        return False
    if node.func.id in POWERS and not (len(node.args) == 2 and _small(node.args[1])):
        return False
    return all(k.arg in KINDS and isinstance(k.value, ast.Constant) for k in node.keywords)


def _small(node: ast.expr) -> bool:
    """Whether an exponent is a small whole number, bare or as Integer(n)."""
    if isinstance(node, ast.Call) and len(node.args) == 1:
        return isinstance(node.func, ast.Name) and node.func.id == "Integer" and _small(node.args[0])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _small(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value <= MAX_EXPONENT


def _depth(text: str) -> int:
    deepest = depth = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    return deepest
