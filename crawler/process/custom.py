"""The user's own function: found in a worker by its name, called with every picture, and held to what it may return."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from PIL import Image

from crawler import functions
from crawler.errors import words
from crawler.model import Reason, Sample
from crawler.process.decode import Refused

Function = Callable[[Image.Image, Sample], object]


def find(name: str) -> Function:
    """The function behind `package.module:function`, as one that takes a picture and a sample.

    Raises:
        ImportError: there is no such module or function, or it cannot be imported; the text says which.
    """
    return _with_sample(name, functions.find(name))


def _with_sample(name: str, function: Callable[..., object]) -> Function:
    """A function of one argument is called with the picture alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    for given in (2, 1):
        try:
            signature.bind(*range(given))
        except TypeError:
            continue
        return function if given == 2 else lambda picture, _: function(picture)
    raise ImportError(f"{name} must take a picture, or a picture and a sample, and takes {signature}")


def apply(function: Function, picture: Image.Image, sample: Sample) -> Image.Image:
    """What the function makes of an upright picture in sRGB.

    Raises:
        Refused: it drops the picture, fails, or returns what is no picture.
    """
    try:
        result = function(picture, sample)
        if isinstance(result, Image.Image):
            result.load()
    except MemoryError:
        raise
    except BaseException as error:  # also what would end this process: it is one picture's fault
        raise Refused(Reason.TRANSFORM_FAILED, f"{type(error).__name__}: {words(error)}") from None
    if result is None:
        raise Refused(Reason.DROPPED, "by the transform function")
    if not isinstance(result, Image.Image) or not all(result.size):
        raise Refused(Reason.TRANSFORM_FAILED, f"returned {type(result).__name__}, must be a picture or None")
    return result
