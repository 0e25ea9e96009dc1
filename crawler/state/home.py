"""Where the journal of an output is: beside the pictures, in a folder that was named, or for a store in one named after it."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from crawler.urls import safe_name

FOLDER = ".crawler"
FILE = "journal.sqlite"
_LONGEST = 80


def home_for(output: str, chosen: str = "") -> Path:
    """The folder for the journal of a run.

    Args:
        output: a folder, or an address in a store.
        chosen: the folder that was asked for.
    """
    if chosen:
        return Path(chosen)
    if "://" not in output:
        return Path(output) / FOLDER
    whole = output.rstrip("/")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    # Two addresses may look the same once what no folder can be called is replaced.
    mark = blake2b(whole.encode(errors="replace"), digest_size=4).hexdigest()
    return Path(base) / "crawler" / f"{safe_name(whole.replace('://', '-').replace('/', '-'), _LONGEST)}-{mark}"


def find_home(given: str | Path) -> Path:
    """The folder of the journal, for one that looks at a run: given its output, or that folder itself."""
    home = home_for(str(given))
    if "://" not in str(given) and not (home / FILE).is_file() and (Path(given) / FILE).is_file():
        return Path(given)
    return home
