"""Where pictures go, and in which form."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from crawler.checks import LONGEST, check_choice, check_choices, check_name, check_range
from crawler.errors import SettingsError
from crawler.extras import require
from crawler.picture_settings import GB, MB

StoreFormat = Literal["files", "webdataset", "parquet", "none"]
Metadata = Literal["jsonl", "csv", "parquet"]
PictureColumn = Literal["image", "binary"]
DEFAULT_NAME = "{folder}/{index:08d}"
OUTPUT_COLUMNS = frozenset({
    "file_name", "index", "url", "caption", "key", "status", "error_message", "width", "height", "original_width",
    "original_height", "exif", "sha256", "reason", "final_url", "format", "bytes", "content_type", "fetched_at", "frames",
    "notes", "http_status", "attempts", "seconds", "ended_at", "digest", "etag", "last_modified", "origin", "same_as",
    "files", "values", "image", "jpg", "png", "webp", "avif", "gif", "txt", "json",
})  # fmt: skip
"""Names that the output gives to columns of its own: a kept column with such a name becomes `input_NAME`."""


@dataclass(frozen=True)
class StoreSettings:
    """Where pictures go."""

    output: str = ""
    """Folder for the pictures, made if it is missing; or an address in a store such as `s3://bucket/set` (extra `remote`,
    and the package behind the scheme: s3fs, gcsfs...)."""
    format: StoreFormat = "files"
    """`files` writes pictures and `metadata.jsonl`; `webdataset` and `parquet` write shards (extra `parquet`), `00000.tar` or
    `00000.parquet`; `none` writes nothing: embedded, the bytes are handed over."""
    name: str = DEFAULT_NAME
    """Path of a picture below the folder, without ending (`files`): a template over index, folder (10,000 a folder), key,
    host, stem (of the URL), sha256 (of the bytes that came), width, height. With `--key-column` it is `{folder}/{key}`."""
    metadata: Metadata = "jsonl"
    """Form of the metadata beside files: `metadata.jsonl`, `metadata.csv` or `metadata.parquet` (extra `parquet`)."""
    sidecar: tuple[str, ...] = ()
    """Files beside each picture (`files`): `json` with its metadata, `txt` with its caption; any of these, with commas."""
    shard_count: int = 10_000
    """Targets of the input in one shard, stored or missed; the last shard has the rest."""
    row_group: int = 100
    """Pictures in one row group of a Parquet shard: what a reader has in memory at once."""
    picture_column: PictureColumn = "image"
    """Pictures in a Parquet shard: `image` is what `datasets.load_dataset` shows as pictures (a struct of bytes and path),
    `binary` the bare bytes, as img2dataset writes them."""
    spool: int = 20 * GB
    """Bytes of pictures that wait here for their shard to be complete, or for a store that is slow or down; beyond it the
    input is read on only to complete the oldest shard."""
    uploads: int = 8
    """Files on their way to a store at once."""
    store_patience: float = 300.0
    """Seconds that a store may fail until the run ends; what waits for it is kept for the next run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", os.fspath(self.output))
        check_choice(self, "format", get_args(StoreFormat))
        check_choice(self, "metadata", get_args(Metadata))
        check_choice(self, "picture_column", get_args(PictureColumn))
        check_name(self.name)
        check_choices(self, "sidecar", ("json", "txt"))
        check_range(self, "shard_count", 1, 10_000_000)
        check_range(self, "row_group", 1, 1_000_000)
        check_range(self, "spool", 1 * MB)
        check_range(self, "uploads", 1, 256)
        check_range(self, "store_patience", 0, LONGEST)
        if self.format in ("webdataset", "parquet"):
            require("pyarrow", "format", f"--format {self.format}")
        elif self.metadata == "parquet":
            require("pyarrow", "metadata", "--metadata parquet")
        if self.remote:
            check_store_address(self.output)

    @property
    def remote(self) -> bool:
        """The output is in a store that is no folder of this machine."""
        return "://" in self.output

    @property
    def sharded(self) -> bool:
        """The output is made of shards."""
        return self.format in ("webdataset", "parquet")


def check_store_address(address: str) -> None:
    """An address that fsspec takes, without a password in it."""
    require("fsspec", "output", "an address of a store")
    import fsspec

    scheme = address.partition("://")[0]
    try:
        parts = urlsplit(address)
        secret = parts.password is not None
    except ValueError as error:
        raise SettingsError("output", f"{address!r} given, is no address: {error}") from None
    if secret:
        raise SettingsError(
            "output", "has a password in its address, which would be kept; give it by the store's own means, such as its "
            "environment variables or configuration file"
        )  # fmt: skip
    if scheme in ("http", "https") or scheme not in fsspec.available_protocols():
        raise SettingsError(
            "output", f"{scheme}:// is no store that can be written; s3://, gs://, abfs://, sftp://... are"
        )
