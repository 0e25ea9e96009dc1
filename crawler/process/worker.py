"""What runs in a worker process: a batch of bodies in, a batch of plain tuples out. Never raises for a bad picture.

Limits are the kernel's: a timer for each picture and a ceiling for the memory, so that nothing in C can pass them.
"""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import threading
import warnings
from multiprocessing import parent_process
from multiprocessing.connection import wait

from PIL import Image

from crawler.model import Reason
from crawler.process.decode import Refused, format_name, load, open_picture, shrink_on_load, swaps_sides, turn_of, words
from crawler.process.encode import EXTENSIONS, encode, profile_of
from crawler.process.transform import transform
from crawler.settings import ProcessSettings

Done = tuple[bytes | None, str, str, int, int, int, int, str, bytes]
"""data (None: the bytes as they came), format, extension, width, height, upright width and height of the source,
format of the source, SHA-256 of the source."""
Failed = tuple[str, str]
"""Name of a Reason and the words."""

_settings = ProcessSettings()


def setup(settings: ProcessSettings) -> None:
    """Prepare this process; called once, when it starts."""
    global _settings
    _settings = settings
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked in open_picture, with a reason of its own
    warnings.simplefilter("ignore")
    _limit_memory(settings.worker_memory)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.collect()
    gc.freeze()  # what is loaded now stays: no need to look at it in every collection


def ready() -> int:
    """Identity of this process: the first task of every worker, which proves that it works."""
    return os.getpid()


def work(bodies: list[bytes]) -> list[Done | Failed]:
    """Process pictures one after the other. A picture that takes longer than `process_timeout` ends this process."""
    results: list[Done | Failed] = []
    for body in bodies:
        _start_timer(_settings.process_timeout)
        try:
            results.append(_process(body, _settings))
        except Refused as error:
            results.append((error.reason.value, str(error)))
        except MemoryError:
            results.append((Reason.OUT_OF_MEMORY.value, f"needs more than {_settings.worker_memory} bytes of memory"))
        except Exception as error:  # a bug or a new kind of bad file must not cost the others of the batch
            results.append((Reason.DECODE.value, f"{type(error).__name__}: {words(error)}"))
    _start_timer(0)
    return results


def _process(body: bytes, settings: ProcessSettings) -> Done:
    picture = open_picture(body, settings.max_pixels)
    with picture:
        source_format = format_name(picture)
        if settings.picky:
            _check_wanted(picture, settings)
        if settings.encode == "original":
            return _proven(picture, body, source_format)
        changed, upright = transform(picture, settings)
        data = encode(changed, settings, profile_of(picture, changed))
    extension = EXTENSIONS[settings.encode]
    return data, settings.encode, extension, *changed.size, *upright, source_format, hashlib.sha256(body).digest()


def _check_wanted(picture: Image.Image, settings: ProcessSettings) -> None:
    shown = picture.size[::-1] if swaps_sides(turn_of(picture)) else picture.size
    if (unwanted := settings.unwanted(*shown)) is not None:
        raise Refused(*unwanted)


def _proven(picture: Image.Image, body: bytes, source_format: str) -> Done:
    """The bytes as they came, after they have been decoded to the end (a JPEG at 1/8: that reads all of its data)."""
    size, upright = picture.size, picture.size[::-1] if swaps_sides(turn_of(picture)) else picture.size
    shrink_on_load(picture, (1, 1))
    load(picture)
    return None, source_format, EXTENSIONS[source_format], *size, *upright, source_format, hashlib.sha256(body).digest()


def _start_timer(seconds: float) -> None:
    """SIGALRM with its default action ends this process, whatever C code it is in; the parent reads that as `too_slow`."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _end_with_parent() -> None:
    """A parent that is killed cannot tell us: leave when its end of the pipe closes, so that no worker is left behind."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
