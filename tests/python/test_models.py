"""The table of models: expectations are the providers' published examples, bills, and LiteLLM's map."""

from __future__ import annotations

import doctest
import json
import re
from decimal import Decimal, localcontext

import ctxengine
import pytest
from ctxengine import models
from ctxengine.errors import ArgumentError, LoadError, UnknownModelError, UnknownTokenError
from ctxengine.models import MediaTokens, ModelTable
from ctxengine.models import table as table_module
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary_families import package_file

TABLE = models.shipped()
HEAD = {"format": "ctxengine.models/1", "as_of": "2026-12-01"}


@pytest.mark.parametrize("module", [models, table_module])
def test_the_examples_of_the_module_are_true(module):
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


# ---- images ----

# Published with the rules, on the providers' pages.
PUBLISHED = [
    ("gpt-4o", 1024, 1024, "high", 765),
    ("gpt-4o", 2048, 4096, "high", 1105),
    ("gpt-4o", 4096, 8192, "low", 85),
    ("gpt-6-astra", 1024, 1024, "high", 1229),
    ("gpt-6-astra", 2048, 2048, "high", 3000),
    ("gpt-6-astra", 4096, 512, "high", 2458),
    ("claude-haiku-4-5", 200, 200, "auto", 64),
    ("claude-haiku-4-5", 1000, 1000, "auto", 1296),
    ("claude-haiku-4-5", 1092, 1092, "auto", 1521),
    ("claude-haiku-4-5", 1920, 1080, "auto", 1560),
    ("claude-haiku-4-5", 2000, 1500, "auto", 1564),
    ("claude-haiku-4-5", 3840, 2160, "auto", 1560),
    ("claude-haiku-4-5", 1075, 1520, "auto", 33 * 47),
    ("claude-opus-5", 200, 200, "auto", 64),
    ("claude-opus-5", 1000, 1000, "auto", 1296),
    ("claude-opus-5", 1920, 1080, "auto", 2691),
    ("claude-opus-5", 2000, 1500, "auto", 3888),
    ("claude-opus-5", 3840, 2160, "auto", 4784),
    ("gemini-2.5-flash", 384, 384, "auto", 258),
    ("gemini-2.5-flash", 960, 540, "auto", 6 * 258),
    ("gemini-3.8-flash", 4000, 3000, "auto", 1120),
    ("gemini-3.8-flash", 4000, 3000, "low", 280),
]


@pytest.mark.parametrize(("model", "width", "height", "detail", "tokens"), PUBLISHED)
def test_published_examples(model, width, height, detail, tokens):
    assert models.image_tokens(model, width, height, detail).num_tokens == tokens
    assert models.image_tokens(model, height, width, detail).num_tokens == tokens


def test_the_published_patches_before_the_factor():
    # 1800 x 2400 becomes 1056 x 1408: 33 x 44 = 1452 patches, times 2.46.
    assert models.image_tokens("gpt-4.1-nano", 1800, 2400).num_tokens == -(-1452 * 246 // 100)


# What providers billed, as users report it: OpenAI's forum, and a data set of image costs.
def test_billed_images():
    # Two images around the rounding of the first step; the prompt's text was 8 tokens.
    assert models.image_tokens("gpt-4.1", 2049, 513).num_tokens == 1453 - 8
    assert models.image_tokens("gpt-4.1", 2050, 513).num_tokens == 773 - 8
    for (width, height), tokens in {
        (256, 256): 77,
        (512, 512): 308,
        (768, 1024): 922,
        (1280, 720): 1104,
        (1024, 1024): 1229,
        (2048, 768): 1844,
    }.items():
        assert models.image_tokens("gpt-5-mini", width, height).num_tokens == tokens
    # Claude 5.5 and Haiku 4.5 (77 and 65 tokens of text), GPT-6 Astra auto and high, GPT-5.5.
    bills = {
        (256, 256): (177, 165, 77, 77, 77),
        (512, 512): (438, 426, 308, 308, 308),
        (768, 768): (861, 849, 692, 692, 692),
        (1024, 1024): (1446, 1434, 1229, 1229, 1229),
        (1280, 720): (1273, 1261, 1104, 1104, 1104),
        (1920, 1080): (2768, 1625, 2448, 2448, 2448),
        (1080, 1920): (2768, 1625, 2448, 2448, 2448),
        (2560, 1440): (None, None, 4320, 2931, 4320),
        (3840, 2160): (None, None, 9792, 2931, 9792),
        (4032, 3024): (None, None, 14364, 2942, 11868),
    }
    asked = [
        ("claude-opus-5-5", "auto", 177 - 100),
        ("claude-haiku-4-5", "auto", 165 - 100),
        ("gpt-6-astra", "auto", 0),
        ("gpt-6-astra", "high", 0),
        ("gpt-5.5", "auto", 0),
    ]
    wrong = []
    for (width, height), billed in bills.items():
        for (model, detail, prompt), tokens in zip(asked, billed, strict=True):
            ours = models.image_tokens(model, width, height, detail).num_tokens + prompt
            if tokens is not None and ours != tokens:
                wrong.append((model, detail, width, height, ours, tokens))
    assert wrong == []


sides = st.integers(1, 12_000)


@given(sides, sides)
def test_patches_equal_the_published_scale(width, height):
    rule = {"max_edge": 1 << 24, "budget": 1536}
    document = HEAD | {
        "image_rules": {
            "r": {
                "kind": "patches",
                "multiplier_percent": 100,
                "details": {"auto": rule},
                "exact": True,
                "source": "here",
            }
        },
        "models": {"m": {"provider": "p", "image": "r"}},
    }
    table = ModelTable(document)
    patches = -(-width // 32) * -(-height // 32)
    if patches > 1536:
        with localcontext(prec=60):
            tiny = Decimal(10) ** -40  # what a root that is a whole number may lack
            scale = (Decimal(32 * 32 * 1536) / (width * height)).sqrt()
            columns, rows = (int(side * scale / 32 + tiny) for side in (width, height))
            if min(columns, rows) < 1:
                return  # the published formula gives an image without pixels
            scale *= min(columns / (width * scale / 32), rows / (height * scale / 32))
            shrunk = [int(side * scale + tiny) for side in (width, height)]
        patches = -(-shrunk[0] // 32) * -(-shrunk[1] // 32)
        assert patches <= 1536
    assert table.image_tokens("m", width, height).num_tokens == patches


@given(
    sides, sides, st.sampled_from([("claude-haiku-4-5", 1568, 1568), ("claude-opus-5", 2576, 4784)])
)
def test_claude_sees_the_largest_image_within_its_limits(width, height, tier):
    model, max_edge, max_tokens = tier
    long, short = max(width, height), min(width, height)

    def tokens(edge: int) -> int | None:
        other = short if edge == long else max(round(edge / (long / short)), 1)
        cells = -(-edge // 28) * -(-other // 28)
        return cells if -(-edge // 28) * 28 <= max_edge and cells <= max_tokens else None

    best = next(found for edge in range(min(long, max_edge), 0, -1) if (found := tokens(edge)))
    assert models.image_tokens(model, width, height).num_tokens == best


def test_more_patches_than_the_api_takes():
    assert models.image_tokens("gpt-6-astra", 4800, 6400).num_tokens == 36_000
    with pytest.raises(
        ArgumentError, match="needs 30200 patches at detail 'auto'; the API rejects"
    ):
        models.image_tokens("gpt-6-astra", 4801, 6400)


HARD_SIZES = [(1, 1), (1, 1 << 24), (1 << 24, 1), (33, 65_535), (1 << 24, 1 << 24)]


@pytest.mark.parametrize("size", HARD_SIZES)
@pytest.mark.parametrize("model", [name for name in TABLE.names() if TABLE.facts(name).image])
def test_no_size_is_too_hard(model, size):
    if size == (1 << 24, 1 << 24) and model.startswith(("gpt-5.6", "gpt-6")):
        with pytest.raises(ArgumentError, match="the API rejects"):
            models.image_tokens(model, *size)
    else:
        assert models.image_tokens(model, *size).num_tokens >= 1


@pytest.mark.parametrize("side", [0, -1, 1.0, True, "1", None, (1 << 24) + 1, 1 << 80])
def test_what_no_image_has(side):
    for size in ((side, 10), (10, side)):
        with pytest.raises(ArgumentError, match=r"^(width|height): must be a whole number"):
            models.image_tokens("gpt-4o", *size)


def test_a_detail_that_the_model_does_not_know():
    with pytest.raises(ArgumentError, match=r"^detail: 'original' is none of gpt-4o's: low, high"):
        models.image_tokens("gpt-4o", 10, 10, "original")
    with pytest.raises(ArgumentError, match="detail"):
        models.image_tokens("claude-opus-5", 10, 10, "high")


def test_what_is_not_published_is_an_error():
    with pytest.raises(
        UnknownModelError, match=r"no rule for the tokens of images .*gemini-4-argon"
    ):
        models.image_tokens("gemini-4-argon", 10, 10)
    with pytest.raises(UnknownModelError, match=r"no rule for the tokens of recordings"):
        models.audio_tokens("gpt-4o", 10)
    with pytest.raises(UnknownModelError, match=r"no rule for the tokens of PDF pages"):
        models.pdf_tokens("claude-opus-5", 10)


# ---- recordings and documents ----


def test_recordings():
    assert models.audio_tokens("gemini-2.5-flash", 60) == MediaTokens(1920, exact=True)
    assert models.audio_tokens("gemini-2.5-flash", 0) == MediaTokens(0, exact=True)
    assert models.audio_tokens("gpt-realtime", 2) == MediaTokens(20, exact=False)
    assert models.audio_tokens("gpt-realtime", 0.01).num_tokens == 1
    assert models.audio_tokens("gpt-realtime", 0.5).num_tokens == 5


@pytest.mark.parametrize("seconds", [-1, -0.1, float("nan"), float("inf"), 1e10, "1", None, True])
def test_what_no_recording_lasts(seconds):
    with pytest.raises(ArgumentError, match=r"^seconds: must be a number"):
        models.audio_tokens("gpt-realtime", seconds)


def test_documents():
    assert models.pdf_tokens("gemini-2.5-pro", 10) == MediaTokens(2580, exact=True)
    assert models.pdf_tokens("gemini-3.8-flash", 10) == MediaTokens(5600, exact=False)
    for wrong in (-1, 1.0, True, None):
        with pytest.raises(ArgumentError, match=r"^num_pages"):
            models.pdf_tokens("gemini-2.5-pro", wrong)


# ---- names ----

SPELLINGS = {
    "gpt-4o": [
        "GPT-4o",
        "openai/gpt-4o",
        "azure/gpt-4o",
        "azure/eu/gpt-4o-2024-08-06",
        "openrouter/openai/gpt-4o",
        "ft:gpt-4o-2024-08-06:acme::abc123",
        "openai/ft:gpt-4o:acme",
        "gpt-4o-2031-01-01",
    ],
    "gpt-4o-2024-05-13": ["azure/gpt-4o-2024-05-13"],
    "gpt-3.5-turbo": ["azure/gpt-35-turbo", "gpt-3.5-turbo-0125"],
    "gpt-5.6-sol": ["gpt-5.6"],
    "claude-sonnet-4-5": [
        "anthropic/claude-sonnet-4-5",
        "anthropic/claude-sonnet-4.5",
        "claude-sonnet-4-5-20250929",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/converse/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "vertex_ai/claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5-latest",
    ],
    "gemini-2.5-pro": ["gemini/gemini-2.5-pro", "models/gemini-2.5-pro", "google/gemini-2.5-pro"],
    "gemini-2.0-flash": ["gemini-2.0-flash-001"],
    "gpt-oss-20b": ["openai/gpt-oss-20b", "bedrock/openai.gpt-oss-20b"],
    "qwen3-8b": ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B-AWQ", "qwen3-8b-gptq-int4"],
    "llama-3.1-8b-instruct": ["meta-llama/Meta-Llama-3.1-8B-Instruct"],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_lead_to_the_model(name):
    for spelling in (name, *SPELLINGS[name]):
        assert models.facts(spelling).name == name, spelling


@pytest.mark.parametrize(
    "unknown",
    [
        "",
        "gpt",
        "claude",
        "gpt-4o-pro",
        "acme/gpt-4o",
        "gpt-4op",
        "ft:",
        "ft:acme",
        "openai/",
        "-latest",
        "us.us.us.",
        "Qwen/Qwen3-Coder-30B-A3B-Instruct",
        "x" * 201,
        "openai/" * 200,
        "-latest" * 10**5,
        None,
        5,
        ["gpt-4o"],
    ],
)
def test_unknown_models(unknown):
    with pytest.raises(UnknownModelError, match=r"unknown model|a model's name is text") as caught:
        models.facts(unknown)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, UnknownTokenError | KeyError)


def test_an_unknown_name_is_told_what_comes_near():
    with pytest.raises(UnknownModelError, match=r"'azure/gtp-4o' .*near it: .*gpt-4o"):
        models.facts("azure/gtp-4o")


# The versions that OpenAI's rule names, https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
RULE_NAMES = [
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-4",
    "gpt-4-0314",
    "gpt-4-32k-0314",
    "gpt-4-0613",
    "gpt-4-32k-0613",
    "gpt-4o",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
]


def test_a_rule_is_published_for_the_versions_that_it_names():
    for name in RULE_NAMES:
        assert models.facts(name).count_rule == "published", name
        assert models.facts(f"azure/{name}").count_rule == "published", name
    for name in (
        "gpt-4o-2024-11-20",
        "gpt-4o-2031-01-01",
        "ft:gpt-4o-2024-08-06:acme::1",
        "gpt-3.5-turbo-0301",
        "gpt-5",
        "o3",
        "gpt-4.1",
        "claude-opus-5",
    ):
        assert models.facts(name).count_rule == "estimate", name
    for name in ("Qwen/Qwen3-8B", "Qwen/Qwen2.5-7B-Instruct-AWQ", "Llama-3.3-70B-Instruct"):
        assert models.facts(name).count_rule == "published", name


def test_encodings_by_model():
    for spelling, encoding in {
        "azure/gpt-4o": "o200k_base",
        "azure/gpt-35-turbo": "cl100k_base",
        "openai/ft:gpt-4:acme": "cl100k_base",
        "text-embedding-3-small": "cl100k_base",
        "openrouter/qwen/qwen3-8b": "qwen3",
        "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3",
    }.items():
        assert ctxengine.encoding_name_for_model(spelling) == encoding
    for unknown in (
        "claude-opus-5",
        "gpt-6-astra",
        "gemini-2.5-pro",
        "llama-3.1-8b-instruct",
        None,
    ):
        with pytest.raises(UnknownModelError, match="no encoding is known"):
            ctxengine.encoding_name_for_model(unknown)


# ---- the shipped file ----


@pytest.mark.parametrize("name", TABLE.names())
def test_an_entry_is_whole(name):
    facts = TABLE.facts(name)
    assert name == name.lower() == facts.name
    assert facts.as_of == TABLE.as_of
    assert facts.sources
    assert all(source.startswith("https://") for source in facts.sources)
    assert facts.encoding is None or facts.encoding in ctxengine.list_encoding_names()
    assert not (facts.closed and facts.encoding)
    limits = (facts.context_window, facts.max_input_tokens, facts.max_output_tokens)
    assert all(limit is None or 1024 <= limit <= 10**7 for limit in limits)
    if facts.context_window and facts.max_input_tokens and facts.max_output_tokens:
        assert facts.max_input_tokens + facts.max_output_tokens == facts.context_window
    if facts.context_window or facts.max_input_tokens:
        assert facts.input_limit() >= 1


def test_templates_are_those_of_the_chat_layer():
    from ctxengine import _core

    named = {TABLE.facts(name).template for name in TABLE.names()} - {None}
    assert named <= set(_core.chat_template_names())


def test_limits_are_those_of_litellm():
    theirs = json.loads(
        package_file("litellm", "model_prices_and_context_window_backup.json").read_bytes()
    )
    compared, differ = 0, []
    for name in TABLE.names():
        facts = TABLE.facts(name)
        entry = next(
            (theirs[key] for key in (name, f"gemini/{name}", f"mistral/{name}") if key in theirs),
            None,
        )
        if entry is None:
            continue
        compared += 1
        limit = facts.max_input_tokens or facts.context_window
        if limit is not None and limit != entry["max_input_tokens"]:
            differ.append((name, limit, entry["max_input_tokens"]))
        most = facts.max_output_tokens
        # Google's pages say 65,536, that map 65,535 for some models.
        if most is not None and abs(most - entry["max_output_tokens"]) > 1:
            differ.append((name, most, entry["max_output_tokens"]))
    assert differ == []
    assert compared >= 80


# ---- limits ----


def test_the_room_of_a_prompt():
    assert models.facts("gpt-4o").input_limit() == 128_000
    assert models.facts("gpt-4o").input_limit(16_384) == 111_616
    assert models.facts("gpt-5").input_limit(1000) == 272_000
    assert models.facts("gpt-5").input_limit(128_000) == 272_000
    assert models.facts("gemini-2.5-pro").input_limit(65_536) == 1_048_576
    for model, reserve in (("gpt-4o", -1), ("gpt-4o", 16_385), ("gpt-4", 8192), ("gpt-4", 10**9)):
        with pytest.raises(ArgumentError, match=r"^reserve_output"):
            models.facts(model).input_limit(reserve)
    with pytest.raises(UnknownModelError, match="no context window is published for 'gpt-4-32k'"):
        models.facts("gpt-4-32k-0613").input_limit()


# ---- users' tables ----


def test_a_users_file_lies_over_the_table(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(
        json.dumps(
            HEAD
            | {
                "prefixes": ["acme/"],
                "sources": {"contract": "https://acme.example/contract"},
                "models": {
                    "chat-prod": {"like": "gpt-4o", "context_window": 64_000, "aliases": ["prod"]},
                    "gpt-4o": {"like": "gpt-4o", "max_output_tokens": 8192},
                    "acme-1": {
                        "provider": "acme",
                        "context_window": 4096,
                        "encoding": "cl100k_base",
                        "image": "acme-images",
                        "sources": ["contract"],
                    },
                },
                "image_rules": {
                    "acme-images": {
                        "kind": "fixed",
                        "tokens": {"auto": 7},
                        "exact": True,
                        "source": "contract",
                    }
                },
            }
        )
    )
    table = TABLE.with_file(path)
    assert table.as_of == "2026-12-01"
    prod = table.facts("acme/PROD")
    assert (prod.name, prod.context_window, prod.encoding) == ("chat-prod", 64_000, "o200k_base")
    assert (prod.as_of, prod.max_output_tokens) == ("2026-12-01", 8192)  # its like was changed
    changed = table.facts("gpt-4o-2024-08-06")
    assert (changed.name, changed.max_output_tokens, changed.as_of) == (
        "gpt-4o",
        8192,
        "2026-12-01",
    )
    assert table.facts("gpt-4o-2024-05-13").max_output_tokens == 4096
    assert table.facts("gpt-5").as_of == TABLE.as_of
    assert table.image_tokens("acme-1", 5, 5) == MediaTokens(7, exact=True)
    assert table.facts("acme-1").sources == ("https://acme.example/contract",)
    assert table.encoding_name("acme/acme-1") == "cl100k_base"
    assert models.facts("gpt-4o").max_output_tokens == 16_384
    with pytest.raises(UnknownModelError):
        models.facts("acme-1")


WRONG = [
    ({}, "^format: expected"),
    ({"format": "ctxengine.models/2", "as_of": "2026-12-01"}, "^format: expected"),
    ({"format": "ctxengine.models/1"}, "^as_of: expected a date"),
    ({"format": "ctxengine.models/1", "as_of": "soon"}, "^as_of: expected a date"),
    ({"format": "ctxengine.models/1", "as_of": "20261201"}, "^as_of: expected a date"),
    (HEAD | {"modles": {}}, "^modles: unknown field"),
    (HEAD | {"models": []}, "^models: expected an object"),
    (HEAD | {"models": {"m": 1}}, r"^models\.m: expected an object"),
    (HEAD | {"models": {"m": {}}}, r"^models\.m\.provider: missing"),
    (HEAD | {"models": {"m": {"like": "n"}}}, r"^models\.m\.like: there is no model 'n'"),
    (HEAD | {"models": {"m": {"like": ["n"]}}}, r"^models\.m\.like: expected a model's name"),
    (HEAD | {"models": {"m": {"like": "n"}, "n": {"like": "m"}}}, r"like: leads round in a circle"),
    (
        HEAD | {"models": {"m": {"provider": "p", "window": 1}}},
        r"^models\.m\.window: unknown field",
    ),
    (
        HEAD | {"models": {"m": {"provider": "p", "context_window": 0}}},
        r"^models\.m\.context_window",
    ),
    (HEAD | {"models": {"m": {"provider": "p", "context_window": 1.0}}}, r"context_window"),
    (HEAD | {"models": {"m": {"provider": "p", "context_window": True}}}, r"context_window"),
    (HEAD | {"models": {"m": {"provider": None}}}, r"^models\.m\.provider"),
    (HEAD | {"models": {"m": {"provider": "p", "count_rule": "exact"}}}, r"^models\.m\.count_rule"),
    (
        HEAD | {"models": {"m": {"provider": "p", "image": "none"}}},
        r"^models\.m\.image: there is no",
    ),
    (HEAD | {"models": {"m": {"provider": "p", "aliases": "gpt-4o"}}}, r"^models\.m\.aliases"),
    (HEAD | {"models": {"m": {"provider": "p", "aliases": ["gpt-4o"]}}}, "is another model's"),
    (HEAD | {"models": {"m": {"provider": "p", "as_of": "now"}}}, r"^models\.m\.as_of"),
    (HEAD | {"prefixes": [""]}, "^prefixes: expected a list of names"),
    (HEAD | {"sources": {"s": 1}}, r"^sources\.s"),
    (HEAD | {"encodings": {"e": {"name": []}}}, r"^encodings\.e\.name: unknown field"),
    (HEAD | {"image_rules": {"r": {"exact": True}}}, r"^image_rules\.r\.source"),
    (
        HEAD | {"image_rules": {"r": {"kind": "x", "exact": True, "source": "s"}}},
        r"^image_rules\.r\.kind",
    ),
    (
        HEAD | {"image_rules": {"r": {"kind": "tiles", "exact": True, "source": "s", "base": 1}}},
        "per_tile",
    ),
    (
        HEAD
        | {
            "image_rules": {
                "r": {"kind": "patches", "exact": True, "source": "s", "multiplier_percent": 1}
            }
        },
        r"^image_rules\.r\.details",
    ),
    (
        HEAD | {"audio_rules": {"r": {"tokens_per_second": 1, "source": "s"}}},
        r"^audio_rules\.r\.exact",
    ),
    (HEAD | {"pdf_rules": {"r": {"tokens": 1}}}, r"^pdf_rules\.r\.tokens: unknown field"),
]


@pytest.mark.parametrize(("document", "complaint"), WRONG)
def test_a_wrong_file_is_told_where(tmp_path, document, complaint):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(document))
    with pytest.raises(LoadError, match=complaint):
        TABLE.with_file(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 10**5])
def test_what_is_not_json(tmp_path, text):
    path = tmp_path / "own.json"
    path.write_bytes(text)
    with pytest.raises(LoadError, match=re.escape(str(path))):
        TABLE.with_file(path)


def test_a_long_chain_is_refused():
    chain = {f"m{i}": {"like": f"m{i + 1}"} for i in range(2000)} | {"m2000": {"provider": "p"}}
    with pytest.raises(LoadError, match="like: leads round in a circle, or too far"):
        TABLE.with_models(chain)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_name_is_known_or_unknown(name):
    pieces = ("gpt-4o", "azure/", "ft:", "-latest", "@1", ":", "us.", "")
    for spelling in (spelling for piece in pieces for spelling in (piece + name, name + piece)):
        try:
            facts = models.facts(spelling)
        except UnknownModelError:
            continue
        assert facts.name in TABLE.names()


WORDS = st.sampled_from(
    [
        *("format", "as_of", "prefixes", "sources", "encodings", "models", "image_rules", "names"),
        *(
            "audio_rules",
            "pdf_rules",
            "kind",
            "tiles",
            "patches",
            "cells",
            "crops",
            "fixed",
            "exact",
        ),
        *("source", "base", "per_tile", "details", "tokens", "auto", "max_edge", "budget", "image"),
        *("like", "aliases", "provider", "context_window", "encoding", "gpt-4o", "m", "r"),
        *("tokens_per_second", "tokens_per_page", "multiplier_percent", "2026-12-01"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 1 << 70)
    | st.floats()
    | WORDS
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=6), st.dictionaries(WORDS, VALUES, max_size=6))
def test_any_file_is_read_or_refused(top, rule):
    for document in (
        HEAD | {key: value for key, value in top.items() if key not in HEAD},
        HEAD | {"image_rules": {"r": rule | {"exact": True, "source": "s"}}},
        HEAD | {"models": {"m": rule}},
    ):
        try:
            table = TABLE._over(document)
        except LoadError:
            continue
        for name in table.names()[:3]:
            assert table.facts(name).name == name
