"""Messages that fit into a window, and nothing else: the plan for those who trim a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ctxengine import _core
from ctxengine.budget.planner import plan
from ctxengine.budget.request import INT64_MAX, Budget
from ctxengine.chat.convert import convert_tools
from ctxengine.chat.table import count_table, message_memory
from ctxengine.chat.template import resolve

if TYPE_CHECKING:
    from ctxengine.chat import Template
    from ctxengine.tokenize import Encoding


def trim_messages(
    messages: Iterable[Any],
    encoding: Encoding | str,
    *,
    max_tokens: int,
    template: Template | str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    cut: Literal["tight", "grid"] = "tight",
) -> list[Any]:
    """Return the messages of a conversation that fit into so many tokens.

    Those of ``plan(max_tokens, encoding, history=messages, tools=tools, template=template,
    cut=cut)``, and its errors; only faster where the messages, or equal ones, were counted before.

    Parameters
    ----------
    messages : iterable of message
        The conversation, oldest first. Kept in any case are the system messages that it begins
        with, the newest group of messages (an assistant's message with the results of its calls)
        and the last user's message. A call and its results stay or go together, and where an older
        turn is cut inside, its user's message stays too.
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    max_tokens : int
        What the kept messages, the tools, and the template with the beginning of the reply take at
        most, by the exact count.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models.
    tools : sequence of mapping, optional
        Tool definitions as in a request body.
    cut : {"tight", "grid"}
        ``"tight"`` keeps as many groups as fit; ``"grid"`` cuts less often, so that prompt caches
        keep the beginning, as in :func:`plan`.

    Returns
    -------
    list
        The caller's own objects, in their order.

    Raises
    ------
    BudgetExceeded
        When what must be kept is larger than `max_tokens`, with both numbers.
    UnknownTokenError, ArgumentError
        As in :func:`plan`.

    Notes
    -----
    What is known of a message is found by its objects, for as long as they are the same, else by
    their content: a changed message, at any depth, is counted anew. Messages of plain dicts and the
    templates ``chatml``, ``openai``, ``qwen2``, ``qwen3...``, ``llama3`` and, without tools,
    ``llama3.1`` are trimmed in O(messages); others are rendered as a whole.

    Examples
    --------
    >>> history = [{"role": "system", "content": "Be brief."}]
    >>> for i in range(5):
    ...     history.append({"role": "user", "content": f"Question {i}"})
    ...     history.append({"role": "assistant", "content": f"Answer {i}"})
    >>> history.append({"role": "user", "content": "And now?"})
    >>> [message["content"] for message in trim_messages(history, "gpt-4o", max_tokens=30)]
    ['Be brief.', 'Question 4', 'Answer 4', 'And now?']
    """
    if type(messages) is list and type(max_tokens) is int and 0 <= max_tokens <= INT64_MAX:
        template, encoding = resolve(template, encoding)
        if isinstance(template._native, _core.ChatTemplate) and cut in ("tight", "grid"):
            cap, step = INT64_MAX, 0
            if cut == "grid":
                cap = max_tokens - max_tokens // 4
                step = max(1, int(cap * 0.25))
            known = _core.trim_messages(
                messages,
                template._native,
                convert_tools(tools),
                encoding._native,
                count_table(),
                message_memory(),
                max_tokens,
                cap,
                step,
            )
            if known is not None:
                return known[0]
    made = plan(
        Budget(max_tokens), encoding, history=messages, tools=tools, template=template, cut=cut
    )
    return list(made.messages)
