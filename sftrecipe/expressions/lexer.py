"""Text to tokens, and all refusals that need no more than tokens.

Python's own parser words and places its errors differently from version to version. So what people get wrong (a
missing operand, an open bracket, `=`, `&&`) is told here, from the tokens, and Python's parser is asked only about
text that should be right.
"""

from __future__ import annotations

import keyword
import re
from typing import NamedTuple

from sftrecipe.expressions.language import MAX_DEPTH, ExpressionError

__all__ = ["Token", "tokens"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<text>[rRbBuUfFtT]{0,2}(?:\"{3}|'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    | (?P<number>0[xXoObB]\w*|(?:\d|\.\d)(?:[eE][+-]\d|[\w.])*)
    | (?P<name>[^\W\d]\w*)
    | (?P<sign>\*\*|//|:=|==|!=|<=|>=|<<|>>|&&|\|\||\$\{|\{\{|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\\'\"nrt]|.)", re.DOTALL)
_OPERATORS = {"and", "or", "in", "if", "else", "not", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"}
_WORDS = {"and", "or", "not", "in", "if", "else"}
_CONSTANTS = {"True", "False", "None"}
_BEFORE_NOT = {"", "(", "[", ",", "and", "or", "not", "if", "else"}
_NO_SUCH = "not part of the language"
_SIGNS: dict[str, tuple[str, str, str]] = {
    "**": ("R503", "there are no powers", "multiply: x * x"),
    "//": ("R503", "there is no `//`", "divide with / and use round(x)"),
    "@": ("R503", "there is no `@`", "the operators are + - * / % and comparisons"),
    "^": ("R503", "there is no `^`", "for `either, or` compare: a != b"),
    "~": ("R503", "there is no `~`", "write not"),
    "<<": ("R503", "there is no `<<`", "the operators are + - * / % and comparisons"),
    ">>": ("R503", "there is no `>>`", "the operators are + - * / % and comparisons"),
    "{": ("R503", "there are no sets or mappings", "a list is written [a, b]"),
    "}": ("R503", "there are no sets or mappings", "a list is written [a, b]"),
    ":=": ("R508", "an expression cannot give names", "write the value where it is used, or `tag` a column"),
    "${": ("R511", "`${` does not stand inside expressions", "write params.name"),
    "{{": ("R511", "`{{` stands in templates, not in expressions", "write the column's name alone"),
    "&&": ("R513", "there is no `&&`", "write and"),
    "&": ("R513", "there is no `&`", "write and"),
    "||": ("R513", "there is no `||`", "write or"),
    "|": ("R513", "there is no `|`", "write or"),
    "!": ("R513", "there is no `!`", "write not"),
    "#": ("R519", "`#` begins a comment, and expressions have none", "put comments beside the expression, in the YAML"),
    ":": ("R506", "there are no ranges", "take one item: x[0]"),
}


class Token(NamedTuple):
    """`kind` is text, number, name, or the sign or word itself for signs and operators."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The tokens of an expression. Raises ExpressionError for what cannot become one."""
    found: list[Token] = []
    order = _Order(len(text))
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "space":
            continue
        token = _token(match)
        previous = found[-1] if found else None
        _refuse(token, previous, found)
        order.take(token, previous)
        found.append(token)
    order.finish(found[-1] if found else None)
    return found


def _token(match: re.Match[str]) -> Token:
    kind, word = str(match.lastgroup), match.group()
    if kind == "sign" or (kind == "name" and word in _WORDS):
        kind = word
    return Token(kind, word, match.start(), match.end())


def _refuse(token: Token, previous: Token | None, before: list[Token]) -> None:
    """Tokens that are never right, or never right here."""
    if token.kind == "text":
        _refuse_text(token, previous)
    elif token.kind == "number":
        _refuse_number(token)
    elif token.kind == "name":
        _refuse_word(token, previous)
    elif token.kind in ('"', "'"):
        _fail("R517", "this quote is never closed", token, f"close it with {token.kind}")
    elif token.kind == "=":
        names = previous is not None and previous.kind == "name" and len(before) > 1 and before[-2].kind in ("(", ",")
        if names:
            _fail("R509", "arguments have no names", token, "give them in order; to compare, write ==")
        _fail("R512", "a single `=` compares nothing", token, "write ==")
    elif token.kind == "*" and (previous is None or previous.kind in ("(", "[", ",")):
        _fail("R510", "there is no `*x`", token, "name the arguments one by one")
    elif token.kind in _SIGNS:
        code, message, advice = _SIGNS[token.kind]
        _fail(code, message, token, advice)


def _refuse_text(token: Token, previous: Token | None) -> None:
    prefix = token.text[: len(token.text) - len(token.text.lstrip("rRbBuUfFtT"))].lower()
    if set(prefix) & {"f", "t"}:
        _fail("R507", "there are no f-strings", token, "join texts with +")
    if prefix not in ("", "r"):
        _fail("R516", "texts have no prefix but r", token, "remove it")
    if token.text.endswith(('"""', "'''")) and token.end - token.start - len(prefix) == 3:
        _fail("R516", "texts have one quote on each side", token, 'write "..."')
    if previous is not None and previous.kind == "text":
        _fail("R516", "two texts stand side by side", token, "put a comma or + between them")
    for match in _ESCAPE.finditer(token.text) if not prefix else ():
        letter = match.group(1)
        wrong = letter[0] not in "xuU\\'\"nrt" or letter in ("x", "u", "U")
        if wrong or (len(letter) > 4 and _no_character(int(letter[1:], 16))):
            place = Token("", "", token.start + match.start(), token.start + match.end())
            advice = f"for a pattern write r{token.text[0]}...{token.text[0]}, for a backslash \\\\"
            _fail("R516", f"`{match.group()}` is no escape that texts know", place, advice)


def _no_character(code: int) -> bool:
    return code > 0x10FFFF or 0xD800 <= code <= 0xDFFF


def _refuse_number(token: Token) -> None:
    word = token.text
    try:
        value: int | float = int(word, 0) if re.fullmatch(r"0[xXoObB]\w+|[0-9_]+", word) else float(word)
    except ValueError:
        _fail("R501", f"`{word}` is no number", token, "for text use quotes")
    if abs(value) == float("inf") or (isinstance(value, int) and value >= 1 << 63):
        _fail("R518", f"`{word}` is beyond 64 bits", token, "use a smaller number")


def _refuse_word(token: Token, previous: Token | None) -> None:
    if token.text not in keyword.kwlist or token.text in _CONSTANTS:
        return
    if token.text == "lambda":
        _fail("R504", "there is no lambda", token, "call a function of the language, or write an operator")
    if token.text in ("for", "async"):
        _fail(
            "R505",
            "there are no comprehensions",
            token,
            "use any(...), all(...), sum(...) over a list: any(candidates.passed)",
        )
    if token.text == "is":
        _fail("R515", "there is no `is`", token, "write == , or is_null(x)")
    dotted = previous is not None and previous.kind == "."
    advice = f'write ["{token.text}"] instead of .{token.text}' if dotted else "rename the column when it is loaded"
    _fail("R515", f"`{token.text}` is a word of Python's grammar", token, advice)


class _Order:
    """Whether operands and operators take turns, and brackets match."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.operand = True  # whether an operand comes next
        self.open: list[Token] = []
        self.reached: set[int] = set()  # brackets that take something out of what stands before them
        self.ifs: list[list[Token]] = [[]]
        self.prefixes = 0

    def take(self, token: Token, previous: Token | None) -> None:
        """The next token."""
        kind = token.kind
        if previous is not None and previous.kind == "not" and not self.operand and kind != "in":
            _fail("R501", "`not` cannot stand here", previous, "write and not, or not in")
        if kind in ("(", "["):
            self._opening(token, previous)
        elif kind in (")", "]"):
            self._closing(token, previous)
        elif self.operand:
            self._operand(token, previous)
        else:
            self._operator(token)
        self.prefixes = self.prefixes + 1 if self.operand and kind in ("not", "-") else 0
        if len(self.open) > MAX_DEPTH or self.prefixes > MAX_DEPTH:
            _fail(
                "R502",
                f"nested more than {MAX_DEPTH} levels deep",
                token,
                "add a column with `score:` or `tag:` and use it here",
            )

    def finish(self, last: Token | None) -> None:
        """The end of the text."""
        if last is None:
            raise ExpressionError("R501", "there is no expression here", 0, self.length, "write a condition or a value")
        if self.open:
            _fail("R517", f"`{self.open[-1].text}` is never closed", self.open[-1], "close it")
        if self.operand or last.kind == "not":
            _fail("R501", f"something is missing after `{last.text}`", last, "write a value there")
        self._ifs_done()

    def _operand(self, token: Token, previous: Token | None) -> None:
        if token.kind == "-":
            return
        if token.kind == "not":
            if (previous.kind if previous else "") not in _BEFORE_NOT:
                _fail("R501", "`not` cannot stand here", token, "put it in brackets: (not x)")
            return
        if token.kind not in ("text", "number", "name"):
            what = f"before `{token.text}`" if token.kind in _OPERATORS | {",", "."} else f"instead of `{token.text}`"
            _fail("R501", f"a value is missing {what}", token, "write a column, a number or a text")
        if previous is not None and previous.kind == "." and token.kind != "name":
            _fail("R501", "a name must follow the dot", token, 'or use ["..."]')
        self.operand = False

    def _operator(self, token: Token) -> None:
        if token.kind in ("text", "number", "name"):
            _fail(
                "R501", f"an operator is missing before `{token.text}`", token, "and, or, ==, + ...; text needs quotes"
            )
        if token.kind == ",":
            if not self.open:
                _fail(
                    "R501",
                    "a comma stands outside brackets",
                    token,
                    "join conditions with and, or; a list is written [a, b]",
                )
            self._ifs_done()
        elif token.kind == "if":
            self.ifs[-1].append(token)
        elif token.kind == "else":
            if not self.ifs[-1]:
                _fail("R501", "`else` without `if`", token, "write a if condition else b")
            self.ifs[-1].pop()
        elif token.kind not in _OPERATORS | {"."}:
            _fail("R501", f"`{token.text}` is {_NO_SUCH}", token, "see the list of operators in the manual")
        self.operand = token.kind != "not"  # of `not in`, the second word asks for the operand

    def _opening(self, token: Token, previous: Token | None) -> None:
        after_name = previous is not None and previous.kind == "name" and previous.text not in _CONSTANTS
        if not self.operand and token.kind == "(" and not after_name:
            _fail("R501", "an operator is missing before `(`", token, "and, or, ==, + ...")
        if previous is not None and previous.kind == ".":
            _fail("R501", "a name must follow the dot", token, 'or use ["..."]')
        if token.kind == "[" and not self.operand:
            self.reached.add(token.start)
        self.open.append(token)
        self.ifs.append([])
        self.operand = True

    def _closing(self, token: Token, previous: Token | None) -> None:
        if not self.open or {"(": ")", "[": "]"}[self.open[-1].kind] != token.kind:
            _fail("R517", f"`{token.text}` closes nothing", token, "remove it, or open it before")
        if self.operand and previous is not None and previous.kind not in ("(", "[", ","):
            _fail("R501", f"something is missing after `{previous.text}`", previous, "write a value there")
        if previous is self.open[-1] and previous.start in self.reached:
            _fail("R506", "in [...] stands a number or a text", previous, 'write x[0] or x["key"]')
        self._ifs_done()
        self.open.pop()
        self.ifs.pop()
        self.operand = False

    def _ifs_done(self) -> None:
        if self.ifs[-1]:
            _fail("R501", "`if` without `else`", self.ifs[-1][-1], "write a if condition else b")


def _fail(code: str, message: str, at: Token, help: str = "") -> None:
    raise ExpressionError(code, message, at.start, at.end, help)
