// What `help` and documentation tools show of the methods of `ctxengine.Encoding` that are C
// functions: the signature, then the text, in NumPy's style as everywhere in Python.
#pragma once

namespace ctx::bindings::docs {

inline constexpr char kBind[] = R"(_bind($self, native)
--

Make this the encoding of a `_core.Encoding`, once.)";

inline constexpr char kEncode[] =
    R"(encode($self, text, *, allowed_special=(), disallowed_special='all')
--

Encode a text.

Special tokens steer a model, so text from outside must not be able to spell them by accident: by
default their spellings in `text` are an error.

Parameters
----------
text : str
    Pairs of surrogates count as the character that they spell, lone ones as U+FFFD.
allowed_special : set of str or "all"
    Spellings that become special tokens: leftmost first, the longest of those that begin at the
    same place.
disallowed_special : collection of str or "all"
    Spellings that are refused. "all" stands for all that are not allowed; ``()`` lets spellings
    that are not allowed pass as ordinary text.

Returns
-------
list of int

Raises
------
SpecialTokenError
    If `text` holds a disallowed spelling.

Notes
-----
Linear in the text, whatever it is. Each pre-token is looked up as a whole; one that is no token is
merged from single bytes, always joining the pair whose bytes have the lowest rank (Sennrich et al.,
2016, on bytes; the rule is that of tiktoken). A SentencePiece model has no pre-tokens and merges
from characters; one that is in no token becomes its bytes.)";

inline constexpr char kEncodeOrdinary[] = R"(encode_ordinary($self, text)
--

Encode a text in which spellings of special tokens are text like any other.

Returns
-------
list of int)";

inline constexpr char kEncodeToNumpy[] =
    R"(encode_to_numpy($self, text, *, allowed_special=(), disallowed_special='all')
--

Encode as `encode` does, without making an int object for each id: the fastest way.

Returns
-------
numpy.ndarray
    uint32[num_tokens].)";

inline constexpr char kEncodeInto[] =
    R"(encode_into($self, text, buffer, *, allowed_special=(), disallowed_special='all')
--

Encode as `encode` does, into memory of the caller's.

Parameters
----------
text : str
buffer : writable buffer
    One-dimensional, contiguous, of uint32 or int32: a numpy array, an ``array.array``.
allowed_special, disallowed_special
    As for `encode`.

Returns
-------
int
    Number of ids written, from index 0 on.

Raises
------
CapacityError
    If the buffer is too short: ``needed`` is the number of ids. It is then as it was.
SpecialTokenError
    As `encode`.

Examples
--------
>>> import array
>>> from ctxengine.tokenize import get_encoding
>>> buffer = array.array("I", [0] * 4)
>>> get_encoding("o200k_base").encode_into("hello world", buffer)
2
>>> buffer
array('I', [24912, 2375, 0, 0]))";

inline constexpr char kEncodeBytes[] = R"(encode_bytes($self, data)
--

Encode any bytes; ``decode_bytes`` gives them back.

Valid UTF-8 is encoded as by `encode_ordinary`. Otherwise the text before the first malformed byte
is, except that its last pre-token (with blank tokens before it, if it is blank) and all bytes from
there on are merged as one pre-token, as tiktoken has it. With a SentencePiece model, and wherever
text is normalized, each malformed byte becomes its byte token and what lies between is encoded as
text of its own.

Returns
-------
list of int)";

inline constexpr char kCount[] = R"(count($self, text)
--

Return ``len(encode_ordinary(text))`` without storing an id.

Spellings of special tokens are text like any other; no text raises.)";

inline constexpr char kFits[] = R"(fits($self, text, limit)
--

Tell whether ``count(text) <= limit``, in O(limit): it stops once the answer is known.)";

inline constexpr char kDecode[] =
    R"(decode($self, tokens, errors='replace', *, skip_special_tokens=False)
--

Decode ids to text.

Parameters
----------
tokens : sequence of int
    A list, or faster, an array of uint32, int32 or int64.
errors : str
    What to do with bytes that are not UTF-8, as for ``bytes.decode``.
skip_special_tokens : bool
    Leave special tokens out.

Returns
-------
str

Raises
------
UnknownTokenError
    If an id is not in the vocabulary (a KeyError too).

Notes
-----
O(ids + text). The first call makes a table of the tokens' texts, in O(vocabulary).

Examples
--------
>>> from ctxengine.tokenize import get_encoding
>>> encoding = get_encoding("cl100k_base")
>>> encoding.decode([15339, 1917, 100257])
'hello world<|endoftext|>'
>>> encoding.decode([15339, 1917, 100257], skip_special_tokens=True)
'hello world')";

inline constexpr char kDecodeBytes[] = R"(decode_bytes($self, tokens)
--

Decode ids to the bytes of their tokens, joined.

Raises
------
UnknownTokenError
    If an id is not in the vocabulary (a KeyError too).)";

}  // namespace ctx::bindings::docs
