"""What a model directory says beside the vocabulary: `ModelFacts`."""

from __future__ import annotations

from typing import NamedTuple


class ModelFacts(NamedTuple):
    """What a model directory says beside the vocabulary.

    Attributes
    ----------
    chat_templates : dict of str to str
        Jinja sources by name; the one that is used when none is named is "default".
    bos_token, eos_token : str or None
        Spellings of the tokens that begin and end a text.
    """

    chat_templates: dict[str, str]
    bos_token: str | None
    eos_token: str | None


NO_FACTS = ModelFacts({}, None, None)
