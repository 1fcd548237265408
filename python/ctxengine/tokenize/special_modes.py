"""Which spellings of special tokens a call recognises and which it refuses."""

from __future__ import annotations

from ctxengine import _core
from ctxengine.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet
    from typing import Literal

NO_SPECIAL_TOKENS = _core.SpecialTokens({})
_MAX_KEPT = 64  # sets of spellings; callers have one or two


class SpecialModes(_core.EncodingCalls):
    """An encoding's special tokens, by the sets of spellings that calls name."""

    _special_tokens: dict[str, int]
    _special_spellings: frozenset[str]
    _special_ids: frozenset[int]
    _all_special: _core.SpecialTokens
    _allowed: dict[frozenset[str], _core.SpecialTokens]
    _disallowed: dict[frozenset[str], _core.SpecialTokens]

    def _init_special_tokens(self) -> None:
        self._special_tokens = self._native.special_tokens()
        self._special_spellings = frozenset(self._special_tokens)
        self._special_ids = frozenset(self._special_tokens.values())
        self._all_special = self._native.select_special_tokens(self._special_spellings)
        self._allowed = {}
        self._disallowed = {}

    def _special_modes(
        self,
        allowed_special: Literal["all"] | AbstractSet[str],
        disallowed_special: Literal["all"] | Collection[str],
    ) -> tuple[_core.SpecialTokens, _core.SpecialTokens]:
        """Spellings to recognise and spellings to refuse."""
        allowed: AbstractSet[str]
        if allowed_special == "all":
            allowed = self._special_spellings
            allowed_matcher = self._all_special
        else:
            _refuse_str("allowed_special", allowed_special)
            allowed = frozenset(allowed_special)
            allowed_matcher = self._matcher_of_own(allowed) if allowed else NO_SPECIAL_TOKENS
        if disallowed_special == "all":
            if not allowed:
                return allowed_matcher, self._all_special
            disallowed_special = self._special_spellings - allowed
        _refuse_str("disallowed_special", disallowed_special)
        if not disallowed_special:
            return allowed_matcher, NO_SPECIAL_TOKENS
        return allowed_matcher, self._matcher_of_any(frozenset(disallowed_special))

    def _matcher_of_own(self, spellings: frozenset[str]) -> _core.SpecialTokens:
        """Those of the encoding's special tokens that are spelled so, with their conditions."""
        matcher = self._allowed.get(spellings)
        if matcher is None:
            matcher = self._native.select_special_tokens(spellings)
            _keep(self._allowed, spellings, matcher)
        return matcher

    def _matcher_of_any(self, spellings: frozenset[str]) -> _core.SpecialTokens:
        """Any spellings, wherever they stand."""
        matcher = self._disallowed.get(spellings)
        if matcher is None:
            matcher = _core.SpecialTokens(dict.fromkeys(spellings, 0))
            _keep(self._disallowed, spellings, matcher)
        return matcher


def _keep(
    matchers: dict[frozenset[str], _core.SpecialTokens],
    spellings: frozenset[str],
    matcher: _core.SpecialTokens,
) -> None:
    if len(matchers) >= _MAX_KEPT:
        matchers.clear()
    matchers[spellings] = matcher


def _refuse_str(name: str, spellings: object) -> None:
    """Refuse a str, which is a collection of its letters."""
    if isinstance(spellings, str):
        raise ArgumentError(f'{name} must be "all" or a set of spellings')
