"""The process-wide table of counts and ids: what was tokenized once is looked up the next time."""

from __future__ import annotations

import os
from typing import NamedTuple

from ctxengine import _core

_TABLE_BYTES = 64 << 20
_BODIES_BYTES = 64 << 20
_MESSAGES_BYTES = 64 << 20
_table = _core.CountTable(_TABLE_BYTES)
_bodies = _core.BodyMemory(_BODIES_BYTES)
_messages = _core.MessageMemory(_MESSAGES_BYTES)  # used under the GIL only, so good after a fork


def _renew_table() -> None:
    # Another thread may have held the table's mutex, or been amid a change, at the fork: the child
    # neither uses nor destroys what it inherited.
    global _table, _bodies  # noqa: PLW0603 - one of each per process is the point
    _table.abandon()
    _bodies.abandon()
    _table = _core.CountTable(_TABLE_BYTES)
    _bodies = _core.BodyMemory(_BODIES_BYTES)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_table)


def count_table() -> _core.CountTable:
    """Return the table; ask anew at every call, as a forked child has another."""
    return _table


def body_memory() -> _core.BodyMemory:
    """Return the bodies that were read, which may be the beginning of the next ones, likewise."""
    return _bodies


def message_memory() -> _core.MessageMemory:
    """Return what is known of messages that were counted."""
    return _messages


class CacheInfo(NamedTuple):
    """State of the process-wide count table; sizes in bytes."""

    hits: int
    misses: int
    evictions: int
    num_entries: int
    size_bytes: int
    capacity_bytes: int


def cache_info() -> CacheInfo:
    """Return the hit counters and the size of the process-wide count table."""
    return CacheInfo(*_table.stats())


def cache_clear() -> None:
    """Forget all stored counts, and the messages and request bodies that were read."""
    _table.clear()
    _bodies.clear()
    _messages.clear()
