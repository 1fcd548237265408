"""A request with the marks of a cache plan: copies on the way to each mark, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.budget.cache_plan import Breakpoint, CachePlan


def with_marks(request: Mapping[str, Any], plan: CachePlan) -> dict[str, Any]:
    """Return `request` with the breakpoints of `plan` that it does not have."""
    from ctxengine.budget.cache_plan import _mode, path_of, read_blocks

    blocks = read_blocks(request, plan.rules)
    if blocks.digests != plan.sent.digests:
        raise ArgumentError("request: not the one that was planned")
    made = dict(request)
    rules = plan.rules
    last = len(blocks) - 1
    # From the end: an element that is inserted moves none that is still to come.
    for at in reversed(plan.breakpoints):
        if at.kept or (rules.implicit_tail and plan.mode == "implicit" and at.block == last):
            continue
        place = blocks.place(at.block)
        where = path_of(place, request)
        if rules.marker == "cachePoint":
            _mark_by_element(made, where, place, at, plan)
        else:
            _mark(made, where, place, _mark_of(at, plan), rules.marker)
    if rules.implicit_tail and plan.mode != _mode(request):
        made["prompt_cache_options"] = {
            **request.get("prompt_cache_options", {}),
            "mode": plan.mode,
        }
    return made


def _mark_of(at: Breakpoint, plan: CachePlan) -> dict[str, Any]:
    if plan.rules.marker == "prompt_cache_breakpoint":
        return {"mode": "explicit"}
    mark = {"type": "default" if plan.rules.marker == "cachePoint" else "ephemeral"}
    if at.lifetime != plan.rules.lifetimes[0][0]:
        mark["ttl"] = at.lifetime
    return mark


def _copy_list(owner: dict[str, Any], key: str, where: str) -> list[Any]:
    if not isinstance(owner.get(key), (list, tuple)):
        raise ArgumentError(f"{where}: cannot be marked")
    owner[key] = list(owner[key])
    made: list[Any] = owner[key]
    return made


def _copy_dict(owner: list[Any] | dict[str, Any], key: Any, where: str) -> dict[str, Any]:
    if not isinstance(owner[key], Mapping):
        raise ArgumentError(f"{where}: only a dict can be marked")
    owner[key] = dict(owner[key])
    made: dict[str, Any] = owner[key]
    return made


def _messages_key(request: Mapping[str, Any]) -> str:
    return next(key for key in ("messages", "input", "contents") if key in request)


def _system_key(request: Mapping[str, Any], where: str) -> str:
    from ctxengine.budget.cache_plan import system_of

    key = system_of(request)[0]
    if key not in request:
        raise ArgumentError(f"{where}: cannot be marked")
    return key


def _mark(
    made: dict[str, Any],
    where: str,
    place: tuple[int, int, int, int],
    mark: dict[str, Any],
    field: str,
) -> None:
    section, item, part, index = place
    if section == 0:
        _copy_dict(_copy_list(made, "tools", where), item, where)[field] = mark
        return
    if section == 1:
        owner, key = made, _system_key(made, where)
    else:
        owner = _copy_dict(_copy_list(made, _messages_key(made), where), item, where)
        key = "content"
    if part == 1:
        kind = "input_text" if "input" in made else "text"
        owner[key] = [{"type": kind, "text": owner[key], field: mark}]
    else:
        number = index if section == 2 else item
        _copy_dict(_copy_list(owner, key, where), number, where)[field] = mark


def _mark_by_element(
    made: dict[str, Any],
    where: str,
    place: tuple[int, int, int, int],
    at: Breakpoint,
    plan: CachePlan,
) -> None:
    section, item, part, index = place
    point = {"cachePoint": _mark_of(at, plan)}
    if section == 0:
        owner = made if "tools" in made else _copy_dict(made, "toolConfig", where)
        _copy_list(owner, "tools", where).insert(item + 1, point)
        return
    if section == 1:
        key = _system_key(made, where)
        if part == 1:
            made[key] = [{"text": made[key]}]
            item = 0
        _copy_list(made, key, where).insert(item + 1, point)
        return
    message = _copy_dict(_copy_list(made, _messages_key(made), where), item, where)
    if part == 1:
        message["content"] = [{"text": message["content"]}]
        index = 0
    _copy_list(message, "content", where).insert(index + 1, point)
