"""Where to set the breakpoints of a prompt cache, and what a call will read and write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.budget.cache_rules import CacheRules
from ctxengine.budget.request import real_number
from ctxengine.errors import ArgumentError
from ctxengine.pricing import Cost

if TYPE_CHECKING:
    from ctxengine.chat import CountReport
    from ctxengine.pricing import PriceTable

_PPM = 1_000_000
_MAX_EARLIER_CALLS = 256
_MAX_ENTRIES = 64


class NextCall(NamedTuple):
    """One case of what comes after this call.

    Attributes
    ----------
    shares : str or int
        How much of this prompt it begins with: ``"all"``, ``"history"`` (all before the last user
        turn), ``"head"`` (tools and system), ``"tools"``, or a number of blocks.
    probability : float
        That it comes; the cases together are at most 1.
    gap_seconds : int
        How long after this call.
    """

    shares: str | int
    probability: float
    gap_seconds: int = 60


#: A conversation that mostly goes on within a minute; now and then its last turn is written anew,
#: or another conversation begins with the same head.
DEFAULT_NEXT_CALLS = (
    NextCall("all", 0.85),
    NextCall("history", 0.03),
    NextCall("head", 0.1),
    NextCall("tools", 0.02),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a provider has seen of one call: no content, only digests. Pickles by value.

    Attributes
    ----------
    digests : bytes
        8 bytes for each block, each for all blocks up to it.
    entries : tuple of (int, int, float)
        Prefixes that are stored: last block, lifetime in seconds, and when it ends.
    """

    digests: bytes
    entries: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A block that carries, or should carry, a mark.

    Attributes
    ----------
    path : str
        Where it is in the request, such as ``messages[4].content[0]``.
    block : int
        Its number among the blocks of the prompt.
    tokens : int
        Tokens of the prompt up to and with it.
    lifetime : str
        Name of the lifetime that is asked for.
    kept : bool
        Whether the request has it already.
    """

    path: str
    block: int
    tokens: int
    lifetime: str
    kept: bool


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What a call will read from the cache, write to it, and pay in full.

    Attributes
    ----------
    rules : CacheRules
        The provider's rules.
    total_tokens : int
        Tokens of the prompt; `predicted_read`, `predicted_write` and `predicted_uncached` add up
        to it.
    predicted_read, predicted_write, predicted_uncached : int
        Predicted tokens. What the model itself generated counts as new when it comes back: a
        serving engine may read a little more.
    written : dict of str to int
        `predicted_write` by lifetime.
    breakpoints : tuple of Breakpoint
        The marks that the request should have, in order; empty for a provider that takes none.
    mode : str
        ``"implicit"`` or ``"explicit"`` where the provider marks the newest message by itself
        (``prompt_cache_options.mode``); else empty.
    cost : Cost or None
        Predicted cost of the prompt; None without prices.
    uncached_cost : Cost or None
        What the prompt would cost without a cache.
    exact : bool
        Whether what had been sent before was known.
    sent : Sent
        For `previous` of the next call.
    """

    rules: CacheRules
    total_tokens: int
    predicted_read: int
    predicted_write: int
    predicted_uncached: int
    written: dict[str, int]
    breakpoints: tuple[Breakpoint, ...]
    mode: str
    cost: Cost | None
    uncached_cost: Cost | None
    exact: bool
    sent: Sent = field(repr=False)

    @classmethod
    def for_request(
        cls,
        request: Mapping[str, Any] | bytes | Sequence[int],
        rules: CacheRules | str,
        *,
        tokens: CountReport | Mapping[str, Any] | None = None,
        previous: Sent | Iterable[Sent] | None = None,
        now: float | None = None,
        prices: PriceTable | None = None,
        next_calls: Iterable[NextCall | tuple[str | int, float, int]] = DEFAULT_NEXT_CALLS,
        place: bool = True,
    ) -> CachePlan:
        """Choose the breakpoints of a request and predict its use of the cache.

        The breakpoints minimise the expected cost of this call and of the part of the next one
        that it shares, over `next_calls`; the choice is optimal, not a heuristic (the model is in
        docs/caching.md). Marks that the request has are kept.

        Parameters
        ----------
        request : mapping, bytes or sequence of int
            The body of a request (OpenAI chat or Responses, Anthropic, Bedrock, Gemini) as a dict
            or JSON; it is not changed. Or plain token counts, one for each block: then equal
            counts are taken for equal blocks.
        rules : CacheRules or str
            Rules, or the name of rules or of a model.
        tokens : CountReport or mapping, optional
            What the request counts. A report of :func:`ctxengine.chat.count_request`, or a mapping
            with ``tools``, ``system``, ``messages`` (each a number, or a sequence with a number,
            or numbers by block, for each item) and ``template`` (tokens that belong to none of
            them; they are taken to be at the end). Where an item of several blocks has one
            number, they share it by their length. Needed unless `request` is counts.
        previous : Sent or iterable of Sent, optional
            `sent` of earlier calls. ``()``: there were none. None: not known; then the breakpoints
            are chosen so that what a previous turn has probably stored is found, and the
            prediction is that nothing is.
        now : float, optional
            Seconds since the epoch, for the age of what is stored.
        prices : PriceTable, optional
            Prices of the model; without them the multipliers of the rules are minimised.
        next_calls : iterable of NextCall
            What is expected next, at most 8 cases.
        place : bool
            False: predict the request as it is.

        Returns
        -------
        CachePlan

        Raises
        ------
        ArgumentError
            An argument is outside its domain, `tokens` do not fit the request, or the request has
            more marks than the provider takes or a longer life behind a shorter one.
        UnknownTokenError
            `rules` names no rules and no model.

        Notes
        -----
        O(size of the request), at memory speed.
        """
        rules = _rules_from(rules)
        moment = time.time() if now is None else real_number(now, "now")
        if isinstance(request, (str, bytes, bytearray)):
            request = _parsed(request)
        lifetime = _default_lifetime(rules, request)
        blocks = read_blocks(request, rules)
        _allot(blocks, request, tokens)
        earlier = _earlier(previous)
        if rules.kind == "breakpoints":
            return _with_breakpoints(
                blocks,
                request,
                rules,
                earlier,
                now=moment,
                prices=prices,
                next_calls=_resolved(next_calls, blocks),
                place=place,
                default=lifetime,
            )
        return _with_prefix(blocks, rules, earlier, now=moment, prices=prices, default=lifetime)

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request with the marks of this plan; the original is not changed.

        Raises
        ------
        ArgumentError
            The request is not the one that was planned.
        """
        from ctxengine.budget.cache_marks import with_marks

        return with_marks(request, self)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data, without what was sent."""
        return {
            "rules": self.rules.name,
            "total_tokens": self.total_tokens,
            "predicted_read": self.predicted_read,
            "predicted_write": self.predicted_write,
            "predicted_uncached": self.predicted_uncached,
            "written": dict(self.written),
            "breakpoints": [
                {
                    "path": at.path,
                    "tokens": at.tokens,
                    "lifetime": at.lifetime,
                    "kept": at.kept,
                }
                for at in self.breakpoints
            ],
            "mode": self.mode,
            "cost": self.cost.to_dict() if self.cost else None,
            "uncached_cost": self.uncached_cost.to_dict() if self.uncached_cost else None,
            "exact": self.exact,
        }


class UnitPrices(NamedTuple):
    """Integer prices of a token: pico-units, or thousandths of an input token."""

    currency: str
    input: int
    read: int
    writes: dict[str, int]


def unit_prices(rules: CacheRules, prices: PriceTable | None, total_tokens: int) -> UnitPrices:
    """Prices of a token of a prompt of so many tokens, by these rules."""
    if prices is None:
        return UnitPrices("", 1000, rules.read, {name: w for name, _, w in rules.lifetimes})
    rates = prices.rates(total_tokens)
    given = dict(rates.cache_writes)
    writes = {}
    for i, (name, _, thousandths) in enumerate(rules.lifetimes):
        if thousandths <= 1000:
            writes[name] = rates.input  # this provider has no fee for storing
        else:
            other = rates.input * thousandths // 1000
            writes[name] = given.get(name, rates.cache_write if i == 0 else other)
    return UnitPrices(prices.currency, rates.input, rates.cached_input, writes)


def read_blocks(request: Mapping[str, Any] | Sequence[int], rules: CacheRules) -> _core.CacheBlocks:
    """Read the blocks of a request, in the order in which a prompt is built from it."""
    if not isinstance(request, Mapping):
        return _core.CacheBlocks.from_counts([_whole("request", count) for count in request])
    tools = request.get("tools")
    if tools is None and isinstance(request.get("toolConfig"), Mapping):
        tools = request["toolConfig"].get("tools")
    system = system_of(request)[1]
    messages = next((request[key] for key in _MESSAGE_KEYS if key in request), None)
    if messages is None:
        raise ArgumentError("request: expected messages, input or contents")
    if isinstance(messages, str) and "messages" not in request:
        messages = [{"role": "user", "content": messages}]
    head = {key: request[key] for key in rules.head_keys if key in request}
    middle = {key: request[key] for key in rules.message_keys if key in request}
    return _core.CacheBlocks(tools, system, messages, head, middle)


_MESSAGE_KEYS = ("messages", "input", "contents")


def system_of(request: Mapping[str, Any]) -> tuple[str, Any]:
    """Return where the system prompt beside the messages is, and it: a str, a list or None."""
    for key in ("system", "instructions", "systemInstruction"):
        system = request.get(key)
        if system:
            return (
                (key + ".parts", system.get("parts"))
                if isinstance(system, Mapping)
                else (key, system)
            )
    return "system", None


def path_of(place: tuple[int, int, int, int], request: object) -> str:
    """Where a block is in a request."""
    section, item, part, index = place
    if not isinstance(request, Mapping):
        return f"[{item}]"
    if section == 0:
        return f"tools[{item}]" if "tools" in request else f"toolConfig.tools[{item}]"
    if section == 1:
        key = system_of(request)[0]
        return key if part == 1 else f"{key}[{item}]"
    name = next(key for key in _MESSAGE_KEYS if key in request)
    of = name if isinstance(request[name], str) else f"{name}[{item}]"
    return (
        of
        + ("", ".content", f".content[{index}]", f".parts[{index}]", f".tool_calls[{index}]")[part]
    )


def _with_breakpoints(
    blocks: _core.CacheBlocks,
    request: object,
    rules: CacheRules,
    earlier: list[Sent] | None,
    *,
    now: float,
    prices: PriceTable | None,
    next_calls: list[tuple[int, int, int]],
    place: bool,
    default: int,
) -> CachePlan:
    unit = unit_prices(rules, prices, blocks.total_tokens)
    lifetimes = sorted(rules.lifetimes, key=lambda lifetime: -lifetime[1])
    entries: list[tuple[int, int, int]] = []
    kept: list[tuple[int, int, float]] = []
    likely = _PPM
    if earlier is not None:
        kept = _alive(blocks, earlier, now)
        entries = [(block, seconds, int(ends - now)) for block, seconds, ends in kept]
    else:
        reply = blocks.landmarks[3]
        if 0 < reply < len(blocks) and blocks.tokens_after(reply - 1) >= rules.min_tokens:
            entries = [(reply - 1, default, default)]  # where a previous call has ended
            likely = 900_000
    chosen, read, read_blocks_, written, uncached = blocks.plan(
        rules.max_breakpoints,
        rules.min_tokens,
        rules.look_back,
        [(seconds, unit.writes[name]) for name, seconds, _ in lifetimes],
        default,
        unit.input,
        unit.read,
        entries,
        likely,
        next_calls,
        _first_section(rules, request),
        place,
        not place and rules.implicit_tail and _mode(request) == "implicit",
    )
    breakpoints = []
    stored = []
    marked = set(blocks.marked)
    for block, lifetime in chosen:
        name, seconds, _ = lifetimes[lifetime]
        tokens = blocks.tokens_after(block)
        path = path_of(blocks.place(block), request)
        breakpoints.append(Breakpoint(path, block, tokens, name, block in marked))
        if tokens >= rules.min_tokens and block >= read_blocks_:
            stored.append((block, seconds, now + seconds))
    for block, seconds, ends in kept:  # a read starts the lives of what it reads again
        stored.append((block, seconds, now + seconds if block < read_blocks_ else ends))
    by_name = {lifetimes[i][0]: count for i, count in enumerate(written) if count}
    mode = ""
    if rules.implicit_tail:
        tail = any(at.block == len(blocks) - 1 and not at.kept for at in breakpoints)
        mode = "implicit" if tail else "explicit"
    return CachePlan(
        rules,
        blocks.total_tokens,
        read,
        sum(written),
        uncached,
        by_name,
        tuple(breakpoints),
        mode,
        *_costs(unit, prices, read, by_name, uncached),
        earlier is not None,
        Sent(blocks.digests, _unique(stored)),
    )


def _with_prefix(
    blocks: _core.CacheBlocks,
    rules: CacheRules,
    earlier: list[Sent] | None,
    *,
    now: float,
    prices: PriceTable | None,
    default: int,
) -> CachePlan:
    total = blocks.total_tokens
    end = len(blocks)
    alive = [sent for sent in earlier or () if any(ends > now for _, _, ends in sent.entries)]
    if rules.kind == "prefix":
        readable = max((blocks.common(sent.digests) for sent in alive), default=0)
    else:
        readable = _units(blocks, alive)
    limit = min(blocks.tokens_after(readable - 1) if readable else 0, total - rules.keeps_last)
    read = stepped(limit, rules)
    written = max(0, stepped(total, rules) - read)
    unit = unit_prices(rules, prices, total)
    name = next(name for name, seconds, _ in rules.lifetimes if seconds == default)
    by_name = {name: written} if written else {}
    uncached = total - read - written
    entries = ((end - 1, default, now + default),) if end else ()
    return CachePlan(
        rules,
        total,
        read,
        written,
        uncached,
        by_name,
        (),
        "",
        *_costs(unit, prices, read, by_name, uncached),
        earlier is not None,
        Sent(blocks.digests, entries),
    )


def _units(blocks: _core.CacheBlocks, earlier: list[Sent]) -> int:
    """Return the blocks of the longest unit that is read: a call, or what two have in common."""
    best = 0
    after: dict[int, set[bytes]] = {}  # by how much is shared, how the calls go on
    for sent in earlier:
        shared = blocks.common(sent.digests)
        after.setdefault(shared, set()).add(sent.digests[8 * shared : 8 * shared + 8])
    longest = max(after, default=0)
    for shared, going_on in after.items():
        if b"" in going_on or len(going_on) > 1 or shared < longest:
            best = max(best, shared)
    return best


def _first_section(rules: CacheRules, request: object) -> int:
    """Return the first of tools, system and messages whose blocks can be marked."""
    if rules.mark_tools:
        return 0
    return 2 if isinstance(request, Mapping) and request.get("instructions") else 1


def _mode(request: object) -> str:
    options = request.get("prompt_cache_options") if isinstance(request, Mapping) else None
    return str(options.get("mode", "implicit")) if isinstance(options, Mapping) else "implicit"


def stepped(tokens: int, rules: CacheRules) -> int:
    """Return how much of a prefix of so many tokens the rules let be cached."""
    return tokens // rules.granularity * rules.granularity if tokens >= rules.min_tokens else 0


def _costs(
    unit: UnitPrices,
    prices: PriceTable | None,
    read: int,
    written: Mapping[str, int],
    uncached: int,
) -> tuple[Cost | None, Cost | None]:
    if prices is None:
        return None, None
    paid = sum(unit.writes[name] * count for name, count in written.items())
    total = read + sum(written.values()) + uncached
    return (
        Cost(unit.currency, uncached * unit.input, read * unit.read, paid),
        Cost(unit.currency, total * unit.input),
    )


def _alive(
    blocks: _core.CacheBlocks, earlier: list[Sent], now: float
) -> list[tuple[int, int, float]]:
    alive = []
    for sent in earlier:
        common = blocks.common(sent.digests)
        alive += [entry for entry in sent.entries if entry[0] < common and entry[2] > now]
    return alive


def _unique(entries: list[tuple[int, int, float]]) -> tuple[tuple[int, int, float], ...]:
    longest: dict[tuple[int, int], float] = {}
    for block, seconds, ends in entries:
        longest[block, seconds] = max(ends, longest.get((block, seconds), ends))
    made = sorted((block, seconds, ends) for (block, seconds), ends in longest.items())
    return tuple(made[-_MAX_ENTRIES:])


def _resolved(
    next_calls: Iterable[NextCall | tuple[str | int, float, int]], blocks: _core.CacheBlocks
) -> list[tuple[int, int, int]]:
    tools, head, history, _ = blocks.landmarks
    ends = {"tools": tools, "head": head, "history": history, "all": len(blocks)}
    made = []
    for i, case in enumerate(next_calls):
        shares, probability, gap = NextCall(*case)
        number = ends.get(shares) if isinstance(shares, str) else shares
        if number is None or not 0 <= number <= len(blocks):
            raise ArgumentError(
                f"next_calls[{i}]: {shares!r} is none of {', '.join(ends)} and no number of blocks "
                f"up to {len(blocks)}"
            )
        if not 0 <= probability <= 1:
            raise ArgumentError(f"next_calls[{i}]: a probability is between 0 and 1")
        made.append((number, int(probability * _PPM), _whole(f"next_calls[{i}]", gap)))
    return made


def _rules_from(rules: CacheRules | str) -> CacheRules:
    if isinstance(rules, CacheRules):
        return rules
    if not isinstance(rules, str):
        raise ArgumentError(f"rules: expected CacheRules or a name, got {type(rules).__name__}")
    return CacheRules.by_name(rules)


def _default_lifetime(rules: CacheRules, request: object) -> int:
    if rules.lifetime_key and isinstance(request, Mapping):
        asked = request.get(rules.lifetime_key)
        for name, seconds, _ in rules.lifetimes:
            if asked is not None and name == str(asked).replace("-", "_"):
                return seconds
    return rules.lifetimes[0][1]


def _earlier(previous: Sent | Iterable[Sent] | None) -> list[Sent] | None:
    if previous is None:
        return None
    earlier = [previous] if isinstance(previous, Sent) else list(previous)
    if len(earlier) > _MAX_EARLIER_CALLS:
        raise ArgumentError(f"previous: at most {_MAX_EARLIER_CALLS} calls, got {len(earlier)}")
    for sent in earlier:
        if not isinstance(sent, Sent):
            raise ArgumentError(f"previous: expected Sent, got {type(sent).__name__}")
    return earlier


def _allot(
    blocks: _core.CacheBlocks, request: object, tokens: CountReport | Mapping[str, Any] | None
) -> None:
    if not isinstance(request, Mapping):
        if tokens is not None:
            raise ArgumentError("tokens: the request is counts already")
        counts = [_whole("request", count) for count in request]  # type: ignore[attr-defined]
        blocks.allot(None, None, counts, 0)
    elif isinstance(tokens, Mapping):
        unknown = sorted(set(tokens) - {"tools", "system", "messages", "template"})
        if unknown:
            raise ArgumentError(f"tokens.{unknown[0]}: unknown field")
        blocks.allot(
            tokens.get("tools"),
            tokens.get("system"),
            tokens.get("messages"),
            _whole("tokens.template", tokens.get("template", 0)),
        )
    elif tokens is None:
        raise ArgumentError("tokens: needed; count_request of ctxengine.chat returns them")
    else:
        tools = tokens.sections.get("tools", 0)
        messages = sum(tokens.messages)
        # A system prompt beside the messages is in the section, and in no message.
        beside = (
            sum(tokens.sections.values()) - tools - messages - tokens.sections.get("template", 0)
        )
        blocks.allot(
            tools or None,
            beside or None,
            tokens.messages,
            tokens.total - tools - messages - beside,
        )


def _whole(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ArgumentError(f"{name}: must be a whole number, not negative, got {value!r}")


def _parsed(text: str | bytes | bytearray) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"request: not JSON: {error}") from None
    if not isinstance(body, Mapping):
        raise ArgumentError("request: expected a JSON object")
    return body
