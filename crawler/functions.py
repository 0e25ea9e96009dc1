"""A function of the user's own, found in a worker process by its name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crawler.errors import words


def find(name: str) -> Callable[..., Any]:
    """The function behind `package.module:function`.

    Raises:
        ImportError: there is no such module or function, or it cannot be imported; the text says which.
    """
    module_name, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it
    try:
        found: Any = importlib.import_module(module_name)
    except MemoryError:
        raise ImportError(f"{module_name} cannot be imported: it needs more than --worker-memory") from None
    except BaseException as error:  # whatever a foreign module does when it is imported
        raise ImportError(f"{module_name} cannot be imported: {type(error).__name__}: {words(error)}") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise ImportError(f"{module_name} has no function {path}")
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(f"{name} is no function")
    function: Callable[..., Any] = found
    return function
