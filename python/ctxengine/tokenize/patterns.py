"""The published pre-tokenizer patterns that have a native scanner, as tiktoken reads them."""

from __future__ import annotations

from ctxengine import _core

SCANNER_OF: dict[str, str] = {}
"""Name of the scanner, by pattern."""

PATTERN_OF: dict[str, str] = {}
"""The pattern by which a scanner is best known, by name; some have none."""

for _name, _in_tiktoken, _, _regexes in _core.known_spellings():
    if _in_tiktoken:
        SCANNER_OF[_regexes[0]] = _name
        PATTERN_OF.setdefault(_name, _regexes[0])
