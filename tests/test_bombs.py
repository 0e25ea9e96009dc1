"""Hostile pictures in real workers: each is a miss with a name or a picture, in time, in little memory, and alone in it.

Every picture goes through a worker process in one batch with good ones. The kernel tells how much memory that took.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from crawler.model import Fetched, Miss, Picture, Reason, Target
from crawler.process.pool import WorkerPool
from crawler.settings import ProcessSettings
from tests.cli import LIMIT, crawler
from tests.processed import miss_of, picture_of, processed
from tests.servers import bombs as made
from tests.servers.pictures import jpeg

GOOD: Final = jpeg(64, 48)
TOO_MANY: Final = frozenset({"too_many_pixels"})
STORED: Final = frozenset({"stored"})
BROKEN: Final = frozenset({"decode", "truncated"})
HEADER: Final = 100
"""Megabytes that a worker may grow by when a header is all that it had to read."""


@dataclass(frozen=True)
class Bomb:
    """A hostile picture.

    Attributes:
        ends: what it may come to: names of reasons, `stored`.
        growth: megabytes that the worker may grow by at most.
        costly: it takes too long to be tried with every list.
    """

    make: Callable[[], bytes]
    ends: frozenset[str]
    growth: int = HEADER
    costly: bool = False


@dataclass(frozen=True)
class Verdict:
    """What came of a bomb, and of the worker that met it; `growth` is None if it died of it."""

    outcome: Picture | Miss
    neighbours: tuple[Picture | Miss, ...]
    seconds: float
    growth: float | None

    @property
    def end(self) -> str:
        return self.outcome.reason.value if isinstance(self.outcome, Miss) else "stored"


def frames_of(count: int, width: int, height: int) -> bytes:
    return made.gif(width, height, *[made.gif_frame(width, height)] * count)


def odd_apng(*chunks: made.Chunk) -> bytes:
    return made.png(made.ihdr(16, 16), *chunks, made.END)


PIXELS: Final = (b"IDAT", made.blank(16, 16))
EXIF_CIRCLE: Final = made.directory([made.long(tag, 8) for tag in (0x8769, 0x8825, 0xA005)], 8, 8)
MANY_TAGS: Final = made.directory([(n, 2, 0xFFFFFFFF, b"") for n in range(5000)], 8)

STILL: Final[Mapping[str, Bomb]] = {
    # PNG
    "png 12000x12000, whole": Bomb(lambda: made.whole_png(12_000, 12_000), TOO_MANY),
    "png 30000x30000, hollow": Bomb(lambda: made.hollow_png(30_000, 30_000), TOO_MANY),
    "png 30000x30000, interlaced": Bomb(lambda: made.hollow_png(30_000, 30_000, interlaced=True), TOO_MANY),
    "png 7000x7000, hollow": Bomb(lambda: made.hollow_png(7000, 7000), frozenset({"truncated"}), 250),
    "png 7000x7000, hollow, interlaced": Bomb(
        lambda: made.hollow_png(7000, 7000, interlaced=True), frozenset({"truncated"}), 250
    ),
    "png 8000x8000, whole": Bomb(lambda: made.whole_png(8000, 8000), STORED, 400, costly=True),
    "png 2^31-1 x 2^31-1": Bomb(lambda: made.hollow_png(2**31 - 1, 2**31 - 1), TOO_MANY),
    "png 2^31 x 1": Bomb(lambda: made.hollow_png(2**31, 1), TOO_MANY | BROKEN),
    "png 2^32-1 x 2^32-1": Bomb(lambda: made.hollow_png(2**32 - 1, 2**32 - 1), TOO_MANY | BROKEN),
    "png 0x16": Bomb(lambda: made.hollow_png(0, 16), BROKEN),
    "png 0x0": Bomb(lambda: made.hollow_png(0, 0), BROKEN),
    "png with 300,000 empty pieces of data": Bomb(
        lambda: made.png(made.ihdr(16, 16), *[(b"IDAT", b"")] * 300_000, PIXELS, made.END), STORED, costly=True
    ),
    "png with 100,000 unknown chunks": Bomb(
        lambda: made.whole_png(16, 16, *[(b"abCd", b"x")] * 100_000), STORED, costly=True
    ),
    "png with 100,000 texts": Bomb(
        lambda: made.whole_png(16, 16, *[(b"tEXt", b"%d\0" % n) for n in range(100_000)]), STORED, costly=True
    ),
    "png with 100,000 texts behind its pixels": Bomb(
        lambda: made.png(made.ihdr(16, 16), PIXELS, *[(b"tEXt", b"%d\0" % n) for n in range(100_000)], made.END),
        STORED,
        costly=True,
    ),
    "png with a text of 300 MB": Bomb(
        lambda: made.whole_png(16, 16, made.text_bomb(b"zTXt", 300_000_000)), STORED | BROKEN
    ),
    "png with an XMP of 300 MB": Bomb(
        lambda: made.whole_png(16, 16, made.text_bomb(b"iTXt", 300_000_000)), STORED | BROKEN
    ),
    "png with a profile of 300 MB": Bomb(
        lambda: made.whole_png(16, 16, made.text_bomb(b"iCCP", 300_000_000)), STORED | BROKEN
    ),
    "png with a thousand texts of 1 MB": Bomb(
        lambda: made.whole_png(16, 16, *[made.text_bomb(b"zTXt", 1_000_000)] * 1000), STORED | BROKEN, 250
    ),
    "png with pixels out of its palette": Bomb(
        lambda: made.png(
            made.ihdr(16, 16, 8, made.PALETTE),
            (b"PLTE", b"\1\2\3"),
            (b"tRNS", b"\0" * 256),
            (b"IDAT", zlib.compress((b"\0" + b"\xff" * 16) * 16)),
            made.END,
        ),
        STORED,
    ),
    # TIFF
    "tiff 2^32-1 x 2^32-1": Bomb(
        lambda: made.grey_tiff(16, 16, made.long(256, 2**32 - 1), made.long(257, 2**32 - 1)), TOO_MANY
    ),
    "tiff 0x0": Bomb(lambda: made.grey_tiff(16, 16, made.long(256, 0), made.long(257, 0)), BROKEN),
    "tiff with 1,000,000 tags": Bomb(lambda: made.big_tiff(1_000_000, 1_000_000), STORED | BROKEN, 250, costly=True),
    "tiff that tells 2^62 tags": Bomb(lambda: made.big_tiff(20, 2**62), STORED | BROKEN),
    "tiff whose 4000 tags share 4 MB": Bomb(
        lambda: made.tiff_of_tags_that_share(4000, 4_000_000), STORED | BROKEN, costly=True
    ),
    "tiff whose pages go in a circle": Bomb(lambda: made.tiff_circle(3), STORED),
    "tiff with 5000 pages": Bomb(lambda: made.tiff_of_pages(5000), STORED, costly=True),
    "tiff that follows itself": Bomb(lambda: made.tiff_circle(1), STORED),
    "tiff with 65535 samples a pixel": Bomb(lambda: made.grey_tiff(16, 16, made.short(277, 65_535)), BROKEN),
    "tiff with 65535 depths": Bomb(
        lambda: made.grey_tiff(16, 16, made.short(277, 65_535), made.short(258, *[8] * 65_535)), BROKEN
    ),
    "tiff with 100,000 strips": Bomb(
        lambda: made.grey_tiff(
            16, 16, made.long(273, *[8] * 100_000), made.long(279, *[16] * 100_000), made.long(278, 1)
        ),
        STORED | BROKEN,
        costly=True,
    ),
    "tiff that tells 2^32-1 strips": Bomb(
        lambda: made.grey_tiff(16, 16, (273, made.LONG, 2**32 - 1, b"\\8\0\0\0")), STORED | BROKEN
    ),
    "tiff whose strips end behind the file": Bomb(
        lambda: made.grey_tiff(64, 64, made.long(279, 2**32 - 1), pixels=bytes(100)), BROKEN
    ),
    "tiff whose strips are empty": Bomb(lambda: made.grey_tiff(64, 64, made.long(279, 0)), STORED | BROKEN),
    "tiff whose pixels are nowhere": Bomb(lambda: made.grey_tiff(64, 64, made.long(273, 2**32 - 1)), BROKEN),
    "tiff with a tile of 30000x30000": Bomb(
        lambda: made.grey_tiff(
            16, 16, made.long(322, 30_000), made.long(323, 30_000), made.long(324, 8), made.long(325, 99), compression=8
        ),
        STORED | BROKEN | {"too_many_pixels", "out_of_memory"},
        costly=True,
    ),
    "tiff with tiles of 2^32-16": Bomb(
        lambda: made.grey_tiff(
            16, 16, made.long(322, 2**32 - 16), made.long(323, 2**32 - 16), made.long(324, 8), compression=5
        ),
        STORED | BROKEN | {"too_many_pixels", "out_of_memory"},
    ),
    "tiff with a deflated strip of 300 MB": Bomb(
        lambda: made.grey_tiff(16, 16, compression=8, pixels=made.zeros(300_000_000)), STORED | BROKEN
    ),
    "tiff with fax pixels out of nothing": Bomb(
        lambda: made.grey_tiff(8000, 8000, made.short(258, 1), compression=4, pixels=bytes(64)), STORED | BROKEN, 400
    ),
    # JPEG
    "jpeg 65500x65500": Bomb(lambda: made.resized_jpeg(65_500, 65_500), TOO_MANY),
    "jpeg 8000x8000, hollow": Bomb(lambda: made.resized_jpeg(8000, 8000), STORED | BROKEN, 400),
    "jpeg 0x0": Bomb(lambda: made.resized_jpeg(0, 0), BROKEN),
    "jpeg 16x0": Bomb(lambda: made.resized_jpeg(16, 0), BROKEN),
    "jpeg with a profile of 16 MB": Bomb(lambda: made.jpeg_with_profile(255, 65_519), STORED, 250, costly=True),
    "jpeg with 20 MB of EXIF": Bomb(
        lambda: made.inserted(made.small("JPEG"), *[made.segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 300),
        STORED,
        250,
        costly=True,
    ),
    "jpeg whose EXIF goes in a circle": Bomb(lambda: made.inserted(made.small("JPEG"), made.exif(EXIF_CIRCLE)), STORED),
    "jpeg whose EXIF tags claim gigabytes": Bomb(
        lambda: made.inserted(made.small("JPEG"), made.exif(MANY_TAGS)), STORED
    ),
    "jpeg with 20 scans of 8000x8000": Bomb(
        lambda: made.jpeg_of_scans(8000, 8000, 20), STORED | BROKEN, 400, costly=True
    ),
    "jpeg with 100,000 comments": Bomb(
        lambda: made.inserted(made.small("JPEG"), *[made.segment(0xFE, b"hello")] * 100_000), STORED, costly=True
    ),
    "mpo with pictures that are not there": Bomb(lambda: made.multi_picture(2**32 - 9, 2**32 - 1, 3, 3), STORED),
    "mpo that tells 2^31 pictures": Bomb(lambda: made.multi_picture(100, 100, 2**31, 1), STORED),
    "mpo without an entry": Bomb(lambda: made.multi_picture(100, 100, 0, 0), STORED),
    # GIF
    "gif 65535x65535": Bomb(lambda: made.gif(65_535, 65_535, made.gif_frame(1, 1)), TOO_MANY),
    "gif with a frame of 65535x65535": Bomb(
        lambda: made.gif(1, 1, made.gif_frame(65_535, 65_535, data=b"\2\2\x44\1\0")), TOO_MANY
    ),
    "gif with a second frame of 65535x65535": Bomb(
        lambda: made.gif(16, 16, made.gif_frame(16, 16), made.gif_frame(65_535, 65_535, data=b"\2\2\x44\1\0")), STORED
    ),
    "gif 0x0": Bomb(lambda: made.gif(0, 0, made.gif_frame(0, 0)), BROKEN),
    "gif 8000x8000 out of 44 KB": Bomb(
        lambda: made.gif(8000, 8000, made.gif_frame(8000, 8000)), STORED, 400, costly=True
    ),
    "gif with codes of 255 bits": Bomb(
        lambda: made.gif(16, 16, made.gif_frame(16, 16, data=b"\xff\2\x44\1\0")), BROKEN
    ),
    "gif whose codes name nothing": Bomb(
        lambda: made.gif(16, 16, made.gif_frame(16, 16, data=b"\2" + made.blocks_of(b"\xff" * 400))), BROKEN
    ),
    "gif with 100,000 frames": Bomb(lambda: frames_of(100_000, 1, 1), STORED, costly=True),
    "gif with 2000 large frames": Bomb(lambda: frames_of(2000, 500, 500), STORED),
    "gif with a comment of 20 MB": Bomb(
        lambda: made.gif(16, 16, made.comment(20_000_000), made.gif_frame(16, 16)), STORED, costly=True
    ),
    "gif with 300,000 comments": Bomb(
        lambda: made.gif(16, 16, made.comment(1) * 300_000, made.gif_frame(16, 16)), STORED, 300, costly=True
    ),
    # WebP
    "webp 16384x16384 with a frame of 2x2": Bomb(
        lambda: made.webp_animation(16_384, 16_384, 1, (2, 2)), TOO_MANY | BROKEN
    ),
    "webp 2^24 x 2^24": Bomb(lambda: made.webp_animation(2**24, 2**24, 1, (2, 2)), TOO_MANY | BROKEN),
    "webp with a frame outside": Bomb(lambda: made.webp_animation(16, 16, 1, (16, 16), left=16), BROKEN),
    "webp with 50,000 frames": Bomb(lambda: made.webp_animation(2, 2, 50_000, (2, 2)), STORED, costly=True),
    "webp with 2000 large frames": Bomb(lambda: made.webp_animation(500, 500, 2000, (500, 500)), STORED),
    "webp that is cut off": Bomb(lambda: made.webp_animation(64, 64, 1, (64, 64))[:-20], BROKEN),
    # ICO and BMP
    "ico with a png of 30000x30000": Bomb(lambda: made.ico(made.whole_png(30_000, 30_000)), TOO_MANY),
    "ico with a hollow png of 2^31-1": Bomb(lambda: made.ico(made.hollow_png(2**31 - 1, 2**31 - 1)), TOO_MANY | BROKEN),
    "ico with a bmp of 30000x60000": Bomb(
        lambda: made.ico(made.bmp_header(30_000, 60_000, 1), bits=1), TOO_MANY | BROKEN
    ),
    "ico with 65535 entries": Bomb(lambda: made.ico(made.whole_png(16, 16), entries=65_535), STORED, costly=True),
    "ico in an ico": Bomb(lambda: made.ico(made.ico(made.whole_png(16, 16))), BROKEN),
    "bmp 2^31-1 x 2^31-1": Bomb(lambda: made.bmp(2**31 - 1, 2**31 - 1, b""), TOO_MANY),
    "bmp -2^31 high": Bomb(lambda: made.bmp(16, -(2**31), b""), TOO_MANY | BROKEN),
    "bmp -16 wide": Bomb(lambda: made.bmp(-16, 16, bytes(256)), TOO_MANY | BROKEN),
    "bmp 0x0": Bomb(lambda: made.bmp(0, 0, b""), BROKEN),
    "bmp with 2^32-1 colours": Bomb(lambda: made.bmp(16, 16, bytes(256), colours=2**32 - 1), STORED | BROKEN),
    "bmp with pixels out of its palette": Bomb(lambda: made.bmp(16, 16, b"\xff" * 256), STORED | BROKEN),
    "bmp of 60,000,000 pixels out of jumps": Bomb(
        lambda: made.bmp(60_000_000, 1, b"\0\2\0\xff" * 40, compression=1), STORED | BROKEN, 400, costly=True
    ),
    "bmp 8000x8000 of ends of lines": Bomb(lambda: made.bmp(8000, 8000, b"\0\0" * 9000, compression=1), BROKEN, 400),
    "bmp 8000x8000 of runs": Bomb(lambda: made.bmp(8000, 8000, b"\xff\1" * 1000, compression=1), BROKEN | STORED, 400),
    # JPEG 2000
    "jpeg2000 2^32-1 x 2^32-1": Bomb(
        lambda: made.codestream(width=2**32 - 1, height=2**32 - 1, tile_width=2**32 - 1, tile_height=2**32 - 1),
        TOO_MANY,
    ),
    "jpeg2000 with 64,000,000 tiles": Bomb(
        lambda: made.codestream(width=8000, height=8000, tile_width=1, tile_height=1), BROKEN, 400
    ),
    "jpeg2000 with 65,025 tiles": Bomb(
        lambda: made.codestream(width=255, height=255, tile_width=1, tile_height=1), STORED | BROKEN, 300, costly=True
    ),
    "jpeg2000 with tiles of nothing": Bomb(lambda: made.codestream(tile_width=0, tile_height=0), BROKEN),
    "jpeg2000 of 38 bits": Bomb(lambda: made.codestream(depths=b"\x25\1\1\x25\1\1\x25\1\1"), BROKEN),
    "jpeg2000 that leaves out 254 pixels of 255": Bomb(
        lambda: made.codestream(depths=b"\7\xff\xff\7\xff\xff\7\xff\xff"), STORED | BROKEN
    ),
    "jpeg2000 with 16384 components": Bomb(lambda: made.codestream(components=16_384), BROKEN),
    "jpeg2000 0x0": Bomb(lambda: made.codestream(width=0, height=0), BROKEN),
    "jp2 that hides 30000x30000 behind 16x16": Bomb(
        lambda: made.jp2((16, 16), made.codestream(width=30_000, height=30_000, tile_width=30_000, tile_height=30_000)),
        TOO_MANY | BROKEN,
    ),
    "jp2 that hides its 65,025 tiles behind others": Bomb(
        lambda: made.jp2(
            (255, 255),
            made.codestream(width=255, height=255, tile_width=1, tile_height=1),
            made.box(b"xml ", made.codestream()),
        ),
        BROKEN,
    ),
    "jp2 that says it is 2^31 wide": Bomb(lambda: made.jp2((2**31, 16), made.codestream()), TOO_MANY),
    # AVIF
    "avif that says it is 16384x16384": Bomb(
        lambda: made.told_size(made.small("AVIF", 64, 64), 16_384, 16_384), TOO_MANY
    ),
    "avif that says it is 2^32-1": Bomb(
        lambda: made.told_size(made.small("AVIF", 64, 64), 2**32 - 1, 2**32 - 1), TOO_MANY | BROKEN
    ),
    "avif that says it is 1x1": Bomb(lambda: made.told_size(made.small("AVIF", 64, 64), 1, 1), STORED | BROKEN),
    "avif 0x0": Bomb(lambda: made.told_size(made.small("AVIF", 64, 64), 0, 0), BROKEN),
    "avif of 3600 tiles": Bomb(lambda: made.avif_grid(60, 60, 3840, 3840), STORED | BROKEN, 800, costly=True),
    "avif of 65,025 tiles": Bomb(lambda: made.avif_grid(255, 255, 16_320, 16_320), TOO_MANY | BROKEN),
    "avif of 65,025 items and 64x64 pixels": Bomb(lambda: made.avif_grid(255, 255, 64, 64), BROKEN),
    "avif whose tiles do not reach": Bomb(lambda: made.avif_grid(2, 2, 8000, 8000), BROKEN),
}
"""Taken with the settings that a user has who gives none."""

ANIMATED: Final[Mapping[str, Bomb]] = {
    "gif with 500 large frames": Bomb(lambda: frames_of(500, 500, 500), TOO_MANY),
    "gif with 20,000 frames": Bomb(lambda: frames_of(20_000, 1, 1), STORED, 300, costly=True),
    "gif with a second frame of 65535x65535": Bomb(
        lambda: made.gif(16, 16, made.gif_frame(16, 16), made.gif_frame(65_535, 65_535, data=b"\2\2\x44\1\0")), TOO_MANY
    ),
    "gif whose frames are large from the second on": Bomb(
        lambda: made.gif(1, 1, made.gif_frame(1, 1), *[made.gif_frame(500, 500)] * 2000), TOO_MANY, costly=True
    ),
    "tiff whose pages are large from the second on": Bomb(lambda: growing_pages(300, 1000), TOO_MANY, 500, costly=True),
    "gif whose second frame is broken": Bomb(
        lambda: made.gif(16, 16, made.gif_frame(16, 16), made.gif_frame(16, 16, data=b"\xff\2\x44\1\0")), BROKEN
    ),
    "webp with 2000 large frames": Bomb(lambda: made.webp_animation(500, 500, 2000, (500, 500)), TOO_MANY),
    "webp whose last frame is cut off": Bomb(lambda: made.webp_animation(64, 64, 3, (64, 64))[:-20], BROKEN),
    "apng with 2000 large frames": Bomb(lambda: made.apng(500, 500, 2000), TOO_MANY),
    "apng that tells 2^31 frames": Bomb(lambda: made.apng(16, 16, 1, told=2**31), STORED | TOO_MANY | BROKEN),
    "apng that tells 100 frames and has 3": Bomb(lambda: made.apng(16, 16, 3, told=100), STORED | BROKEN),
    "apng that tells no frame": Bomb(lambda: made.apng(16, 16, 3, told=0), STORED),
    "apng in the wrong order": Bomb(
        lambda: odd_apng(
            made.actl(3),
            made.fctl(0, 16, 16),
            PIXELS,
            made.fctl(3, 16, 16),
            made.fdat(4, PIXELS[1]),
            made.fctl(1, 16, 16),
            made.fdat(2, PIXELS[1]),
        ),
        BROKEN,
    ),
    "apng of 2000 frames with a chunk of 4 MB": Bomb(lambda: heavy_apng(2000, 4_000_000), STORED, costly=True),
    "apng of 100,000 frames without data": Bomb(
        lambda: made.png(
            made.ihdr(1, 1),
            made.actl(100_000),
            *(made.fctl(n, 1, 1) for n in range(100_000)),
            *[(b"abCd", b"")] * 100_000,
            (b"IDAT", made.blank(1, 1)),
            made.END,
        ),
        BROKEN,
        costly=True,
    ),
    "apng with data before its frame": Bomb(
        lambda: odd_apng(made.actl(2), made.fctl(0, 16, 16), PIXELS, made.fdat(1, PIXELS[1]), made.fctl(2, 16, 16)),
        BROKEN | STORED,
    ),
    "apng with a frame outside": Bomb(
        lambda: odd_apng(
            made.actl(2),
            made.fctl(0, 16, 16),
            PIXELS,
            made.fctl(1, 2**31 - 1, 2**31 - 1, 1, 1),
            made.fdat(2, PIXELS[1]),
        ),
        BROKEN | TOO_MANY,
    ),
    "apng with a frame of nothing": Bomb(
        lambda: odd_apng(made.actl(2), made.fctl(0, 16, 16), PIXELS, made.fctl(1, 0, 0), made.fdat(2, PIXELS[1])),
        BROKEN | STORED,
    ),
    "tiff whose pages go in a circle": Bomb(lambda: made.tiff_circle(3), STORED),
    "tiff with a second page of 2^32-1": Bomb(
        lambda: two_pages(made.long(256, 2**32 - 1), made.long(257, 2**32 - 1)), TOO_MANY | BROKEN
    ),
    "tiff with a second page of 30000x30000": Bomb(
        lambda: two_pages(made.long(256, 30_000), made.long(257, 30_000)), TOO_MANY
    ),
    "tiff with a second page of one huge tile": Bomb(
        lambda: two_pages(
            made.long(322, 30_000), made.long(323, 30_000), made.long(324, 8), made.long(325, 99), made.short(259, 8)
        ),
        BROKEN | TOO_MANY,
    ),
    "tiff with 20,000 empty pages": Bomb(lambda: made.tiff_of_empty_directories(20_000), STORED | BROKEN),
    "avif with frames that lie": Bomb(
        lambda: made.told_size(
            made.small("AVIF", 64, 64, save_all=True, append_images=[flat(64), flat(64)]), 8000, 8000
        ),
        STORED | TOO_MANY | BROKEN,  # such a file tells its size a second time, for its frames
    ),
}
"""Taken with --frames all."""

SLOW: Final[Mapping[str, Bomb]] = {
    "jpeg with 100,000 scans of 8000x8000": Bomb(
        lambda: made.jpeg_of_scans(8000, 8000, 100_000), frozenset({"too_slow", "decode"})
    ),
}
"""What only the clock stops."""


def flat(side: int) -> Image.Image:
    return Image.new("RGB", (side, side), "red")


def two_pages(*lies: made.Tag) -> bytes:
    """A TIFF whose second page says of itself what it is told to."""
    tags = made.grey_tags(16, 16, 8, 256)
    first = 8 + 256
    second = first + len(made.directory(tags, first))
    pages = made.directory(tags, first, second) + made.directory(made.instead(tags, *lies), second)
    return b"II*\0" + first.to_bytes(4, "little") + bytes(256) + pages


def heavy_apng(frames: int, size: int) -> bytes:
    """Many small frames, and one large chunk that means nothing and stands before them."""
    whole = made.apng(1, 1, frames)
    at = len(made.PNG_MAGIC) + len(made.chunk(*made.ihdr(1, 1)))
    return whole[:at] + made.chunk(b"abCd", bytes(size)) + whole[at:]


def growing_pages(pages: int, side: int) -> bytes:
    """A TIFF of a small page and many large ones that share their pixels."""
    pixels = bytes(side * side)
    sizes = [(16, 16)] + [(side, side)] * pages
    tags = [made.grey_tags(width, height, 8, width * height) for width, height in sizes]
    starts = made.offsets((len(made.directory(one, 0)) for one in tags), 8 + len(pixels))
    following = [*starts[1:], 0]
    directories = [made.directory(one, at, to) for one, at, to in zip(tags, starts, following, strict=True)]
    return b"II*\0" + starts[0].to_bytes(4, "little") + pixels + b"".join(directories)


# Through a worker ---------------------------------------------------------------------------------


@cache
def verdicts(which: str) -> Mapping[str, Verdict]:
    """All bombs of one list, one after the other through one worker."""
    catalogue, flags = lists()[which]
    settings = ProcessSettings(workers=1, size=64, **flags)
    return asyncio.run(_through_a_worker(settings, catalogue))


EVERY_SWITCH: Final[Mapping[str, Any]] = {
    "frames": "all", "encode": "png", "truncated": "keep", "exif": True, "exif_gps": True, "keep": ("exif", "icc", "xmp"),
    "variant": ("thumb:32:cover:webp", "wide:64x8:contain:jpeg"), "dedup": "near", "mode": "rgb",
}  # fmt: skip
SWITCHED: Final = {name: bomb for name, bomb in {**ANIMATED, **STILL}.items() if not bomb.costly}


def lists() -> Mapping[str, tuple[Mapping[str, Bomb], Mapping[str, Any]]]:
    """By name: bombs, and the flags they are taken with."""
    kept = {"keep": ("exif", "icc", "xmp"), "variant": ("a:16:inside:png", "b:16:inside:webp", "c:16:inside:avif")}
    return {
        "still": (STILL, {"process_timeout": 5.0}),
        "animated": (ANIMATED, {"process_timeout": 15.0, "frames": "all", "encode": "webp", "max_pixels": 16_000_000}),
        "switched": (SWITCHED, {"process_timeout": 5.0, **EVERY_SWITCH}),
        "keeping": (KEEPING, {"process_timeout": 2.0, **kept}),
        "slow": (SLOW, {"process_timeout": 0.5}),
    }


async def _through_a_worker(settings: ProcessSettings, catalogue: Mapping[str, Bomb]) -> dict[str, Verdict]:
    found = {}
    async with WorkerPool(settings) as pool:
        await pool.process(fetched(GOOD))
        # Memory may stay with a worker: those that are allowed little come first.
        for name, bomb in sorted(catalogue.items(), key=lambda item: item[1].growth):
            body = bomb.make()
            worker = the_worker()
            before_it = forget_peak(worker)
            start = time.perf_counter()
            before, outcome, after = await asyncio.gather(*(pool.process(fetched(one)) for one in (GOOD, body, GOOD)))
            seconds = time.perf_counter() - start
            growth = peak_of(worker) - before_it if worker == the_worker() else None
            found[name] = Verdict(outcome, (before, after), seconds, growth)
    return found


def fetched(body: bytes) -> Fetched:
    return Fetched(Target(0, "http://example.org/a"), body, "", 200, "", 0.0, 0.0)


def the_worker() -> int:
    """Process of the one worker there is: the child of the fork server."""
    (found,) = made.worker_processes()
    return found.pid


def forget_peak(process: int) -> float:
    """Let the kernel count the highest memory of a process from now on (proc(5), clear_refs); returns what it is now."""
    if os.path.exists(f"/proc/{process}/clear_refs"):
        Path(f"/proc/{process}/clear_refs").write_text("5")
    return peak_of(process)


def peak_of(process: int) -> float:
    """Highest memory of a process since then, in megabytes; 0 where the kernel does not tell."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0.0
    found = {line.split(":")[0]: line.split()[1] for line in status.read_text().splitlines() if line.startswith("Vm")}
    return int(found["VmHWM"]) / 1000


def check(verdict: Verdict, bomb: Bomb) -> None:
    assert verdict.end in bomb.ends, verdict.outcome
    assert [type(one) for one in verdict.neighbours] == [Picture, Picture], verdict.neighbours
    assert verdict.growth is not None, "the worker died"
    assert verdict.growth < bomb.growth, f"{verdict.growth:.0f} MB"


@pytest.mark.parametrize("name", STILL)
def test_a_hostile_picture_is_stored_or_missed_by_name_in_bounded_memory(name: str) -> None:
    check(verdicts("still")[name], STILL[name])


@pytest.mark.parametrize("name", ANIMATED)
def test_hostile_frames_are_stored_or_missed_by_name_in_bounded_memory(name: str) -> None:
    check(verdicts("animated")[name], ANIMATED[name])


@pytest.mark.parametrize("name", SLOW)
def test_what_has_no_end_is_ended_by_the_clock_and_harms_no_other(name: str) -> None:
    verdict = verdicts("slow")[name]
    assert verdict.end in SLOW[name].ends, verdict.outcome
    assert [type(one) for one in verdict.neighbours] == [Picture, Picture]
    assert 1 <= verdict.seconds < 5, "the clock rings once in the batch and once alone"


@pytest.mark.parametrize("name", SWITCHED)
def test_with_every_switch_on_no_worker_dies_and_no_neighbour_is_lost(name: str) -> None:
    verdict = verdicts("switched")[name]
    assert verdict.growth is not None, "the worker died"
    assert verdict.growth < 1000, f"{verdict.growth:.0f} MB"
    assert [type(one) for one in verdict.neighbours] == [Picture, Picture]


# HEIF, with its extra -----------------------------------------------------------------------------


@cache
def heif() -> bytes:
    """A good HEIF picture of 64x64."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed")
    out = BytesIO()
    pillow_heif.from_pillow(flat(64)).save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "ends"),
    [
        (30_000, 30_000, TOO_MANY),
        (2**31 - 1, 2**31 - 1, TOO_MANY | BROKEN),
        (2**32 - 1, 2**32 - 1, TOO_MANY | BROKEN),
        (0, 0, BROKEN),
        (1, 1, STORED | BROKEN),
        (8000, 8000, STORED | BROKEN),
    ],
)
def test_a_heif_picture_that_lies_about_its_size(width: int, height: int, ends: frozenset[str]) -> None:
    body = made.told_size(heif(), width, height)
    found = processed(body, formats=("default", "heif"))
    assert (found.reason.value if isinstance(found, Miss) else "stored") in ends, found


# What becomes of it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"fit": "outside", "upscale": True}, "30720000x512"),
        ({"fit": "none", "max_pixels": 59_999}, "60000x1|60000 pixels"),
        ({"size": 65_535, "upscale": True, "fit": "fill"}, "65535x65535"),
        ({"variant": ("huge:65535:contain:png",)}, "65535x65535"),
    ],
    ids=["ribbon", "source", "huge", "variant"],
)
def test_a_result_that_would_be_huge_is_refused_with_its_size(flags: Mapping[str, Any], told: str) -> None:
    miss = miss_of(made.whole_png(60_000, 1), **flags)
    assert miss.reason is Reason.TOO_MANY_PIXELS
    assert re.search(told, miss.detail), miss.detail


@pytest.mark.parametrize("encode", ["webp", "png"])
def test_frames_that_would_be_huge_together_are_refused(encode: str) -> None:
    body = frames_of(2000, 1, 1)
    assert miss_of(body, size=2000, upscale=True, frames="all", encode=encode).reason is Reason.TOO_MANY_PIXELS
    assert picture_of(body, size=2000, upscale=True, encode=encode).frames == 2000


@pytest.mark.parametrize(
    ("body", "flags", "word"),
    [
        (made.apng(16, 16, 2, told=0), {}, "APNG"),
        (made.jpeg_with_profile(255, 65_519), {}, "ICC|profile"),
        (made.jpeg_with_profile(1, 100), {}, "ICC|profile"),
        (made.inserted(made.small("JPEG"), made.exif(MANY_TAGS)), {"exif": True}, "Tag data|EXIF"),
        (made.multi_picture(100, 100, 2**31, 1), {}, "MPO"),
    ],
    ids=["apng", "huge profile", "broken profile", "exif", "mpo"],
)
def test_what_the_decoder_warns_of_is_a_note_of_the_picture(body: bytes, flags: Mapping[str, Any], word: str) -> None:
    notes = picture_of(body, **flags).notes
    assert any(re.search(word, note) for note in notes), notes
    assert all("\n" not in note and len(note) <= 300 for note in notes)
    assert len(notes) <= 20, "a picture may not fill the metadata with its warnings"


def with_block(kind: str) -> bytes:
    """A WebP with more metadata than a JPEG can hold."""
    tags = Image.Exif()
    tags[0x9286] = b"x" * 200_000
    blocks: dict[str, dict[str, Any]] = {
        "exif": {"exif": tags.tobytes()},
        "xmp": {"xmp": b"<x:xmpmeta>" + b" " * 200_000 + b"</x:xmpmeta>"},
        "icc": {"icc_profile": bytes(17_000_000)},
    }
    return made.small("WEBP", **blocks[kind])


KEEPING: Final[Mapping[str, Bomb]] = {
    kind: Bomb(partial(with_block, kind), STORED, growth=300) for kind in ("exif", "xmp", "icc")
}


@pytest.mark.parametrize("kind", KEEPING)
def test_metadata_that_no_jpeg_can_hold_does_not_cost_the_picture(kind: str) -> None:
    verdict = verdicts("keeping")[kind]
    check(verdict, KEEPING[kind])
    assert isinstance(verdict.outcome, Picture)
    assert [one.format for one in verdict.outcome.companions] == ["png", "webp", "avif"]
    assert verdict.outcome.notes, "what was left out must be told"


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        (made.apng(16, 16, 5), 150),
        (made.gif(16, 16, *[made.gif_frame(16, 16)] * 5), 60),
        (made.tiff_of_pages(5), 200),
    ],
    ids=["apng", "gif", "tiff"],
)
def test_of_an_animation_that_is_cut_off_what_there_is_can_be_kept(whole: bytes, cut: int) -> None:
    assert len(picture_of(whole, frames="all").companions) == 4  # a JPEG for each frame after the first
    assert 0 < len(picture_of(whole[:-cut], frames="all", truncated="keep").companions) < 4


def slow_gif(frames: int) -> bytes:
    """Frames that differ, each shown for as long as a GIF can say: eleven minutes."""
    control = b"!\xf9\4\0\xff\xff\0\0"
    white = made.gif_frame(1, 1, data=b"\2\2\x4c\1\0")
    return made.gif(2, 2, *[control + made.gif_frame(2, 2) + control + white] * (frames // 2))


def slow_apng() -> bytes:
    """Two frames that are shown for 18 hours each, four billion times."""
    data = zlib.compress(b"\0\xff\xff" * 16)
    times = [
        (b"fcTL", one[1][:20] + b"\xff\xff\0\1" + one[1][24:]) for one in (made.fctl(0, 16, 16), made.fctl(1, 16, 16))
    ]
    plays = (b"acTL", b"\0\0\0\2\xff\xff\xff\xff")
    return made.png(made.ihdr(16, 16), plays, times[0], PIXELS, times[1], made.fdat(2, data), made.END)


@pytest.mark.parametrize(
    ("body", "frames", "encode"),
    [(slow_apng(), 2, "webp"), (slow_apng(), 2, "gif"), (slow_apng(), 2, "png"), (slow_gif(4000), 4000, "webp")],
    ids=["apng to webp", "apng to gif", "apng to png", "gif to webp"],
)
def test_an_animation_is_taken_whatever_it_says_of_its_time(body: bytes, frames: int, encode: str) -> None:
    picture = picture_of(body, frames="all", encode=encode)
    with Image.open(BytesIO(picture.data)) as image:
        assert getattr(image, "n_frames", 1) == picture.frames == frames
        image.load()  # a WebP tells it with the frame
        assert image.info["duration"] >= 60_000


@pytest.mark.parametrize("told", [0, 16])
def test_an_icon_is_as_large_as_its_picture_and_not_as_its_directory_says(told: int) -> None:
    picture = picture_of(made.ico(made.whole_png(512, 256), width=told, height=told), fit="none")
    assert (picture.width, picture.height) == (512, 256)
    assert (picture.original_width, picture.original_height) == (512, 256)


@pytest.mark.parametrize(("encode", "side"), [("webp", 16_384), ("jpeg", 65_501), ("gif", 65_536), ("avif", 65_537)])
def test_a_result_that_its_format_cannot_hold_says_so(encode: str, side: int) -> None:
    miss = miss_of(made.whole_png(side, 2), fit="none", encode=encode)
    assert miss.reason in (Reason.TOO_MANY_PIXELS, Reason.TOO_BIG)
    assert str(side) in miss.detail


def test_thousands_of_tags_do_not_fill_the_metadata() -> None:
    tags = [(number, 2, 1000, b"x" * 999 + b"\0") for number in range(1000, 9000)]
    picture = picture_of(made.grey_tiff(16, 16, *tags), exif=True)
    assert len(json.dumps(picture.exif)) < 1_000_000
    assert any("left out" in note for note in picture.notes), picture.notes


def test_a_good_picture_has_no_notes() -> None:
    assert picture_of(GOOD).notes == ()


def test_keeping_what_is_cut_off_ends_with_its_run() -> None:
    cut = GOOD[: len(GOOD) // 2]
    assert picture_of(cut, truncated="keep").width == 64
    assert miss_of(cut).reason is Reason.TRUNCATED


# On the command line ------------------------------------------------------------------------------


@contextmanager
def serving(bodies: list[bytes]) -> Iterator[list[str]]:
    """The addresses of these bodies while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = self.path[1:]
            body = bodies[int(number)] if number.isdecimal() else b""
            self.send_response(200 if number.isdecimal() else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The test reports, not this."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(len(bodies))]
        finally:
            server.shutdown()
            thread.join(LIMIT)


def test_no_library_talks_to_the_terminal(tmp_path: Path) -> None:
    cheap = {name: bomb for name, bomb in SWITCHED.items() if bomb.growth == HEADER}
    bodies = [GOOD, *(bomb.make() for bomb in cheap.values())]
    with serving(bodies) as urls:
        listed = tmp_path / "urls.txt"
        listed.write_text("\n".join(urls))
        done = crawler(
            "run", listed, "-o", tmp_path / "out", "--allow-private", "--workers", 1, "--per-host", 4, "--quiet", "--json",
            "--frames", "all", "--encode", "webp", "--exif",
        )  # fmt: skip
    assert done.err == ""
    assert (done.summary["targets"], done.code) == (len(bodies), 0)
    assert set(done.summary["reasons"]) == {"too_many_pixels", "decode", "truncated"}
    assert len(done.out.splitlines()) == 1
