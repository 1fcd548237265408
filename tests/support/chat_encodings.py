"""An encoding for each chat template, also for those whose vocabulary is not shipped."""

import functools

from ctxengine.tokenize import Encoding, get_encoding

# What families that have no vocabulary here need beside r50k's.
_CONTROL_TOKENS = [
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CONTENT]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<think>",
    "</think>",
]


@functools.cache
def encoding_of(name):
    """Return an encoding that has the control tokens of the template."""
    if name in {"harmony", "gpt-oss"}:
        return get_encoding("o200k_harmony")
    if name in {"qwen2", "chatml"} or name.startswith("qwen3"):
        return get_encoding("qwen2" if name == "qwen2" else "qwen3")
    base = get_encoding("r50k_base")
    special = {token: base.n_vocab + i for i, token in enumerate(_CONTROL_TOKENS)}
    ranks = base._mergeable_ranks
    return Encoding("control tokens of all", pat_str=base._pat_str, mergeable_ranks=ranks,
                    special_tokens=special)  # fmt: skip
