"""Any other chat template: rendered by jinja2, split where the template itself wrote a token.

The environment is that of ``transformers``. The template is not trusted: jinja2's sandbox keeps it
from the interpreter, and its time and the length of what it makes are limited.

Who wrote a special token is found by a second rendering in which the first and last characters of
all special tokens are replaced, in the caller's strings alone, by characters that occur nowhere
else. A spelling that is still whole there is the template's own: one that needs any of the caller's
text has lost its first or last character, unless that text lies wholly inside it, and such strings
are replaced as a whole. If putting the characters back does not give the first rendering, the
template looks into the text, and cannot be asked this way. Then a text of the caller that spells a
special token is an error; where none does, all that the scanner finds is the template's.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.chat.convert import Converted
    from ctxengine.tokenize import Encoding

_MAX_SOURCE_CHARS = 1 << 20
_PRIVATE_USE = range(0xE000, 0xF900)
# Methods of strings whose result can be longer than all they are given together.
_GROWING = frozenset(("center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"))
_MESSAGE_KEYS = frozenset((
    "arguments", "content", "function", "id", "name", "reasoning_content", "role", "text",
    "tool_call_id", "tool_calls", "type",
))  # fmt: skip


class _TooMuch(Exception):  # noqa: N818 - not an error of its own, never seen outside
    """The template takes too long or makes too much."""


class _Limits:
    """What is left of a rendering's time, by thread; sizes are limited per string."""

    def __init__(self, max_seconds: float, max_chars: int) -> None:
        self.max_seconds = max_seconds
        self.max_chars = max_chars
        self._own = threading.local()

    def start(self) -> None:
        self._own.deadline = time.monotonic() + self.max_seconds

    def tick(self) -> str:
        if time.monotonic() > self._own.deadline:
            raise _TooMuch(f"takes longer than {self.max_seconds:g} s")
        return ""

    def check(self, num_chars: int) -> None:
        if num_chars > self.max_chars:
            raise _TooMuch(f"makes more than {self.max_chars} characters")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 1


def _environment(limits: _Limits, date: datetime.datetime | None) -> Any:
    try:
        import jinja2
        import jinja2.ext
        import jinja2.sandbox
        from jinja2 import nodes
    except ImportError as error:
        raise ImportError(
            "Template.from_jinja needs jinja2; install it with the extra: ctxengine[jinja]"
        ) from error

    class Generation(jinja2.ext.Extension):
        """Marks what the model wrote, for training; shows its body."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
        """The sandbox, with limits where loops turn and strings grow."""

        intercepted_binops = frozenset(("+", "*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            limits.tick()
            if operator == "+":
                limits.check(_size(left) + _size(right))
            elif operator == "*":
                for many, times in ((left, right), (right, left)):
                    if isinstance(many, (str, list, tuple)) and isinstance(times, int):
                        limits.check(len(many) * max(times, 0))
            elif operator == "**":
                if isinstance(left, int) and isinstance(right, int):
                    limits.check(left.bit_length() * abs(right) // 3)
            elif isinstance(left, str) and re.search(r"[0-9]{4}|\*", left):
                raise _TooMuch("formats with a width above 999")
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            limits.tick()
            owner = getattr(obj, "__self__", None)
            if isinstance(owner, str):
                name = getattr(obj, "__name__", "")
                if (
                    name == "replace"
                    and len(args) >= 2
                    and all(isinstance(a, str) for a in args[:2])
                ):
                    limits.check(len(owner) + (owner.count(args[0]) * len(args[1])))
                elif name == "join" and args:
                    args = (list(args[0]), *args[1:])
                    limits.check(sum(map(_size, args[0])) + len(owner) * len(args[0]))
                elif name in _GROWING:
                    raise _TooMuch(f"calls str.{name}, whose result can have any length")
            return super().call(context, obj, *args, **kwargs)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )

    def raise_exception(message: Any) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def strftime_now(pattern: str) -> str:
        if date is None:
            raise ArgumentError(
                "date: the template shows it (strftime_now); give it, it is not taken from the "
                "clock"
            )
        return date.strftime(pattern)

    def concat(*parts: Any) -> str:
        texts = [str(part) for part in parts]
        limits.check(sum(map(len, texts)))
        return "".join(texts)

    def guarded(name: str, size: Callable[..., int]) -> None:
        plain = environment.filters[name]

        def run(*args: Any, **kwargs: Any) -> Any:
            limits.tick()
            limits.check(size(*args, **kwargs))
            return plain(*args, **kwargs)

        if hasattr(plain, "jinja_pass_arg"):  # jinja2's mark of what comes before the value
            run.jinja_pass_arg = plain.jinja_pass_arg  # type: ignore[attr-defined]
        environment.filters[name] = run

    def replaced(_context: Any, text: Any, old: Any, new: Any, _count: Any = None) -> int:
        return len(str(text)) + str(text).count(str(old)) * len(str(new))

    def indented(text: str, width: int | str = 4, *_flags: bool, **_more: bool) -> int:
        step = width if isinstance(width, int) else len(width)
        return len(text) + (text.count("\n") + 1) * step

    def joined(_context: Any, value: Any, d: str = "", _attribute: Any = None) -> int:
        if not isinstance(value, (list, tuple, dict)):
            return 0  # it is made piece by piece, under the limits
        return sum(map(_size, value)) + len(str(d)) * len(value)

    guarded("replace", replaced)
    guarded("indent", indented)
    guarded("join", joined)
    for name in ("center", "format", "wordwrap", "xmlattr", "pprint", "urlize"):
        environment.filters.pop(name, None)
    environment.globals.pop("lipsum", None)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    environment.globals[_TICK] = limits.tick
    environment.globals[_CONCAT] = concat
    return environment


# Names that a template cannot know.
_TICK = f"tick_{secrets.token_hex(16)}"
_CONCAT = f"concat_{secrets.token_hex(16)}"


def _compiled(environment: Any, source: str) -> Any:
    """Compile a template with a look at the clock in every turn of a loop and every macro."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    class Guard(NodeTransformer):
        def _tick(self, line: int) -> Any:
            call = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            return nodes.ExprStmt(call).set_lineno(line)

        def _with_body(self, node: Any) -> Any:
            self.generic_visit(node)
            node.body.insert(0, self._tick(node.lineno))
            return node

        visit_For = visit_Macro = visit_CallBlock = _with_body  # noqa: N815

        def visit_Concat(self, node: Any) -> Any:  # noqa: N802
            self.generic_visit(node)
            call = nodes.Call(nodes.Name(_CONCAT, "load"), node.nodes, [], None, None)
            return call.set_lineno(node.lineno)

    tree = environment.parse(source)
    Guard().visit(tree)
    return environment.from_string(tree)


def _message_dict(message: Converted, path: str) -> dict[str, Any]:
    """Return a message as the template reads it."""
    role, content, name, reasoning, channel, calls, rare, _ = message
    shown: dict[str, Any] = {"role": role, "content": content}
    if name is not None:
        shown["name"] = name
    if reasoning is not None:
        shown["reasoning_content"] = reasoning
    if channel is not None:
        raise ArgumentError(f"{path}.channel: only template 'harmony' has channels")
    if calls:
        shown["tool_calls"] = [_call_dict(*call) for call in calls]
    if rare is not None:
        call_id, recipient, content_type, parts = rare
        if recipient is not None or content_type is not None:
            field = "content_type" if recipient is None else "recipient"
            raise ArgumentError(f"{path}.{field}: only template 'harmony' has it")
        if call_id is not None:
            shown["tool_call_id"] = call_id
        if parts:
            if any(kind != "text" for kind, _ in parts):
                raise ArgumentError(f"{path}.content: only template 'harmony' has such parts")
            shown["content"] = [{"type": "text", "text": text} for _, text in parts]
    return shown


def _call_dict(name: str, arguments: str, _text: str | None, call_id: str | None) -> dict[str, Any]:
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": name, "arguments": json.loads(arguments)},
    }
    return call if call_id is None else {"id": call_id, **call}


def _strings(value: Any) -> Any:
    """Yield all strings in a tree of JSON values, keys included."""
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            yield top
        elif isinstance(top, dict):
            stack += [key for key in top if key not in _MESSAGE_KEYS]
            stack += [inner for key, inner in top.items() if key != "role"]
        elif isinstance(top, list):
            stack += top


class JinjaTemplate:
    """A compiled template and the encoding it is for; takes the place of a native family."""

    is_rendering = True
    wraps_tool_results = False
    takes_date = True

    def __init__(  # noqa: PLR0917 - from_jinja names them
        self,
        source: str,
        encoding: Encoding,
        variables: Mapping[str, Any],
        date: datetime.datetime | None,
        max_seconds: float,
        max_chars: int,
    ) -> None:
        if not isinstance(source, str):
            raise ArgumentError(f"source: must be text, not {type(source).__name__}")
        if len(source) > _MAX_SOURCE_CHARS:
            raise ArgumentError(f"source: longer than {_MAX_SOURCE_CHARS} characters")
        self._encoding = encoding
        self._variables = dict(variables)
        self._limits = _Limits(max_seconds, max_chars)
        self._scanned = [
            (spelling, token_id, single_word, lstrip, rstrip)
            for spelling, token_id, _, single_word, lstrip, rstrip in (
                encoding._native.definition()[10]
            )
        ]
        self._spellings = [token[0] for token in self._scanned]
        self._joined_spellings = "\n".join(self._spellings)
        self._fragile = {
            token_id: spelling for spelling, token_id, *flags in self._scanned if any(flags)
        }
        self._edges = {spelling[0] for spelling in self._spellings}
        self._edges |= {spelling[-1] for spelling in self._spellings}
        self._any_spelling = re.compile("|".join(map(re.escape, self._spellings)) or r"(?!)")
        self._any_edge = re.compile(
            f"[{re.escape(''.join(self._edges))}]" if self._edges else r"(?!)"
        )
        environment = _environment(self._limits, date)
        import jinja2

        try:
            self._template = _compiled(environment, source)
        except jinja2.TemplateSyntaxError as error:
            raise ArgumentError(f"source, line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, OverflowError) as error:
            raise ArgumentError(f"source: cannot be compiled: {error}") from None
        self._source_chars = set(source)

    # --- rendering ---

    def _plain(self, messages: list[Any], tools: list[Any] | None, generation: bool) -> str:
        import jinja2

        limits = self._limits
        limits.start()
        size = 0
        pieces = []
        try:
            for piece in self._template.generate(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=generation,
                **self._variables,
            ):
                size += len(piece)
                limits.check(size)
                limits.tick()
                pieces.append(piece)
        except ArgumentError:
            raise
        except jinja2.TemplateError as error:
            raise ArgumentError(f"template{_line()}: {error}") from None
        except _TooMuch as error:
            raise ArgumentError(f"template{_line()}: {error}") from None
        except Exception as error:  # whatever the template's expressions may raise
            where = _line()
            raise ArgumentError(f"template{where}: {type(error).__name__}: {error}") from None
        return "".join(pieces)

    def _replacement(self, strings: Sequence[str], text: str) -> dict[int, str] | None:
        """Return for each character of special tokens one that occurs nowhere, if there are."""
        seen = self._source_chars.union(text, *strings)
        needed = sorted(set("".join(self._spellings)))
        free = [chr(c) for c in _PRIVATE_USE if chr(c) not in seen]
        if len(free) < len(needed):
            return None
        return dict(zip(map(ord, needed), free, strict=False))

    def _is_within_a_token(self, text: str) -> bool:
        core = text.strip()
        return core != "" and core in self._joined_spellings

    def _hide(self, text: str, replaced: dict[int, str]) -> str:
        if self._is_within_a_token(text):
            return text.translate(replaced)
        return self._any_edge.sub(lambda match: replaced[ord(match[0])], text)

    def _hidden(self, value: Any, replaced: dict[int, str]) -> Any:
        if isinstance(value, str):
            return self._hide(value, replaced)
        if isinstance(value, dict):
            return {
                key if key in _MESSAGE_KEYS else self._hide(key, replaced): inner
                if key == "role"
                else self._hidden(inner, replaced)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._hidden(inner, replaced) for inner in value]
        return value

    def segments(
        self, converted: list[Converted], tools_json: list[str], generation: bool
    ) -> list[tuple[str, bool]]:
        """Return the rendering, the template's own special tokens apart from all else."""
        messages = [_message_dict(m, f"messages[{i}]") for i, m in enumerate(converted)]
        tools = [json.loads(tool) for tool in tools_json] or None
        text = self._plain(messages, tools, generation)
        strings = list(_strings([messages, tools]))
        if not any(map(self._is_within_a_token, strings)) and not any(
            map(self._any_edge.search, strings)
        ):
            return self._split(text, {})
        replaced = self._replacement(strings, text)
        back = {} if replaced is None else {ord(new): chr(old) for old, new in replaced.items()}
        marked: str | None = None
        if replaced is not None:
            marked = self._marked(messages, tools, generation, replaced)
        if marked is None or marked.translate(back) != text:
            self._refuse_spellings(strings)
            marked = text
        return self._split(marked, back)

    def _marked(
        self,
        messages: list[Any],
        tools: list[Any] | None,
        generation: bool,
        replaced: dict[int, str],
    ) -> str | None:
        """Return the rendering with the caller's strings hidden; None if there is none."""
        try:
            return self._plain(
                self._hidden(messages, replaced), self._hidden(tools, replaced), generation
            )
        except ArgumentError:
            return None

    def _refuse_spellings(self, strings: Sequence[str]) -> None:
        for string in strings:
            spelled = self._any_spelling.search(string)
            if spelled is not None:
                raise ArgumentError(
                    f"messages: a text spells the special token {spelled[0]!r}, and the template "
                    "looks into the text, so it cannot be told whose it is"
                )

    def _split(self, marked: str, back: dict[int, str]) -> list[tuple[str, bool]]:
        data = marked.encode()
        segments = []
        done = 0
        for begin, end, token_id in _core.find_special_tokens(self._scanned, [(marked, True)]):
            if token_id in self._fragile:
                raise ArgumentError(
                    f"encoding: special token {self._fragile[token_id]!r}, which the template "
                    "writes, depends on the text beside it (lstrip, rstrip or single_word)"
                )
            if done < begin:
                segments.append((data[done:begin].decode().translate(back), False))
            segments.append((data[begin:end].decode(), True))
            done = end
        if done < len(data):
            segments.append((data[done:].decode().translate(back), False))
        return segments

    # --- what a native family does ---

    def validate(self, messages: list[Converted], path: str) -> None:
        """Raise for what only harmony's messages have."""
        for i, message in enumerate(messages):
            _message_dict(message, f"{path}[{i}]")

    def render(
        self, messages: _core.Messages, tools: list[str], add_generation_prompt: bool
    ) -> list[tuple[str, bool]]:
        """Return the segments."""
        return self.segments(messages.tuples(False), tools, add_generation_prompt)

    def encode(
        self,
        messages: list[Converted],
        tools: list[str],
        add_generation_prompt: bool,
        encoding: _core.Encoding,
        _table: _core.CountTable | None = None,
        _first_generated: int = -1,
    ) -> npt.NDArray[np.uint32]:
        """Return the ids of the rendering."""
        self._check(encoding)
        return self._encoding.encode_segments(self.segments(messages, tools, add_generation_prompt))

    def count(
        self,
        messages: list[Converted],
        tools: list[str],
        add_generation_prompt: bool,
        encoding: _core.Encoding,
        _table: _core.CountTable,
    ) -> tuple[list[int], int, int]:
        """Count the whole; a message's share is that of its own texts, the rest the template's."""
        total = len(self.encode(messages, tools, add_generation_prompt, encoding))
        left = total
        per_message = []
        for message in messages:
            texts = [message[1], message[3] or "", *(call[1] for call in message[5])]
            own = min(left, sum(map(self._encoding.count, filter(None, texts))))
            per_message.append(own)
            left -= own
        return per_message, left, total

    def _check(self, encoding: _core.Encoding) -> None:
        own = self._encoding._native
        if encoding is not own and encoding.fingerprint != own.fingerprint:
            raise ArgumentError(
                f"encoding: the template was made for {self._encoding.name!r}, not for this one"
            )


def _line() -> str:
    """Return ", line N" of the template for the exception being handled."""
    line = None
    trace = sys.exc_info()[2]
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"
