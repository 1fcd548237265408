"""Where tokens stand, against the offsets of Hugging Face's tokenizers."""

from __future__ import annotations

import random

import ctxengine
import numpy as np
import pytest
import tokenizers
from vocabulary_families import FAMILIES, family

WORDS = [
    " the",
    "Hello",
    " ",
    "  ",
    "\n",
    "中文",
    "é",
    "e\u0301",
    "👩‍💻",
    "'s",
    "12",
    "ﬁ",
    "한",
    "x",
]


@pytest.fixture(scope="module", params=["deepseek", "mistral_v3_metaspace", "mistral_v3_legacy"])
def both(request, tmp_path_factory):
    path = family(request.param, tmp_path_factory.mktemp("vocabulary")).path
    return ctxengine.load(path), tokenizers.Tokenizer.from_file(str(path))


def test_offsets_are_those_of_tokenizers(both):
    encoding, reference = both
    generator = random.Random(1)
    for _ in range(300):
        text = "".join(generator.choices(WORDS, k=generator.randint(0, 12)))
        expected = reference.encode(text, add_special_tokens=False)
        ids, starts, ends = encoding.encode_with_offsets(text)
        assert ids.tolist() == expected.ids
        ours = list(zip(starts.tolist(), ends.tolist(), strict=True))
        assert ours == expected.offsets, text


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_harmony", "qwen3", *FAMILIES])
def test_offsets_in_bytes_cover_the_text(name, tmp_path):
    encoding = (
        ctxengine.load(family(name, tmp_path).path)
        if name in FAMILIES
        else ctxengine.get_encoding(name)
    )
    generator = random.Random(name)
    for _ in range(100):
        text = "".join(generator.choices(WORDS, k=generator.randint(0, 12)))
        ids, starts, ends = encoding.encode_with_offsets(text, unit="byte")
        assert ids.tolist() == encoding.encode(text)
        covered = np.zeros(len(text.encode()), bool)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            covered[start:end] = True
        assert covered.all(), text
        assert (np.diff(starts) >= 0).all()
        char_starts = encoding.encode_with_offsets(text).starts
        prefix_bytes = np.cumsum([0, *(len(c.encode()) for c in text)])
        assert (prefix_bytes[char_starts] <= starts).all()


def test_offsets_around_special_tokens():
    encoding = ctxengine.get_encoding("qwen3")
    text = "e\u0301 <|im_end|>\u212b<|im_end|>"
    ids, starts, ends = encoding.encode_with_offsets(text, allowed_special="all")
    spans = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    assert [s for s, token in zip(spans, ids, strict=True) if token == 151645] == ["<|im_end|>"] * 2
    assert "".join(dict.fromkeys(spans[:-1])) in text
    assert starts[-1] == len(text) - len("<|im_end|>")
    with pytest.raises(ctxengine.SpecialTokenError):
        encoding.encode_with_offsets(text)
    with pytest.raises(ctxengine.ArgumentError, match="surrogate at 1"):
        encoding.encode_with_offsets("a\ud800")
    with pytest.raises(ctxengine.ArgumentError, match="unit"):
        encoding.encode_with_offsets("a", unit="word")
