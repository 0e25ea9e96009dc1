"""The exceptions of this package. A picture that fails is a `Miss`; only a run that fails raises.

CrawlerError                 everything raised on purpose by this package
├── SettingsError            a setting is wrong: names the field, the value and what is allowed
│   └── MissingExtra         an optional dependency is not installed: names the command that installs it
├── InputError               a list of targets cannot be read
│   ├── InputMissing         the list is not there, or is nothing that can be read; nothing was started
│   └── InputChanged         the list is not the one that this folder was made from
├── StoreError               pictures cannot be written: disk full, folder removed, read-only, a store that is down
│   └── StoreStopped         it was not waited for, because the run was being stopped
├── JournalError             the journal is damaged, foreign or too new
│   ├── RunLocked            another run holds this folder
│   ├── SettingsChanged      this folder was made with settings that give other pictures
│   └── NotARun              the folder holds no journal
└── WorkersFailed            worker processes cannot be started
"""

from __future__ import annotations


def in_one_line(error: BaseException) -> str:
    """What a foreign error says, without line ends; its kind, if it says nothing."""
    return " ".join((str(error) or type(error).__name__).split())


def words(error: BaseException) -> str:
    """What a foreign error says, in one short line."""
    return in_one_line(error)[:200].encode("utf-8", "replace").decode()  # no lone surrogates, which nothing can write


class CrawlerError(Exception):
    """Base of every error this package raises on purpose. Its text is made for the user: one clear line."""


class SettingsError(CrawlerError, ValueError):
    """A setting has a value that is not allowed.

    Attributes:
        field: name of the setting as in `Settings`, for example `per_host`; the flag is `--per-host`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"--{field.replace('_', '-')}: {message}")
        self.field = field


class MissingExtra(SettingsError):
    """A setting asks for an optional dependency that is not installed."""


class InputError(CrawlerError):
    """A list of targets cannot be opened or read to its end."""


class InputMissing(InputError):
    """A list is not there, or is nothing that can be read. Nothing was started."""


class InputChanged(InputError):
    """A position of the list holds another URL than the run in this folder recorded."""


class StoreError(CrawlerError):
    """Pictures cannot be written. What was stored before is in the journal."""


class StoreStopped(StoreError):
    """A store failed while the run was being stopped, and was not waited for. What it did not get is done by the next run."""


class JournalError(CrawlerError):
    """The journal cannot be used as it is. Nothing was changed."""


class RunLocked(JournalError):
    """Another process is running in this folder."""


class SettingsChanged(JournalError):
    """The folder was made with settings that would give other pictures."""


class NotARun(JournalError):
    """The folder holds no journal of a run."""


class WorkersFailed(CrawlerError):
    """Worker processes cannot be started, so no picture can be processed."""
