"""Token rate limits: reserve an estimate before the work, settle what was used after it.

A :class:`Limiter` holds one or more :class:`Limit`; a :class:`Key` names one descriptor (a tenant,
a user, a model) for each of them; a reservation passes all limits or none. The state is either in
this process or, with ``store="redis://..."``, in a Redis or Valkey server that many processes
share; both decide alike, to the microsecond.

The algorithm is GCRA, the generic cell rate algorithm of ITU-T I.371, with weights: for each
descriptor one time is kept, the theoretical arrival time, when all that was charged will have been
refilled. Nothing runs in the background, and a descriptor that has been refilled costs no memory.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ctxengine import _core
from ctxengine.errors import ArgumentError, CapacityError, CtxEngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Key", "Limit", "Limiter", "RetryAfter", "Ticket"]

_MAX_COST_US = 2**50


@dataclass(frozen=True)
class Limit:
    """So many tokens per period, and so many at once.

    In any ``d`` seconds at most ``burst_tokens + tokens * d / per_seconds`` tokens pass, plus what
    is refilled in one microsecond, the resolution of the arithmetic.

    Parameters
    ----------
    tokens : int
        Tokens refilled in each period; at least 1.
    per_seconds : float
        The period; at least a microsecond, to which it is rounded.
    burst_tokens : int, optional
        Tokens that may pass at once after a pause; `tokens` when None. A larger reservation never
        passes.

    Raises
    ------
    ArgumentError
        A number is not positive, or refilling the burst takes more than 2**50 microseconds.

    Examples
    --------
    >>> Limit(tokens=100_000, per_seconds=60).burst_tokens
    100000
    """

    tokens: int
    per_seconds: float
    burst_tokens: int = 0

    def __init__(self, tokens: int, per_seconds: float, burst_tokens: int | None = None) -> None:
        object.__setattr__(self, "tokens", _integer(tokens, "tokens", 1))
        object.__setattr__(self, "per_seconds", per_seconds)
        burst = self.tokens if burst_tokens is None else _integer(burst_tokens, "burst_tokens", 1)
        object.__setattr__(self, "burst_tokens", burst)
        if not isinstance(per_seconds, (int, float)) or not 1e-6 <= per_seconds <= 2**30:
            raise ArgumentError(f"per_seconds = {per_seconds!r} is not in 1e-6 .. 2**30")
        self.cost_us(burst)

    @property
    def period_us(self) -> int:
        """The period in microseconds."""
        return round(self.per_seconds * 1_000_000)

    def cost_us(self, tokens: int) -> int:
        """Return the time in which `tokens` are refilled, in microseconds, rounded up.

        Parameters
        ----------
        tokens : int
            At least 0.

        Returns
        -------
        int

        Raises
        ------
        ArgumentError
            It is more than 2**50.
        """
        cost = -(-tokens * self.period_us // self.tokens)
        if cost > _MAX_COST_US:
            raise ArgumentError(f"{tokens} tokens take longer than 2**50 us at this rate")
        return cost


@dataclass(frozen=True)
class RetryAfter:
    """A reservation that does not pass yet; false in a condition.

    Attributes
    ----------
    seconds : float
        Until it passes, if nobody else reserves meanwhile.
    limit_index : int
        Which limit takes that long.
    """

    seconds: float
    limit_index: int

    def __bool__(self) -> bool:
        return False


class Ticket:
    """A reservation that passed. Dropped without settling, it stays charged in full.

    Attributes
    ----------
    tokens : int
        The reserved number.
    """

    __slots__ = ("_charge", "_clock", "tokens")

    def __init__(self, tokens: int, charge: _Charge, clock: Callable[[], int] | None) -> None:
        self.tokens = tokens
        self._charge = charge
        self._clock = clock

    def settle(self, used_tokens: int) -> None:
        """Charge `used_tokens` in place of the reserved number; once only.

        More than reserved is charged even beyond the burst. Less gives back what is surely not
        refilled yet: a bucket that is full again takes nothing back, so reserving too much never
        lets more pass than the limit allows for what was used.

        Parameters
        ----------
        used_tokens : int
            At least 0.

        Raises
        ------
        CtxEngineError
            The ticket was settled or released before.
        ArgumentError
            `used_tokens` is negative or absurdly large. In both cases nothing has changed.
        redis.exceptions.RedisError
            The server did not answer. The ticket counts as settled, since the server may have
            received it: the error is on the side of charging too much.
        """
        used_tokens = _integer(used_tokens, "used_tokens", 0)
        self._charge.settle(used_tokens, self._clock() if self._clock else None)

    def release(self) -> None:
        """Give the reservation back, ``settle(0)``; does nothing when it is settled already."""
        self._charge.release(self._clock() if self._clock else None)


class Key:
    """One descriptor for each limit, resolved once by :meth:`Limiter.key`; for any thread."""

    __slots__ = ("_clock", "_states")

    def __init__(self, states: _States, clock: Callable[[], int] | None) -> None:
        self._states = states
        self._clock = clock

    def reserve(self, tokens: int) -> Ticket | RetryAfter:
        """Charge `tokens` to every limit if all let them pass; else change nothing.

        Parameters
        ----------
        tokens : int
            At least 1: the estimate of what the request will use.

        Returns
        -------
        Ticket or RetryAfter
            True or false in a condition. ``ticket.settle(used)`` corrects the estimate.

        Raises
        ------
        CapacityError
            `tokens` exceeds a limit's burst, so that it can never pass; with both numbers.
        ArgumentError
            `tokens` is not a positive integer.
        redis.exceptions.RedisError
            The server did not answer.

        Examples
        --------
        >>> key = Limiter([Limit(tokens=60, per_seconds=60)]).key("ann")
        >>> ticket = key.reserve(40)
        >>> refused = key.reserve(40)
        >>> bool(ticket), bool(refused), round(refused.seconds)
        (True, False, 20)
        """
        tokens = _integer(tokens, "tokens", 1)
        result = self._states.reserve(tokens, self._clock() if self._clock else None)
        if isinstance(result, tuple):
            wait_us, limit_index = result
            return RetryAfter(wait_us / 1_000_000, limit_index)
        return Ticket(tokens, result, self._clock)


class Limiter:
    """Token rate limits over descriptors.

    Parameters
    ----------
    limits : sequence of Limit
        At least one. A reservation must pass all of them.
    store : str, optional
        None keeps the state in this process. A Redis or Valkey URL (``redis://``, ``rediss://``,
        ``unix://``) keeps it there, shared by all processes; this needs the extra
        ``ctxengine[redis]``. The server's clock then counts, which must not be set back.
    namespace : str
        In front of all keys on the server. All of one namespace are in one slot of a cluster.
    clock : callable, optional
        Returns the time in integer microseconds, in place of the steady clock or the server's; for
        tests. It must not run backwards.

    Raises
    ------
    ArgumentError
        No limits.
    ImportError
        `store` is given and the package ``redis`` is not installed.

    Notes
    -----
    In this process a reservation takes O(limits) under one mutex. On a server it is one round trip,
    whatever the number of limits.

    Examples
    --------
    >>> limiter = Limiter([Limit(tokens=1_000_000, per_seconds=60), Limit(100_000, 60)])
    >>> key = limiter.key("acme", "acme/ann")  # the tenant, then its user
    >>> ticket = key.reserve(4_000)
    >>> ticket.settle(1_234)
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        store: str | None = None,
        namespace: str = "ctxengine:limits",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._limits = tuple(limits)
        self._clock = clock
        if not self._limits:
            raise ArgumentError("a limiter needs at least one limit")
        if any(not isinstance(limit, Limit) for limit in self._limits):
            raise ArgumentError("limits must be Limit objects")
        self._store = None if store is None else _RedisStore(store, namespace, self._limits)
        self._native = _core.Limiter(
            [(limit.tokens, limit.period_us, limit.burst_tokens) for limit in self._limits]
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, in the order of a key's descriptors."""
        return self._limits

    def key(self, *descriptors: str) -> Key:
        """Resolve one descriptor for each limit, in their order.

        The same descriptor under another limit is another one. To hold one descriptor to two rates,
        give two limits and name it twice.

        Parameters
        ----------
        *descriptors : str
            Any text.

        Returns
        -------
        Key

        Raises
        ------
        ArgumentError
            Not one str for each limit.
        """
        for descriptor in descriptors:
            if not isinstance(descriptor, str):
                raise ArgumentError(f"a descriptor is a str, not {type(descriptor).__name__}")
        if len(descriptors) != len(self._limits):
            raise ArgumentError(
                f"a key needs one descriptor for each of {len(self._limits)} limits, "
                f"not {len(descriptors)}"
            )
        names = [descriptor.encode("utf-8", "surrogatepass") for descriptor in descriptors]
        states: _States
        if self._store is not None:
            states = _RedisStates(self._store, names)
        else:
            states = self._native.key(names, self._clock() if self._clock else None)
        return Key(states, self._clock)


def _integer(value: Any, name: str, minimum: int) -> int:
    if isinstance(value, bool):
        raise ArgumentError(f"{name} must be an integer, not {value}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not minimum <= number < 2**63:
        raise ArgumentError(f"{name} = {number} is not in {minimum} .. 2**63 - 1")
    return number


class _Charge(Protocol):
    """What a reservation leaves: `_core.LimiterTicket` or `_RedisCharge`."""

    def settle(self, used_tokens: int, now_us: int | None, /) -> None: ...
    def release(self, now_us: int | None, /) -> None: ...


class _States(Protocol):
    """`_core.LimiterKey` or `_RedisStates`; the tuple is (wait in us, limit index)."""

    def reserve(self, tokens: int, now_us: int | None, /) -> _Charge | tuple[int, int]: ...


# The arithmetic of src/cpp/limits/gcra.cc. Costs are computed by the caller, in exact integers;
# what remains are sums of integers below 2^53, which Lua's doubles hold exactly.
_SCRIPT = """
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function read(key)
  local fields = redis.call('HMGET', key, 'tat', 'busy_since', 'refunded')
  return {
    tat = tonumber(fields[1] or 0),
    busy_since = tonumber(fields[2] or 0),
    refunded = tonumber(fields[3] or 0),
  }
end

local function write(key, state)
  redis.call('HSET', key,
    'tat', string.format('%.0f', state.tat),
    'busy_since', string.format('%.0f', state.busy_since),
    'refunded', string.format('%.0f', state.refunded))
  -- A state whose time has passed equals a missing one. The minute is for clocks that are adjusted.
  redis.call('PEXPIRE', key,
    string.format('%.0f', math.max(0, math.ceil((state.tat - now) / 1000)) + 60000))
end

local function add(state, cost)
  if state.tat <= now then
    state.tat, state.busy_since, state.refunded = now, now, 0
  end
  local ahead = state.tat - now
  state.tat = math.min(state.tat + cost, 9007199254740991)
  return ahead
end

if ARGV[1] == 'reserve' then
  local states, longest, index = {}, 0, 0
  for i, key in ipairs(KEYS) do
    states[i] = read(key)
    local cost, burst = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
    local wait = math.max(states[i].tat, now) + cost - now - burst
    if wait > longest then longest, index = wait, i - 1 end
  end
  if longest > 0 then return {0, longest, index} end
  local result = {1}
  for i, key in ipairs(KEYS) do
    local state = states[i]
    result[#result + 1] = add(state, tonumber(ARGV[2 * i + 1]))
    result[#result + 1] = state.tat
    result[#result + 1] = state.busy_since
    result[#result + 1] = state.refunded
    write(key, state)
  end
  return result
end

for i, key in ipairs(KEYS) do  -- settle
  local state, at = read(key), 5 * i - 2
  local change = tonumber(ARGV[at])
  if change > 0 then
    add(state, change)
    write(key, state)
  elseif change < 0 and state.busy_since == tonumber(ARGV[at + 3]) then
    local ahead, tat = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local refunded_ahead = math.min(state.refunded - tonumber(ARGV[at + 4]), ahead)
    local refund = math.max(0, math.min(-change, tat - refunded_ahead - now))
    state.tat = state.tat - refund
    state.refunded = state.refunded + refund
    write(key, state)
  end
end
return {1}
"""


class _RedisStore:
    """A connection pool and the script; safe to share by threads, as the client is."""

    def __init__(self, url: str, namespace: str, limits: tuple[Limit, ...]) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ImportError(
                "store= needs the package redis: pip install ctxengine[redis]"
            ) from error
        try:
            # No retries: a settlement whose answer was lost must not be made twice.
            client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        except ValueError as error:
            raise ArgumentError(f"store = {url!r} is not a Redis URL: {error}") from error
        self.limits = limits
        self.namespace = namespace
        self._script = client.register_script(_SCRIPT)

    def run(self, operation: str, keys: list[bytes], now_us: int | None, numbers: list[int]) -> Any:
        return self._script(keys, [operation, "" if now_us is None else now_us, *numbers])


class _RedisStates:
    def __init__(self, store: _RedisStore, descriptors: list[bytes]) -> None:
        self._store = store
        # A limit with other numbers is another limit. The braces keep all keys in one cluster slot.
        self._keys = [
            f"{{{store.namespace}}}:{index}:{limit.tokens}/{limit.period_us}:".encode() + descriptor
            for index, (limit, descriptor) in enumerate(zip(store.limits, descriptors, strict=True))
        ]

    def reserve(self, tokens: int, now_us: int | None, /) -> _RedisCharge | tuple[int, int]:
        numbers = []
        for index, limit in enumerate(self._store.limits):
            if tokens > limit.burst_tokens:
                raise CapacityError(
                    f"{tokens} tokens can never pass limit {index}, whose burst is "
                    f"{limit.burst_tokens} tokens",
                    tokens,
                    limit.burst_tokens,
                )
            numbers += [limit.cost_us(tokens), limit.cost_us(limit.burst_tokens)]
        passed, *answer = self._store.run("reserve", self._keys, now_us, numbers)
        if not passed:
            return answer[0], answer[1]
        return _RedisCharge(self._store, self._keys, tokens, answer)


class _RedisCharge:
    def __init__(
        self, store: _RedisStore, keys: list[bytes], tokens: int, charges: list[int]
    ) -> None:
        from threading import Lock

        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._charges = charges
        self._open = Lock()  # taken by the one settlement, never given back

    def settle(self, used_tokens: int, now_us: int | None, /) -> None:
        if not self._settle_once(used_tokens, now_us):
            raise CtxEngineError("the ticket is settled or released already")

    def release(self, now_us: int | None, /) -> None:
        self._settle_once(0, now_us)

    def _settle_once(self, used_tokens: int, now_us: int | None) -> bool:
        numbers = []
        for index, limit in enumerate(self._store.limits):
            numbers.append(limit.cost_us(used_tokens) - limit.cost_us(self._tokens))
            numbers += self._charges[4 * index : 4 * index + 4]
        if not self._open.acquire(blocking=False):
            return False
        self._store.run("settle", self._keys, now_us, numbers)
        return True
