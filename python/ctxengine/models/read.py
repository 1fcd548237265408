"""Reading a table's file: every complaint says where."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from ctxengine.errors import LoadError
from ctxengine.models.media import (
    CellRule,
    CropRule,
    FixedRule,
    ImageRule,
    PatchLimits,
    PatchRule,
    TileRule,
)

FORMAT = "ctxengine.models/1"


class Rate(NamedTuple):
    """Tokens by the second or by the page."""

    tokens: int
    exact: bool


class Reader:
    """One object of the file, and the way to it."""

    _SECTIONS = ("sources", "encodings", "image_rules", "audio_rules", "pdf_rules", "models")
    _FACTS: Mapping[str, type | tuple[type, ...]] = {
        "provider": str,
        "as_of": str,
        "context_window": int,
        "max_input_tokens": int,
        "max_output_tokens": int,
        "encoding": str,
        "closed": bool,
        "template": str,
        "count_rule": str,
        "image": str,
        "audio": str,
        "pdf": str,
        "sources": list,
    }

    def __init__(self, path: str, node: object) -> None:
        if not isinstance(node, Mapping):
            raise LoadError(f"{path or 'table'}: expected an object, got {node!r:.80}")
        self.path, self.node = path, node

    def fail(self, field: str, why: str) -> LoadError:
        """Return an error about a field."""
        return LoadError(f"{self.path}{'.' if self.path else ''}{field}: {why}")

    def known(self, *fields: str) -> None:
        """Refuse every other field."""
        for field in self.node:
            if field not in fields:
                raise self.fail(str(field), "unknown field")

    def whole(self, field: str) -> int:
        """Return a number above 0."""
        value = self.node.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.fail(field, f"expected a whole number above 0, got {value!r:.80}")
        return value

    def told(self) -> None:
        """Check what every rule must say of itself."""
        if not isinstance(self.node.get("exact"), bool):
            raise self.fail("exact", "expected true or false")
        if not isinstance(self.node.get("source"), str):
            raise self.fail("source", "expected where the rule is from")

    def document(self) -> dict[str, Any]:
        """Return the whole file with its absent sections empty."""
        self.known("format", "as_of", "prefixes", *self._SECTIONS)
        if self.node.get("format") != FORMAT:
            raise self.fail("format", f"expected {FORMAT!r}, got {self.node.get('format')!r:.80}")
        self.date("as_of")
        top: dict[str, Any] = {"as_of": self.node["as_of"], "prefixes": self.names("prefixes")}
        for section in self._SECTIONS:
            read = Reader(section, self.node.get(section, {}))
            top[section] = {str(name): read.node[name] for name in read.node}
            for name, child in top[section].items():
                if section != "sources":
                    Reader(f"{section}.{name}", child)
                elif not isinstance(child, str):
                    raise read.fail(name, f"expected where to look, got {child!r:.80}")
        for name, child in top["models"].items():
            if not isinstance(child.get("like", ""), str):
                raise self.fail(f"models.{name}.like", "expected a model's name")
        for name, child in top["encodings"].items():
            read = Reader(f"encodings.{name}", child)
            read.known("names", "prefixes")
            top["encodings"][name] = {key: read.names(key) for key in ("names", "prefixes")}
        return top

    def date(self, field: str) -> None:
        """Check an ISO date."""
        value = self.node.get(field)
        try:  # files are compared by their dates as text, so there is one way to write one
            right = isinstance(value, str) and date.fromisoformat(value).isoformat() == value
        except ValueError:
            right = False
        if not right:
            raise self.fail(field, f"expected a date such as '2026-11-21', got {value!r:.80}")

    def names(self, field: str) -> list[str]:
        """Return a list of names, empty when it is absent."""
        value = self.node.get(field, [])
        if not isinstance(value, list | tuple) or not all(
            isinstance(name, str) and name for name in value
        ):
            raise self.fail(field, f"expected a list of names, got {value!r:.80}")
        return list(value)

    def facts(self) -> dict[str, Any]:
        """Return the fields of a model that say something, checked."""
        self.known("like", "aliases", *self._FACTS)
        self.names("aliases")
        self.names("sources")
        if "as_of" in self.node:
            self.date("as_of")
        fields: dict[str, Any] = {}
        for field, kind in self._FACTS.items():
            if field not in self.node:
                continue
            value = self.node[field]
            may_be_absent = field not in {"provider", "as_of", "closed", "count_rule", "sources"}
            if value is None and may_be_absent:
                fields[field] = None
            elif kind is int:
                fields[field] = self.whole(field)
            elif isinstance(value, kind):
                fields[field] = value
            else:
                raise self.fail(field, f"got {value!r:.80}")
        if fields.get("count_rule", "estimate") not in {"published", "estimate"}:
            raise self.fail("count_rule", "expected 'published' or 'estimate'")
        return fields


def image_rule(rule: Reader) -> ImageRule:
    """Return the rule that an object describes."""
    common = ("kind", "exact", "source")
    rule.told()
    kind = rule.node.get("kind")
    if kind == "tiles":
        rule.known(*common, "base", "per_tile")
        return TileRule(rule.whole("base"), rule.whole("per_tile"))
    if kind == "cells":
        rule.known(*common, "cell", "max_edge", "max_tokens")
        return CellRule(rule.whole("cell"), rule.whole("max_edge"), rule.whole("max_tokens"))
    if kind == "crops":
        rule.known(*common, "small_edge", "per_tile")
        return CropRule(rule.whole("small_edge"), rule.whole("per_tile"))
    if kind == "fixed":
        rule.known(*common, "tokens")
        tokens = Reader(f"{rule.path}.tokens", rule.node.get("tokens"))
        return FixedRule({str(detail): tokens.whole(detail) for detail in tokens.node})
    if kind == "patches":
        rule.known(*common, "multiplier_percent", "details")
        details = Reader(f"{rule.path}.details", rule.node.get("details"))
        return PatchRule(
            rule.whole("multiplier_percent"),
            {
                str(detail): _patch_limits(Reader(f"{details.path}.{detail}", limits))
                for detail, limits in details.node.items()
            },
        )
    raise rule.fail("kind", f"expected tiles, patches, cells, crops or fixed, got {kind!r:.80}")


def _patch_limits(read: Reader) -> PatchLimits:
    read.known("max_edge", "budget", "reject_above")
    optional = {name: read.whole(name) for name in ("budget", "reject_above") if name in read.node}
    return PatchLimits(read.whole("max_edge"), **optional)


def rates(rules: Mapping[str, Any], section: str, field: str) -> dict[str, Rate]:
    """Return the rates of a section by name."""
    found = {}
    for name, rule in rules.items():
        read = Reader(f"{section}.{name}", rule)
        read.known(field, "exact", "source")
        read.told()
        found[name] = Rate(read.whole(field), rule["exact"])
    return found
