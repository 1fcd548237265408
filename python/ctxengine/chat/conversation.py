"""The class `Conversation`: the ids and counts of a chat that goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.chat.convert import Converted, convert_messages, convert_tools
from ctxengine.chat.table import count_table
from ctxengine.chat.template import Template, resolve
from ctxengine.errors import ArgumentError, BudgetExceeded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize import Encoding


class Cursor(NamedTuple):
    """A place in a conversation's history of changes; see :meth:`Conversation.since`."""

    branch: int
    version: int


class Since(NamedTuple):
    """What has changed since a cursor.

    Attributes
    ----------
    changed_from : int
        Index of the first id that has changed or was added; what was computed of the ids before it
        (block hashes, a KV cache) is still good.
    ids : ndarray
        uint32[m], read-only: the ids from there on.
    """

    changed_from: int
    ids: npt.NDArray[np.uint32]


class Generated(NamedTuple):
    """What became of sampled ids.

    Attributes
    ----------
    num_kept : int
        So many of the first ids are in the conversation as they were sampled. The others, and what
        the template writes behind them, are encoded from the text that the template shows.
    changed_from : int
        As `Conversation.changed_from`.
    """

    num_kept: int
    changed_from: int


class Fit(NamedTuple):
    """What of a conversation fits: so many leading messages, `carried`, and all from `start` on.

    Attributes
    ----------
    lead : int
        The system messages that the conversation begins with are kept.
    carried : range
        The user's message of the turn that is cut inside, with what belongs to it; mostly empty.
    start : int
        The first message of the part that is kept.
    tokens : int
        The count of all that is kept, the beginning of the assistant's reply included.
    """

    lead: int
    carried: range
    start: int
    tokens: int


class Turn(NamedTuple):
    """A user's message and what was said until the next one.

    Attributes
    ----------
    begin, end : int
        Its messages are those from `begin` on, before `end`.
    tokens : int
        What they take in the prompt.
    """

    begin: int
    end: int
    tokens: int


class Conversation:
    """The token ids and counts of a chat, kept up to date turn by turn.

    Always those of :func:`encode_messages` and :func:`count_messages` for all its messages, the
    beginning of the assistant's reply included; except that ids which a model sampled
    (:meth:`append_generated`) stay as they are, for a KV cache holds them and not those that their
    text would be encoded to. Where a template shows earlier turns differently once there are later
    ones (Qwen3 and harmony drop reasoning), what it shows differently is encoded again and nothing
    else, and `changed_from` and :meth:`since` tell from where on ids have changed.

    Parameters
    ----------
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models. A count rule
        (``openai``) has counts, no ids; one of :meth:`Template.from_jinja` is an error.
    tools : sequence of mapping, optional
        Tool definitions as in a request body.
    messages : sequence of message, optional
        To begin with; of any shape that :func:`count_messages` takes.
    add_generation_prompt : bool
        End with the beginning of the assistant's next message.

    Raises
    ------
    UnknownTokenError, ArgumentError
        As in :func:`count_messages`. A method that raises leaves the conversation as it was.

    Notes
    -----
    It copies the texts that it is given, and holds 4 bytes for each token. One conversation may be
    used from several threads; each call is atomic.

    Examples
    --------
    >>> from ctxengine.chat import Conversation
    >>> chat = Conversation("Qwen/Qwen3-8B-Instruct-2507")
    >>> chat.append({"role": "user", "content": "Hello"})
    9
    >>> cursor = chat.cursor
    >>> chat.append_generated(chat.encoding.encode_ordinary("Hi there!"))
    Generated(num_kept=3, changed_from=9)
    >>> chat.append({"role": "user", "content": "Bye"})
    24
    >>> chat.since(cursor).changed_from
    9
    """

    __slots__ = ("_native", "encoding", "template")

    encoding: Encoding
    template: Template

    def __init__(
        self,
        encoding: Encoding | str,
        *,
        template: Template | str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        messages: Any = (),
        add_generation_prompt: bool = True,
    ) -> None:
        self.template, self.encoding = resolve(template, encoding)
        if not isinstance(self.template._native, _core.ChatTemplate):
            raise ArgumentError(
                "template: a jinja template shows a whole list of messages at a time; only native "
                "templates have a conversation that goes on"
            )
        self._native = _core.Conversation(
            self.encoding._native,
            self.template._native,
            convert_tools(tools),
            bool(add_generation_prompt),
        )
        converted = convert_messages(messages)
        if converted:
            self._native.append(converted, "messages", count_table())

    def append(self, message: Any) -> int:
        """Add a message at the end.

        Returns
        -------
        int
            `count` after it.

        Notes
        -----
        O(message), and what it changes of earlier ones, for ChatML, Qwen and the count rule; for
        other templates the list is rendered once more (about 0.2 us a message), and encoded is what
        is new or shown differently.
        """
        self._native.append(_converted(message, "message"), "message", count_table())
        return self._native.count

    def extend(self, messages: Any) -> int:
        """Add messages at the end, all or none; return `count` after it."""
        self._native.append(convert_messages(messages), "messages", count_table())
        return self._native.count if len(self) else 0

    def append_generated(self, ids: Any, message: Any = None) -> Generated:
        """Add what the model has generated after the prompt, keeping the ids as they were sampled.

        Parameters
        ----------
        ids : sequence of int, or integer array
            The sampled ids, with the token that ended the turn or without.
        message : message or list of message, optional
            What the ids say, as it is to be shown in the next prompt (with tool calls parsed). By
            default the assistant's message with the text of the ids. Harmony needs it.

        Returns
        -------
        Generated
            How many of the ids are kept. All, where the template shows the text that they spell.
            Where it shows another one (it writes tool calls anew, strips white space, drops
            reasoning), those up to the last control token before it.

        Raises
        ------
        UnknownTokenError
            For an id that the encoding does not have.
        ArgumentError
            As :meth:`append`; for ids that end amid a character, when there is no message; and for
            a conversation without generation prompt.
        """
        converted = None if message is None else _converted(message, "message")
        return Generated(*self._native.append_generated(ids, converted, "message", count_table()))

    def replace_span(self, begin: int, end: int, messages: Any = ()) -> int:
        """Replace messages ``begin`` up to ``end`` by others, or by none; return the new count.

        For a summary in the place of old turns, or to take turns out. The messages are rendered
        again, and encoded is what is new or shown differently. An empty conversation of a template
        that needs a message counts 0 here.
        """
        if begin < 0 or end < 0:
            raise ArgumentError(f"replace_span: [{begin}, {end}) must not be negative")
        self._native.replace(begin, end, convert_messages(messages), "messages", count_table())
        return self._native.count if len(self) else 0

    def fit(self, max_tokens: int) -> Fit:
        """Return what to keep so that the conversation takes at most so many tokens.

        As :func:`ctxengine.budget.trim_messages` with ``cut="tight"``; nothing is changed. To go on
        with what is kept::

            fit = chat.fit(100_000)
            chat.replace_span(fit.lead, fit.start, [messages[i] for i in fit.carried])

        Raises
        ------
        BudgetExceeded
            When what must be kept is larger, with both numbers.
        ArgumentError
            For a template that shows messages by what stands beside them (harmony, Mistral, Gemma,
            DeepSeek, and Llama 3.1 with tools), for a result without its call, for a call without
            its result, and for a number that is no integer from 0 to 2**63 - 1.

        Notes
        -----
        O(log messages), and O(1) for each message that is new since the last call.
        """
        if not hasattr(max_tokens, "__index__"):
            raise ArgumentError(f"max_tokens: must be an integer, not {type(max_tokens).__name__}")
        if not 0 <= max_tokens < 2**63:
            raise ArgumentError(f"max_tokens: must lie between 0 and 2**63 - 1, not {max_tokens}")
        lead, begin, end, start, tokens = self._native.fit(max_tokens)
        if tokens > max_tokens:
            raise BudgetExceeded(
                f"what must be kept takes {tokens} tokens, {max_tokens} are available",
                tokens,
                max_tokens,
            )
        return Fit(lead, range(begin, end), start, tokens)

    def fork(self) -> Conversation:
        """Return a conversation that goes on from here by itself; all is shared until then.

        O(1) for messages and ids. Of two that go on, the second copies what it shared: 4 bytes a
        token and some 200 a message, once.
        """
        copy = Conversation.__new__(Conversation)
        copy.encoding, copy.template = self.encoding, self.template
        copy._native = self._native.fork()
        return copy

    __copy__ = fork

    def __deepcopy__(self, memo: dict[int, object]) -> Conversation:
        return self.fork()

    @property
    def cursor(self) -> Cursor:
        """Where the history of changes stands now; good for this conversation and later forks."""
        return Cursor(*self._native.cursor)

    def since(self, cursor: Cursor) -> Since:
        """Return from where on the ids have changed since a cursor, and the ids from there on.

        Raises
        ------
        ArgumentError
            For a cursor of another conversation, or of a fork made after it parted.

        Notes
        -----
        O(log changes); the ids are a view.
        """
        changed_from, ids = self._native.since(*cursor)
        return Since(changed_from, ids[changed_from:])

    @property
    def ids(self) -> npt.NDArray[np.uint32]:
        """All ids: uint32[count], read-only, without a copy.

        The array stays as it is when the conversation goes on; new turns do not copy it. Only where
        ids that it shows change, those before them are copied once.
        """
        return self._native.ids

    @property
    def count(self) -> int:
        """The number of tokens, the beginning of the assistant's reply included."""
        return self._native.count

    @property
    def message_tokens(self) -> npt.NDArray[np.int64]:
        """Tokens per message: int64[messages], as `CountReport.messages`. O(messages)."""
        return self._native.counts()[0]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns, oldest first; messages before the first user's are in none. O(messages).

        Where Qwen's templates wrap a tool's result as a user's message, it goes on with its turn.
        """
        starts = self._native.turns()
        if not starts:
            return ()
        tokens = self.message_tokens.tolist()
        spans = pairwise([*starts, len(tokens)])
        return tuple(Turn(begin, end, sum(tokens[begin:end])) for begin, end in spans)

    @property
    def template_tokens(self) -> int:
        """Tokens that no message owns: default system prompt, beginning of the reply."""
        return self._native.counts()[1]

    @property
    def changed_from(self) -> int:
        """Index of the first id that the last change changed or added."""
        return self._native.changed_from

    def __len__(self) -> int:
        """Return the number of messages."""
        return self._native.num_messages

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Conversation of {len(self)} messages, {self.template!r}>"


def _converted(message: Any, path: str) -> list[Converted]:
    return convert_messages(message if isinstance(message, (list, tuple)) else [message], path)
