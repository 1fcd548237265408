"""Text that fits a terminal: its width, its colours, its alphabet.

Widths are columns of a terminal cell grid: East Asian wide and fullwidth characters and emoji take
two, combining marks and format characters none (Unicode Standard Annex 11, by the tables of
:mod:`unicodedata`). Terminals differ on emoji sequences; a sequence joined by ZERO WIDTH JOINER or
ended by VARIATION SELECTOR-16 counts as its parts, which no terminal exceeds.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

__all__ = ["PLAIN", "Style", "cell_width", "clip", "pad", "printable", "wrap"]

# SGR codes of the eight standard colours: terminals map them to the reader's own palette.
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


@dataclass(frozen=True, slots=True)
class Style:
    """What the reader's terminal can show.

    Attributes
    ----------
    color : bool
        Whether SGR colour sequences are written.
    unicode : bool
        Whether the encoding of the stream carries block characters; ASCII stands in otherwise.
    width : int
        Columns of a line.
    """

    color: bool = False
    unicode: bool = True
    width: int = 80

    @classmethod
    def of(cls, stream: IO[str], environ: Mapping[str, str] | None = None) -> Style:
        """Find out what ``stream`` can show.

        Colour needs a terminal that is not ``dumb`` and an empty or absent ``NO_COLOR``
        (https://no-color.org). A pipe gets 80 columns unless ``COLUMNS`` says otherwise.
        """
        env = os.environ if environ is None else environ
        terminal = stream.isatty()
        color = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        try:
            "█░▏…·".encode(getattr(stream, "encoding", None) or "ascii")
            wide_alphabet = True
        except (UnicodeEncodeError, LookupError):
            wide_alphabet = False
        columns = env.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            width = int(columns)
        else:
            width = shutil.get_terminal_size().columns if terminal else 80
        return cls(color, wide_alphabet, max(40, min(width, 120)))

    def paint(self, text: str, *names: str) -> str:
        """Wrap ``text`` in the named attributes, or return it unchanged without colour."""
        if not self.color or not names or not text:
            return text
        codes = ";".join(_CODES[name] for name in names)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def glyph(self, wanted: str, ascii_form: str) -> str:
        """Return ``wanted`` where the stream can carry it, else its ASCII stand-in."""
        return wanted if self.unicode else ascii_form


PLAIN = Style()


def printable(text: str) -> str:
    r"""Replace what could move the cursor or reverse the line: control, format and surrogate codes.

    Line breaks and tabs become visible arrows, other controls ``\xNN`` or ``\uNNNN``. User text
    never reaches a terminal without passing through here.
    """
    out = []
    for char in text:
        if char == "\n":
            out.append("↵")
        elif char == "\t":
            out.append("⇥")
        elif unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or _is_bidi(char):
            code = ord(char)
            out.append(f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
        else:
            out.append(char)
    return "".join(out)


def cell_width(text: str) -> int:
    """Return the number of terminal columns that ``text`` occupies. Linear in its length."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut ``text`` to at most ``width`` columns, ending a cut text with ``ellipsis``."""
    if len(text) <= width and cell_width(text) <= width:
        return text
    room = width - cell_width(ellipsis)
    used = 0
    for index, char in enumerate(text):
        used += _char_width(char)
        if used > room:
            return text[:index] + ellipsis if room >= 0 else ""
    return text


def pad(text: str, width: int, *, align: str = "left") -> str:
    """Fill ``text`` with spaces up to ``width`` columns."""
    fill = " " * max(0, width - cell_width(text))
    return text + fill if align == "left" else fill + text


def wrap(text: str, width: int) -> str:
    """Break ``text`` at spaces into lines of at most ``width`` columns, where words allow it."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_width(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _is_bidi(char: str) -> bool:
    # Embeddings, overrides and isolates turn a whole line around (CVE-2021-42574).
    return char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
