"""The grammar of filters: a text is read whole into a tree, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from histokit.errors import UsageError, did_you_mean
from histokit.store.filter_tokens import Token, refuse, tokens

FUNCTIONS = ("lower", "upper", "trim", "length", "abs")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
_OPERAND = "a column, a text in single quotes or a number"
_DEEPEST = 100


@dataclass(frozen=True)
class Node:
    """A piece of a condition.

    Parameters
    ----------
    kind : str
        ``text``, ``number``, ``truth`` (of a literal), ``column``, ``function``, or the operator's name.
    at : int
        Where it begins in the filter.
    value : object
        Of a literal, else the name of a column or function; of ``like`` its pattern, of ``in`` its list.
    parts : tuple of Node
        The operands.
    """

    kind: str
    at: int
    value: Any = None
    parts: tuple[Node, ...] = ()


def parse(text: str) -> Node:
    """Read a filter.

    ::

        condition  = conjunction {OR conjunction}
        conjunction = negation {AND negation}
        negation   = NOT negation | predicate
        predicate  = operand [(= | <> | < | <= | > | >=) operand | IS [NOT] (NULL | TRUE | FALSE | UNKNOWN)
                     | IS [NOT] DISTINCT FROM operand | [NOT] BETWEEN operand AND operand
                     | [NOT] (LIKE | ILIKE) 'pattern' [ESCAPE 'character'] | [NOT] IN (literal {, literal})]
        operand    = column | "column" | literal | function (operand) | (condition)
        literal    = 'text' | [-] number | TRUE | FALSE

    Raises
    ------
    UsageError
        If the text is anything else, to its last character.
    """
    if not isinstance(text, str):
        raise UsageError(f"A filter is text, not {type(text).__name__}.", next="Write for instance \"label = 'x'\"")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens of a filter."""

    def __init__(self, text: str):
        self.text = text
        self.tokens = list(tokens(text))
        self.place = self.depth = 0

    def whole(self) -> Node:
        if len(self.tokens) == 1:
            refuse(self.text, 0, "it is empty")
        found = self._condition()
        if self._next.kind != "end":
            self._expected("AND, OR or the end")
        return found

    @property
    def _next(self) -> Token:
        return self.tokens[self.place]

    def _take(self, *words: str) -> Token | None:
        """Go on where the next token is one of some keywords or signs; ``UNKNOWN`` and the like are words elsewhere."""
        token = self._next
        if token.kind not in ("keyword", "sign", "word") or token.text.upper() not in words:
            return None
        self.place += 1
        return token

    def _need(self, word: str) -> None:
        if not self._take(word):
            self._expected(word)

    def _expected(self, what: str) -> NoReturn:
        token = self._next
        after = self.tokens[self.place - 1] if self.place else None
        if token.kind == "sign" and token.text in "+-":
            dashes = self.text.startswith("--", token.at)
            refuse(self.text, token.at, f"there {'are no comments' if dashes else 'is no arithmetic'} in a filter")
        if token.kind == "keyword" and token.text == "NULL" and after and after.text in COMPARISONS:
            refuse(self.text, token.at, "nothing is equal to NULL or differs from it; write IS NULL or IS NOT NULL")
        if token.kind == "keyword" and token.text == "SELECT":
            refuse(self.text, token.at, "a filter looks at no other table")
        name = token.kind == "keyword" and what == _OPERAND
        hint = f'; a column of this name stands in double quotes: "{token.text.lower()}"' if name else ""
        if token.kind == "word" and after and after.kind == "word":
            words = f"{after.text} {token.text}"
            compared = self.place > 1 and self.tokens[self.place - 2].text in COMPARISONS
            hint = f"; a text stands in single quotes: '{words}'" if compared else ""
            hint = hint or f'; a name with a blank stands in double quotes: "{words}"'
        refuse(self.text, token.at, f"expected {what}{hint}")

    def _condition(self) -> Node:
        return self._chain("OR", self._conjunction)

    def _conjunction(self) -> Node:
        return self._chain("AND", self._negation)

    def _chain(self, word: str, inner: Any) -> Node:
        at, parts = self._next.at, [inner()]
        while self._take(word):
            parts.append(inner())
        return parts[0] if len(parts) == 1 else Node(word.lower(), at, None, tuple(parts))

    def _negation(self) -> Node:
        token = self._take("NOT")
        if token is None:
            return self._predicate()
        self._deeper(token)
        found = Node("not", token.at, None, (self._negation(),))
        self.depth -= 1
        return found

    def _deeper(self, token: Token) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            refuse(self.text, token.at, f"it is nested more than {_DEEPEST} deep")

    def _predicate(self) -> Node:
        left = self._operand()
        sign = self._take(*COMPARISONS)
        if sign:
            return Node("compare", sign.at, sign.text, (left, self._operand()))
        test = self._take("IS")
        if test:
            return self._test(test, left)
        negated = self._take("NOT")
        token = self._take("IN", "LIKE", "ILIKE", "BETWEEN")
        if token is None:
            if negated:
                self._expected("IN, LIKE, ILIKE or BETWEEN")
            return left
        read = {"IN": self._list, "BETWEEN": self._bounds}.get(token.text, self._pattern)
        found = read(token, left)
        return Node("not", token.at, None, (found,)) if negated else found

    def _test(self, token: Token, left: Node) -> Node:
        negated = self._take("NOT")
        word = self._take("NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT")
        if word is None:
            self._expected("NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")
        parts: tuple[Node, ...] = (left,)
        if word.text.upper() == "DISTINCT":
            self._need("FROM")
            parts = (left, self._operand())
        found = Node("is", token.at, word.text.upper(), parts)
        return Node("not", token.at, None, (found,)) if negated else found

    def _bounds(self, token: Token, left: Node) -> Node:
        low = self._operand()
        self._need("AND")
        return Node("between", token.at, None, (left, low, self._operand()))

    def _pattern(self, token: Token, left: Node) -> Node:
        pattern, escape = self._text("a pattern in single quotes"), "\\"
        if self._take("ESCAPE"):
            at, escape = self._next.at, self._text("a character in single quotes")
            if len(escape) != 1:
                refuse(self.text, at, "one character escapes")
        return Node(token.text.lower(), token.at, (pattern, escape), (left,))

    def _text(self, what: str) -> str:
        token = self._next
        if token.kind != "text":
            self._expected(what)
        self.place += 1
        return str(token.value)

    def _list(self, token: Token, left: Node) -> Node:
        self._need("(")
        items = [self._item()]
        while self._take(","):
            items.append(self._item())
        self._need(")")
        return Node("in", token.at, tuple(items), (left,))

    def _item(self) -> Node:
        found = self._literal()
        if found is None:
            if self._next.text == "NULL":
                refuse(self.text, self._next.at, "nothing is equal to NULL; write OR … IS NULL behind the list")
            self._expected("a text in single quotes or a number")
        return found

    def _literal(self) -> Node | None:
        token = self._next
        truth = self._take("TRUE", "FALSE") if token.kind == "keyword" else None
        if truth:
            return Node("truth", token.at, truth.text == "TRUE")
        sign = self._take("-", "+")
        number = self._next
        if sign and number.kind != "number":
            self.place -= 1
            return None
        if number.kind not in ("text", "number"):
            return None
        self.place += 1
        return Node(number.kind, token.at, -number.value if sign and sign.text == "-" else number.value)

    def _operand(self) -> Node:
        found = self._literal()
        if found is not None:
            return found
        token = self._next
        if token.kind in ("word", "quoted"):
            self.place += 1
            if token.kind == "word" and self._next.text == "(" and self._next.kind == "sign":
                return self._function(token)
            return Node("column", token.at, (token.value, token.kind == "quoted"))
        if token.kind == "sign" and token.text == "(":
            return self._inside(self._condition)
        self._expected(_OPERAND)

    def _function(self, token: Token) -> Node:
        name = token.text.lower()
        if name not in FUNCTIONS:
            known = f"{did_you_mean(name, FUNCTIONS)}There are {', '.join(FUNCTIONS)}, and LIKE for patterns"
            column = f'a column with parentheses in its name stands in double quotes: "{token.text} (…)"'
            refuse(self.text, token.at, f"there is no function {token.text!r}", f"{known}; {column}")
        return Node("function", token.at, name, (self._inside(self._operand),))

    def _inside(self, read: Any) -> Node:
        self._deeper(self._next)
        self._need("(")
        found: Node = read()
        self._need(")")
        self.depth -= 1
        return found
