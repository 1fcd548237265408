"""Pictures: every line fits, hostile text stays text, nothing depends on colour."""

from __future__ import annotations

import doctest
import io
import re
from html.parser import HTMLParser

import pytest
from ctxengine import viz
from ctxengine.pricing import Cost
from ctxengine.tokenize import get_encoding
from ctxengine.viz import (
    Blocks,
    Frame,
    LeftOut,
    Style,
    block_map,
    charts,
    colored_tokens,
    frame_text,
    report_html,
    section_bars,
    tokens_html,
)
from ctxengine.viz.charts import format_duration
from ctxengine.viz.text import cell_width, clip, pad, printable
from hypothesis import given
from hypothesis import strategies as st

SGR = re.compile(r"\x1b\[[0-9;]*m")
STYLES = [
    Style(color, unicode, width)
    for color in (False, True)
    for unicode in (False, True)
    for width in (40, 80, 120)
]


def frame(**changes):
    fields = {
        "title": "turn 2 of 3",
        "message": "प्रिया यहाँ।\nहेडर वाली गड़बड़ ठीक हो गई 🏮",
        "window": 10_000,
        "reserved_output": 1_000,
        "sections": (("system", 867), ("tools", 1309), ("history", 4980), ("turn", 90)),
        "prompt_tokens": 7_246,
        "cached_tokens": 6_000,
        "left_out": (LeftOut("retrieval", "does not fit", 210, ("kb/a", "知识库/乙"), 24),),
        "duplicates": (("retrieval[0]", "retrieval[3]"),),
        "blocks": Blocks(16, 375, 78, 30, 300, 271),
        "stages": (("plan", 1_234_567), ("place", 45_678)),
        "cost": Cost("USD", 1_000_000_000),
        "cost_without_cache": Cost("USD", 4_000_000_000),
    }
    return Frame(**(fields | changes))


@pytest.mark.parametrize("module", [viz, charts])
def test_the_examples_of_the_modules_are_true(module):
    assert doctest.testmod(module).failed == 0


# --- text ---


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("abc", 3),
        ("结账", 4),
        ("e\u0301", 1),
        ("🏮", 2),
        ("ｱ", 1),
        ("Ａ", 2),
        ("a\u200db", 2),
    ],
)
def test_cell_width(text, cells):
    assert cell_width(text) == cells


@given(st.text(), st.integers(1, 40))
def test_clipped_text_fits_and_is_a_prefix(text, width):
    short = clip(text, width)
    assert cell_width(short) <= width
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(st.text(max_size=20))
def test_padding_fills_exactly(text):
    assert cell_width(pad(text, 50)) == 50 == cell_width(pad(text, 50, align="right"))


def test_user_text_cannot_steer_the_terminal():
    hostile = "\x1b[2J\x07\r\x9b31m\u202egnp.exe\u2066\ud800\n\t\u2028"
    shown = printable(hostile)
    assert shown == r"\x1b[2J\x07\x0d\x9b31m\u202egnp.exe\u2066\ud800" + "↵⇥" + r"\u2028"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "color", "unicode"),
    [
        (Terminal(), {}, True, True),
        (Terminal(), {"NO_COLOR": "1"}, False, True),
        (Terminal(), {"NO_COLOR": ""}, True, True),
        (Terminal(), {"TERM": "dumb"}, False, True),
        (io.TextIOWrapper(io.BytesIO(), "utf-8"), {}, False, True),
        (io.TextIOWrapper(io.BytesIO(), "ascii"), {}, False, False),
        (io.TextIOWrapper(io.BytesIO(), "latin-1"), {}, False, False),
        (io.StringIO(), {}, False, False),
    ],
)
def test_style_follows_the_stream(stream, environ, color, unicode):
    style = Style.of(stream, environ)
    assert (style.color, style.unicode) == (color, unicode)


@pytest.mark.parametrize(
    ("columns", "width"), [("100", 100), ("10", 40), ("9999", 120), ("x", 80), ("", 80), ("²", 80)]
)
def test_style_takes_a_sane_width(columns, width):
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    assert Style.of(stream, {"COLUMNS": columns}).width == width


# --- charts ---


@pytest.mark.parametrize("style", STYLES)
def test_every_line_of_a_frame_fits_the_width(style):
    text = frame_text(frame(), style=style)
    for line in SGR.sub("", text).splitlines():
        assert cell_width(line) <= style.width
    assert ("\x1b" in text) == style.color
    assert style.unicode or text.isascii()


def test_colour_only_decorates():
    colored = frame_text(frame(), style=Style(color=True))
    assert SGR.sub("", colored) == frame_text(frame(), style=Style())


def test_a_frame_says_its_numbers():
    text = frame_text(frame(), style=Style(width=120))
    for expected in (
        "7,246 tokens = 6,000 cached (83%) + 1,246 new",
        "375 hit, 78 allocated, 30 evicted; pool: 300 kept, 271 free",
        "retrieval: 2 of 24, 210 tokens; does not fit (kb/a, 知识库/乙)",
        "1.28 ms = plan 1.23 ms + place 45.7 us",
        "USD 0.001000 with the cache, USD 0.004000 without: 75% saved",
        "retrieval[0], retrieval[3]",
    ):
        assert expected in text


def test_a_dearer_cache_is_said_to_be_dearer():
    text = frame_text(frame(cost=Cost("USD", 5_000_000_000)), style=Style(width=120))
    assert "25% more" in text


def test_bars_are_proportional_and_never_vanish():
    lines = section_bars(
        frame(sections=(("system", 1), ("history", 4_000), ("turn", 2_000)), prompt_tokens=6_001)
    ).splitlines()
    system, history, turn = (line.split()[1] for line in lines[:3])
    assert abs(len(history) - 2 * len(turn)) <= 1
    assert len(system) == 1


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_the_block_strip_is_full_and_shows_every_kind(hit, new, kept, free):
    strip = block_map(Blocks(16, hit, new, 0, kept, free), columns=60)
    counts = {"█": hit, "▓": new, "░": kept, "·": free}
    assert len(strip) == (60 if any(counts.values()) else 0)
    for glyph, count in counts.items():
        assert (glyph in strip) == (count > 0)
        if sum(counts.values()):
            exact = 60 * count / sum(counts.values())
            assert abs(strip.count(glyph) - exact) < 4


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 us"),
        (9_994, "9.99 us"),
        (9_996, "10.0 us"),
        (99_960, "100 us"),
        (999_600, "1.00 ms"),
        (1_234_567, "1.23 ms"),
        (12_345_678_900, "12.3 s"),
        (4_000_000_000_000, "4000 s"),
    ],
)
def test_durations(ns, shown):
    assert format_duration(ns) == shown


# --- html ---


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = "<script>alert(1)</script>\" onload='x' & \x00\ud800 <img src=//evil.example>"


def test_a_report_escapes_all_text_and_loads_nothing():
    page = report_html(
        HOSTILE,
        HOSTILE,
        [
            frame(
                title=HOSTILE,
                message=HOSTILE,
                sections=((HOSTILE, 5), ("history", 7)),
                left_out=(LeftOut(HOSTILE, HOSTILE, 1, (HOSTILE,), 1),),
                duplicates=((HOSTILE, HOSTILE),),
                stages=((HOSTILE, 1),),
                cost=Cost(HOSTILE, 1),
                cost_without_cache=Cost(HOSTILE, 1),
            )
        ],
    )
    reader = Reader()
    reader.feed(page)
    assert not {"script", "img", "link", "iframe", "object"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert not [value for name, value in reader.attributes if name in ("src", "href")]
    assert page.encode("utf-8")
    assert "\x00" not in page
    assert "<script>alert(1)</script>" in "".join(reader.text)


def test_a_report_holds_the_numbers_and_a_cell_for_each_block():
    page = report_html("Demo", "about", [frame(), frame()])
    for expected in ("history 4,980 (49.8 %)", "cached 6,000 (82.8 %)", "hit 375", "30 evicted"):
        assert page.count(f"{expected}</span>") == 2 or page.count(f"{expected} for") == 2
    assert "14,492" in page
    assert len(re.findall(r"M\d+ \d+h7v7h-7z", page)) == 2 * (375 + 78 + 300 + 271)


def test_tokens_as_html_are_the_text_in_pieces():
    encoding = get_encoding("cl100k_base")
    ids = encoding.encode_ordinary('a<b>\n"c" & 结账 🏮')
    reader = Reader()
    reader.feed(tokens_html(encoding, ids))
    assert reader.tags == ["div", *["span"] * len(ids)]
    assert [value for name, value in reader.attributes if name == "title"] == list(map(str, ids))
    shown = "".join(reader.text)
    assert shown.startswith('a<b>↵\n"c" & ')


def test_tokens_are_coloured_or_separated():
    encoding = get_encoding("cl100k_base")
    ids = encoding.encode_ordinary("Hello world\x1b[2J\nnext")
    plain = colored_tokens(encoding, ids)
    colored = colored_tokens(encoding, ids, style=Style(color=True))
    assert plain.startswith("Hello| world|")
    assert "\x1b" not in plain
    assert SGR.sub("", colored) == plain.replace("|", "")


def test_an_empty_report_is_still_a_page():
    page = report_html("Demo", "", [])
    assert page.startswith("<!doctype html>")
