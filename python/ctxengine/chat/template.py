"""A family's chat template, chosen by its own name, by a model's or by an encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ctxengine import _core
from ctxengine.chat.convert import Converted, convert_messages, convert_tools, read_messages
from ctxengine.chat.families import (
    has_published_rule,
    name_for_encoding,
    name_for_model,
    shows_today,
)
from ctxengine.chat.harmony import HarmonySystem
from ctxengine.chat.report import Reuse
from ctxengine.errors import ArgumentError, UnknownTokenError

if TYPE_CHECKING:
    from datetime import datetime

    from ctxengine.tokenize import Encoding


class Template:
    """A family's chat template, or the count rule of the closed API models.

    Parameters
    ----------
    name : str
        One of :meth:`names`; the text of :mod:`ctxengine.chat` says what each is.
    enable_thinking : bool
        ``qwen3`` only: False closes an empty reasoning block in the generation prompt, as the
        family's template does for ``enable_thinking=False``.
    estimate_tools : bool
        ``openai`` only: count tools, tool calls and tool results although OpenAI publishes no exact
        rule for them. Each tool counts as its JSON text, each call as its name and arguments and 3
        tokens, each result as a message. JSON text is longer than what the models are believed to
        see, so the estimate errs on the high side. Reports then say ``exact=False``. Several texts
        in one message are then joined by a newline, else they are an error.
    date : str, optional
        ``llama3.1`` only: the day that its system message calls today's, as in ``"26 Jul 2024"``,
        which is what the template of Llama 3.1 and 3.3 says when it is not given. That of Llama 3.2
        looks at the clock; nothing here does.
    published : bool
        ``openai`` only: False when the rule was not published for the model, only for others;
        reports then say ``exact=False``. :meth:`for_model` knows.
    system : HarmonySystem, optional
        ``gpt-oss`` only: what its system message says. By default what ``openai-harmony`` writes by
        default, which shows no date; as servers write one, reports then say ``exact=False``.

    Raises
    ------
    UnknownTokenError
        For a name that there is no template for.
    ArgumentError
        For an option that the template does not have.

    Notes
    -----
    Immutable; safe to use from several threads.
    """

    __slots__ = (
        "_jinja", "_native", "date", "enable_thinking", "estimate_tools", "name", "published",
        "system",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        enable_thinking: bool = True,
        estimate_tools: bool = False,
        date: str | None = None,
        published: bool = True,
        system: HarmonySystem | None = None,
    ) -> None:
        if not enable_thinking and name != "qwen3":
            raise ArgumentError(f"enable_thinking: template {name!r} has no such choice")
        if estimate_tools and name != "openai":
            raise ArgumentError(f"estimate_tools: template {name!r} is exact")
        if not published and name != "openai":
            raise ArgumentError(f"published: template {name!r} is")
        if date is not None and not isinstance(date, str):
            raise ArgumentError(f"date: must be text, not {type(date).__name__}")
        if system is not None:
            if name != "gpt-oss":
                raise ArgumentError(f"system: template {name!r} has no such choice")
            if not isinstance(system, HarmonySystem):
                raise ArgumentError(f"system: must be HarmonySystem, not {type(system).__name__}")
        shown = HarmonySystem() if system is None else system
        self._native = _core.ChatTemplate(
            name, enable_thinking, estimate_tools, date, shown._json()
        )
        if date is not None and not self._native.takes_date:
            raise ArgumentError(f"date: template {name!r} shows none")
        self._jinja: tuple[Any, ...] | None = None
        self.name = name
        self.system = system
        self.date = date
        self.enable_thinking = enable_thinking
        self.estimate_tools = estimate_tools
        self.published = published

    @classmethod
    def from_jinja(
        cls,
        source: str,
        encoding: Encoding,
        *,
        variables: Mapping[str, Any] | None = None,
        date: datetime | None = None,
        max_seconds: float = 2.0,
        max_chars: int = 1 << 26,
    ) -> Template:
        """Return a template that jinja2 renders, as ``transformers`` does.

        For models whose template is none of :meth:`names`. Messages are given to the template as
        they are, with a null content as empty text, a single text part as its text, and the
        arguments of calls as objects, as vLLM gives them.

        Parameters
        ----------
        source : str
            The template, as in ``chat_template.jinja`` or ``tokenizer_config.json``.
        encoding : Encoding
            The model's; the rendering is split at its special tokens.
        variables : mapping, optional
            What else the template reads: ``bos_token``, ``eos_token``, ``enable_thinking``, ...
        date : datetime, optional
            What ``strftime_now`` shows. Without it, a template that asks is an error: the date is
            never taken from the clock.
        max_seconds, max_chars
            Limits of one rendering. The time is looked at in every turn of a loop and every call.

        Raises
        ------
        ArgumentError
            For a source that is no template, naming its line. When it is used: for what the
            template raises, with the line; for one that exceeds a limit; for a message that spells
            a special token where the template looks into the text (cuts or searches it), so that
            it cannot be told whose the token is; for another encoding than this.
        ImportError
            Without jinja2, which the extra ``ctxengine[jinja]`` installs.

        Notes
        -----
        Only special tokens that the template itself writes are special; the same spelling in a
        message is ordinary text. Every call renders the whole conversation, twice where a text
        holds a character that special tokens begin or end with, and tokenizes the whole: O(text),
        with nothing kept from call to call, some 10 to 100 times the cost of a native template. In
        a report a message's share is that of its own texts; what frames them counts as the
        template's. The sandbox keeps a template from the interpreter; run those of strangers with
        small limits.

        """
        from ctxengine.chat.jinja import JinjaTemplate

        if not isinstance(getattr(encoding, "_native", None), _core.Encoding):
            raise ArgumentError(f"encoding: must be Encoding, not {type(encoding).__name__}")
        native = JinjaTemplate(source, encoding, variables or {}, date, max_seconds, max_chars)
        made = cls("chatml")
        made.name = "jinja"
        made._native = cast("_core.ChatTemplate", native)
        made._jinja = (source, encoding, dict(variables or {}), date, max_seconds, max_chars)
        return made

    @staticmethod
    def names() -> list[str]:
        """Return the names of all templates."""
        return _core.chat_template_names()

    @classmethod
    def for_model(
        cls,
        model: str,
        *,
        enable_thinking: bool = True,
        estimate_tools: bool = False,
        date: str | None = None,
        system: HarmonySystem | None = None,
    ) -> Template:
        """Return the template of a published model.

        Parameters
        ----------
        model : str
            Such as ``"Qwen/Qwen3-8B"`` or ``"gpt-4o-mini"``; an organisation in front and a weight
            format behind are passed over.
        enable_thinking, estimate_tools, date, system
            As in the constructor.

        Raises
        ------
        UnknownTokenError
            When the model's template is none of these; give one by name if you know it to be equal.
        ArgumentError
            For an option that the model's template does not have; for Llama 3.2 without a date,
            which its template would take from the clock.
        """
        name = name_for_model(model)
        if date is None and shows_today(model):
            raise ArgumentError(
                f"date: the template of model {model!r} shows today's; give it, as in '26 Jul 2024'"
            )
        return cls(
            name,
            enable_thinking=enable_thinking,
            estimate_tools=estimate_tools,
            date=date,
            published=name != "openai" or has_published_rule(model),
            system=system,
        )

    @classmethod
    def for_encoding(cls, encoding: Encoding) -> Template:
        """Return the template of the models that an encoding belongs to.

        Raises
        ------
        ArgumentError
            When the encoding does not tell, because its models have no chat template or several.
        """
        name = name_for_encoding(encoding)
        if name is None:
            raise ArgumentError(
                f"template: encoding {encoding.name!r} does not tell which; known: "
                f"{', '.join(cls.names())}"
            )
        return cls(name)

    @property
    def exact(self) -> bool:
        """Whether counts are exact; else :attr:`why_not_exact` says why they are not."""
        return not self.why_not_exact

    @property
    def why_not_exact(self) -> str:
        """Why counts are estimates; empty when they are exact."""
        if not self.published:
            return "OpenAI has not published the count rule for this model, only for earlier ones"
        if self.estimate_tools:
            return "no exact count is published for tools, tool calls and tool results"
        if self.name == "gpt-oss" and self.system is None:
            return (
                "servers of gpt-oss write the date into the system message; give what yours writes "
                "as Template('gpt-oss', system=HarmonySystem(conversation_start_date=...))"
            )
        return ""

    @property
    def is_rendering(self) -> bool:
        """Whether there is text to render and encode; False for the count rule ``openai``."""
        return self._native.is_rendering

    def render_segments(
        self,
        messages: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> list[tuple[str, bool]]:
        """Render messages to segments.

        Parameters
        ----------
        messages : sequence of message, or bytes
            As the text of :mod:`ctxengine.chat` says; bytes are the JSON text of such a list.
        tools : sequence of mapping, optional
            Tool definitions as in a request body.
        add_generation_prompt : bool
            End with the beginning of the assistant's next message.

        Returns
        -------
        list of (str, bool)
            Text and whether it is the template's own; only such text can spell control tokens.
            Joined, the texts are the rendered prompt.

        Raises
        ------
        ArgumentError
            For a message, a role, a field or tools that the template cannot show, and for a
            template that is a count rule.
        """
        return self._native.render(
            read_messages(messages), convert_tools(tools), add_generation_prompt
        )

    def render(
        self,
        messages: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """Render messages to text, as the family's Jinja template would.

        The text does not tell control tokens from the same spelling in a message: encode the
        segments, not the text. Parameters and errors as in :meth:`render_segments`.
        """
        segments = self.render_segments(
            messages, tools, add_generation_prompt=add_generation_prompt
        )
        return "".join(text for text, _ in segments)

    def reusable_after_generation(
        self,
        messages: Any,
        reply: Any,
        encoding: Encoding | str,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Reuse:
        """Tell how much of the KV cache survives when the conversation goes on.

        Some families show a reply differently once the next turn has begun (Qwen3 and harmony drop
        reasoning); from there on the cached keys and values are of no use.

        Parameters
        ----------
        messages, tools
            The prompt that was answered, as in :meth:`render_segments`.
        reply : message or list of message
            The answer as generated, with its reasoning.
        encoding : Encoding or str
            The model's encoding, or the name of an encoding or of a model.

        Returns
        -------
        Reuse
            Tokens of the conversation up to the end of the reply as it was generated, and how many
            of them are a prefix of the next prompt. The next message is the user's, or the result
            of the reply's tool call.

        Notes
        -----
        O(text): both renderings are encoded and compared.
        """
        prompt = convert_messages(messages)
        tools_json = convert_tools(tools)
        replies = convert_messages(reply if isinstance(reply, (list, tuple)) else [reply], "reply")
        if not replies:
            raise ArgumentError("reply: must hold at least one message")
        next_message = _next_message(replies[-1])
        native = resolve(self, encoding)[1]._native

        # As generated, with what the family drops once the next turn has begun.
        before = self._native.encode(
            [*prompt, *replies], tools_json, False, native, None, len(prompt)
        ).tolist()
        after = self._native.encode(
            [*prompt, *replies, next_message], tools_json, False, native
        ).tolist()
        reusable = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
            min(len(before), len(after)),
        )
        return Reuse(len(before), reusable)

    def __repr__(self) -> str:
        if self._jinja is not None:
            return f"<Template of {len(self._jinja[0])} characters of jinja for {self._jinja[1]!r}>"
        options = "" if self.enable_thinking else ", enable_thinking=False"
        options += ", estimate_tools=True" if self.estimate_tools else ""
        options += "" if self.date is None else f", date={self.date!r}"
        options += "" if self.published else ", published=False"
        options += "" if self.system is None else f", system={self.system!r}"
        return f"Template({self.name!r}{options})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__() if self._jinja is None else self._jinja[0])

    def __reduce__(self) -> tuple[Any, ...]:
        if self._jinja is not None:
            return _make_jinja, self._jinja
        options = tuple((option, getattr(self, option)) for option in _OPTIONS)
        return _make_template, (self.name, options)


_OPTIONS = ("enable_thinking", "estimate_tools", "date", "published", "system")


def _make_jinja(
    source: str, encoding: Encoding, variables: Mapping[str, Any], *limits: Any
) -> Template:
    date, max_seconds, max_chars = limits
    return Template.from_jinja(
        source,
        encoding,
        variables=variables,
        date=date,
        max_seconds=max_seconds,
        max_chars=max_chars,
    )


def _make_template(name: str, options: tuple[tuple[str, Any], ...]) -> Template:
    return Template(name, **dict(options))


def _next_message(reply: Converted) -> Converted:
    """Return what follows a reply: the result of its first call, or the user's next message."""
    calls, recipient = reply[5], reply[6] and reply[6][1]
    if calls:
        return ("tool", "", None, None, None, (), (calls[0][3], None, None, ()), False)
    if recipient is not None:
        rare = (None, "assistant", None, ())
        return ("tool", "", recipient, None, "commentary", (), rare, False)
    return ("user", "", None, None, None, (), None, False)


def resolve_encoding(
    encoding: Encoding | str, path: str = "encoding"
) -> tuple[Encoding, str | None]:
    """Return the encoding that a caller gave or named, and the model when it was its name."""
    if not isinstance(encoding, str):
        if isinstance(getattr(encoding, "_native", None), _core.Encoding):
            return encoding, None
        raise ArgumentError(f"{path}: must be Encoding or a name, not {type(encoding).__name__}")
    from ctxengine import tokenize

    names = tokenize.list_encoding_names()
    if encoding in names:
        return tokenize.get_encoding(encoding), None
    try:
        return tokenize.encoding_for_model(encoding), encoding
    except UnknownTokenError:
        raise UnknownTokenError(
            f"{path}: {encoding!r} is neither an encoding ({', '.join(names)}) nor a model whose "
            "encoding is known"
        ) from None


def resolve(
    template: Template | str | None, encoding: Encoding | str, path: str = "encoding"
) -> tuple[Template, Encoding]:
    """Return the template and the encoding that a caller gave, or left to the model's name."""
    encoding, model = resolve_encoding(encoding, path)
    if isinstance(template, str):
        return Template(template), encoding
    if template is None:
        chosen = Template.for_encoding(encoding) if model is None else Template.for_model(model)
        return chosen, encoding
    if not isinstance(template, Template):
        raise ArgumentError(f"template: must be Template or a name, not {type(template).__name__}")
    return template, encoding
