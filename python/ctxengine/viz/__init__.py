"""Pictures of plans, prompts and pools: plain text, ANSI colour, and standalone HTML.

Nothing here needs more than the standard library. A :class:`Style` says what the reader's terminal
can show (``Style.of(sys.stdout)`` finds out); a :class:`Frame` holds the numbers of one planned
request.

Examples
--------
>>> from ctxengine.viz import Frame, section_bars
>>> frame = Frame("a request", "", window=1000, reserved_output=200,
...               sections=(("system", 100), ("history", 500)), prompt_tokens=600, cached_tokens=0)
>>> print(section_bars(frame))  # doctest: +NORMALIZE_WHITESPACE
  system     █████████▊                                            100   10.0%
  history    █████████████████████████████████████████████████     500   50.0%
  answer     ░░░░░░░░░░░░░░░░░░░░                                  200   20.0%
  free       ░░░░░░░░░░░░░░░░░░░░                                  200   20.0%
"""

from __future__ import annotations

from ctxengine.viz.charts import block_map, colored_tokens, frame_text, section_bars
from ctxengine.viz.frame import Blocks, Frame, LeftOut
from ctxengine.viz.html import report_html, tokens_html
from ctxengine.viz.text import Style

__all__ = [
    "Blocks",
    "Frame",
    "LeftOut",
    "Style",
    "block_map",
    "colored_tokens",
    "frame_text",
    "report_html",
    "section_bars",
    "tokens_html",
]
