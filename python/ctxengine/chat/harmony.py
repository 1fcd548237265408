"""What the system message of gpt-oss says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctxengine.errors import ArgumentError

_EFFORTS = ("low", "medium", "high")
_BUILTIN_TOOLS = ("browser", "python")


@dataclass(frozen=True)
class HarmonySystem:
    """The system message of gpt-oss, as ``openai-harmony`` has it in ``SystemContent``.

    Parameters
    ----------
    conversation_start_date : str, optional
        Such as ``"2026-11-21"``, shown as the current date. Without it the line is left out, as
        ``openai-harmony`` does; it is never taken from the clock. vLLM and the published chat
        template always write one.
    reasoning_effort : {"low", "medium", "high"}, optional
        None leaves the line out.
    model_identity, knowledge_cutoff : str, optional
        None leaves the line out.
    builtin_tools : sequence of {"browser", "python"}
        The model's own tools, described as ``openai-harmony`` describes them.
    channels : sequence of str
        The channels that the model must choose from; empty leaves the line out.

    Raises
    ------
    ArgumentError
        For a value that is none of these.
    """

    conversation_start_date: str | None = None
    reasoning_effort: Literal["low", "medium", "high"] | None = "medium"
    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    knowledge_cutoff: str | None = "2024-06"
    builtin_tools: Sequence[Literal["browser", "python"]] = ()
    channels: Sequence[str] = ("analysis", "commentary", "final")

    def __post_init__(self) -> None:
        for name in ("conversation_start_date", "model_identity", "knowledge_cutoff"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ArgumentError(f"{name}: must be a string, not {type(value).__name__}")
        if self.reasoning_effort is not None and self.reasoning_effort not in _EFFORTS:
            raise ArgumentError(
                f"reasoning_effort: must be one of {', '.join(_EFFORTS)}, "
                f"not {self.reasoning_effort!r}"
            )
        for name in ("builtin_tools", "channels"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(item, str) for item in value):
                raise ArgumentError(f"{name}: must be a sequence of strings")
            object.__setattr__(self, name, tuple(value))
        for i, tool in enumerate(self.builtin_tools):
            if tool not in _BUILTIN_TOOLS or tool in self.builtin_tools[:i]:
                raise ArgumentError(
                    f"builtin_tools: must be some of {', '.join(_BUILTIN_TOOLS)}, each once"
                )

    def _json(self) -> str:
        """Return the content as the core reads it."""
        effort = self.reasoning_effort
        return json.dumps(
            {
                "model_identity": self.model_identity,
                "knowledge_cutoff": self.knowledge_cutoff,
                "conversation_start_date": self.conversation_start_date,
                "reasoning_effort": effort and effort.capitalize(),
                "builtin_tools": self.builtin_tools,
                "channel_config": {"valid_channels": self.channels, "channel_required": True},
            }
        )
