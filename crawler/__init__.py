"""Image URLs to a clean set of pictures on disk: an asyncio front end fetches, worker processes decode and encode."""

# The house, top floor first; imports go down only, rooms of one floor do not know each other (setup.cfg, tests):
#   cli                              the command line: the only code with signals, exit codes and a loop of its own
#   demo                             a small site to try it on
#   api verify                       Settings in, a run out: Crawler, crawl; a run against the disk
#   outputs workshop outbox          journal and store behind the settings; what a worker does; outcomes for the caller
#   pipeline                         the loop: bounded stages; knows only ports
#   search                           what the loop does with pages
#   inputs frontier fetch process discover  targets, their order, their bytes, their pixels, what is in a page
#   store state report               files and shards, journal, counters
#   ports                            what the pipeline needs from each part: the only seam
#   settings store_settings picture_settings  what a run can be told
#   progress                         how a run is going, and how it ended
#   page_kind dimensions signatures  what the first bytes of a file say
#   model batcher seen fitting       values, a thread that works in batches, what came before, types of columns
#   found discover_settings          what is found in a page, and what is looked for
#   checks extras urls functions     what values must be, what may be installed, addresses, functions of the user's own
#   errors clock children disk       the error tree, time, processes of our own, what a file system refuses

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crawler.api import Crawler as Crawler
    from crawler.api import crawl as crawl
    from crawler.errors import CrawlerError as CrawlerError
    from crawler.errors import InputChanged as InputChanged
    from crawler.errors import InputError as InputError
    from crawler.errors import InputMissing as InputMissing
    from crawler.errors import JournalError as JournalError
    from crawler.errors import MissingExtra as MissingExtra
    from crawler.errors import NotARun as NotARun
    from crawler.errors import RunLocked as RunLocked
    from crawler.errors import SettingsChanged as SettingsChanged
    from crawler.errors import SettingsError as SettingsError
    from crawler.errors import StoreError as StoreError
    from crawler.errors import WorkersFailed as WorkersFailed
    from crawler.model import Miss as Miss
    from crawler.model import Outcome as Outcome
    from crawler.model import Picture as Picture
    from crawler.model import Reason as Reason
    from crawler.model import Sample as Sample
    from crawler.model import Target as Target
    from crawler.picture_settings import ProcessSettings as ProcessSettings
    from crawler.progress import Progress as Progress
    from crawler.progress import Summary as Summary
    from crawler.settings import FetchSettings as FetchSettings
    from crawler.settings import FrontierSettings as FrontierSettings
    from crawler.settings import InputSettings as InputSettings
    from crawler.settings import ReportSettings as ReportSettings
    from crawler.settings import Settings as Settings
    from crawler.settings import StateSettings as StateSettings
    from crawler.settings import StoreSettings as StoreSettings

# A worker process imports this file before anything else, so it imports nothing: names are found when they are used.
_HOMES = {
    "crawler.api": ("Crawler", "crawl"),
    "crawler.errors": (
        "CrawlerError", "InputChanged", "InputError", "InputMissing", "JournalError", "MissingExtra",
        "NotARun", "RunLocked", "SettingsChanged", "SettingsError", "StoreError", "WorkersFailed",
    ),
    "crawler.model": ("Miss", "Outcome", "Picture", "Reason", "Sample", "Target"),
    "crawler.picture_settings": ("ProcessSettings",),
    "crawler.progress": ("Progress", "Summary"),
    "crawler.settings": (
        "FetchSettings", "FrontierSettings", "InputSettings", "ReportSettings",
        "Settings", "StateSettings", "StoreSettings",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
