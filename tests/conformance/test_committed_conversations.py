"""Every native template shows the committed conversations as its outside reference does.

The random conversations beside them are in the tests of each family.
"""

from __future__ import annotations

import re
from typing import Any

import jinja2
import pytest
from chat_families import HARMONY_FAMILIES, JINJA_FAMILIES, MISTRAL_FAMILIES, MistralFamily
from chat_references import ROOT, conversations
from ctxengine import _core
from ctxengine.chat import Template
from ctxengine.errors import ArgumentError

FAMILIES: dict[str, Any] = {
    **JINJA_FAMILIES,
    **{f"{family.template} over {family.file}": family for family in MISTRAL_FAMILIES},
    **HARMONY_FAMILIES,
}

CONVERSATIONS = conversations()
WITH_TOOLS = {name for name, given in CONVERSATIONS.items() if given["tools"]}
WITH_REASONING = {
    name
    for name, given in CONVERSATIONS.items()
    if any("reasoning_content" in message for message in given["messages"])
}
WITH_A_SYSTEM_MESSAGE = {
    name for name, given in CONVERSATIONS.items() if given["messages"][0]["role"] == "system"
}
WITH_A_REPLY_AT_THE_END = {
    name for name, given in CONVERSATIONS.items() if given["messages"][-1]["role"] == "assistant"
}
OUT_OF_TURN = {
    "begins_with_the_assistant",
    "only_a_system_message",
    "several_system_messages",
    "several_user_messages",
}
# What a template cannot show, or not whole: an error says so.
REFUSED = {
    "chatml": WITH_TOOLS,
    "llama3": WITH_TOOLS,
    "llama3.1": {"several_calls_in_a_message"},
    "deepseek-r1": WITH_TOOLS,
    "gemma2": WITH_TOOLS | OUT_OF_TURN | WITH_A_SYSTEM_MESSAGE,
    "gemma3": WITH_TOOLS | OUT_OF_TURN,
}


def refused(template: str) -> set[str]:
    if not template.startswith("mistral"):
        return REFUSED.get(template, set())
    names = {"empty_contents", "several_system_messages"} | WITH_A_REPLY_AT_THE_END
    if template == "mistral-v3":
        names |= {"text_beside_a_call"}
    return names if template == "mistral-v13-reasoning" else names | WITH_REASONING


def shows_less(family: Any, messages: Any, tools: Any) -> bool:
    """Whether a published template fails, or leaves something out."""
    try:
        shown = family.reference(messages, tools)
    except jinja2.TemplateError:
        return True
    return (
        any(message["content"].strip() not in shown for message in messages)
        or (tools is not None and shown == family.reference(messages, None))
        or any(message["role"] == "tool" for message in messages)  # shown as the system's
    )


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_committed_conversations(family: str, name: str) -> None:
    shown, (messages, tools) = FAMILIES[family], CONVERSATIONS[name].values()
    if name not in refused(shown.template):
        shown.check(messages, tools)
        return
    with pytest.raises(ArgumentError, match=r"^(messages|tools)") as error:
        Template(shown.template).render(messages, tools)
    if isinstance(shown, MistralFamily):
        why = str(error.value)
        assert shown.is_stricter(messages, why) or not shown.takes(messages, tools)
    else:
        assert shows_less(shown, messages, tools)


def test_the_documentation_lists_what_is_proven() -> None:
    names = set(_core.chat_template_names())
    assert {family.template for family in FAMILIES.values()} == names - {"openai"}
    page = (ROOT / "docs/counting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", " ".join(rows))) >= names
