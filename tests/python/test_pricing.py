"""Prices are exact: expectations are worked out by hand or with fractions."""

from __future__ import annotations

import doctest
import json
import pickle
from datetime import date
from fractions import Fraction
from importlib import metadata

import pytest
from ctxengine import models, pricing
from ctxengine.errors import ArgumentError, LoadError, UnknownModelError
from ctxengine.pricing import Cost, PriceTable, PriceTier, cost, format_amount, shipped
from hypothesis import given
from hypothesis import strategies as st
from vocabulary_families import package_file

PRICES = {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"}


def table(**prices):
    return PriceTable.from_dict({"currency": "USD", "per_million_tokens": prices})


def test_the_examples_of_the_module_are_true():
    assert doctest.testmod(pricing).failed == 0
    assert doctest.testmod(cost).failed == 0


def test_a_request_worked_out_by_hand():
    cost = table(**PRICES).cost(
        100_000, cached_tokens=80_000, written_tokens=15_000, output_tokens=2_000
    )
    # 5,000 x 3 + 80,000 x 0.30 + 15,000 x 3.75 + 2,000 x 15, all per million
    assert cost.to_dict() == {
        "currency": "USD",
        "input": "0.015000000000",
        "cached_input": "0.024000000000",
        "cache_write": "0.056250000000",
        "output": "0.030000000000",
        "total": "0.125250000000",
    }
    assert str(cost) == "USD 0.125250"


def test_what_is_not_priced_costs_what_input_costs():
    cost = table(input="2", output="8").cost(1_000_000, cached_tokens=400_000, written_tokens=1)
    assert str(cost) == "USD 2.000000"


price = st.decimals(0, 10**6, places=6, allow_nan=False)
count = st.integers(0, 10**12)


@given(st.tuples(price, price, price, price), st.tuples(count, count, count, count))
def test_equals_exact_fractions(prices_given, counts):
    p_in, p_cached, p_write, p_out = prices_given
    full, cached, written, output = counts
    prices = table(
        input=f"{p_in:f}",
        cached_input=f"{p_cached:f}",
        cache_write=f"{p_write:f}",
        output=f"{p_out:f}",
    )
    cost = prices.cost(
        full + cached + written, cached_tokens=cached, written_tokens=written, output_tokens=output
    )
    exact = (
        Fraction(p_in) * full
        + Fraction(p_cached) * cached
        + Fraction(p_write) * written
        + Fraction(p_out) * output
    ) / 10**6
    assert Fraction(cost.total, 10**12) == exact


@given(st.integers(0, 10**9))
def test_a_number_and_its_spelling_are_the_same_price(micro):
    spelling = f"{micro // 10**6}.{micro % 10**6:06d}"
    assert table(input=float(spelling), output=1) == table(input=spelling, output=1)


def test_json_numbers_are_read_as_written():
    document = '{"currency": "EUR", "per_million_tokens": {"input": 0.1, "output": 3}}'
    assert PriceTable.from_dict(json.loads(document)).input == 100_000


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({}, "currency"),
        ({"currency": ""}, "currency"),
        ({"currency": "U\nD"}, "currency"),
        ({"currency": "USD"}, "per_million_tokens: expected a mapping"),
        (
            {"currency": "USD", "per_million_tokens": {"input": 1}},
            "per_million_tokens.output: missing",
        ),
        (
            {"currency": "USD", "per_million_tokens": {"output": 1}},
            "per_million_tokens.input: missing",
        ),
        (
            {"currency": "USD", "per_million_tokens": {"input": 1, "output": 1, "tax": 1}},
            "per_million_tokens.tax: unknown",
        ),
        ({"currency": "USD", "per_million_tokens": PRICES, "per": 1}, "per: unknown"),
    ],
)
def test_a_wrong_table_names_the_field(bad, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        PriceTable.from_dict(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "0.1234567",
        ".5",
        "5.",
        "١",
        "1_0",
        " 1",
        "9" * 13,
        -1,
        1e-7,
        True,
        None,
        float("nan"),
        float("inf"),
        [1],
    ],
)
def test_what_is_not_a_price_is_refused(bad):
    with pytest.raises(ArgumentError, match=r"per_million_tokens\.input: expected a price"):
        table(input=bad, output=1)


@pytest.mark.parametrize(
    "counts",
    [
        {"prompt_tokens": -1},
        {"prompt_tokens": 1, "cached_tokens": -1},
        {"prompt_tokens": 1, "written_tokens": -1},
        {"prompt_tokens": 1, "output_tokens": -1},
        {"prompt_tokens": 10, "cached_tokens": 6, "written_tokens": 5},
    ],
)
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ArgumentError):
        table(**PRICES).cost(**counts)


def test_costs_add_up_within_one_currency():
    one, two = Cost("USD", 1, 2, 3, 4), Cost("USD", 10, 20, 30, 40)
    assert one + two == Cost("USD", 11, 22, 33, 44)
    assert (one + two).total == one.total + two.total
    with pytest.raises(ArgumentError, match="cannot add EUR to USD"):
        _ = one + Cost("EUR")
    with pytest.raises(TypeError):
        _ = one + 1


@pytest.mark.parametrize(
    ("pico", "digits", "shown"),
    [
        (0, 6, "USD 0.000000"),
        (499_999, 6, "USD 0.000000"),
        (500_000, 6, "USD 0.000001"),
        (-500_000, 6, "USD -0.000001"),
        (999_999_500_000, 6, "USD 1.000000"),
        (12_345_678_901_234, 2, "USD 12.35"),
        (1, 12, "USD 0.000000000001"),
    ],
)
def test_only_what_is_shown_is_rounded(pico, digits, shown):
    assert format_amount(pico, "USD", digits) == shown


@pytest.mark.parametrize("wrong", [0.15, -1, "1", None, True])
def test_prices_are_whole_numbers(wrong):
    with pytest.raises(ArgumentError, match=r"^cached_input: .*from_dict"):
        PriceTable("USD", 1, wrong, 1, 1)


@pytest.mark.parametrize("wrong", [1.0, float("nan"), "1", None])
def test_counts_are_whole_numbers(wrong):
    with pytest.raises(ArgumentError, match=r"^output_tokens must be a whole number"):
        PriceTable("USD", 1, 1, 1, 1).cost(1, output_tokens=wrong)


# ---- longer prompts, longer storing ----

TIERED = {
    "currency": "USD",
    "per_million_tokens": {
        "input": "3",
        "cached_input": "0.3",
        "cache_write": {"5m": "3.75", "1h": "6"},
        "output": "15",
    },
    "tiers": [
        {
            "above_tokens": 200_000,
            "input": "6",
            "cached_input": "0.6",
            "cache_write": {"5m": "7.5", "1h": "12"},
            "output": "22.5",
        },
        {
            "above_tokens": 500_000,
            "input": "12",
            "cached_input": "1.2",
            "cache_write": {"5m": "15", "1h": "24"},
            "output": "45",
        },
    ],
}


def test_a_tier_holds_for_the_whole_request():
    prices = PriceTable.from_dict(TIERED)
    # 200,000 x 3 + 1,000 x 15; one token more: 200,001 x 6 + 1,000 x 22.5, per million
    assert str(prices.cost(200_000, output_tokens=1000)) == "USD 0.615000"
    assert str(prices.cost(200_001, output_tokens=1000)) == "USD 1.222506"
    assert str(prices.cost(500_000)) == "USD 3.000000"
    assert str(prices.cost(500_001)) == "USD 6.000012"
    assert prices.cost(200_001, cached_tokens=200_001).cached_input == 200_001 * 600_000
    assert prices.rates(200_000) is prices
    assert prices.rates(10**9) is prices.tiers[1]


def test_storing_is_priced_by_how_long():
    prices = PriceTable.from_dict(TIERED)
    cost = prices.cost(100_000, written_tokens={"5m": 10_000, "1h": 20_000})
    assert cost.input == 70_000 * 3_000_000
    assert cost.cache_write == 10_000 * 3_750_000 + 20_000 * 6_000_000
    assert prices.cost(100_000, written_tokens=10_000).cache_write == 10_000 * 3_750_000
    assert prices.cost(300_000, written_tokens={"1h": 1}).cache_write == 12_000_000
    assert prices.cost(10, written_tokens={}).cache_write == 0
    with pytest.raises(ArgumentError, match=r"no price for '1d'; priced: 5m, 1h"):
        prices.cost(10, written_tokens={"1d": 1})
    with pytest.raises(ArgumentError, match=r"no price for '1h'; priced: one price"):
        table(**PRICES).cost(10, written_tokens={"1h": 1})
    with pytest.raises(ArgumentError, match=r"written_tokens\['1h'\] must not be negative"):
        prices.cost(10, written_tokens={"1h": -1})
    with pytest.raises(ArgumentError, match="more than the prompt"):
        prices.cost(10, written_tokens={"1h": 6, "5m": 5})


def changed(**fields):
    return TIERED | fields


def tier(**fields):
    return TIERED["tiers"][0] | fields


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (changed(tiers={}), r"^tiers: expected a list"),
        (changed(tiers=[1]), r"^tiers\[0\]: expected a mapping"),
        (changed(tiers=[tier(price="1")]), r"^tiers\[0\]\.price: unknown field"),
        (changed(tiers=[tier(input="x")]), r"^tiers\[0\]\.input: expected a price"),
        (changed(tiers=[tier(above_tokens=0)]), r"^above_tokens: expected a number above 0"),
        (changed(tiers=[tier(above_tokens="many")]), r"^tiers\[0\]\.above_tokens must be a whole"),
        (
            changed(tiers=[{"above_tokens": 1, "input": 1, "output": 1}]),
            r"^tiers\[0\]\.cached_input: missing",
        ),
        (changed(tiers=[*reversed(TIERED["tiers"])]), r"^tiers: the limits must rise"),
        (changed(tiers=[tier(), tier()]), r"^tiers: the limits must rise"),
        (
            changed(per_million_tokens={"input": 1, "output": 1, "cache_write": {}}),
            r"^per_million_tokens\.cache_write: no prices",
        ),
        (
            changed(per_million_tokens={"input": 1, "output": 1, "cache_write": {"5m": -1}}),
            r"^per_million_tokens\.cache_write\.5m: expected a price",
        ),
    ],
)
def test_a_wrong_tier_names_the_field(bad, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        PriceTable.from_dict(bad)


def test_a_table_is_a_value():
    one, two = PriceTable.from_dict(TIERED), PriceTable.from_dict(TIERED)
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one


@given(st.integers(1, 10**6), st.lists(st.integers(1, 10**6), max_size=4, unique=True), st.data())
def test_any_number_of_tiers(prompt, limits, data):
    limits.sort()
    tiers = tuple(
        PriceTier(limit, *(data.draw(st.integers(0, 10**9)) for _ in range(4))) for limit in limits
    )
    prices = PriceTable("USD", 1, 2, 3, 4, tiers=tiers)
    passed = [t for t in tiers if prompt > t.above_tokens]
    assert prices.cost(prompt).total == prompt * (passed[-1].input if passed else 1)


# ---- LiteLLM's map: entries of its form, with prices of our own ----

MAP = {
    "flat": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "mode": "chat"},
    "cached": {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "cache_read_input_token_cost": 3e-07,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "output_cost_per_token_above_200k_tokens": 2.25e-05,
        "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
        "input_cost_per_token_batches": 1.5e-06,
        "output_cost_per_token_batches": 7.5e-06,
        "supports_vision": True,
    },
    "half a day": {
        "input_cost_per_token": 4e-06,
        "output_cost_per_token": 2e-05,
        "cache_creation_input_token_cost": 5e-06,
        "cache_creation_input_token_cost_above_12hr": 1e-05,
        "input_cost_per_token_flex": 2e-06,
        "output_cost_per_token_flex": 1e-05,
        "cache_read_input_token_cost_flex": 2e-07,
        "cache_creation_input_token_cost_above_12hr_flex": 5e-06,
    },
    "ranges": {
        "tiered_pricing": [
            {"range": [0, 256000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
            {
                "range": [256000.0, 1e6],
                "input_cost_per_token": 2.5e-07,
                "output_cost_per_token": 2e-06,
            },
        ]
    },
    "reaches": {
        "litellm_provider": "xai",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
        "input_cost_per_token_above_128k_tokens": 3e-06,
    },
    "at night": {
        "input_cost_per_token": 4e-06,
        "output_cost_per_token": 8e-06,
        "cache_creation_input_token_cost": 0.0,
        "off_peak_pricing": {
            "input_cost_per_token": 2e-06,
            "output_cost_per_token": 4e-06,
            "windows": [],
        },
    },
}


def test_litellm_entries():
    assert PriceTable.from_litellm(MAP, "flat") == PriceTable(
        "USD", 2_500_000, 2_500_000, 2_500_000, 10_000_000
    )
    assert PriceTable.from_litellm(MAP, "cached") == PriceTable(
        "USD",
        3_000_000,
        300_000,
        3_750_000,
        15_000_000,
        (("5m", 3_750_000), ("1h", 6_000_000)),
        (
            PriceTier(  # its reading is not named: as below the limit
                200_000,
                6_000_000,
                300_000,
                7_500_000,
                22_500_000,
                (("5m", 7_500_000), ("1h", 12_000_000)),
            ),
        ),
    )
    twelve = PriceTable.from_litellm(MAP, "half a day")
    assert twelve.cache_writes == (("30m", 5_000_000), ("12h", 10_000_000))
    flex = PriceTable.from_litellm(MAP, "half a day", service="flex")
    assert flex == PriceTable(
        "USD", 2_000_000, 200_000, 2_000_000, 10_000_000, (("30m", 2_000_000), ("12h", 5_000_000))
    )
    ranges = PriceTable.from_litellm(MAP, "ranges")
    assert (ranges.cost(256_000).total, ranges.cost(256_001).total) == (
        256_000 * 50_000,
        256_001 * 250_000,
    )
    reaches = PriceTable.from_litellm(MAP, "reaches")
    assert (reaches.rates(127_999).input, reaches.rates(128_000).input) == (1_000_000, 3_000_000)
    assert reaches.rates(128_000).output == 2_000_000
    assert PriceTable.from_litellm(MAP, "at night").cache_write == 4_000_000
    assert PriceTable.from_litellm(MAP, "at night", service="off_peak").input == 2_000_000


def test_litellm_file(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps(MAP))
    for source in (path, str(path)):
        assert PriceTable.from_litellm(source, "flat") == PriceTable.from_litellm(MAP, "flat")
    path.write_text("[1]")
    with pytest.raises(LoadError, match="expected an object"):
        PriceTable.from_litellm(path, "flat")
    path.write_text("{")
    with pytest.raises(LoadError, match="not JSON"):
        PriceTable.from_litellm(path, "flat")
    with pytest.raises(OSError, match="absent"):
        PriceTable.from_litellm(tmp_path / "absent", "flat")


@pytest.mark.parametrize("model", ["flt", "", "x" * 10**5, None, 5])
def test_litellm_unknown_models(model):
    with pytest.raises(UnknownModelError) as caught:
        PriceTable.from_litellm(MAP, model)
    assert len(str(caught.value)) < 300
    if model == "flt":
        assert "near it: flat" in str(caught.value)


def litellm(**fields):
    return {"m": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06} | fields}


@pytest.mark.parametrize(
    ("bad", "service", "complaint"),
    [
        ({"m": {}}, "standard", "no 'standard' price by the token"),
        ({"m": {"input_cost_per_token": 1e-06}}, "standard", "no 'standard' price by the token"),
        ({"m": {"input_cost_per_second": 1.0}}, "standard", "no 'standard' price by the token"),
        (litellm(input_cost_per_request=0.01), "standard", r"m\.input_cost_per_request: a price that is not"),
        (litellm(output_cost_per_reasoning_token=2e-06), "standard", "another price of output"),
        (litellm(cache_read_input_token_cost=1.5e-13), "standard", r"cache_read\w+: expected whole pico"),
        (litellm(cache_read_input_token_cost=-1e-6), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost=float("nan")), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost=float("inf")), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost=True), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost="cheap"), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost="1e999999999"), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost=[1]), "standard", "expected whole pico"),
        (litellm(cache_read_input_token_cost=1), "standard", "expected whole pico"),
        (litellm(), "batch", "no 'batch' price"),
        (litellm(), "off_peak", "no 'off_peak' prices"),
        (litellm(), "cache_hit", "no 'cache_hit' price"),
        (litellm(), ["batch"], "service: expected a word"),
        (
            litellm(input_cost_per_token_flex=1e-7, output_cost_per_token_flex=1e-7, input_cost_per_token_above_1k_tokens=1e-6),
            "flex",
            "no 'flex' price above 1000 tokens",
        ),
        (litellm(tiered_pricing=5), "standard", "tiered_pricing: expected prices by range"),
        (litellm(tiered_pricing=[]), "standard", "no range begins at 0"),
        (litellm(tiered_pricing=[{"range": 5}]), "standard", "tiered_pricing: expected prices by range"),
        (litellm(tiered_pricing=[{"range": [0.5, 1]}]), "standard", "tiered_pricing: expected"),
        (litellm(tiered_pricing=[{"range": [0, 1]}, {"range": [0, 1]}]), "standard", "tiered_pricing"),
        (litellm(tiered_pricing=[{"range": [0, 1]}]), "standard", "no 'standard' price by the token"),
        (litellm(tiered_pricing=[{"range": [0, 1], "output_cost_per_reasoning_token": [1]}]), "standard", "another"),
        (litellm(tiered_pricing=[{"range": [0, 1]}]), "batch", "no 'batch' prices"),
    ],
)  # fmt: skip
def test_litellm_entries_that_a_table_cannot_tell(bad, service, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        PriceTable.from_litellm(bad, "m", service=service)


def real_map() -> dict:
    return json.loads(
        package_file("litellm", "model_prices_and_context_window_backup.json").read_bytes()
    )


def test_the_real_map_is_read_or_refused():
    theirs, read = real_map(), 0
    for model, entry in theirs.items():
        by_token = isinstance(entry.get("input_cost_per_token"), float)
        try:
            prices = PriceTable.from_litellm(theirs, model)
        except ArgumentError:
            continue
        read += 1
        if by_token:
            exact = Fraction(repr(entry["input_cost_per_token"])) * 10**12
            assert "tiered_pricing" in entry or prices.input == exact, model
    assert read > 3000


# ---- the package's own file ----


def test_prices_of_the_package():
    # As published: $5 and $25, a cache read a tenth, writes 1.25 and 2 times input.
    opus = pricing.prices("claude-opus-5")
    assert opus.cost(10**6, output_tokens=10**6).total == 30 * 10**12
    assert opus.cost(10**6, cached_tokens=10**6).total == 10**12 // 2
    assert opus.cost(10**6, written_tokens={"5m": 10**6}).total == 6_250_000 * 10**6
    assert opus.cost(10**6, written_tokens={"1h": 10**6}).total == 10 * 10**12
    # As published: $4, $0.40, $20; above 272,000 tokens twice and 1.5 times as much.
    sol = pricing.prices("openai/GPT-5.6")
    assert sol.cost(10**5, cached_tokens=5 * 10**4, output_tokens=10**4).total == 420_000 * 10**6
    assert sol.cost(272_001, output_tokens=1).total == 272_001 * 8_000_000 + 30_000_000
    assert sol.cache_write * 4 == sol.input * 5
    # As published: $0.75, $0.075, $3.75.
    flash = pricing.prices("gemini/gemini-3.8-flash")
    assert (flash.input, flash.cached_input, flash.output) == (750_000, 75_000, 3_750_000)
    assert pricing.prices("gpt-4o", "batch").input * 2 == pricing.prices("gpt-4o").input


@pytest.mark.parametrize(
    "unknown", ["", "gpt-4p", "azure/gpt-4o", "ft:gpt-4o:acme", None, 5, "x" * 10**5]
)
def test_unknown_prices(unknown):
    with pytest.raises(UnknownModelError) as caught:
        pricing.prices(unknown)
    assert len(str(caught.value)) < 300
    for service in ("express", ["batch"], None):
        with pytest.raises(ArgumentError, match="known: standard"):
            pricing.prices("gpt-4o", service)


def test_the_packages_file_is_whole():
    document, index = shipped._shipped()
    date.fromisoformat(document["as_of"])
    assert set(document["sources"]) == set(document["prefixes"])
    for name, entry in index.items():
        assert name == name.lower()
        assert entry["provider"] in document["sources"]
        for service in entry["services"]:
            table = pricing.prices(name, service)
            assert 0 < table.input <= table.output
            assert 0 < table.cached_input <= table.input
            for tier in table.tiers:
                assert tier.input > table.input
        assert models.facts(name).provider == entry["provider"]
    assert sum(len(entry["names"]) for entry in document["models"]) == len(
        {*index} - {n for n in index if "/" in n}
    )


def test_the_packages_prices_are_those_of_litellm():
    theirs, (document, _) = real_map(), shipped._shipped()
    if metadata.version("litellm") != "1.109.1":
        pytest.skip("the prices were compared with the map of litellm 1.109.1")
    compared = 0
    for entry in document["models"]:
        for name in entry["names"]:
            keys = [key for key in (f"gemini/{name}", f"mistral/{name}", name) if key in theirs]
            # The map says less of some aliases: there the standard prices are compared.
            services = entry["services"] if name == entry["names"][0] else ["standard"]
            for service in services if keys else ():
                imported = PriceTable.from_litellm(theirs, keys[0], service=service)
                assert pricing.prices(name, service) == imported, (name, service)
                compared += 1
    assert compared >= 150
