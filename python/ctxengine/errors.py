"""The exceptions of ctxengine.

Constructors and loaders raise; a shortfall that can be waited out ("no block free now", "over the
rate") is a result, not an exception. A call that raises has left the state as it was.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BudgetExceeded",
    "CapacityError",
    "CtxEngineError",
    "DeviceError",
    "LoadError",
    "SpecialTokenError",
    "StaleMatchError",
    "UnknownModelError",
    "UnknownTokenError",
]


class CtxEngineError(Exception):
    """Base class of every exception that ctxengine raises by itself."""


class ArgumentError(CtxEngineError, ValueError):
    """An argument lies outside its documented domain; the message says which and why."""


class LoadError(CtxEngineError, ValueError):
    """A vocabulary, template or request file is not what it must be; the message says where."""


class SpecialTokenError(CtxEngineError, ValueError):
    """Text holds the spelling of a special token that the call does not allow."""


class UnknownTokenError(CtxEngineError, KeyError):
    """A token, a token id or a name that the vocabulary or registry does not have."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; a message should read as a message.
        return str(self.args[0]) if self.args else ""


class UnknownModelError(UnknownTokenError):
    """A model, or a fact about a model, that the table of models does not have."""


class BudgetExceeded(CtxEngineError):  # noqa: N818 - a public name of the design, not "...Error"
    """What must be kept is larger than the window.

    Parameters
    ----------
    message : str
        What did not fit.
    needed_tokens : int
        Tokens of everything that must be kept.
    available_tokens : int
        Tokens that the window leaves for it.
    parts : dict of str to int, optional
        Tokens by part of the prompt, where it is known; they add up to `needed_tokens`.
    """

    def __init__(
        self,
        message: str,
        needed_tokens: int,
        available_tokens: int,
        parts: dict[str, int] | None = None,
    ) -> None:
        super().__init__(message, needed_tokens, available_tokens, parts)
        self.needed_tokens = needed_tokens
        self.available_tokens = available_tokens
        self.parts = parts or {}

    def __str__(self) -> str:
        return str(self.args[0])


class StaleMatchError(CtxEngineError):
    """A matched prefix is no longer cached; match the whole prompt again."""


class CapacityError(CtxEngineError):
    """A request that the pool could never serve, however long the caller waits.

    Parameters
    ----------
    message : str
        What was asked for.
    needed : int
        Units needed (blocks, rows or tokens, as the message says).
    capacity : int
        Units that exist in total.
    """

    def __init__(self, message: str, needed: int, capacity: int) -> None:
        super().__init__(message, needed, capacity)
        self.needed = needed
        self.capacity = capacity

    def __str__(self) -> str:
        return str(self.args[0])


class DeviceError(CtxEngineError):
    """The CUDA driver refused a call; the message carries its name and its reason."""
