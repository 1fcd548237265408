"""What the name of a model tells of a request."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ctxengine.budget import CacheRules
from ctxengine.chat import Template
from ctxengine.cli.io import get_encoding
from ctxengine.cli.strict_json import WrongError
from ctxengine.errors import UnknownModelError, UnknownTokenError
from ctxengine.models import ModelFacts, facts
from ctxengine.pricing import PriceTable, prices
from ctxengine.tokenize import encoding_name_for_model
from ctxengine.viz.text import printable

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding


class KnownModel:
    """What the name of a model tells where the file does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._facts: ModelFacts | None = None
        with suppress(UnknownModelError):
            self._facts = facts(name) if name else None

    def window(self, reserve_output: int) -> int:
        """Return the window that leaves as much for the prompt as the model takes."""
        if self._facts is None:
            raise WrongError(self._missing("window"))
        try:
            return self._facts.input_limit(reserve_output) + reserve_output
        except UnknownModelError:
            raise WrongError(self._missing("window")) from None

    def encoding_name(self) -> str | None:
        """Return the name of the encoding, None when it is not known."""
        with suppress(UnknownTokenError):
            return encoding_name_for_model(self.name)
        return None

    def encoding_and_template(
        self, encoding: str | None, template: str | None, *, has_tools: bool
    ) -> tuple[Encoding, Template]:
        """Return both, from what the file says and else from the model."""
        name = encoding or self.encoding_name()
        if name is None:
            raise WrongError(self._missing("encoding"))
        opened = get_encoding(name)
        published = True
        if template is not None:
            chosen = Template(template)
        elif encoding is None:
            chosen = Template.for_model(self.name)
            published = chosen.published
        else:
            chosen = Template.for_encoding(opened)
        if chosen.name == "openai":
            chosen = Template("openai", estimate_tools=has_tools, published=published)
        return opened, chosen

    def rules(self) -> CacheRules | None:
        """Return the cache rules, None when none are known."""
        with suppress(UnknownModelError):
            return CacheRules.for_model(self.name)
        return None

    def prices(self) -> PriceTable | None:
        """Return the prices, None when none are known."""
        with suppress(UnknownModelError):
            return prices(self.name)
        return None

    def _missing(self, field: str) -> str:
        if not self.name:
            return f"{field}: missing"
        return f"{field}: missing, and none is known for the model {printable(self.name)}"
