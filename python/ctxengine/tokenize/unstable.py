"""What the end of a text may become when the text goes on: tiktoken's encode_with_unstable."""

from __future__ import annotations

from bisect import bisect_left

from ctxengine.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxengine import _core
    from ctxengine.tokenize.single import SingleCalls

# Unicode's White_Space property, for which str.isspace is not quite the test.
_WHITE_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

# Every token that could straddle the end is tried, for every byte that it could begin at: quadratic
# in the unstable part. No word of a real text comes near this size.
_MAX_UNSTABLE_BYTES = 1024


def completions(encoding: SingleCalls, unstable: bytes) -> list[list[int]]:
    """Return the ids that `unstable` may turn into, each the shortest that covers it, sorted."""
    if len(unstable) > _MAX_UNSTABLE_BYTES:
        raise ArgumentError(
            f"the unstable end of the text has {len(unstable)} bytes, "
            f"the limit is {_MAX_UNSTABLE_BYTES}"
        )
    if not unstable:
        return []
    native = encoding._native
    sorted_tokens = encoding._sorted_tokens
    found: set[tuple[int, ...]] = set()
    for token in _beginning_with(unstable, sorted_tokens):
        found.add((native.encode_single_token(token),))
    # A token that straddles the end may begin at any later byte too. What then comes before it is
    # encoded anew, together with it.
    for i in range(1, len(unstable)):
        for token in _beginning_with(unstable[i:], sorted_tokens):
            ids = _encode_text_or_merge(encoding, unstable[:i] + token)
            found.add(_shortest_covering(native, ids, len(unstable)))
    # More text can make the pattern cut off the last white space, which `unstable` has joined.
    last = _last_character(unstable)
    if last in _WHITE_SPACE and len(last.encode()) < len(unstable):
        cut = len(unstable) - len(last.encode())
        found.add((*native.merge_bytes(unstable[:cut]), *native.merge_bytes(unstable[cut:])))
    return sorted(map(list, found))


def _beginning_with(prefix: bytes, sorted_tokens: list[bytes]) -> list[bytes]:
    begin = end = bisect_left(sorted_tokens, prefix)
    while end < len(sorted_tokens) and sorted_tokens[end].startswith(prefix):
        end += 1
    return sorted_tokens[begin:end]


def _encode_text_or_merge(encoding: SingleCalls, data: bytes) -> list[int]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return encoding._native.merge_bytes(data)
    return encoding.encode_ordinary(text)


def _shortest_covering(native: _core.Encoding, ids: list[int], num_bytes: int) -> tuple[int, ...]:
    covered = 0
    for num_ids, token in enumerate(native.decode_tokens(ids), 1):
        covered += len(token)
        if covered >= num_bytes:
            return tuple(ids[:num_ids])
    return tuple(ids)


def _last_character(data: bytes) -> str:
    """Return the character that the bytes end in, or "" if they do not end in a whole one."""
    begin = len(data) - 1
    while begin > 0 and data[begin] & 0xC0 == 0x80:
        begin -= 1
    try:
        return data[begin:].decode()
    except UnicodeDecodeError:
        return ""
