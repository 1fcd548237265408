"""The table of models: facts by name, read from one dated file and from users' files over it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ctxengine.errors import ArgumentError, LoadError, UnknownModelError
from ctxengine.models.media import MediaTokens, check_side
from ctxengine.models.read import FORMAT, Reader, image_rule, rates

_MAX_NAME = 200
_MAX_CHAIN = 50
# What a name ends in when it names a version of the model before it.
_VERSION = re.compile(r"(@[\w-]+|:\d+|-v\d+|-\d{4}-\d\d-\d\d|-\d{8}|-latest|-00\d)$")
# Weight formats of a published model, which leave its template and vocabulary as they are.
_WEIGHTS = re.compile(r"-(awq|gguf|fp8|gptq(-int[48])?|int[48]|mlx.*|bnb-4bit|bf16)$")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model.

    Attributes
    ----------
    name : str
        Its name in the table; versions and other spellings lead to it.
    provider : str
        Who publishes it.
    context_window : int or None
        Tokens that prompt and output share. None where prompt and output have limits of their own
        (Gemini), or where no figure is published.
    max_input_tokens, max_output_tokens : int or None
        Limits of the prompt and of the output, where there are such limits.
    encoding : str or None
        Name for :func:`ctxengine.get_encoding`. None when the vocabulary is not one of those
        shipped; it may still be one that :func:`ctxengine.load` reads.
    closed : bool
        True when no tokenizer is published for the model.
    template : str or None
        Name of its chat template for :class:`ctxengine.Template`.
    count_rule : str
        ``"published"`` when the provider publishes how a chat's tokens are counted (a template, or
        a rule that names this very version), so that a count can be exact; else ``"estimate"``.
    image, audio, pdf : str or None
        Names of the rules of the table for images, recordings and documents.
    sources : tuple of str
        Where the figures are from.
    as_of : str
        The day on which they were true, as an ISO date.
    """

    name: str
    provider: str
    as_of: str
    context_window: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    encoding: str | None = None
    closed: bool = False
    template: str | None = None
    count_rule: str = "estimate"
    image: str | None = None
    audio: str | None = None
    pdf: str | None = None
    sources: tuple[str, ...] = ()

    def input_limit(self, reserve_output: int = 0) -> int:
        """Return how many tokens a prompt may have beside `reserve_output` tokens of output.

        Raises
        ------
        UnknownModelError
            No limit is known for the model.
        ArgumentError
            `reserve_output` is negative, more than the model generates, or leaves nothing.
        """
        limits = [] if self.max_input_tokens is None else [self.max_input_tokens]
        if self.context_window is not None:
            limits.append(self.context_window - reserve_output)
        if not limits:
            raise self._unknown("context window")
        most = self.max_output_tokens
        if reserve_output < 0 or (most is not None and reserve_output > most) or min(limits) < 1:
            raise ArgumentError(
                f"reserve_output: {reserve_output} tokens, but {self.name} generates at most "
                f"{most if most is not None else self.context_window}"
            )
        return min(limits)

    def _unknown(self, what: str) -> UnknownModelError:
        return UnknownModelError(
            f"no {what} is published for {self.name!r} (table of {self.as_of}); "
            f"give a table of your own with ModelTable.with_file"
        )


class ModelTable:
    """Facts of models by name; immutable, so it may be shared between threads.

    Examples
    --------
    >>> from ctxengine.models import shipped
    >>> own = shipped().with_models({"chat-prod": {"like": "gpt-4o", "context_window": 64_000}})
    >>> own.facts("azure/chat-prod").context_window
    64000
    >>> own.image_tokens("chat-prod", 1024, 1024).num_tokens
    765
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = Reader("", document).document()
        top = self._document
        self.as_of: str = top["as_of"]
        """Day of the newest file in the table, as an ISO date."""
        self._encoding_names: dict[str, str] = {
            name.lower(): encoding
            for encoding, known in top["encodings"].items()
            for name in known["names"]
        }
        # The longest prefix wins, so that "ft:gpt-4o" is not taken for "ft:gpt-4".
        self._encoding_prefixes: list[tuple[str, str]] = sorted(
            (
                (prefix.lower(), encoding)
                for encoding, known in top["encodings"].items()
                for prefix in known["prefixes"]
            ),
            key=lambda pair: -len(pair[0]),
        )
        self._images = {
            name: (image_rule(Reader(f"image_rules.{name}", rule)), bool(rule["exact"]))
            for name, rule in top["image_rules"].items()
        }
        self._audio = rates(top["audio_rules"], "audio_rules", "tokens_per_second")
        self._pdf = rates(top["pdf_rules"], "pdf_rules", "tokens_per_page")
        self._facts: dict[str, ModelFacts] = {}
        self._index: dict[str, str] = {}
        for name in top["models"]:
            self._add(name)

    # ---- reading ----

    def with_file(self, path: str | os.PathLike[str]) -> ModelTable:
        """Return this table with a user's file over it.

        Parameters
        ----------
        path : path
            A JSON file of the form that docs/models.md shows.

        Raises
        ------
        LoadError
            The file is not such a table; the message says where.
        OSError
            The file cannot be read.
        """
        return self._over(_read(Path(path)))

    def with_models(self, models: Mapping[str, Mapping[str, Any]]) -> ModelTable:
        """Return this table with models added or replaced.

        Parameters
        ----------
        models : mapping
            Fields by name, as in the file. ``{"like": "gpt-4o"}`` takes the facts of another
            model where no field says otherwise.

        Raises
        ------
        LoadError
            A field is unknown or is not what it must be; the message names it.
        """
        return self._over({"format": FORMAT, "as_of": self.as_of, "models": models})

    def _over(self, other: Mapping[str, Any]) -> ModelTable:
        over = Reader("", other).document()
        dated = {name: {"as_of": over["as_of"], **entry} for name, entry in over["models"].items()}
        below = {
            name: {"as_of": self.as_of, **entry} for name, entry in self._document["models"].items()
        }
        for name, entry in dated.items():
            if entry.get("like") == name:  # a change of some fields of the model itself
                dated[name] = {
                    **below.get(name, {}),
                    **{key: value for key, value in entry.items() if key != "like"},
                }
        merged = {
            "format": FORMAT,
            "as_of": max(self.as_of, over["as_of"]),
            "prefixes": [*self._document["prefixes"], *over["prefixes"]],
            "models": below | dated,
        }
        for section in ("sources", "encodings", "image_rules", "audio_rules", "pdf_rules"):
            merged[section] = self._document[section] | over[section]
        return ModelTable(merged)

    def _add(self, name: str, waiting: tuple[str, ...] = ()) -> ModelFacts:
        if name in self._facts:
            return self._facts[name]
        if name in waiting or len(waiting) > _MAX_CHAIN:
            raise LoadError(f"models.{name}.like: leads round in a circle, or too far")
        entry = self._document["models"][name]
        base = None
        if "like" in entry:
            if entry["like"] not in self._document["models"]:
                raise LoadError(f"models.{name}.like: there is no model {entry['like']!r}")
            base = self._add(entry["like"], (*waiting, name))
        facts = self._read_facts(name, entry, base)
        self._facts[name] = facts
        for spelling in (name, *entry.get("aliases", ())):
            if self._index.setdefault(spelling.lower(), name) != name:
                raise LoadError(f"models.{name}.aliases: {spelling!r} is another model's")
        return facts

    def _read_facts(
        self, name: str, entry: Mapping[str, Any], base: ModelFacts | None
    ) -> ModelFacts:
        read = Reader(f"models.{name}", entry)
        changed = read.facts()
        for field, rules in (("image", self._images), ("audio", self._audio), ("pdf", self._pdf)):
            if changed.get(field) is not None and changed[field] not in rules:
                raise LoadError(f"models.{name}.{field}: there is no rule {changed[field]!r}")
        changed.setdefault("as_of", self.as_of)
        changed["sources"] = self._sources(name)
        if base is None:
            if "provider" not in changed:
                raise LoadError(f"models.{name}.provider: missing")
            facts = ModelFacts(name=name, **changed)
        else:
            facts = replace(base, name=name, **changed)
        if facts.closed:
            return replace(facts, encoding=None)
        if "encoding" not in changed:
            facts = replace(facts, encoding=self._encoding_by_name(name) or facts.encoding)
        return facts

    def _sources(self, name: str) -> tuple[str, ...]:
        """Return where a model's own figures are from, and then those of its rules."""
        entry, found = dict(self._document["models"][name]), self._document["sources"]
        while "like" in entry:
            entry = {**self._document["models"][entry.pop("like")], **entry}
        keys = [*entry.get("sources", ())]
        keys += [
            self._document[f"{field}_rules"][entry[field]]["source"]
            for field in ("image", "audio", "pdf")
            if entry.get(field) is not None
        ]
        return tuple(dict.fromkeys(found.get(key, key) for key in keys))

    # ---- asking ----

    def names(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted(self._facts)

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model.

        Upper and lower case are one. Prefixes of providers and gateways ("azure/", "us.anthropic.")
        and endings of versions ("-2024-08-06", "@20250929", "-v1:0", "-latest") lead to the model
        itself, as does a fine-tune's name ("ft:gpt-4o:..."); an entry of a version's own comes
        first. For a version or a fine-tune that the table does not name, ``count_rule`` is
        ``"estimate"`` where the rule is one that the provider publishes for named versions only.

        Raises
        ------
        UnknownModelError
            The table has no such model (a KeyError too); the message names those that come near.
        """
        for spelling, is_version in _spellings(model, self._document["prefixes"]):
            name = self._index.get(spelling)
            if name is not None:
                facts = self._facts[name]
                if is_version and facts.template == "openai":
                    facts = replace(facts, count_rule="estimate")
                return facts
        raise UnknownModelError(self._not_found(model))

    def encoding_name(self, model: str) -> str | None:
        """Return the name of a model's encoding, also of models that have no other facts.

        Versions and fine-tunes are known by their prefixes, as in tiktoken, so a name that no
        model has may have an encoding. None when nothing is known.
        """
        for spelling, _ in _spellings(model, self._document["prefixes"]):
            name = self._index.get(spelling)
            found = self._encoding_by_name(spelling)
            if name is not None:
                return self._facts[name].encoding
            if found is not None:
                return found
        return None

    def image_tokens(
        self, model: str, width: int, height: int, detail: str = "auto"
    ) -> MediaTokens:
        """Return what an image costs in the prompt of a model.

        Parameters
        ----------
        model : str
            As for :meth:`facts`.
        width, height : int
            Size in pixels.
        detail : str, default "auto"
            The level of detail that the request asks for, in the provider's words; "auto" is what
            the provider does when the request does not say.

        Raises
        ------
        UnknownModelError
            The model is unknown, or no rule is published for its images.
        ArgumentError
            No image has such a size, the model does not know the level of detail, or its API
            rejects such an image.
        """
        facts = self.facts(model)
        if facts.image is None:
            raise facts._unknown("rule for the tokens of images")
        width, height = check_side("width", width), check_side("height", height)
        rule, exact = self._images[facts.image]
        if detail not in rule.details:
            raise ArgumentError(
                f"detail: {detail!r} is none of {facts.name}'s: {', '.join(rule.details)}"
            )
        return MediaTokens(rule.tokens(width, height, detail), exact)

    def audio_tokens(self, model: str, seconds: float) -> MediaTokens:
        """Return what a recording costs in the prompt of a model, a begun token counted whole.

        Raises
        ------
        UnknownModelError
            The model is unknown, or no rule is published for its recordings.
        ArgumentError
            `seconds` is negative or not a finite number.
        """
        facts = self.facts(model)
        if facts.audio is None:
            raise facts._unknown("rule for the tokens of recordings")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 <= seconds <= 1e9
        ):
            raise ArgumentError(f"seconds: must be a number from 0 to 10**9, got {seconds!r}")
        rate = self._audio[facts.audio]
        numerator, denominator = seconds.as_integer_ratio()
        return MediaTokens(-(-numerator * rate.tokens // denominator), rate.exact)

    def pdf_tokens(self, model: str, num_pages: int) -> MediaTokens:
        """Return what a PDF costs in the prompt of a model, at the default resolution.

        Raises
        ------
        UnknownModelError
            The model is unknown, or no rule is published for its documents: Anthropic and OpenAI
            charge each page as an image of a size that they choose, and its text.
        ArgumentError
            `num_pages` is not a whole number, or is negative.
        """
        facts = self.facts(model)
        if facts.pdf is None:
            raise facts._unknown("rule for the tokens of PDF pages")
        if not isinstance(num_pages, int) or isinstance(num_pages, bool) or num_pages < 0:
            raise ArgumentError(f"num_pages: must be a whole number, got {num_pages!r}")
        rate = self._pdf[facts.pdf]
        return MediaTokens(num_pages * rate.tokens, rate.exact)

    def _encoding_by_name(self, name: str) -> str | None:
        name = name.lower()
        if name in self._encoding_names:
            return self._encoding_names[name]
        for prefix, encoding in self._encoding_prefixes:
            if name.startswith(prefix):
                return encoding
        return None

    def _not_found(self, model: object) -> str:
        from difflib import get_close_matches

        if not isinstance(model, str) or not model:
            return f"a model's name is text such as 'gpt-4o', got {model!r:.80}"
        *_, (last, _) = _spellings(model[:_MAX_NAME], self._document["prefixes"])
        near = get_close_matches(last[:64], self._index, n=3, cutoff=0.6)
        hint = f"; near it: {', '.join(near)}" if near else ""
        return f"unknown model {model[:80]!r} (table of {self.as_of}){hint}"


@cache
def shipped() -> ModelTable:
    """Return the table that the package carries."""
    return ModelTable(_read(Path(__file__).with_name("models.json")))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise LoadError(f"{path}: expected an object")
    return document


def _spellings(model: object, prefixes: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield what a name may stand for, nearest first, and whether a version was cut off."""
    if not isinstance(model, str) or not 1 <= len(model) <= _MAX_NAME:
        return
    name = model.lower()
    yield name, False
    stripped = True
    while stripped:
        stripped = False
        for prefix in prefixes:
            if name.startswith(prefix):
                name, stripped = name[len(prefix) :], True
                yield name, False
    is_version = name.startswith("ft:")
    if is_version:
        name = name[3:].split(":", 1)[0]
        yield name, True
    while match := _WEIGHTS.search(name) or _VERSION.search(name):
        is_version |= match.re is _VERSION
        name = name[: match.start()]
        yield name, is_version
