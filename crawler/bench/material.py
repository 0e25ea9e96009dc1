"""The pictures of the demo as files of a folder, which every measure reads: nothing crosses between processes but names."""

from __future__ import annotations

from pathlib import Path

from crawler.demo import pictures


def make(folder: Path) -> None:
    """Write the pictures. Takes some seconds."""
    folder.mkdir(parents=True)
    for number, specimen in enumerate(pictures.catalogue()):
        (folder / f"{number:03d}.{specimen.format.lower()}").write_bytes(specimen.body)


def bodies(folder: Path, count: int) -> list[bytes]:
    """`count` bodies in a fixed order; the same bytes come again and again, as the same objects."""
    found = [path.read_bytes() for path in sorted(folder.iterdir())]
    return [found[number % len(found)] for number in range(count)]
