"""`python -m crawler demo` as the first thing a newcomer types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import psutil
from PIL import Image

from tests.cli import check_agreement, crawler, metadata, pictures

STORED: Final = 85
# Reason of the misses to the files of the site that have it.
MISSED: Final = {
    "not_found": ("missing.jpg", "gone.jpg"),
    "not_image": ("login.jpg", "disguised.jpg"),
    "truncated": ("truncated.jpg",),
    "redirect": ("loop.jpg",),
    "empty": ("empty.jpg",),
}


def test_demo_stores_its_pictures_explains_its_misses_and_can_be_run_again(tmp_path: Path) -> None:
    first = crawler("demo", "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    out = tmp_path / "demo-images"
    assert list(tmp_path.iterdir()) == [out]
    assert (first.summary["targets"], first.summary["stored"], first.summary["missed"]) == (STORED + 7, STORED, 7)
    assert first.summary["reasons"] == {reason: len(names) for reason, names in MISSED.items()}
    check_table(first.err)
    check_pictures(out)
    # The site stands in the folder that we started in, which tells it from those of other tests.
    assert [process for process in psutil.process_iter() if is_site_in(process, tmp_path)] == []
    again = crawler("demo", "--json", cwd=tmp_path)
    assert (again.code, again.summary["skipped"]) == (0, STORED + 7), again.err
    assert len(pictures(out)) == STORED


def check_table(said: str) -> None:
    """Every reason stands there with its count and the address of one that has it."""
    table = said[said.rindex("\nstored ") :].splitlines()
    for reason, names in MISSED.items():
        (line,) = (line for line in table if re.match(rf"\s+{reason}\s+{len(names)}\s", line))
        assert any(f"/pictures/{name} (" in line for name in names), line


def check_pictures(out: Path) -> None:
    check_agreement(out)
    assert len(pictures(out)) == STORED
    for row in metadata(out):
        with Image.open(out / row["file_name"]) as picture:
            picture.load()
            assert picture.size == (row["width"], row["height"])
            assert max(picture.size) <= 512


def is_site_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return "crawler.demo.site" in process.cmdline() and process.cwd() == str(folder)
    except psutil.Error:
        return False
