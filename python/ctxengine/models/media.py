"""What images cost: one class for each kind of rule that providers publish.

All arithmetic is on integers, so a rule gives the same number everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from ctxengine.errors import ArgumentError

_MAX_SIDE = 1 << 24


class MediaTokens(NamedTuple):
    """Tokens of an image, a recording or a document.

    Attributes
    ----------
    num_tokens : int
        What it costs.
    exact : bool
        True when the provider publishes a rule that gives this very number; False when what is
        published is an upper bound, a rough formula, or a rule whose rounding is left open.
    """

    num_tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class TileRule:
    """OpenAI's older models: a base and a price for each 512-pixel tile.

    The image is shrunk into 2048 x 2048, then until its shorter side is 768; low detail costs the
    base alone. Source: https://developers.openai.com/api/docs/guides/images-vision
    """

    base: int
    per_tile: int
    details = ("low", "high", "auto")

    def tokens(self, width: int, height: int, detail: str) -> int:
        """Return the tokens of an image of `width` by `height` pixels."""
        if detail == "low":
            return self.base
        width, height = _shrunk(width, height, 2048)
        short = min(width, height)
        if short > 768:
            width, height = max(width * 768 // short, 1), max(height * 768 // short, 1)
        return self.base + self.per_tile * _cells(width, 512) * _cells(height, 512)


class PatchLimits(NamedTuple):
    """Sizes that one level of detail allows, in pixels and in patches of 32 x 32."""

    max_edge: int
    budget: int | None = None
    reject_above: int | None = None


@dataclass(frozen=True, slots=True)
class PatchRule:
    """OpenAI's newer models: patches of 32 x 32 pixels times a factor of the model.

    The image is shrunk until its longer side and its number of patches are within the limits of
    the level of detail. Source: https://developers.openai.com/api/docs/guides/images-vision, which
    leaves the last token to the rounding of the bill.
    """

    multiplier_percent: int
    limits: Mapping[str, PatchLimits]

    @property
    def details(self) -> tuple[str, ...]:
        """Levels of detail that the model knows."""
        return tuple(self.limits)

    def tokens(self, width: int, height: int, detail: str) -> int:
        """Return the tokens of an image of `width` by `height` pixels."""
        limits = self.limits[detail]
        width, height = _shrunk(width, height, limits.max_edge)
        patches = _cells(width, 32) * _cells(height, 32)
        if limits.budget is not None and patches > limits.budget:
            patches = _patches_within(width, height, limits.budget)
        if limits.reject_above is not None and patches > limits.reject_above:
            raise ArgumentError(
                f"an image of {width} x {height} pixels needs {patches} patches at detail "
                f"{detail!r}; the API rejects more than {limits.reject_above}"
            )
        return -(-patches * self.multiplier_percent // 100)


@dataclass(frozen=True, slots=True)
class CellRule:
    """Anthropic: one token for each cell of 28 x 28 pixels, of the size that the model sees.

    That is the largest of the same shape whose longer side, padded to whole cells, and whose
    tokens are within the model's limits. Source:
    https://platform.claude.com/docs/en/build-with-claude/vision-coordinates
    """

    cell: int
    max_edge: int
    max_tokens: int
    details = ("auto",)

    def tokens(self, width: int, height: int, detail: str) -> int:  # noqa: ARG002 - one level
        """Return the tokens of an image of `width` by `height` pixels."""
        long, short = max(width, height), min(width, height)
        if not self._fits(long, short):
            ratio = long / short  # a float, and halves to even below, as the published procedure
            low, high = 1, long
            while low + 1 < high:
                middle = (low + high) // 2
                if self._fits(middle, max(round(middle / ratio), 1)):
                    low = middle
                else:
                    high = middle
            long, short = low, max(round(low / ratio), 1)
        return _cells(long, self.cell) * _cells(short, self.cell)

    def _fits(self, long: int, short: int) -> bool:
        columns, rows = _cells(long, self.cell), _cells(short, self.cell)
        return columns * self.cell <= self.max_edge and columns * rows <= self.max_tokens


@dataclass(frozen=True, slots=True)
class CropRule:
    """Gemini 2: a small image is one tile; a larger one is cut into squares of its own scale.

    A square's side is roughly two thirds of the shorter side. Source:
    https://ai.google.dev/gemini-api/docs/image-understanding, which calls the formula rough.
    """

    small_edge: int
    per_tile: int
    details = ("auto",)

    def tokens(self, width: int, height: int, detail: str) -> int:  # noqa: ARG002 - one level
        """Return the tokens of an image of `width` by `height` pixels."""
        if max(width, height) <= self.small_edge:
            return self.per_tile
        side = max(min(width, height) * 2 // 3, 1)
        return self.per_tile * _cells(width, side) * _cells(height, side)


@dataclass(frozen=True, slots=True)
class FixedRule:
    """Gemini 3: the level of detail sets the most tokens that an image may take.

    Source: https://ai.google.dev/gemini-api/docs/media-resolution
    """

    by_detail: Mapping[str, int]

    @property
    def details(self) -> tuple[str, ...]:
        """Levels of detail that the model knows."""
        return tuple(self.by_detail)

    def tokens(self, width: int, height: int, detail: str) -> int:  # noqa: ARG002 - any size
        """Return the tokens of an image, whatever its size."""
        return self.by_detail[detail]


ImageRule = TileRule | PatchRule | CellRule | CropRule | FixedRule


def check_side(name: str, value: object) -> int:
    """Return a width or height that an image can have."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_SIDE:
        raise ArgumentError(f"{name}: must be a whole number from 1 to {_MAX_SIDE}, got {value!r}")
    return value


def _cells(length: int, cell: int) -> int:
    return -(-length // cell)


def _shrunk(width: int, height: int, max_edge: int) -> tuple[int, int]:
    """Return the size that fits a square, each side rounded to the nearest pixel."""
    long = max(width, height)
    if long <= max_edge:
        return width, height

    def fit(side: int) -> int:
        return max((2 * side * max_edge + long) // (2 * long), 1)

    return fit(width), fit(height)


def _patches_within(width: int, height: int, budget: int) -> int:
    """Return the patches of an image that is shrunk until one side is whole patches.

    The published scale is s = sqrt(32^2 budget / (width height)), made smaller so that
    floor(width s / 32) or floor(height s / 32) patches cover their side exactly. Both floors are
    integer square roots, so no scale is ever computed.
    """
    columns = max(isqrt(width * budget // height), 1)
    rows = max(isqrt(height * budget // width), 1)
    if columns * height <= rows * width:  # 32 columns / width is the smaller scale
        return columns * _cells(max(32 * columns * height // width, 1), 32)
    return rows * _cells(max(32 * rows * width // height, 1), 32)
