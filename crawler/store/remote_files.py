"""Pictures as files in a store behind fsspec: several on their way at once, each whole when its name appears."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crawler.store.files import FileStore, NewFile
from crawler.store.places import RemotePlace


class RemoteFileStore(FileStore):
    """A FileStore whose files are objects. The metadata is written here, and uploaded when the run ends.

    Args:
        uploads: files on their way at once.
        metadata: the folder with the file of metadata.
    """

    def __init__(
        self, place: RemotePlace, template: str, home: Path, sidecar: Sequence[str], uploads: int, metadata: Path
    ) -> None:
        super().__init__(home, template, home=home, sidecar=sidecar)
        self._remote = place
        self._threads = ThreadPoolExecutor(uploads, "crawler-upload")
        self._metadata = metadata
        self._finished = False
        self._uploaded: dict[str, int] = {}
        # With its number in it no name can be taken by another target, so that nobody need look.
        self._distinct = "{index" in template or "{key}" in template

    async def __aexit__(self, *_: object) -> None:
        if not self._finished:
            self._remote.stop()
        await super().__aexit__()
        await asyncio.to_thread(self._threads.shutdown)

    def stop(self) -> None:
        self._remote.stop()

    async def finish(self, total: int | None) -> None:
        await self._batcher.call(self._upload_metadata)
        self._finished = True

    def ended(self, settled: bool) -> None:
        try:
            if settled:
                self._upload_metadata()
        except BaseException:
            settled = False
            raise
        finally:
            super().ended(settled)
            self._remote.close()

    def _upload_metadata(self) -> None:
        """Bring the metadata to where the pictures are, if it has changed since."""
        for path in self._metadata.glob("metadata.*"):
            changed = path.stat().st_mtime_ns
            if path.stat().st_size and self._uploaded.get(path.name) != changed:
                self._remote.publish([(path, path.name)], keep=True)
                self._uploaded[path.name] = changed

    def _exists(self, name: str) -> bool:
        return not self._distinct and self._remote.exists(name)

    def _read(self, name: str) -> bytes | None:
        return self._remote.read(name)

    def _remove(self, names: Iterable[str]) -> None:
        self._remote.remove(names)

    def _move(self, fresh: Mapping[str, NewFile]) -> Mapping[str, BaseException]:
        self._announce({name: file.target for name, file in fresh.items()})
        uploads = {name: self._threads.submit(self._remote.write, name, file.data) for name, file in fresh.items()}
        return {name: error for name, upload in uploads.items() if (error := upload.exception()) is not None}

    def _make_parent(self, name: str) -> None:
        return None
