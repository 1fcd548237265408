"""JSON read strictly: each value is checked as it is asked for, each complaint has its path."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NoReturn

from ctxengine.cli.io import InputError
from ctxengine.viz.text import clip, printable

_MAX_INT = 2**63 - 1
_MAX_DEPTH = 64


class WrongError(Exception):
    """A complaint that begins with the path of the value."""


class _Object(dict[str, Any]):
    """A JSON object that remembers a key it was given twice."""

    repeated: str | None = None


def _first_repeated(keys: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def parse(name: str, text: str) -> Any:
    """Return what a JSON text says; `name` is what complaints call it. No key may stand twice."""

    def pairs(items: list[tuple[str, Any]]) -> _Object:
        value = _Object(items)
        if len(value) < len(items):
            value.repeated = _first_repeated(key for key, _ in items)
        return value

    def constant(word: str) -> NoReturn:
        raise InputError(f"{name}: {word} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > 20:
            raise InputError(f"{name}: number too large: {digits[:20]}... ({len(digits)} digits)")
        return int(digits)

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer
        )
        _check_tree(value)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InputError(f"{name}: not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise InputError(f"{name}: nested deeper than {_MAX_DEPTH} levels") from None
    return value


def _check_tree(root: Any) -> None:
    """Refuse what JSON can spell but no prompt can hold; iterative, so depth costs no stack."""
    stack: list[tuple[Any, str, int]] = [(root, "", 1)]
    while stack:
        value, path, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise WrongError(f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float):
            if value in (float("inf"), float("-inf")):
                raise WrongError(f"{path}: number too large")
        elif isinstance(value, list):
            stack += [(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        elif isinstance(value, _Object):
            if value.repeated is not None:
                raise WrongError(f"{join(path, value.repeated)}: the key stands twice")
            for key, item in value.items():
                _check_text(key, f"{path or 'top level'}: a key")
                stack.append((item, join(path, key), depth + 1))


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise WrongError(
            f"{path}: lone surrogate U+{code:04X} at character {error.start}"
        ) from None


def join(path: str, key: str) -> str:
    """Return the path of a key of the object at a path."""
    shown = clip(printable(key), 40)
    return f"{path}.{shown}" if path else shown


class Node:
    """A value and its path, with one method for each thing it may have to be."""

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fail(self, expected: str) -> NoReturn:
        """Raise WrongError: the value is not what was expected."""
        shown = clip(printable(json.dumps(self.value, ensure_ascii=False)), 60)
        raise WrongError(f"{self.path or 'top level'}: expected {expected}, got {shown}")

    def fields(self, required: Collection[str], optional: Collection[str] = ()) -> Fields:
        """Return the fields of an object that has all of the one and none beside the other."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        for key in self.value:
            if key not in required and key not in optional:
                known = ", ".join([*required, *optional])
                raise WrongError(f"{join(self.path, key)}: unknown field; known: {known}")
        for key in required:
            if key not in self.value:
                raise WrongError(f"{join(self.path, key)}: missing")
        return Fields(self)

    def items(self) -> Iterator[Node]:
        """Return the elements of a list."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return (Node(item, f"{self.path}[{i}]") for i, item in enumerate(self.value))

    def object(self) -> dict[str, Any]:
        """Return an object as it is."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def text(self, *, empty: bool = True) -> str:
        """Return a string."""
        if not isinstance(self.value, str) or not (empty or self.value):
            self.fail("a string" if empty else "a string that is not empty")
        return self.value

    def one_of(self, *choices: str) -> str:
        """Return a string that is one of these."""
        if self.value not in choices:
            self.fail(" or ".join(json.dumps(choice) for choice in choices))
        return str(self.value)

    def boolean(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def integer(self, low: int, high: int = _MAX_INT) -> int:
        """Return a whole number within bounds."""
        bounds = f"of at least {low}" if high == _MAX_INT else f"from {low} to {high}"
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not whole or not low <= self.value <= high:
            self.fail(f"a whole number {bounds}")
        return int(self.value)

    def number(self, *, positive: bool = False) -> float:
        """Return a number that is not negative."""
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            self.fail("a number")
        if self.value < 0 or (positive and self.value == 0):
            self.fail("a positive number" if positive else "a number that is not negative")
        return float(self.value)


class Fields:
    """The fields of an object whose names have been checked."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getitem__(self, key: str) -> Node:
        return Node(self._node.value[key], join(self._node.path, key))

    def get(self, key: str, read: Callable[[Node], Any], default: Any = None) -> Any:
        """Return what `read` makes of a field, or the default when it is absent."""
        return read(self[key]) if key in self._node.value else default
