"""Where item texts stand: in the last user's message, before the history, in the system prompt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from chat_encodings import encoding_of
from ctxengine.budget import Budget, Item, Section, plan
from ctxengine.chat import count_messages, encode_messages
from ctxengine.errors import ArgumentError, BudgetExceeded

SYSTEM = {"role": "system", "content": "Be brief."}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
HISTORY = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]
TEXTS = ["A fact.", "Another fact."]
BLOCK = "<retrieval>\n[1] A fact.\n\n[2] Another fact.\n</retrieval>"


def test_where_they_stand() -> None:
    def messages(placement: str, **options: Any) -> tuple[Any, ...]:
        given = {"history": HISTORY, "retrieval": TEXTS} | options
        return plan(900, "qwen3", placement=placement, **given).messages

    assert messages("turn", system="Be brief.") == (
        SYSTEM, *HISTORY[:2], {"role": "user", "content": f"{BLOCK}\n\nThree?"}
    )  # fmt: skip
    assert messages("history", system="Be brief.") == (
        SYSTEM, {"role": "user", "content": BLOCK}, *HISTORY
    )  # fmt: skip
    shown = {"role": "system", "content": f"Be brief.\n\n{BLOCK}"}
    assert messages("system", system="Be brief.") == (shown, *HISTORY)
    # The system messages that a history begins with are the system prompt too.
    assert messages("system", history=[SYSTEM, *HISTORY]) == (shown, *HISTORY)
    assert messages("history", history=[SYSTEM, *HISTORY])[:2] == (
        SYSTEM, {"role": "user", "content": BLOCK}
    )  # fmt: skip
    # Without one there is one then.
    assert messages("system") == ({"role": "system", "content": BLOCK}, *HISTORY)
    assert messages("system", retrieval=[]) == tuple(HISTORY)
    parts = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert messages("system", system=[parts])[0]["content"] == [
        {"type": "text", "text": "Be brief."}, {"type": "text", "text": BLOCK}
    ]  # fmt: skip


def test_nothing_of_the_callers_is_changed() -> None:
    @dataclass
    class Message:
        role: str
        content: str

    own = Message("system", "Be brief.")
    made = plan(900, "qwen3", system=[own], history=HISTORY, retrieval=TEXTS, placement="system")
    assert own.content == "Be brief."
    assert made.messages[0].content == f"Be brief.\n\n{BLOCK}"
    assert all(a is b for a, b in zip(made.messages[1:], HISTORY, strict=True))


def test_texts_need_no_user_then() -> None:
    history = [{"role": "assistant", "content": "Hello."}]
    for placement in ("history", "system"):
        made = plan(900, "qwen3", history=history, retrieval=TEXTS, placement=placement)
        assert made.used == count_messages(made.messages, "qwen3")
    with pytest.raises(ArgumentError, match="retrieval: its texts stand in the last user message"):
        plan(900, "qwen3", history=history, retrieval=TEXTS)


FAMILIES = ["chatml", "qwen2", "qwen3", "qwen3-thinking-2507", "llama3", "llama3.1", "deepseek-r1",
            "gemma2", "gemma3", "mistral-v3", "mistral-v7", "mistral-v11", "gpt-oss"]  # fmt: skip


@pytest.mark.parametrize("placement", ["turn", "history", "system"])
@pytest.mark.parametrize("template", FAMILIES)
def test_the_count_is_exact_or_the_template_refuses(template: str, placement: str) -> None:
    encoding = encoding_of(template)
    rng = random.Random(template + placement)
    made = None
    for case in range(40):
        texts = [
            Item("word " * rng.randint(1, 30), rng.random(), pinned=rng.random() < 0.1)
            for _ in range(rng.randint(1, 6))
        ]
        history = []
        for _ in range(rng.randint(0, 8)):
            history.append({"role": "user", "content": "why " * rng.randint(1, 20)})
            history.append({"role": "assistant", "content": "so " * rng.randint(1, 20)})
        history.append({"role": "user", "content": "And now?"})
        options: Any = {
            "system": "Be brief." if template != "gemma2" and case % 3 else None,
            "tools": TOOLS if template.startswith("qwen") and case % 2 else None,
            "sections": [Section("notes", ["note " * 5]), Section("retrieval", max_tokens=60)],
            "placement": placement,
        }
        try:
            made = plan(
                Budget(rng.randint(100, 500)), encoding, template=template, history=history,
                retrieval=texts, **options,
            )  # fmt: skip
        except BudgetExceeded:
            continue
        except ArgumentError as error:
            assert placement != "turn"
            assert str(error).startswith(f"placement: '{placement}' under template '{template}': ")
            # And so does the rendering itself.
            shown = {"role": "user", "content": "x"}
            if placement == "system":
                shown = {"role": "system", "content": "x"}
            head = [SYSTEM] if options["system"] and placement == "history" else []
            with pytest.raises(ArgumentError):
                count_messages([*head, shown, *history], encoding, template=template)
            return
        tools = list(made.tools) or None
        assert made.used == count_messages(made.messages, encoding, template=template, tools=tools)
        assert made.used <= made.budget.window
        assert sum(s.tokens for s in made.sections) == made.used
        assert sum(made.message_tokens) <= made.used
        ids = encode_messages(made.messages, encoding, template=template, tools=tools)
        assert made.token_ids.tolist() == ids.tolist()
        tokens = {s.name: s.tokens for s in made.sections}
        if not any(text.pinned for text in texts):
            assert tokens["retrieval"] <= 60
    assert made is not None


def test_which_templates_take_which() -> None:
    def takes(template: str, placement: Any, system: str | None = "Be brief.") -> bool:
        try:
            plan(
                900, encoding_of(template), template=template, system=system, history=HISTORY,
                retrieval=TEXTS, placement=placement,
            )  # fmt: skip
        except ArgumentError as error:
            assert "placement" in str(error)
            return False
        return True

    # As their published templates say: strict alternation of user and assistant, or no system.
    assert not takes("gemma2", "system", None)
    assert not takes("gemma2", "history", None)
    assert not takes("gemma3", "history")
    assert takes("gemma3", "system")
    assert takes("qwen3", "history")
    assert takes("llama3.1", "history")
    for template in FAMILIES:
        assert takes(template, "turn", None)
