"""Facts of models: windows, encodings, templates, and what images, audio and documents cost.

All of it is data: one dated file beside this module, which says for each figure where it is from,
and users' files over it. What no provider publishes is not in the file, and asking for it is an
error. docs/models.md explains the file.

Examples
--------
>>> from ctxengine import models
>>> models.facts("azure/gpt-4o-2024-08-06").context_window
128000
>>> models.image_tokens("gpt-4o", 1024, 1024)
MediaTokens(num_tokens=765, exact=True)
>>> models.facts("gpt-4p")
Traceback (most recent call last):
    ...
ctxengine.errors.UnknownModelError: unknown model 'gpt-4p' (table of 2026-11-21); near it: ...
"""

from __future__ import annotations

from ctxengine.models.media import MediaTokens
from ctxengine.models.table import ModelFacts, ModelTable, shipped

__all__ = [
    "MediaTokens",
    "ModelFacts",
    "ModelTable",
    "audio_tokens",
    "facts",
    "image_tokens",
    "pdf_tokens",
    "shipped",
]


def facts(model: str) -> ModelFacts:
    """Return what the shipped table knows of a model; see :meth:`ModelTable.facts`.

    Raises
    ------
    UnknownModelError
        The table has no such model (a KeyError too); the message names those that come near.
    """
    return shipped().facts(model)


def image_tokens(model: str, width: int, height: int, detail: str = "auto") -> MediaTokens:
    """Return what an image costs in the prompt of a model; see :meth:`ModelTable.image_tokens`.

    Raises
    ------
    UnknownModelError
        The model is unknown, or no rule is published for its images.
    ArgumentError
        No image has such a size, the model does not know the level of detail, or its API rejects
        such an image.
    """
    return shipped().image_tokens(model, width, height, detail)


def audio_tokens(model: str, seconds: float) -> MediaTokens:
    """Return what a recording costs in the prompt of a model; see :meth:`ModelTable.audio_tokens`.

    Raises
    ------
    UnknownModelError
        The model is unknown, or no rule is published for its recordings.
    ArgumentError
        `seconds` is negative or not a finite number.
    """
    return shipped().audio_tokens(model, seconds)


def pdf_tokens(model: str, num_pages: int) -> MediaTokens:
    """Return what a PDF costs in the prompt of a model; see :meth:`ModelTable.pdf_tokens`.

    Raises
    ------
    UnknownModelError
        The model is unknown, or no rule is published for its documents.
    ArgumentError
        `num_pages` is not a whole number, or is negative.
    """
    return shipped().pdf_tokens(model, num_pages)
