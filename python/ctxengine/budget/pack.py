"""Texts in their order, put together into as few requests as their limits allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ctxengine.budget.request import token_number
from ctxengine.chat.template import resolve_encoding
from ctxengine.errors import ArgumentError, BudgetExceeded

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding


def pack(
    texts: Sequence[str],
    encoding: Encoding | str,
    *,
    max_tokens: int,
    max_items: int | None = None,
) -> list[list[int]]:
    """Put texts together into requests, such as those of an embedding API.

    Parameters
    ----------
    texts : sequence of str
        What is to be sent, each text whole.
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    max_tokens : int
        Of all texts of a request together, at least 1.
    max_items : int, optional
        Texts in a request, at least 1.

    Returns
    -------
    list of list of int
        Indices into `texts`, all of them and in their order, as few lists as there can be.

    Raises
    ------
    BudgetExceeded
        For a text that alone has more tokens than `max_tokens`; the message says which and how
        many. `Encoding.split` cuts it.
    UnknownTokenError, ArgumentError
        For a name that is not known; for a limit below 1, and for what is no sequence of str.

    Notes
    -----
    O(total length); several texts are counted at once, without the GIL. Filling each request before
    the next is begun makes as few as any way that keeps the order.

    Examples
    --------
    >>> from ctxengine.budget import pack
    >>> pack(["one", "two words", "and three more"], "o200k_base", max_tokens=4)
    [[0, 1], [2]]
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ArgumentError(f"texts: must be a sequence of str, not one {type(texts).__name__}")
    encoding, _ = resolve_encoding(encoding)
    max_tokens = token_number(max_tokens, "max_tokens", at_least=1)
    max_items = (
        len(texts) if max_items is None else token_number(max_items, "max_items", at_least=1)
    )
    requests: list[list[int]] = []
    room = 0
    for i, tokens in enumerate(encoding.count_batch(texts).tolist()):
        if tokens > max_tokens:
            raise BudgetExceeded(
                f"texts[{i}] has {tokens} tokens, more than the {max_tokens} of a request",
                tokens,
                max_tokens,
                {f"texts[{i}]": tokens},
            )
        if not requests or tokens > room or len(requests[-1]) == max_items:
            requests.append([])
            room = max_tokens
        requests[-1].append(i)
        room -= tokens
    return requests
