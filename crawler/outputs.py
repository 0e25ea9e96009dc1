"""The journal and the store behind the settings, opened in the right order."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from crawler.checks import METADATA
from crawler.clock import Clock
from crawler.discover_settings import DiscoverSettings
from crawler.errors import JournalError, SettingsError
from crawler.inputs.columns import Columns
from crawler.inputs.targets import Targets
from crawler.model import PAGE_COLUMNS
from crawler.ports import Journal, Ledger, RobotsMemory, Spill, Store
from crawler.settings import DEFAULT_NAME, ProcessSettings, Settings
from crawler.state.findings import TableFindings
from crawler.state.home import FILE, FOLDER, home_for
from crawler.state.journal import FolderJournal
from crawler.state.lock import FolderLock
from crawler.state.none import NullJournal
from crawler.state.spill import TargetSpill
from crawler.store.files import FileStore
from crawler.store.metadata import Form, JsonLines, MetadataLedger, Separated, TableLedger
from crawler.store.none import NullStore

if TYPE_CHECKING:
    from crawler.store.places import RemotePlace

logger = logging.getLogger(__name__)

NAME_WITH_KEY = "{folder}/{key}"


class Memory(Journal, RobotsMemory, Protocol):
    """What is remembered of targets, and of hosts."""

    async def findings(self, settings: DiscoverSettings, numbered: bool, pages_ahead: int) -> TableFindings:
        """Where pages and what is found in them are kept."""
        ...

    async def flush(self) -> None:
        """Wait until all that was settled is durable. Raises JournalError if it cannot be."""
        ...


class Output(NamedTuple):
    """Where a run writes."""

    journal: Memory
    store: Store
    spill: Spill


async def open_output(settings: Settings, source: Targets, clock: Clock, stack: AsyncExitStack) -> Output:
    """Open what a run writes to; the stack closes it, the journal last.

    Raises:
        SettingsError: the folder cannot be made. RunLocked, SettingsChanged, JournalError, StoreError: it cannot be used.
    """
    # Each address once, unless the same one is asked for again and again on purpose. A service is asked at will.
    # What is found in pages is found once.
    unique = settings.input.repeat == 1 and bool(settings.input.sources) and not settings.discover.explicit
    if settings.store.format == "none":
        nothing = await stack.enter_async_context(NullJournal(unique, _dedup(settings)))
        store = await stack.enter_async_context(NullStore())
        return Output(nothing, store, await stack.enter_async_context(TargetSpill()))
    home = home_for(settings.store.output, settings.state.state)
    await asyncio.to_thread(_make_folder, home)
    own = Path(settings.store.output) / FOLDER
    if not settings.store.remote and home.absolute() != own.absolute():  # the lock of the journal is elsewhere
        await asyncio.to_thread(_make_folder, own)
        stack.callback((await asyncio.to_thread(FolderLock, own / "lock")).close)
    if settings.store.sharded:
        return await _open_shards(settings, source, clock, stack, unique, home)
    return await _open_files(settings, source, clock, stack, unique, home)


async def _open_files(
    settings: Settings, source: Targets, clock: Clock, stack: AsyncExitStack, unique: bool, home: Path
) -> Output:
    store, durable = settings.store, settings.state.durable
    files: FileStore
    if store.remote:
        from crawler.store.remote_files import RemoteFileStore

        place = await _remote_place(settings, home)
        folder = home / "metadata"
        files = RemoteFileStore(place, name_template(settings), home, store.sidecar, store.uploads, folder)
    else:
        folder = Path(store.output)
        files = FileStore(folder, name_template(settings), durable, home=home, sidecar=store.sidecar)
    await asyncio.to_thread(_make_folder, folder)
    ledger = _ledger(settings, source, folder, home, files)
    # The journal first: its lock is what makes the folder ours.
    journal = _journal(settings, ledger, clock, unique, home)
    await stack.enter_async_context(journal)
    if store.remote and await journal.shelf().empty():
        await asyncio.to_thread(_check_empty, place, store.output, home)
    await stack.enter_async_context(files)
    return Output(journal, files, await stack.enter_async_context(TargetSpill(home)))


def _ledger(settings: Settings, source: Targets, folder: Path, home: Path, files: FileStore) -> Ledger:
    """What writes the metadata."""
    form, captions = settings.store.metadata, settings.captions
    if form == "parquet":
        from crawler.store.kept import types_of

        return TableLedger(
            folder, home, files, captions,
            lambda: types_of(columns.types, columns.head) if (columns := columns_of_output(settings, source)) else {},
        )  # fmt: skip
    lines: Form = JsonLines(captions)
    if form == "csv":
        lines = Separated(
            lambda: list(columns.kept.values()) if (columns := columns_of_output(settings, source)) else [], captions
        )
    return MetadataLedger(folder, files, settings.state.durable, lines, home)


def _check_empty(place: RemotePlace, output: str, home: Path) -> None:
    if found := [name for name in place.names() if name in METADATA]:
        raise JournalError(
            f"{output}: holds a {found[0]} but there is no journal here ({home / FILE}), so what is done cannot be told; "
            "put the journal back (--state), or use another output"
        )


async def _remote_place(settings: Settings, home: Path) -> RemotePlace:
    from crawler.store.places import RemotePlace

    store = settings.store
    place = await asyncio.to_thread(RemotePlace, store.output, home, store.store_patience, logger.warning)
    await asyncio.to_thread(place.check)
    return place


async def _open_shards(
    settings: Settings, source: Targets, clock: Clock, stack: AsyncExitStack, unique: bool, home: Path
) -> Output:
    from crawler.process.encode import EXTENSIONS
    from crawler.store.places import LocalPlace, Place
    from crawler.store.shard import Plan
    from crawler.store.shards import ShardLedger, ShardStore

    store, process = settings.store, settings.process
    place: Place
    if store.remote:
        place = await _remote_place(settings, home)
    else:
        place = LocalPlace(Path(store.output), settings.state.durable)
    ledger = ShardLedger()
    journal = _journal(settings, ledger, clock, unique, home)
    await stack.enter_async_context(journal)
    first = "image" if process.encode == "original" else EXTENSIONS[process.encode]
    plan = Plan(
        shard_count=store.shard_count,
        captions=settings.captions,
        kept={},
        pictures=[first, *(output.label for output in process.outputs if output.label)],
        picture_column=store.picture_column,
        row_group=store.row_group,
        settings=output_settings(settings),
    )
    shards = ShardStore(
        "webdataset" if store.format == "webdataset" else "parquet",
        place,
        home,
        journal.shelf(),
        plan,
        columns=lambda: (columns.types, columns.head) if (columns := columns_of_output(settings, source)) else None,
        by_key=bool(settings.input.key_column),
        most=store.spool,
        uploads=min(store.uploads, 4),
        durable=settings.state.durable,
    )
    ledger.store = shards
    await stack.enter_async_context(shards)
    return Output(journal, shards, await stack.enter_async_context(TargetSpill(home)))


def _journal(settings: Settings, ledger: Ledger, clock: Clock, unique: bool, home: Path) -> FolderJournal:
    state, store = settings.state, settings.store
    return FolderJournal(
        Path(store.output),
        output_settings(settings),
        ledger,
        clock,
        state.durable,
        state.retry_missed,
        unique,
        state.refresh,
        _dedup(settings),
        output_settings(Settings(process=ProcessSettings(encode=settings.process.encode))),
        home,
        store.output if store.remote else "",
    )


def _dedup(settings: Settings) -> tuple[str, int]:
    return settings.process.dedup_by, settings.process.distance


def columns_of_output(settings: Settings, source: Targets) -> Columns | None:
    """What is kept besides the usual columns: those of the tables given, and what pages say of their pictures."""
    if not (settings.discover.explicit or source.by_hand):
        return source.columns
    own = source.columns or Columns("url")
    said = {name: [0] if name in ("depth", "position") else [""] for name in PAGE_COLUMNS}
    names = {name: name for name in PAGE_COLUMNS}
    return replace(own, kept={**own.kept, **names}, head={**own.head, **said})


def name_template(settings: Settings) -> str:
    """How files are called."""
    named = settings.store.name
    return NAME_WITH_KEY if settings.input.key_column and named == DEFAULT_NAME else named


def output_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide how pictures look and are called: a folder keeps to them."""
    process = settings.process
    looks: dict[str, Any] = {name: getattr(process, name) for name in ("encode", "truncated", "transform")}
    if process.encode != "original":
        names = ("fit", "gravity", "upscale", "filter", "background", "mode", "frames", "strip")
        looks |= {name: getattr(process, name) for name in names}
        looks |= {
            "size": "x".join(map(str, process.box)),
            "keep": ",".join(process.keep),
            "variant": " ".join(process.variant),
        }
    for output in process.outputs:
        looks |= {name: getattr(process, name) for name in _LOOKS.get(output.encode, ())}
    store, given = settings.store, settings.input
    looks |= {"dedup": process.dedup_by, "repeat": given.repeat, "format": store.format}
    looks |= {
        "caption_column": given.caption_column, "keep_columns": ",".join(given.keep_columns), "key_column": given.key_column,
    }  # fmt: skip
    if not store.sharded:
        return looks | {"name": store.name, "metadata": store.metadata, "sidecar": ",".join(store.sidecar)}
    return looks | {"shard_count": store.shard_count, "picture_column": store.picture_column}


_LOOKS = {
    "jpeg": ("quality", "progressive", "subsampling"), "webp": ("quality", "lossless"), "avif": ("quality", "subsampling"),
    "png": ("compression",),
}  # fmt: skip


def check_output(settings: Settings) -> None:
    """What can be said of the output without changing anything.

    Raises:
        SettingsError, JournalError: it cannot be used.
    """
    if settings.store.remote:
        return
    folder = Path(settings.store.output)
    if folder.exists() and not folder.is_dir():
        raise SettingsError("output", f"{folder} is a file, a folder is needed")
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise SettingsError("output", f"{folder} cannot be written: {parent} is not a folder that allows it")
    journal = home_for(settings.store.output, settings.state.state) / FILE
    metadata = folder / f"metadata.{settings.store.metadata}"
    if settings.store.sharded or (journal.exists() and journal.stat().st_size):
        return
    if metadata.exists() and metadata.stat().st_size:
        raise JournalError(
            f"{folder}: holds a {metadata.name} but no journal ({journal}), so what is done cannot be told; "
            "put the journal back, or use another output folder"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("output", f"{folder} cannot be made or written: {error.strerror or error}") from error
