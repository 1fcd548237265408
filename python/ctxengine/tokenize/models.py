"""Which encoding a model uses."""

from __future__ import annotations

from ctxengine.errors import UnknownModelError
from ctxengine.models import shipped
from ctxengine.tokenize.registry import get_encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxengine.tokenize.encoding import Encoding


def encoding_name_for_model(model_name: str) -> str:
    """Return the name of the encoding that a model uses.

    Versions and fine-tunes are known by their prefixes, so a name that no model has may have one.
    The names are those of the table of :mod:`ctxengine.models`.

    Raises
    ------
    UnknownModelError
        If no encoding is known for it (an UnknownTokenError and a KeyError too).
    """
    name = shipped().encoding_name(model_name)
    if name is None:
        raise UnknownModelError(
            f"no encoding is known for the model {model_name!r:.80}; name one with get_encoding"
        )
    return name


def encoding_for_model(model_name: str) -> Encoding:
    """Return the encoding that a model uses.

    Raises
    ------
    UnknownModelError
        If no encoding is known for it (an UnknownTokenError and a KeyError too).
    """
    return get_encoding(encoding_name_for_model(model_name))
