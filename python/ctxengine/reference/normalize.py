"""The steps of a normalizer in the plainest Python: the oracle of the native one.

Written from Unicode Standard Annex 15 over the character data of Python's ``unicodedata``, whose
version depends on Python's (14.0 in 3.11). Hugging Face's tokenizers, whom the native normalizer
follows, know an older Unicode in their NFC and NFKC and a newer one in Lowercase: the answers are
the same for text in characters of Unicode 3.2, but five ideographs that were corrected later.
"""

from __future__ import annotations

import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["normalization_form", "normalize"]

_LEADS, _VOWELS, _FINALS, _SYLLABLES = 0x1100, 0x1161, 0x11A7, 0xAC00


def _decompose(character: str, compatibility: bool) -> str:
    """Return the full canonical or compatibility decomposition, marks in any order."""
    syllable = ord(character) - _SYLLABLES
    if 0 <= syllable < 19 * 21 * 28:
        lead, vowel, final = syllable // (21 * 28), syllable // 28 % 21, syllable % 28
        jamo = chr(_LEADS + lead) + chr(_VOWELS + vowel)
        return jamo + chr(_FINALS + final) if final else jamo
    fields = unicodedata.decomposition(character).split()
    if not fields or (fields[0].startswith("<") and not compatibility):
        return character
    parts = [chr(int(field, 16)) for field in fields if not field.startswith("<")]
    return "".join(_decompose(part, compatibility) for part in parts)


def _compositions() -> dict[str, str]:
    """Return the pairs of characters that are composed: all canonical decompositions into two.

    Left out are those of Full_Composition_Exclusion, which are the ones NFC decomposes.
    """
    pairs = {}
    for code_point in range(0x110000):
        character = chr(code_point)
        fields = unicodedata.decomposition(character).split()
        is_pair = len(fields) == 2 and not fields[0].startswith("<")
        if is_pair and unicodedata.is_normalized("NFC", character):
            pairs["".join(chr(int(field, 16)) for field in fields)] = character
    for lead in range(19):
        for vowel in range(21):
            syllable = chr(_SYLLABLES + (lead * 21 + vowel) * 28)
            pairs[chr(_LEADS + lead) + chr(_VOWELS + vowel)] = syllable
            for final in range(1, 28):
                pairs[syllable + chr(_FINALS + final)] = chr(ord(syllable) + final)
    return pairs


_PAIRS: dict[str, str] = {}


def normalization_form(form: str, text: str) -> str:
    """Return the text in a composed normalization form.

    Parameters
    ----------
    form : {"nfc", "nfkc"}
    text : str

    Returns
    -------
    str

    Notes
    -----
    Quadratic. UAX 15: decompose every character; while a mark stands before one of a lower
    combining class (definition D108), let them change places; then join each character with the
    last starter before it if they are a pair and nothing between them blocks it (D115, D117).
    """
    if not _PAIRS:
        _PAIRS.update(_compositions())
    characters = [*"".join(_decompose(character, form == "nfkc") for character in text)]
    moved = True
    while moved:
        moved = False
        for i in range(len(characters) - 1):
            left, right = map(unicodedata.combining, characters[i : i + 2])
            if left > right > 0:
                characters[i], characters[i + 1] = characters[i + 1], characters[i]
                moved = True
    i = 1
    while i < len(characters):
        own = unicodedata.combining(characters[i])
        starter = i - 1
        while starter >= 0 and unicodedata.combining(characters[starter]) != 0:
            starter -= 1
        between = [unicodedata.combining(c) for c in characters[starter + 1 : i]]
        blocked = any(other >= own for other in between)
        pair = characters[starter] + characters[i]
        if starter >= 0 and not blocked and pair in _PAIRS:
            characters[starter] = _PAIRS[pair]
            del characters[i]
        else:
            i += 1
    return "".join(characters)


def normalize(steps: Sequence[tuple[str, str, str]], text: str, position: str) -> str:
    """Return the text after all steps.

    Parameters
    ----------
    steps : sequence of (kind, pattern, content)
        `kind` is "nfc", "nfkc", "lowercase", "replace", "prepend", "prepend_unless" or
        "prepend_first"; the other two are "" where they mean nothing.
    text : str
    position : {"input_start", "section_start", "middle"}
        What stands before the text: nothing, a special token, or text of the same section.

    Returns
    -------
    str
    """
    for kind, pattern, content in steps:
        if kind in {"nfc", "nfkc"}:
            text = normalization_form(kind, text)
        elif kind == "lowercase":
            text = "".join(character.lower() for character in text)  # alone: no final sigma
        elif kind == "replace":
            text = text.replace(pattern, content)
        else:
            begins = position == "input_start" or (
                position == "section_start" and kind != "prepend_first"
            )
            is_there = kind != "prepend" and text.startswith(content)
            if begins and text and not is_there:
                text = content + text
    return text
