"""How a provider caches prompts: the dated table ``cache_rules.json`` as objects."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ctxengine import models
from ctxengine.errors import ArgumentError, UnknownModelError, UnknownTokenError

_KINDS = ("breakpoints", "prefix", "units")
_VERSION = re.compile(r"-\d{1,2}(?!\d)")
_BEDROCK = re.compile(r"(?:[a-z-]+\.)?anthropic\.")


@dataclass(frozen=True, slots=True)
class CacheRules:
    """How one provider caches prompts of one model.

    :meth:`named` and :meth:`for_model` read the table that comes with the package; to override a
    rule use :func:`dataclasses.replace`, or build your own.

    Attributes
    ----------
    name : str
        What the rules are called.
    kind : str
        ``"breakpoints"``: prefixes that end at marked blocks are stored, and read through a
        look-back. ``"prefix"``: the common prefix of any two calls is read, in steps of
        `granularity`. ``"units"``: an earlier call is read when it is a prefix as a whole, and so
        is what two earlier calls have in common.
    min_tokens : int
        A shorter prefix is not cached.
    lifetimes : tuple of (name, seconds, thousandths of the input price)
        What can be asked for, the default first, and what a write costs where no prices are given.
    read : int
        Thousandths of the input price of a token that is read, where no prices are given.
    granularity : int
        Step of what is read.
    keeps_last : bool
        At least one token is computed anew (serving engines need its logits).
    max_breakpoints, look_back : int
        How many blocks may be marked, and how many positions a mark reaches, its own included.
    marker : str
        The field that marks a block: ``"cache_control"``, ``"prompt_cache_breakpoint"``, or
        ``"cachePoint"``, which is an element of its own.
    mark_tools : bool
        Whether tools can be marked.
    implicit_tail : bool
        The provider marks the newest message by itself unless it is told not to.
    lifetime_key : str
        The field of the request that names the lifetime; empty: there is none.
    head_keys, message_keys : tuple of str
        Fields of the request on which everything depends, and those on which the messages do.
    """

    name: str
    kind: str
    min_tokens: int
    lifetimes: tuple[tuple[str, int, int], ...]
    read: int
    granularity: int = 1
    keeps_last: bool = False
    max_breakpoints: int = 0
    look_back: int = 1
    marker: str = ""
    mark_tools: bool = True
    implicit_tail: bool = False
    lifetime_key: str = ""
    head_keys: tuple[str, ...] = ("model",)
    message_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ArgumentError(f"kind: expected one of {', '.join(_KINDS)}, got {self.kind!r}")
        for name, least in (
            ("min_tokens", 0),
            ("read", 0),
            ("granularity", 1),
            ("max_breakpoints", 0),
            ("look_back", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ArgumentError(f"{name}: must be an int of at least {least}, not {value!r}")
        if not self.lifetimes:
            raise ArgumentError("lifetimes: at least one is needed")
        if len({seconds for _, seconds, _ in self.lifetimes}) != len(self.lifetimes):
            raise ArgumentError("lifetimes: two are equally long")

    @classmethod
    def named(cls, name: str) -> CacheRules:
        """Return the rules of this name, such as ``"anthropic"`` or ``"vllm"``.

        Raises
        ------
        UnknownTokenError
            There are none; the message lists the names.
        """
        table = _table()["rules"]
        if name not in table:
            raise UnknownTokenError(f"no cache rules '{name}'; known: {', '.join(table)}")
        return _made(cls, name, {})

    @classmethod
    def by_name(cls, name: str) -> CacheRules:
        """Return the rules of this name, or else those of a model of this name.

        Raises
        ------
        UnknownTokenError
            There are neither.
        """
        return cls.named(name) if name in _table()["rules"] else cls.for_model(name)

    @classmethod
    def for_model(cls, model: str) -> CacheRules:
        """Return the rules of a model, by the name that its provider's API has for it.

        Or by another that :mod:`ctxengine.models` knows: with a gateway's prefix, of a version.

        Raises
        ------
        UnknownModelError
            The table does not know the model: give rules by name.
        """
        row = _row_of(model)
        if row is None:
            with contextlib.suppress(UnknownModelError):
                row = _row_of(models.facts(model).name)  # another spelling, or a version
        if row is None:
            names = ", ".join(_table()["rules"])
            raise UnknownModelError(
                f"no cache rules are known for the model {model!r}; name one of these: {names}"
            )
        return _made(cls, *row)


def _row_of(model: str) -> tuple[str, dict[str, Any]] | None:
    """Return the rules of the longest beginning of a model's name, and what it changes."""
    name = model.lower().rsplit("/", 1)[-1]
    bare = _BEDROCK.sub("", name, count=1)
    best: tuple[str, str, dict[str, Any]] | None = None
    for begin, rules, override in _table()["models"]:
        rest = bare[len(begin) :]
        if not bare.startswith(begin) or _VERSION.match(rest) or rest[:1] not in "-@:":
            continue
        if best is None or len(begin) > len(best[0]):
            best = begin, rules, override
    return best and ("bedrock" if bare != name else best[1], best[2])


@functools.cache
def _table() -> dict[str, Any]:
    text = (Path(__file__).parent / "cache_rules.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _made(cls: type[CacheRules], name: str, override: dict[str, Any]) -> CacheRules:
    row = _table()["rules"][name] | override
    known = {field.name for field in fields(cls)}
    values = {key: value for key, value in row.items() if key in known}
    values["lifetimes"] = tuple(
        (label, seconds, price) for label, seconds, price in row["lifetimes"]
    )
    for key in ("head_keys", "message_keys"):
        values[key] = tuple(row[key])
    return cls(name=name, **values)
