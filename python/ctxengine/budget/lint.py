"""What in a request breaks the prefix that a provider's cache could read."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.budget.cache_plan import (
    _allot,
    _parsed,
    _rules_from,
    path_of,
    read_blocks,
    system_of,
)
from ctxengine.budget.cache_rules import CacheRules

if TYPE_CHECKING:
    from ctxengine.chat import CountReport

_MARKS = ("cache_control", "prompt_cache_breakpoint")
_IDENTITY = 64  # more blocks than this are not tried as a shift of the history


@functools.cache
def _volatile_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return what changes from call to call: points in time, dates, random identifiers."""
    return (
        (
            "a time stamp",
            re.compile(
                r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?|\b\d{1,2}:\d{2}:\d{2}\b", re.ASCII
            ),
        ),
        (
            "a UUID",
            re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", re.ASCII),
        ),
        (
            "today's date",
            re.compile(
                r"(?:\b(?:today|right now|current (?:date|time|day))\b[^\n\d]{0,24}?"
                r"|\bdate(?::| is) {0,3})"
                r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
                r"|(?:\d{1,2}(?:st|nd|rd|th|\.)? )?"
                r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6} \d{1,4})",
                re.ASCII | re.IGNORECASE,
            ),
        ),
        ("seconds since 1970", re.compile(r"(?<![\w.])1[6-9]\d{8}(?:\d{3})?(?![\w.])", re.ASCII)),
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that keeps a prefix from being read.

    Attributes
    ----------
    code : str
        What it is; the codes are listed at :func:`lint`.
    path : str
        Where it is in the request.
    why : str
        What is the matter.
    tokens : int or None
        Tokens of this request that are not read because of it; None where no counts were given.
    advice : str
        What to do.
    """

    code: str
    path: str
    why: str
    tokens: int | None
    advice: str

    def __str__(self) -> str:
        cost = "" if self.tokens is None else f" ({self.tokens:,} tokens)"
        return f"{self.path}: {self.why}{cost}; {self.advice} [{self.code}]"


def lint(
    request: Mapping[str, Any] | bytes,
    rules: CacheRules | str,
    *,
    previous: Mapping[str, Any] | bytes | None = None,
    tokens: CountReport | Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Name what breaks the prefix of a request.

    Alone, a request is searched for what changes from call to call in its head (tools and system)
    and for marks that the provider refuses or ignores. With the request that was sent before it,
    the first difference is found and named.

    ==================== ==========================================================================
    ``volatile-head``    a time, a date or a random identifier in the tools or the system prompt
    ``model``            another model, each has a cache of its own
    ``setting``          another value of a field on which the cached prompt depends
    ``tools-order``      the same tools in another order
    ``json-key-order``   the same object with its keys in another order
    ``tools``            a tool came, went or changed
    ``whitespace``       a text that differs in white space only
    ``image``            an image that was encoded again, or has another address
    ``history-removed``  blocks before others that stayed are gone (a cut, cleared tool results)
    ``history-inserted`` blocks came before others that stayed
    ``text``             another change within what was sent before
    ``moving-anchor``    what was stored is out of reach: its mark went, the next is too far away
    ``too-many-marks``   more marks than the provider takes
    ``lifetime-order``   a longer life behind a shorter one
    ``below-minimum``    a mark on a prefix that is too short to be stored
    ``useless-mark``     a mark on a block that cannot carry one
    ==================== ==========================================================================

    Parameters
    ----------
    request, previous : mapping or bytes
        Bodies of requests; they are not changed.
    rules : CacheRules or str
        Rules, or the name of rules or of a model.
    tokens : CountReport or mapping, optional
        Counts of `request`, as :meth:`CachePlan.for_request` takes them.

    Returns
    -------
    list of Finding
        In the order of the prompt.

    Raises
    ------
    ArgumentError
        A request is none, or `tokens` do not fit it.
    """
    rules = _rules_from(rules)
    body = _parsed(request) if isinstance(request, (str, bytes, bytearray)) else request
    before = _parsed(previous) if isinstance(previous, (str, bytes, bytearray)) else previous
    linter = _Linter(body, rules, tokens)
    if before is not None:
        linter.compare(before)
    linter.look_at_head()
    linter.look_at_marks()
    return [finding for _, finding in sorted(linter.found, key=lambda pair: pair[0])]


class _Linter:
    def __init__(
        self,
        request: Mapping[str, Any],
        rules: CacheRules,
        tokens: CountReport | Mapping[str, Any] | None,
    ) -> None:
        self.request = request
        self.rules = rules
        self.blocks = read_blocks(request, rules)
        self.counted = tokens is not None
        if self.counted:
            _allot(self.blocks, request, tokens)
        self.found: list[tuple[int, Finding]] = []
        self.proved = 0  # blocks that were the same last time

    def add(
        self, code: str, path: str, why: str, advice: str, *, block: int, lost: int | None
    ) -> None:
        self.found.append((block, Finding(code, path, why, lost, advice)))

    def tokens_between(self, begin: int, end: int) -> int | None:
        if not self.counted:
            return None
        after = self.blocks.tokens_after
        return (after(end - 1) if end else 0) - (after(begin - 1) if begin else 0)

    # --- one request ---

    def look_at_head(self) -> None:
        """Find what changes from call to call, in tools and system."""
        told = {finding.path for _, finding in self.found}
        for block in range(self.proved, self.blocks.landmarks[1]):
            path = path_of(self.blocks.place(block), self.request)
            if path in told:
                continue
            for text in _texts(_element(self.request, self.blocks.place(block))):
                what = _volatile(text)
                if what is not None:
                    self.add(
                        "volatile-head",
                        path,
                        f"{what[0]} ({what[1]!r}) in the head: another one next time",
                        "move it to the last user message, or leave it out",
                        block=block,
                        lost=self.tokens_between(block, len(self.blocks)),
                    )
                    break

    def look_at_marks(self) -> None:
        """Find marks that are refused or have no effect."""
        if self.rules.kind != "breakpoints":
            return
        marked = self.blocks.marked
        if len(marked) > self.rules.max_breakpoints:
            block = marked[self.rules.max_breakpoints]
            self.add(
                "too-many-marks",
                path_of(self.blocks.place(block), self.request),
                f"{len(marked)} marks, the provider takes {self.rules.max_breakpoints}",
                "remove marks; those on the end of the system prompt and of the last message count",
                block=block,
                lost=None,
            )
        shortest = None
        for block in marked:
            path = path_of(self.blocks.place(block), self.request)
            seconds = self.blocks.marker_seconds(block) or self.rules.lifetimes[0][1]
            if shortest is not None and seconds > shortest:
                self.add(
                    "lifetime-order",
                    path,
                    f"{seconds} seconds behind {shortest}",
                    "let the longer life come first",
                    block=block,
                    lost=None,
                )
            shortest = seconds if shortest is None else min(shortest, seconds)
            if not self.blocks.markable(block):
                self.add(
                    "useless-mark",
                    path,
                    "a block of this kind (thinking, blank text) cannot be a breakpoint",
                    "mark the block before it",
                    block=block,
                    lost=None,
                )
            elif self.counted and self.blocks.tokens_after(block) < self.rules.min_tokens:
                self.add(
                    "below-minimum",
                    path,
                    f"{self.blocks.tokens_after(block)} tokens up to here, "
                    f"{self.rules.min_tokens} are needed: nothing is stored, without an error",
                    "mark a later block",
                    block=block,
                    lost=self.blocks.tokens_after(block),
                )

    # --- two requests ---

    def compare(self, before: Mapping[str, Any]) -> None:
        """Find what this request does not share with the one before it."""
        old = read_blocks(before, self.rules)
        self.compare_settings(before, len(old))
        # The settings are part of the digests; beside them the blocks may still be equal.
        keys = (*self.rules.head_keys, *self.rules.message_keys)
        neutral = {**self.request, **{key: before.get(key) for key in keys}}
        mine = read_blocks(neutral, self.rules)
        common = mine.common(old.digests)
        self.proved = common
        if common < len(old) and common < len(mine):
            self.name_difference(before, old, mine, common)
        self.compare_anchors(old, common)

    def compare_settings(self, before: Mapping[str, Any], length: int) -> None:
        head_end = self.blocks.landmarks[1]
        end = min(length, len(self.blocks))
        for keys, begin in ((self.rules.head_keys, 0), (self.rules.message_keys, head_end)):
            for key in keys:
                old, new = before.get(key), self.request.get(key)
                if old == new:
                    continue
                is_model = key in ("model", "modelId")
                self.add(
                    "model" if is_model else "setting",
                    key,
                    f"was {_short(old)}, is {_short(new)}: "
                    + (
                        "each model has a cache of its own"
                        if is_model
                        else "the prompt depends on it"
                    ),
                    "keep it the same within a conversation",
                    block=begin,
                    lost=self.tokens_between(begin, max(begin, end)),
                )

    def name_difference(
        self,
        before: Mapping[str, Any],
        old: _core.CacheBlocks,
        mine: _core.CacheBlocks,
        block: int,
    ) -> None:
        place = mine.place(block)
        path = path_of(place, self.request)
        new_element = _element(self.request, place)
        old_element = _element(before, old.place(block))
        code, why, advice = (
            "text",
            "is not what was sent before",
            "append; do not edit what was sent",
        )
        if place[0] == 0 or old.place(block)[0] == 0:
            code, why, advice = self.tools_difference(before)
        same_tool = place[0] == 0 and _tool_name(old_element) == _tool_name(new_element)
        if code == "text" or (code == "tools" and same_tool):
            found = _difference(old_element, new_element, path)
            shift = None
            if place[0] == 2 and (found is None or found[1] == "text"):
                shift = self.shift(before, old, block)
            if shift is not None:
                code, why, advice = shift
            elif found is not None:
                path, code, why, advice = found
        self.add(
            code,
            path,
            why,
            advice,
            block=block,
            lost=self.tokens_between(block, min(len(old), len(self.blocks))),
        )

    def tools_difference(self, before: Mapping[str, Any]) -> tuple[str, str, str]:
        old = [_canonical(tool) for tool in _tools(before)]
        new = [_canonical(tool) for tool in _tools(self.request)]
        if old != new and Counter(old) == Counter(new):
            return "tools-order", "the same tools in another order", "sort the tools by name"
        return (
            "tools",
            f"the tools are not those of before ({len(old)} then, {len(new)} now)",
            "offer the same tools in every call of a conversation",
        )

    def shift(
        self, before: Mapping[str, Any], old: _core.CacheBlocks, block: int
    ) -> tuple[str, str, str] | None:
        """Tell whether blocks went or came before others that stayed."""
        mine = self.blocks
        new_keys = [_key(self.request, mine.place(i)) for i in _window(block, len(mine))]
        old_keys = [_key(before, old.place(i)) for i in _window(block, len(old))]
        if new_keys and new_keys[0] in old_keys[1:]:
            gone = old_keys.index(new_keys[0], 1)
            return (
                "history-removed",
                f"{gone} blocks that were sent before are gone here, what follows them stayed",
                "cut rarely and far: on a grid, so that the cut stays where it is for many turns",
            )
        if old_keys and old_keys[0] in new_keys[1:]:
            came = new_keys.index(old_keys[0], 1)
            return (
                "history-inserted",
                f"{came} blocks came in before what was sent before",
                "put what changes behind the history, inside the last user turn",
            )
        return None

    def compare_anchors(self, old: _core.CacheBlocks, common: int) -> None:
        """Find entries of the call before that no mark of this one reaches."""
        if self.rules.kind != "breakpoints" or self.rules.implicit_tail:
            return
        stored = [block for block in old.marked if block < common]
        if self.counted:
            after = self.blocks.tokens_after
            stored = [block for block in stored if after(block) >= self.rules.min_tokens]
        if not stored:
            return
        position = self.blocks.position
        marked = [block for block in self.blocks.marked if self.blocks.markable(block)]
        reached = [
            entry
            for entry in stored
            if any(
                mark >= entry and position(mark) - position(entry) < self.rules.look_back
                for mark in marked
            )
        ]
        longest = stored[-1]
        if longest in reached:
            return
        read = reached[-1] + 1 if reached else 0
        self.add(
            "moving-anchor",
            path_of(self.blocks.place(longest), self.request),
            f"was stored up to here, but no mark is on it or within {self.rules.look_back} "
            f"positions behind it",
            "mark this block again, beside the newest one",
            block=longest,
            lost=self.tokens_between(read, longest + 1),
        )


def _window(begin: int, end: int) -> range:
    return range(begin, min(end, begin + _IDENTITY))


def _tools(request: Mapping[str, Any]) -> Sequence[Any]:
    tools = request.get("tools")
    if tools is None and isinstance(request.get("toolConfig"), Mapping):
        tools = request["toolConfig"].get("tools")
    return tools or ()


def _tool_name(tool: Any) -> object:
    tool = _plain(tool)
    for key in ("function", "toolSpec"):
        if isinstance(tool, Mapping) and isinstance(tool.get(key), Mapping):
            tool = tool[key]
    return tool.get("name") if isinstance(tool, Mapping) else None


def _element(request: Mapping[str, Any], place: tuple[int, int, int, int]) -> Any:
    """Return what a block is made of."""
    section, item, part, index = place
    if section == 0:
        return _tools(request)[item]
    if section == 1:
        system = system_of(request)[1]
        return system if isinstance(system, str) else system[item]
    messages = next(request[k] for k in ("messages", "input", "contents") if k in request)
    if isinstance(messages, str):
        return messages
    message = _plain(messages[item])
    if part == 0:
        return message
    field = ("", "content", "content", "parts", "tool_calls")[part]
    return message[field] if part == 1 else message[field][index]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) or not hasattr(value, "model_dump"):
        return value
    return value.model_dump(exclude_unset=True)


def _bare(value: Any) -> Any:
    """Return a value without marks; a plain text part as its text."""
    value = _plain(value)
    if isinstance(value, Mapping):
        bare = {k: _bare(v) for k, v in value.items() if k not in _MARKS and v is not None}
        if set(bare) <= {"type", "text"} and isinstance(bare.get("text"), str):
            return bare["text"]
        return bare
    if isinstance(value, (list, tuple)):
        return [_bare(element) for element in value]
    return value


def _canonical(value: Any) -> str:
    return json.dumps(_bare(value), sort_keys=True, ensure_ascii=True, default=repr)


def _key(request: Mapping[str, Any], place: tuple[int, int, int, int]) -> str:
    messages = next(request[k] for k in ("messages", "input", "contents") if k in request)
    role = ""
    if place[0] == 2 and not isinstance(messages, str):
        message = _plain(messages[place[1]])
        role = str(message.get("role", ""))
    return f"{role} {_canonical(_element(request, place))}"


def _difference(old: Any, new: Any, path: str) -> tuple[str, str, str, str] | None:
    """Name the difference of two elements: path, code, why, advice; None: just different."""
    old, new = _bare(old), _bare(new)
    if isinstance(old, str) and isinstance(new, str):
        return _text_difference(old, new, path)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if _is_image(old) and _is_image(new):
            return (
                path,
                "image",
                "an image is not byte for byte what was sent before",
                "encode an image once and keep the bytes; use addresses that do not change",
            )
        for key in new:
            if key in old and _ordered(old[key]) != _ordered(new[key]):
                return _difference(old[key], new[key], f"{path}.{key}")
        if old.keys() == new.keys() and list(old) != list(new):
            return (
                path,
                "json-key-order",
                "the same keys in another order",
                "write objects with sorted keys",
            )
        return None
    if isinstance(old, list) and isinstance(new, list):
        for i, (one, two) in enumerate(zip(old, new, strict=False)):
            if _ordered(one) != _ordered(two):
                return _difference(one, two, f"{path}[{i}]")
    return None


def _ordered(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, default=repr)


def _text_difference(old: str, new: str, path: str) -> tuple[str, str, str, str] | None:
    if old == new:
        return None
    if "".join(old.split()) == "".join(new.split()):
        return (
            path,
            "whitespace",
            "differs from what was sent before in white space only",
            "send texts as they were sent, byte for byte",
        )
    if _same_json(old, new):
        return (
            path,
            "json-key-order",
            "the same JSON, written in another way",
            "keep the text of a call as it came; write objects with sorted keys",
        )
    for what, pattern in _volatile_patterns():
        if pattern.search(old) and _without_volatile(old) == _without_volatile(new):
            return (
                path,
                "volatile-head" if path.startswith(("system", "tools", "instructions")) else "text",
                f"only {what} in it changed",
                "move it to the last user message, or leave it out",
            )
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    where = min(len(old), len(new)) if at is None else at
    return (
        path,
        "text",
        f"is not what was sent before, from character {where} on: {new[where : where + 24]!r}",
        "append; do not edit what was sent",
    )


def _without_volatile(text: str) -> str:
    for _, pattern in _volatile_patterns():
        text = pattern.sub("", text)
    return text


def _same_json(old: str, new: str) -> bool:
    if not old.lstrip().startswith(("{", "[")):
        return False
    try:
        return bool(json.loads(old) == json.loads(new))
    except (ValueError, RecursionError):
        return False


def _is_image(value: Mapping[str, Any]) -> bool:
    return value.get("type") in ("image", "image_url", "input_image") or any(
        key in value for key in ("image", "image_url", "inlineData", "inline_data")
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value."""
    todo = [_plain(value)]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            todo += [inner for key, inner in value.items() if key not in _MARKS]
        elif isinstance(value, (list, tuple)):
            todo += value


def _volatile(text: str) -> tuple[str, str] | None:
    for what, pattern in _volatile_patterns():
        match = pattern.search(text)
        if match:
            return what, match[0][:40]
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
