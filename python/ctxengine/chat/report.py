"""What counting tells: the tokens of a request by part, and what a reply leaves reusable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Reuse(NamedTuple):
    """How much of a conversation's KV cache the next turn can use; both in tokens."""

    num_tokens: int
    reusable_tokens: int


@dataclass(frozen=True, slots=True)
class CountReport:
    """Tokens of a request, by message, role and section.

    Attributes
    ----------
    total : int
        Tokens of the whole prompt, the beginning of the reply included.
    messages : tuple of int
        Tokens per message. Where a template puts consecutive tool results into one turn, the
        turn's tokens stand at the first of them.
    roles : dict of str to int
        Tokens per role.
    sections : dict of str to int
        ``"template"`` (default system prompt, priming), ``"system"`` (leading system and developer
        messages), ``"tools"`` and ``"messages"`` (all others); they add up to `total`.
    exact : bool
        False for the API models for which no count rule is published, for a template that was told
        to estimate, and for a body whose model has another encoding than the one that was given.
    why_not_exact : str
        The reason; empty when `exact`.
    """

    total: int
    messages: tuple[int, ...]
    roles: dict[str, int]
    sections: dict[str, int]
    exact: bool
    why_not_exact: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        return {
            "total": self.total,
            "messages": list(self.messages),
            "roles": dict(self.roles),
            "sections": dict(self.sections),
            "exact": self.exact,
            "why_not_exact": self.why_not_exact,
        }
