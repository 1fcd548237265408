"""Prices are exact: expectations are worked out by hand or with fractions."""

from __future__ import annotations

import doctest
import json
from fractions import Fraction

import pytest
from ctxengine import pricing
from ctxengine.errors import ArgumentError
from ctxengine.pricing import Cost, PriceTable, format_amount
from hypothesis import given
from hypothesis import strategies as st

PRICES = {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"}


def table(**prices):
    return PriceTable.from_dict({"currency": "USD", "per_million_tokens": prices})


def test_the_examples_of_the_module_are_true():
    assert doctest.testmod(pricing).failed == 0


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
