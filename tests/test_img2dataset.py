"""img2dataset beside us: the table of its options, and both programs on one list."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from crawler import Settings, crawl
from tests.cli import CHECKOUT
from tests.servers import pictures
from tests.servers.validators import Page, Pages, running_validators

VERSION: Final = "1.47.0"
OPTIONS: Final = (
    "url_list", "image_size", "output_folder", "processes_count", "resize_mode", "resize_only_if_bigger",
    "upscale_interpolation", "downscale_interpolation", "encode_quality", "encode_format", "skip_reencode",
    "output_format", "input_format", "url_col", "caption_col", "bbox_col", "thread_count", "number_sample_per_shard",
    "extract_exif", "save_additional_columns", "timeout", "enable_wandb", "wandb_project", "oom_shard_count",
    "compute_hash", "verify_hash", "distributor", "subjob_size", "retries", "disable_all_reencoding", "min_image_size",
    "max_image_area", "max_aspect_ratio", "incremental_mode", "max_shard_retry", "user_agent_token",
    "disallowed_header_directives",
)  # fmt: skip
"""Parameters of `img2dataset.download` in that version, in its order."""
DOCUMENT: Final = CHECKOUT / "docs/from_img2dataset.md"
LIMIT: Final = 600.0


def rows() -> dict[str, str]:
    """What the table says, by option."""
    found = re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == len(dict(found)), "an option stands there twice"
    return dict(found)


def test_every_option_has_its_row() -> None:
    assert list(rows()) == list(OPTIONS)


def test_flags_that_are_named_exist() -> None:
    known = {f"--{name.replace('_', '-')}" for group in vars(Settings()).values() for name in vars(group)}
    known |= {"--json", "--no-robots", "-o"}
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(rows().values())))
    assert named <= known | {"--contact"}, named - known


# Both programs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment with img2dataset: CRAWLER_IMG2DATASET, or one that is made once and kept."""
    if given := os.environ.get("CRAWLER_IMG2DATASET"):
        return Path(given)
    folder = request.config.cache.mkdir(f"img2dataset-{VERSION}")
    python = folder / "bin/python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"img2dataset=={VERSION}"], check=True, timeout=LIMIT)
        (folder / "done").touch()
    return python


@pytest.mark.soak
def test_the_options_are_those_of_its_signature(theirs: Path) -> None:
    code = "import inspect, img2dataset; print(*inspect.signature(img2dataset.download).parameters)"
    said = subprocess.run([theirs, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True, env=quiet())
    assert said.stdout.split() == list(OPTIONS)


def quiet() -> dict[str, str]:
    return os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}


COUNT: Final = 23


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[Path]:
    """A Parquet list of pictures that a server has, or has not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pages = Pages()
    for n in range(COUNT):
        if n % 6 != 4:
            pages[f"/{n}.jpg"] = Page(pictures.jpeg(300 + n, 200, seed=n))
    pages["/9.jpg"] = Page(b"no picture at all", "text/plain")
    with running_validators(pages) as site:
        table = pa.table(
            {
                "URL": [site.url(f"{n}.jpg") for n in range(COUNT)],
                "TEXT": [f"caption {n} é\n" if n % 5 else None for n in range(COUNT)],
                "similarity": pa.array([n / 7 for n in range(COUNT)], pa.float32()),
                "NSFW": ["UNLIKELY", None] * (COUNT // 2) + ["UNSURE"],
                "hits": pa.array(range(COUNT), pa.int16()),
            }
        )
        path = tmp_path / "list.parquet"
        pq.write_table(table, path)
        yield path


@pytest.mark.soak
@pytest.mark.parametrize("form", ["webdataset", "parquet", "files"])
def test_both_make_the_same_dataset(theirs: Path, listed: Path, tmp_path: Path, form: str) -> None:
    import pyarrow.parquet as pq

    words = {
        "url_list": listed, "input_format": "parquet", "url_col": "URL", "caption_col": "TEXT",
        "save_additional_columns": '["similarity","NSFW","hits"]', "output_format": form,
        "output_folder": tmp_path / "theirs", "image_size": 64, "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True, "number_sample_per_shard": 10, "processes_count": 1, "thread_count": 4,
        "extract_exif": False, "compute_hash": "sha256",
    }  # fmt: skip
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    subprocess.run(
        [theirs, "-c", "from img2dataset.main import main; main()", *given],
        check=True, timeout=LIMIT, env=quiet(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    settings = Settings.of(
        [str(listed)], output=tmp_path / "ours", format=form, url_column="URL", caption_column="TEXT",
        keep_columns="similarity,NSFW,hits", size=64, fit="outside", shard_count=10, allow_private=True, robots=False,
        picture_column="binary", **({"sidecar": "json,txt"} if form == "files" else {}),
    )  # fmt: skip
    asyncio.run(crawl(settings))
    if form == "files":  # where the names are ours, and the table is one
        assert len(list((tmp_path / "ours").rglob("*.txt"))) == len(list((tmp_path / "theirs").rglob("*.txt")))
        return
    for shard in ("00000", "00001", "00002"):
        left, right = (pq.read_table(tmp_path / who / f"{shard}.parquet") for who in ("theirs", "ours"))
        columns = left.column_names
        if form == "webdataset":
            columns_here = [name for name in right.column_names[: len(columns) + 1] if name != "exif"]
            assert columns_here == columns, "theirs first, in their order; `exif` only if they look for it"
        else:
            assert set(columns) <= set(right.column_names)
        assert {name: left.schema.field(name).type for name in columns} == {
            name: right.schema.field(name).type for name in columns
        }
        by_key = {row["key"]: row for row in left.to_pylist()}
        for row in right.to_pylist():
            same = by_key.pop(row["key"])
            exact = [name for name in columns if name not in ("error_message", "jpg", "status", "width", "height")]
            assert {name: row[name] for name in exact} == {name: same[name] for name in exact}
            assert row["status"] == same["status"]
            assert (row["width"], row["height"]) == pytest.approx((same["width"], same["height"]), abs=1) or (
                row["width"] is same["width"] is None
            )
        assert not by_key
        stats = [json.loads((tmp_path / who / f"{shard}_stats.json").read_text()) for who in ("theirs", "ours")]
        names = ("count", "successes", "failed_to_download", "failed_to_resize")
        assert [stats[0][name] for name in names] == [stats[1][name] for name in names]
        assert stats[0].keys() == stats[1].keys()
        if form == "webdataset":
            assert members(tmp_path / "theirs" / f"{shard}.tar") == members(tmp_path / "ours" / f"{shard}.tar")


def members(path: Path) -> list[tuple[str, Any]]:
    """Names, captions and what both tell of every sample, in the order of their keys."""
    found: list[tuple[str, Any]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            data = file.read()
            told: Any = None
            if member.name.endswith(".txt"):
                told = data.decode()
            elif member.name.endswith(".json"):
                told = {
                    name: json.loads(data)[name] for name in ("caption", "url", "key", "status", "similarity", "hits")
                }
            found.append((member.name, told))
    return sorted(found, key=lambda one: one[0])
