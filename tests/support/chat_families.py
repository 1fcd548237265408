"""Every native chat template beside its outside reference, and how the two are compared.

Families with a published Jinja template are rendered by jinja2, in the environment that
transformers sets up, and encoded by another library. What transformers does with a control token
that is spelled in a message (it becomes one) is what the native renderers must not do; so the
reference renders each ``<`` of the caller as a private character, splits the text at the control
tokens that are left, which are the template's own, and puts the ``<`` back. The Mistral formats
are mistral-common's, harmony and gpt-oss openai-harmony's.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import ctxengine
import tiktoken
import tokenizers
from chat_references import ESCAPED, render, split_at
from ctxengine.chat import HarmonySystem, Template, count_messages, encode_messages
from ctxengine.tokenize import Encoding, get_encoding
from vocabulary_families import LLAMA3_PATTERN, llama3_ranks, package_file

Ids = list[int]


@dataclass(frozen=True)
class Vocabulary:
    """Ours, and another library's: its control tokens, and how it encodes what is none."""

    encoding: Encoding
    specials: dict[str, int]
    encode: Callable[[str], Ids]

    def ids(self, escaped: str) -> Ids:
        """The ids of a text that was rendered with `escaped`."""
        ids: Ids = []
        for part, is_special in split_at(list(self.specials), escaped):
            ids += [self.specials[part]] if is_special else self.encode(part)
        return ids


# The special tokens of Qwen's tokenizer_config.json, in order of their ids from 151643; the last
# four are Qwen3's.
QWEN_SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# From id 128000.
LLAMA3_SPECIALS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
]


def _packed_ranks(name: str) -> dict[bytes, int]:
    path = Path(ctxengine.__file__).parent / f"vocabularies/{name}.vocab"
    data = path.read_bytes()
    num_rows, first = struct.unpack_from("<II", data, 8)
    ranks, at = {}, 16
    for rank in range(first, first + num_rows):
        size = data[at]
        ranks[data[at + 1 : at + 1 + size]] = rank
        at += 1 + size
    return ranks


@cache
def qwen(name: str) -> Vocabulary:
    spellings = QWEN_SPECIALS if name == "qwen3" else QWEN_SPECIALS[:-4]
    oracle = tiktoken.Encoding(
        name,
        pat_str=QWEN_PATTERN,
        mergeable_ranks=_packed_ranks("qwen"),
        special_tokens={},
    )
    normalize = tokenizers.normalizers.NFC().normalize_str  # what Qwen does first
    return Vocabulary(
        get_encoding(name),
        {spelling: 151643 + i for i, spelling in enumerate(spellings)},
        lambda text: oracle.encode_ordinary(normalize(text)),
    )


@cache
def llama3() -> Vocabulary:
    specials = {spelling: 128000 + i for i, spelling in enumerate(LLAMA3_SPECIALS)}
    tables: dict[str, Any] = {
        "pat_str": LLAMA3_PATTERN,
        "mergeable_ranks": llama3_ranks(),
        "special_tokens": specials,
    }
    oracle = tiktoken.Encoding("llama3", **tables)
    return Vocabulary(Encoding("llama3", **tables), specials, oracle.encode_ordinary)


@cache
def deepseek() -> Vocabulary:
    path = package_file("litellm", "litellm_core_utils/tokenizers/deepseek_tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    specials = {token["content"]: token["id"] for token in content["added_tokens"]}
    content["added_tokens"] = []  # so that text stays text
    oracle = tokenizers.Tokenizer.from_str(json.dumps(content))
    return Vocabulary(
        ctxengine.load(path),
        specials,
        lambda text: oracle.encode(text, add_special_tokens=False).ids,
    )


def with_text_arguments(message: Any) -> Any:
    """A message's calls with a type, and arguments as text, as OpenAI's API has them."""
    if not message.get("tool_calls"):
        return message
    made = []
    for given in message["tool_calls"]:
        call = given.get("function", given)
        arguments = call["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        named = {key: value for key, value in given.items() if key == "id"}
        made.append({**named, "type": "function", "function": {**call, "arguments": arguments}})
    return {**message, "tool_calls": made}


@dataclass(frozen=True)
class JinjaFamily:
    """A native template, and a published one that is to show the same.

    Without a vocabulary in any package, texts are compared, and what of them is the template's own.
    """

    template: str
    source: str
    vocabulary: Callable[[], Vocabulary] | None
    variables: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], Any] = lambda message: message

    def check(
        self,
        messages: Sequence[Any],
        tools: Any = None,
        *,
        native: Template | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> None:
        """Assert that text, segments, ids and count are the reference's."""
        native = native or Template(self.template)
        messages = [self.prepare(message) for message in messages]
        variables = {
            **self.variables, **variables, "add_generation_prompt": add_generation_prompt
        }  # fmt: skip
        prompt = {"add_generation_prompt": add_generation_prompt}
        before = json.dumps([messages, tools])
        text = render(self.source, messages, tools or None, **variables)
        escaped = render(self.source, messages, tools or None, escaped=True, **variables)
        assert escaped.replace(ESCAPED, "<") == text
        assert native.render(messages, tools, **prompt) == text
        if self.vocabulary is None:
            segments = native.render_segments(messages, tools, **prompt)
            shown = "".join(t if own else t.replace("<", ESCAPED) for t, own in segments)
            assert shown == escaped
            return
        known = self.vocabulary()
        expected = known.ids(escaped)
        ids = encode_messages(messages, known.encoding, template=native, tools=tools, **prompt)
        assert ids.tolist() == expected
        if add_generation_prompt:
            total = count_messages(messages, known.encoding, template=native, tools=tools)
            assert total == len(expected)
        assert json.dumps([messages, tools]) == before

    def reference(self, messages: Any, tools: Any) -> str:
        """What the reference shows, which raises for what it does not take."""
        messages = [self.prepare(message) for message in messages]
        return str(render(self.source, messages, tools or None, **self.variables))


JINJA_FAMILIES = {
    family.source: family
    for family in [
        JinjaFamily("chatml", "chatml", lambda: qwen("qwen2")),
        JinjaFamily("qwen2", "qwen2", lambda: qwen("qwen2")),
        JinjaFamily("qwen3", "qwen3", lambda: qwen("qwen3")),
        JinjaFamily("qwen3-instruct-2507", "qwen3-instruct-2507", lambda: qwen("qwen3")),
        JinjaFamily("qwen3-thinking-2507", "qwen3-thinking-2507", lambda: qwen("qwen3")),
        JinjaFamily("llama3", "llama3", llama3, {"bos_token": LLAMA3_SPECIALS[0]}),
        JinjaFamily("llama3.1", "llama3.1", llama3, {"bos_token": LLAMA3_SPECIALS[0]}),
        JinjaFamily("llama3.1", "llama3.2", llama3, {"bos_token": LLAMA3_SPECIALS[0]}),
        JinjaFamily("gemma2", "gemma2", None, {"bos_token": "<bos>"}),
        JinjaFamily("gemma3", "gemma3", None, {"bos_token": "<bos>"}),
        JinjaFamily(
            "deepseek-r1",
            "deepseek-r1",
            deepseek,
            {"bos_token": "<｜begin▁of▁sentence｜>"},
            with_text_arguments,
        ),
    ]
}


# --- mistral-common ---

_V11_SPECIALS = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]",
    10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]",
    16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 19: "[TOOL_CONTENT]",
    32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]",
}  # fmt: skip
# Of what we refuse and mistral-common does not, in its mode for tests: results without calls, and
# in a first message calls, which it does not look at.
_STRICTER = (
    "no call is open",
    "cannot begin with a tool's",
    "before all calls",
    "and there is none",
)


@cache
def _mistral(name: str) -> tuple[Encoding, Any]:
    from mistral_common.protocol.instruct.validator import ValidationMode
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    def both(path: Path) -> tuple[Encoding, Any]:
        return ctxengine.load(path), MistralTokenizer.from_file(str(path), mode=ValidationMode.test)

    if not name.startswith("v"):
        return both(package_file("mistral_common", f"data/{name}"))
    content = json.loads(package_file("mistral_common", "data/tekken_240911.json").read_text())
    content["config"]["version"] = name
    content["special_tokens"] = [
        {"rank": i, "token_str": _V11_SPECIALS.get(i, f"<SPECIAL_{i}>"), "is_control": True}
        for i in range(content["config"]["default_num_special_tokens"])
    ]
    del content["image"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"tekken_{name}.json")
        path.write_text(json.dumps(content))
        return both(path)


@dataclass(frozen=True)
class MistralFamily:
    """A Mistral format over a vocabulary: a file of mistral-common, or tekken of another version."""

    template: str
    file: str

    @property
    def encoding(self) -> Encoding:
        """Ours."""
        return _mistral(self.file)[0]

    def reference(self, messages: Any, tools: Any) -> Ids:
        """What mistral-common encodes."""
        from mistral_common.protocol.instruct.converters import (
            convert_openai_messages,
            convert_openai_tools,
        )
        from mistral_common.protocol.instruct.request import ChatCompletionRequest

        request: Any = ChatCompletionRequest(
            messages=convert_openai_messages(messages),
            tools=convert_openai_tools(tools) if tools else None,
        )
        ids: Ids = _mistral(self.file)[1].encode_chat_completion(request).tokens
        return ids

    def check(self, messages: Any, tools: Any = None) -> None:
        """Assert that ids and count are the reference's."""
        native = Template(self.template)
        expected = self.reference(messages, tools)
        ids = encode_messages(messages, self.encoding, template=native, tools=tools).tolist()
        assert ids == expected, messages
        assert count_messages(messages, self.encoding, template=native, tools=tools) == len(
            expected
        )

    def takes(self, messages: Any, tools: Any) -> bool:
        """Whether mistral-common encodes them at all."""
        try:
            self.reference(messages, tools)
        except Exception:  # any of a dozen classes
            return False
        return True

    def is_stricter(self, messages: Any, why: str) -> bool:
        """Whether we refuse for a reason that mistral-common has not."""
        if self.template == "mistral-v13" and any("reasoning_content" in m for m in messages):
            return "no place for reasoning" in why
        return any(reason in why for reason in _STRICTER)


MISTRAL_FAMILIES = [
    MistralFamily("mistral-v3", "mistral_instruct_tokenizer_240323.model.v3"),
    MistralFamily("mistral-v3", "tekken_240911.json"),
    MistralFamily("mistral-v7", "mistral_instruct_tokenizer_241114.model.v7"),
    MistralFamily("mistral-v7", "v7"),
    MistralFamily("mistral-v11", "v11"),
    MistralFamily("mistral-v13", "v13"),
    MistralFamily("mistral-v13-reasoning", "v13"),
]


# --- openai-harmony ---


@cache
def harmony_encoding() -> Any:
    """openai-harmony's gpt-oss encoding, its rank file written from the packed table."""
    import openai_harmony

    with tempfile.TemporaryDirectory() as folder:
        lines = [
            b"%s %d\n" % (base64.b64encode(token), rank)
            for token, rank in _packed_ranks("o200k_base").items()
        ]
        Path(folder, "o200k_base.tiktoken").write_bytes(b"".join(lines))
        with mock.patch.dict(os.environ, TIKTOKEN_ENCODINGS_BASE=folder):
            return openai_harmony.load_harmony_encoding("HarmonyGptOss")


def harmony_ids(messages: Any) -> Ids:
    """What openai-harmony makes of messages in the form of its to_dict."""
    # As its render_conversation_for_completion calls the renderer; from_dict would fill in fields
    # that to_dict has left out because they are None.
    ids: Ids = harmony_encoding()._inner.render_conversation_for_completion(
        conversation_json=json.dumps({"messages": messages}),
        next_turn_role="assistant",
        config={"auto_drop_analysis": True},
    )
    return ids


def text_of(content: Any) -> Any:
    """An OpenAI message's content as one text, or None."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _developer(instructions: Any, tools: Any = None) -> Any:
    content: Any = {"type": "developer_content"}
    if instructions is not None:
        content["instructions"] = instructions
    if tools:
        functions = [tool["function"] for tool in tools]
        content["tools"] = {
            "functions": {
                "name": "functions",
                "tools": [
                    {
                        "name": function["name"],
                        "description": function.get("description") or "",
                        "parameters": function.get("parameters"),
                    }
                    for function in functions
                ],
            }
        }
    return {"role": "developer", "content": [content]}


def harmony_messages(messages: Any, tools: Any, date: Any = None, effort: Any = "Medium") -> Any:
    """Map an OpenAI chat onto harmony's messages as vLLM's chat completions do."""
    import openai_harmony

    system = openai_harmony.SystemContent(
        reasoning_effort=effort, conversation_start_date=date
    ).to_dict()
    made: list[Any] = [{"role": "system", "content": [system]}]
    names = {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or []
    }
    instructions = None
    if messages and messages[0]["role"] in ("system", "developer"):
        instructions, messages = text_of(messages[0]["content"]), messages[1:]
    if instructions or tools:
        made.append(_developer(instructions, tools))
    for message in messages:
        role, content = message["role"], message["content"]
        if role in ("system", "developer"):
            made.append(_developer(text_of(content)))
        elif role == "user":
            made.append({"role": role, "content": content})
        elif role == "tool":
            made.append(
                {
                    "role": role,
                    "name": "functions." + names[message["tool_call_id"]],
                    "recipient": "assistant",
                    "channel": "commentary",
                    "content": text_of(content),
                }
            )
        else:
            reasoning = message.get("reasoning", message.get("reasoning_content"))
            analysis = {"role": role, "channel": "analysis", "content": reasoning}
            calls = message.get("tool_calls")
            if calls and text_of(content):
                made.append({"role": role, "channel": "commentary", "content": text_of(content)})
            if reasoning:
                made.append(analysis)
            made += [
                {
                    "role": role,
                    "channel": "commentary",
                    "recipient": "functions." + call["function"]["name"],
                    "content_type": "json",
                    "content": call["function"]["arguments"],
                }
                for call in calls or []
            ]
            first = content if not isinstance(content, list) else content and content[0]["text"]
            if not calls and first:
                made.append({"role": role, "channel": "final", "content": content})
    finals = [i for i, message in enumerate(made) if message.get("channel") == "final"]
    last = finals[-1] if finals else 0
    return [m for i, m in enumerate(made) if i >= last or m.get("channel") != "analysis"]


@dataclass(frozen=True)
class HarmonyFamily:
    """gpt-oss with an OpenAI chat, or harmony with the messages that vLLM makes of it."""

    template: str
    date: str = "2026-11-21"

    def reference(self, messages: Any, tools: Any) -> Ids:
        """What openai-harmony encodes."""
        messages = [with_text_arguments(message) for message in messages]
        return harmony_ids(harmony_messages(messages, tools, self.date))

    def check(self, messages: Any, tools: Any = None) -> None:
        """Assert that text, ids and count are the reference's."""
        expected = self.reference(messages, tools)
        messages = [with_text_arguments(message) for message in messages]
        if self.template == "gpt-oss":
            system = HarmonySystem(conversation_start_date=self.date)
            native = Template("gpt-oss", system=system)
        else:
            native = Template(self.template)
            messages, tools = harmony_messages(messages, tools, self.date), None
        encoding = get_encoding("o200k_harmony")
        ids = encode_messages(messages, encoding, template=native, tools=tools)
        assert ids.tolist() == expected
        assert native.render(messages, tools) == harmony_encoding().decode(expected)
        assert count_messages(messages, encoding, template=native, tools=tools) == len(expected)


HARMONY_FAMILIES = {name: HarmonyFamily(name) for name in ("harmony", "gpt-oss")}
