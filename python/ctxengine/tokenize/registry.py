"""The shipped encodings, each made once."""

from __future__ import annotations

from ctxengine import _core
from ctxengine.errors import ArgumentError
from ctxengine.tokenize.encoding import Encoding

_ENCODINGS: dict[str, Encoding] = {}


def get_encoding(encoding_name: str) -> Encoding:
    """Return a shipped encoding: always the same object for a name.

    Parameters
    ----------
    encoding_name : str
        One of `list_encoding_names`.

    Returns
    -------
    Encoding
        The first call for a name reads the tables; later calls are a dictionary look-up.

    Raises
    ------
    ArgumentError
        If there is no such encoding (a ValueError too).
    LoadError
        If the package data is damaged.
    """
    encoding = _ENCODINGS.get(encoding_name) if isinstance(encoding_name, str) else None
    if encoding is not None:
        return encoding
    names = list_encoding_names()
    if encoding_name not in names:
        raise ArgumentError(
            f"unknown encoding {encoding_name!r}; there are {', '.join(names)} (of ctxengine "
            f"{_core.__version__})"
        )
    # Without a lock, which a forked child could inherit held: of two threads that load at once, the
    # second takes the first one's.
    loaded = Encoding._wrap(_core.Encoding.shipped(encoding_name, _vocabulary_directory()))
    return _ENCODINGS.setdefault(encoding_name, loaded)


def is_shared(encoding: Encoding) -> bool:
    """Tell whether `get_encoding` returns this very object for its name."""
    return _ENCODINGS.get(encoding.name) is encoding


def list_encoding_names() -> list[str]:
    """Return the names that `get_encoding` takes."""
    return _core.shipped_encoding_names()


def _vocabulary_directory() -> str:
    # Not by importlib.resources or pathlib, which take as long to import as the tables to load.
    package = __file__.rpartition("tokenize")[0]
    return f"{package}vocabularies"
