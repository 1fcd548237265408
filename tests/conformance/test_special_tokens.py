"""Special tokens stand where Hugging Face's tokenizers and the plain reference find them."""

from __future__ import annotations

import random

import ctxengine
import pytest
import tokenizers
from ctxengine import _core
from ctxengine.reference.special_tokens import AddedToken, find_special_tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenize_support import SINGLE_BYTES, tiny
from tokenizers import models

LETTERS = "ab<> \n\u3000é_\u0301€\U0001d7ce"
NUM_CODE_POINTS = 0x110000


def native(tokens, segments):
    """The native matches, in characters."""
    text = "".join(segment for segment, _ in segments).encode()
    return [
        (len(text[:begin].decode()), len(text[:end].decode()), token_id)
        for begin, end, token_id in _core.find_special_tokens([tuple(t) for t in tokens], segments)
    ]


def rival(tokens, letters=LETTERS):
    """A tokenizer for which each letter is a token: ids tell exactly what was cut out.

    Returns it with the tokens under the ids that it gave them.
    """
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    )
    tokenizer.add_special_tokens(
        [
            tokenizers.AddedToken(
                t.spelling, single_word=t.single_word, lstrip=t.lstrip, rstrip=t.rstrip,
                normalized=False,
            )
            for t in tokens
        ]
    )  # fmt: skip
    return tokenizer, [t._replace(id=tokenizer.token_to_id(t.spelling)) for t in tokens]


def ids_of(matches, text, letters=LETTERS):
    ids, done = [], 0
    for begin, end, token_id in matches:
        ids += [letters.index(letter) for letter in text[done:begin]] + [token_id]
        done = end
    return ids + [letters.index(letter) for letter in text[done:]]


def random_tokens(chance, num_tokens, max_letters, letters=LETTERS, flags=True):
    spellings = {
        "".join(chance.choices(letters, k=chance.randint(1, max_letters)))
        for _ in range(num_tokens)
    }
    return [
        AddedToken(spelling, i, *(flags and chance.random() < 0.3 for _ in range(3)))
        for i, spelling in enumerate(sorted(spellings))
    ]


def hugging_face_ids(tokenizer, text):
    """Its ids, or None where it panics: it cuts a token out of white space already stripped."""
    try:
        return tokenizer.encode(text, add_special_tokens=False).ids
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None


@pytest.mark.parametrize("seed", range(40))
def test_ids_are_those_of_hugging_faces_added_tokens(seed, capfd):
    chance = random.Random(seed)
    letters = LETTERS[: chance.choice([4, 7, len(LETTERS)])]
    num_refused = 0
    tokenizer, tokens = rival(random_tokens(chance, chance.randint(1, 8), 4, letters))
    for _ in range(100):
        text = "".join(chance.choices(letters, k=chance.randint(1, 30)))
        found = native(tokens, [(text, True)])
        assert found == find_special_tokens(tokens, [(text, True)]), (tokens, text)
        expected = hugging_face_ids(tokenizer, text)
        if expected is None:
            num_refused += 1
            stripping = [t for t in tokens if t.lstrip and t.spelling[0].isspace()]
            assert stripping
        else:
            assert ids_of(found, text) == expected, (tokens, text)
    assert num_refused < 100
    capfd.readouterr()  # what the panics print


def test_word_characters_and_white_space_are_those_of_hugging_face_over_all_code_points():
    tokens = [AddedToken("<w>", 0, single_word=True), AddedToken("<s>", 1, rstrip=True)]
    tokenizer, tokens = rival(tokens, "!")
    special_ids = {token.id for token in tokens}
    characters = [chr(c) for c in range(NUM_CODE_POINTS) if not 0xD800 <= c < 0xE000]
    # Each character once before and once behind either token, a few to a text.
    texts = [
        "".join(f"{c}<w>!<w>{c}!<s>{c}!" for c in characters[at : at + 64])
        for at in range(0, len(characters), 64)
    ]
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        expected = [
            (begin, end, token_id)
            for token_id, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token_id in special_ids
        ]
        assert native(tokens, [(text, True)]) == expected


def test_many_spellings_of_one_prefix():
    tokens = [AddedToken(f"<|reserved_{i}|>", i) for i in range(2000)]
    tokens += [AddedToken("<|", 2000), AddedToken("<|reserved_1", 2001)]
    text = "".join(t.spelling for t in tokens) + "<|reserved_9999|>" + "<|reserved_12"
    assert native(tokens, [(text, True)]) == find_special_tokens(tokens, [(text, True)])


segments = st.lists(st.tuples(st.text("ab<>", max_size=6), st.booleans()), max_size=6)
spellings = st.sets(st.text("ab<>", min_size=1, max_size=5), max_size=8)


@settings(max_examples=500, deadline=None)
@given(spellings, segments)
def test_a_special_id_stands_only_for_a_spelling_inside_one_trusted_segment(spellings, segments):
    ids = {spelling: 300 + i for i, spelling in enumerate(sorted(spellings))}
    encoding = tiny(SINGLE_BYTES, ids)
    expected, text, done = [], "".join(segment for segment, _ in segments), 0
    for match in find_special_tokens([AddedToken(*item) for item in ids.items()], segments):
        expected += [*text[done : match.begin].encode(), match.id]
        done = match.end
    expected += text[done:].encode()
    assert encoding.encode_segments(segments).tolist() == expected


def cut(chance, text, num_cuts):
    bounds = sorted(chance.randint(0, len(text)) for _ in range(num_cuts))
    return [text[a:b] for a, b in zip([0, *bounds], [*bounds, len(text)], strict=True)]


@pytest.mark.parametrize("name", ctxengine.list_encoding_names())
def test_untrusted_text_never_yields_a_special_token(name):
    chance = random.Random(11)
    encoding = ctxengine.get_encoding(name)
    special = encoding._special_tokens
    some = sorted(special)[:3] + chance.choices(sorted(special), k=5)
    for _ in range(150):
        text = "".join(chance.choices([*some, "<", "|>", "hello ", "\n", "é"], k=8))
        # Whole, or split anywhere, all of it untrusted.
        parts = cut(chance, text, chance.randint(0, 6))
        ids = encoding.encode_segments([(part, False) for part in parts]).tolist()
        assert not set(ids) & set(special.values())
        assert ids == encoding.encode_ordinary(text)
        # Every other part trusted: exactly the spellings that lie wholly inside those.
        segments = [(part, chance.random() < 0.5) for part in parts]
        tokens = [AddedToken(spelling, token_id) for spelling, token_id in special.items()]
        expected, done = [], 0
        for match in find_special_tokens(tokens, segments):
            expected += [*encoding.encode_ordinary(text[done : match.begin]), match.id]
            done = match.end
        expected += encoding.encode_ordinary(text[done:])
        assert encoding.encode_segments(segments).tolist() == expected


def test_a_pair_of_surrogates_split_over_two_segments_is_two_lone_ones():
    encoding = ctxengine.get_encoding("cl100k_base")
    split = encoding.encode_segments([("a\ud83d", True), ("\ude00b", False)]).tolist()
    assert split == encoding.encode_ordinary("a\ufffd\ufffdb")
    whole = encoding.encode_segments([("a\ud83d\ude00b", False)]).tolist()
    assert whole == encoding.encode_ordinary("a\U0001f600b")
