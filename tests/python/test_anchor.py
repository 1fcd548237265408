"""`UsageAnchor`: estimates from what a provider reported."""

import random

import pytest
from ctxengine.chat import UsageAnchor
from ctxengine.errors import ArgumentError


def test_before_anything_is_known_the_bounds_are_those_of_the_ratio():
    estimate = UsageAnchor(1.5).estimate(100)
    assert (estimate.tokens, estimate.low, estimate.high) == (150, 25, 400)
    assert not estimate.exact
    assert estimate.why_not_exact
    assert estimate.num_observations == 0


def test_what_was_reported_is_not_estimated_again():
    anchor = UsageAnchor()
    anchor.observe(1000, 1234)
    assert anchor.estimate(1000).tokens == 1234
    # One report tells a ratio, not how far off it can be.
    assert anchor.estimate(1100).tokens == round(1234 + 123.4)
    assert anchor.estimate(1100).high == 1234 + 400
    assert anchor.estimate(900).tokens == round(1234 - 123.4)


def test_the_true_number_is_in_the_bounds_where_the_tokenizer_goes_on_as_it_has():
    rng = random.Random(1)
    anchor = UsageAnchor()
    counted = reported = 0
    outside = 0
    for turn in range(300):
        step = rng.randint(50, 500)
        true_step = round(step * rng.uniform(1.1, 1.3))
        counted, reported = counted + step, reported + true_step
        if turn > 40:
            estimate = anchor.estimate(counted)
            assert abs(estimate.tokens - reported) <= 0.2 * step
            outside += not estimate.low <= reported <= estimate.high
        anchor.observe(counted, reported)
    assert outside <= 25  # of 259: a new largest error in 32 is one time in 33


def test_a_report_that_is_off_does_not_spoil_the_ratio():
    anchor = UsageAnchor()
    counted = reported = 0
    for turn in range(20):
        counted, reported = counted + 100, reported + 120
        if turn in (7, 13):
            reported += 5000  # images, say
        anchor.observe(counted, reported)
    estimate = anchor.estimate(counted + 100)
    assert estimate.ratio == pytest.approx(1.2)
    assert estimate.tokens == reported + 120
    assert estimate.high >= reported + 5000


def test_the_ratio_is_bounded_and_steps_back_are_learned_too():
    anchor = UsageAnchor()
    anchor.observe(10, 10**9)
    assert anchor.estimate(11).ratio == 4
    anchor = UsageAnchor()
    anchor.observe(1000, 1200)
    anchor.observe(500, 600)  # trimmed
    assert anchor.estimate(600).tokens == 720
    anchor.observe(500, 600)  # the same again tells nothing
    assert anchor.estimate(600).num_observations == 2
    assert anchor.estimate(0).tokens == 0


def test_wrong_numbers_are_refused_and_teach_nothing():
    anchor = UsageAnchor()
    for call in (
        lambda: anchor.observe(-1, 5),
        lambda: anchor.observe(5, -1),
        lambda: anchor.estimate(-1),
        lambda: UsageAnchor(5),
        lambda: UsageAnchor(float("nan")),
    ):
        with pytest.raises(ArgumentError):
            call()
    assert anchor.estimate(10).num_observations == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1.5, "a", None, -1])
def test_what_is_no_number_of_tokens_teaches_nothing(number):
    anchor = UsageAnchor()
    for numbers in ((number, 10), (10, number)):
        with pytest.raises(ArgumentError, match=r"counted|reported"):
            anchor.observe(*numbers)
    with pytest.raises(ArgumentError, match="counted"):
        anchor.estimate(number)
    anchor.observe(10, 12)
    assert anchor.estimate(10).tokens == 12
