"""A request brought to life: its engine and pool, and a frame for each prompt that it sends."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

from ctxengine.budget import Finding, Sent
from ctxengine.chat import encode_messages
from ctxengine.cli.io import InputError
from ctxengine.cli.request import Chunk, Request
from ctxengine.engine import ContextEngine, EnginePlan, Sequence
from ctxengine.pricing import Cost
from ctxengine.viz import Blocks, Frame

Message = dict[str, Any]


class Session:
    """Plans the prompts of one conversation, one after the other, into one pool."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.engine = ContextEngine(
            request.encoding,
            window=request.budget,
            template=request.template,
            block_size=request.block_size,
            num_blocks=request.num_blocks,
            rules=request.rules,
            prices=request.prices,
        )

    def plan(
        self, history: Seq[Message], retrieval: Seq[Chunk], previous: Sent | None = None
    ) -> EnginePlan:
        """Plan one prompt."""
        request, choices = self.request, self.request.choices
        return self.engine.plan(
            system=request.system,
            tools=request.tools or None,
            retrieval=[chunk.item for chunk in retrieval],
            history=history,
            sections=choices.sections,
            cut=choices.cut,
            grid=choices.grid,
            keep_last=choices.keep_last,
            pinned=choices.pinned,
            placement=choices.placement,
            previous=previous,
            summary_tokens=choices.summary_tokens,
        )

    def place(self, planned: EnginePlan) -> Sequence:
        """Place one prompt; nothing else holds blocks, so there is room or there never will be."""
        sequence = self.engine.place(planned)
        if sequence is None:
            raise InputError("blocks.num_blocks: the pool has no room for this prompt")
        return sequence

    def say(self, planned: EnginePlan, reply: Seq[Message]) -> tuple[int, list[int]]:
        """Return the tokens that the model generates in a reply, and the ids of its first message.

        They are what rendering a message appends to the prompt before it. Tool results are not
        generated; after one the conversation is a new prompt, so only the first message continues
        this one.
        """
        messages = list(planned.plan.messages)
        generated, first = 0, []
        for index, message in enumerate(reply):
            if message["role"] == "assistant":
                prompt = self._encode(messages, planned, add_generation_prompt=True)
                answered = self._encode([*messages, message], planned, add_generation_prompt=False)
                generated += len(answered) - len(prompt)
                if index == 0 and answered[: len(prompt)] == prompt:
                    first = answered[len(prompt) : self.engine.budget.window]
            messages.append(message)
        return generated, first

    def _encode(
        self, messages: Seq[Message], planned: EnginePlan, *, add_generation_prompt: bool
    ) -> list[int]:
        ids: list[int] = encode_messages(
            messages,
            self.engine.encoding,
            template=self.engine.template,
            tools=planned.plan.tools or None,
            add_generation_prompt=add_generation_prompt,
        ).tolist()
        return ids

    def frame(
        self,
        title: str,
        planned: EnginePlan,
        history: Seq[Message],
        retrieval: Seq[Chunk],
        *,
        sequence: Sequence | None = None,
        output_tokens: int = 0,
        findings: Seq[Finding] | None = None,
    ) -> Frame:
        """Collect the numbers of one prompt for the picture."""
        blocks, stages = None, planned.stages
        cost, without = planned.cost, planned.cost_without_cache
        if cost is not None and without is not None and self.engine.prices is not None:
            both = self.engine.prices.cost(planned.used, output_tokens=output_tokens)
            output = Cost(both.currency, output=both.output)
            cost, without = cost + output, without + output
        if sequence is not None:
            stats = self.engine.manager.stats()
            blocks = Blocks(
                size=self.engine.manager.block_size,
                hit=sequence.blocks_hit,
                allocated=sequence.blocks_allocated,
                evicted=sequence.blocks_evicted,
                kept=stats.num_idle,
                free=stats.num_free,
            )
            stages = (*stages, ("place", sequence.place_ns))
        return Frame.of(
            planned.plan,
            title,
            message=next((m["content"] for m in reversed(history) if m["role"] == "user"), ""),
            sizes={"history": len(history), "retrieval": len(retrieval)},
            labels={"retrieval": [chunk.id for chunk in retrieval]},
            cached_tokens=planned.predicted.cached,
            findings=findings,
            blocks=blocks,
            stages=stages,
            cost=cost,
            cost_without_cache=without,
        )
