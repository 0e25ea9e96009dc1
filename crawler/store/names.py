"""What a picture is called on disk: a template over facts of the target and the picture. Never leads out of the folder."""

from __future__ import annotations

from crawler import urls
from crawler.checks import METADATA
from crawler.model import Picture
from crawler.settings import DEFAULT_NAME

PER_FOLDER = 10_000
"""Pictures in one numbered folder."""

_LONGEST_PART = 200  # bytes; file systems take 255, and an ending and a number may follow


def file_name(template: str, picture: Picture) -> str:
    """Path below the output folder, with `/` and the ending that belongs to the format."""
    index = picture.target.index
    if template == DEFAULT_NAME:  # the common case, a tenth of the time
        return f"{index // PER_FOLDER:05d}/{index:08d}.{picture.extension}"
    url = urls.parse(picture.target.url)
    name = template.format(
        index=index,
        folder=f"{index // PER_FOLDER:05d}",
        host=urls.safe_name(url.host or ""),
        stem=urls.stem(url),
        sha256=picture.sha256.hex(),
        width=picture.width,
        height=picture.height,
        key=picture.target.extra.key or f"{index:08d}",
    )
    parts = [urls.safe_name(part, _LONGEST_PART) for part in name.replace("\\", "/").split("/")]
    if len(parts) > 1 and parts[0] in METADATA:
        parts[0] = f"_{parts[0]}"
    return "/".join(parts) + f".{picture.extension}"


def beside(name: str, label: str, extension: str) -> str:
    """The name of a companion of a picture: `00000/00000012.thumb.webp` beside `00000/00000012.jpg`."""
    return f"{name.rpartition('.')[0]}.{label}.{extension}"


def numbered(name: str, index: int) -> str:
    """Another name for a picture whose name is taken: the target's number before the ending."""
    stem, _, extension = name.rpartition(".")
    return f"{stem}-{index}.{extension}"
