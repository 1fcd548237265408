"""What a stream of ids must have put out: all of the text, then the first stop string cut off."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


def text_before_stop(data: bytes, stops: Sequence[str]) -> tuple[str, str | None]:
    """Return the text of the bytes up to the first stop string, and that string.

    The first is the one that ends first, and of those that end together the longest.
    """
    text = data.decode("utf-8", "replace")
    found = [
        (end, -len(stop), stop)
        for stop in stops
        for end in range(len(stop), len(text) + 1)
        if text[:end].endswith(stop)
    ]
    if not found:
        return text, None
    end, _, stop = min(found)
    return text[: end - len(stop)], stop


def _is_a_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


def _may_become_a_character(start: bytes) -> bool:
    """Tell whether bytes that the decoder waits with can still become one character.

    (CPython waits with the first two bytes of a surrogate too, which are malformed already.)
    """
    tails = (bytes([byte]) * length for byte in (0x80, 0xBF) for length in (1, 2, 3))
    return any(_is_a_character(start + tail) for tail in tails)


def held_back(data: bytes, stops: Sequence[str]) -> int:
    """Return how many characters at the bytes' end are not certain yet.

    Those of the longest end that a stop string begins with, and one for the beginning of a
    character; 0 when a stop string was found.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    if text_before_stop(text.encode(), stops)[1] is not None:
        return 0
    ends = [
        length for stop in stops for length in range(1, len(stop)) if text.endswith(stop[:length])
    ]
    return max(ends, default=0) + _may_become_a_character(decoder.getstate()[0])
