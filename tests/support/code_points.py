"""Which code points the conformance tests try in every context.

Of the groups that are large and all alike (unassigned ones, caseless letters) every 97th is; with
CTXENGINE_CODE_POINT_STEP=1 all are, which takes a quarter of an hour.
"""

from __future__ import annotations

import os

ALL_CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]  # no surrogates
STEP = int(os.environ.get("CTXENGINE_CODE_POINT_STEP", "97"))


def is_sampled(code_point: int) -> bool:
    """Whether a code point of a large group is among those that are tried."""
    return code_point % STEP == 0
