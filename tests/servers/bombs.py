"""Pictures that want to hurt whoever decodes them: small bytes that claim, unpack to or ask for far more than they are.

Made by hand, byte by byte: no library writes such files. Each maker is cheap, whatever its file would cost a reader.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from itertools import accumulate
from typing import Final

import psutil
from PIL import Image

Chunk = tuple[bytes, bytes]
Tag = tuple[int, int, int, bytes]
"""Number, type, count and value of a TIFF tag; a value of more than four bytes is put behind the directory."""

GREY, RGB, PALETTE = 0, 2, 3
SHORT, LONG, UNDEFINED = 3, 4, 7


def small(format: str, width: int = 16, height: int = 16, **options: object) -> bytes:
    """A good picture, as Pillow writes it."""
    out = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, format, **options)
    return out.getvalue()


# PNG and APNG -------------------------------------------------------------------------------------

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
END: Final[Chunk] = (b"IEND", b"")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ihdr(width: int, height: int, depth: int = 1, colour: int = GREY, interlaced: bool = False) -> Chunk:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def png(*chunks: Chunk) -> bytes:
    return PNG_MAGIC + b"".join(chunk(*one) for one in chunks)


@cache
def zeros(count: int, level: int = 1) -> bytes:
    """So many zero bytes, deflated, without ever being held."""
    squeezer, block = zlib.compressobj(level), bytes(1 << 20)
    parts = [squeezer.compress(block) for _ in range(count >> 20)]
    return b"".join((*parts, squeezer.compress(bytes(count & (1 << 20) - 1)), squeezer.flush()))


def blank(width: int, height: int, bits: int = 1) -> bytes:
    """All pixels of a PNG, black."""
    return zeros(height * (1 + (width * bits + 7) // 8))


def whole_png(width: int, height: int, *between: Chunk, depth: int = 1, colour: int = GREY) -> bytes:
    """A PNG with every pixel that its header tells, and more chunks before them."""
    bits = depth * (3 if colour == RGB else 1)
    return png(ihdr(width, height, depth, colour), *between, (b"IDAT", blank(width, height, bits)), END)


def hollow_png(width: int, height: int, interlaced: bool = False) -> bytes:
    """A PNG that claims pixels and holds almost none."""
    return png(ihdr(width, height, interlaced=interlaced), (b"IDAT", zlib.compress(bytes(64))), END)


def text_bomb(kind: bytes, size: int) -> Chunk:
    """A compressed text or profile that unpacks to `size` zero bytes."""
    heads = {b"zTXt": b"Comment\0\0", b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0", b"iCCP": b"profile\0\0"}
    return kind, heads[kind] + zeros(size)


def actl(frames: int) -> Chunk:
    return b"acTL", struct.pack(">II", frames, 0)


def fctl(number: int, width: int, height: int, left: int = 0, top: int = 0) -> Chunk:
    return b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 1, 10, 0, 0)


def fdat(number: int, data: bytes) -> Chunk:
    return b"fdAT", struct.pack(">I", number) + data


def apng(width: int, height: int, frames: int, told: int | None = None) -> bytes:
    """Frames of the full size, one after the other; the header may tell another number of them."""
    data = blank(width, height)
    later: list[Chunk] = []
    for number in range(1, frames):
        later += (fctl(2 * number - 1, width, height), fdat(2 * number, data))
    head = (ihdr(width, height), actl(frames if told is None else told), fctl(0, width, height), (b"IDAT", data))
    return png(*head, *later, END)


# TIFF ---------------------------------------------------------------------------------------------


def short(number: int, *values: int) -> Tag:
    return number, SHORT, len(values), struct.pack(f"<{len(values)}H", *values)


def long(number: int, *values: int) -> Tag:
    return number, LONG, len(values), struct.pack(f"<{len(values)}I", *values)


def grey_tags(width: int, height: int, offset: int, size: int, compression: int = 1) -> tuple[Tag, ...]:
    """The tags of an 8-bit grey picture in one strip."""
    return (
        long(256, width), long(257, height), short(258, 8), short(259, compression), short(262, 1),
        long(273, offset), short(277, 1), long(278, height), long(279, size),
    )  # fmt: skip


def instead(tags: Iterable[Tag], *others: Tag) -> tuple[Tag, ...]:
    """The tags with others in place of those of the same number, in order."""
    return tuple(sorted({tag[0]: tag for tag in (*tags, *others)}.values()))


def directory(tags: Sequence[Tag], at: int, following: int = 0) -> bytes:
    """A directory that stands at `at`, with what its tags say behind it."""
    begin = at + 2 + 12 * len(tags) + 4
    entries, behind, length = [], [], 0
    for number, kind, count, value in tags:
        inline = value
        if len(value) > 4:
            inline = struct.pack("<I", begin + length)
            behind.append(value)
            length += len(value)
        entries.append(struct.pack("<HHI", number, kind, count) + inline.ljust(4, b"\0"))
    return b"".join((struct.pack("<H", len(tags)), *entries, struct.pack("<I", following), *behind))


def tiff(tags: Sequence[Tag], following: int = 0, pixels: bytes = b"") -> bytes:
    """A TIFF: header, pixels from byte 8 on, one directory."""
    at = 8 + len(pixels)
    return b"II*\0" + struct.pack("<I", at) + pixels + directory(tags, at, following)


def grey_tiff(width: int, height: int, *others: Tag, compression: int = 1, pixels: bytes | None = None) -> bytes:
    """A grey TIFF with other tags beside or in place of its own."""
    data = bytes(width * height) if pixels is None else pixels
    return tiff(instead(grey_tags(width, height, 8, len(data), compression), *others), pixels=data)


def tiff_of_tags_that_share(tags: int, size: int) -> bytes:
    """Every tag claims the same megabytes: a reader that copies each needs their product."""
    pixels = bytes(size)
    mine = [(number, UNDEFINED, size, b"") for number in range(1000, 1000 + tags)]
    whole = tiff(instead(grey_tags(16, 16, 8, 256), *mine), pixels=pixels)
    claimed = struct.pack("<HI", UNDEFINED, size)
    return whole.replace(claimed + bytes(4), claimed + struct.pack("<I", 8))


def tiff_circle(pages: int) -> bytes:
    """Pages in a circle: the last is followed by the first."""
    out, first = b"", 8 + 256
    length = len(directory(grey_tags(16, 16, 8, 256), 0))
    for page in range(pages):
        at = first + page * length
        out += directory(grey_tags(16, 16, 8, 256), at, first if page == pages - 1 else at + length)
    return b"II*\0" + struct.pack("<I", first) + bytes(256) + out


def tiff_of_pages(pages: int) -> bytes:
    """Very many small pages that share their pixels."""
    first = 8 + 256
    length = len(directory(grey_tags(16, 16, 8, 256), 0))
    starts = [first + page * length for page in range(pages)] + [0]
    parts = [directory(grey_tags(16, 16, 8, 256), starts[n], starts[n + 1]) for n in range(pages)]
    return b"II*\0" + struct.pack("<I", first) + bytes(256) + b"".join(parts)


def tiff_of_empty_directories(count: int) -> bytes:
    """A good page, then directories without a tag, six bytes each."""
    first = 8 + 256
    behind = first + len(directory(grey_tags(16, 16, 8, 256), 0))
    empties = b"".join(struct.pack("<HI", 0, behind + 6 * (n + 1)) for n in range(count - 1)) + bytes(6)
    page = directory(grey_tags(16, 16, 8, 256), first, behind)
    return b"II*\0" + struct.pack("<I", first) + bytes(256) + page + empties


def big_tiff(entries: int, told: int) -> bytes:
    """A BigTIFF whose directory tells `told` tags and has `entries`: no 16 bits bound their number there."""
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16)
    wanted = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 16, 277: 1, 278: 16, 279: 256}
    mine = [struct.pack("<HHQQ", number, LONG, 1, value) for number, value in wanted.items()]
    others = [struct.pack("<HHQQ", 1000 + number % 20_000, LONG, 1, number) for number in range(entries - len(mine))]
    return head + struct.pack("<Q", told) + b"".join(mine + others) + bytes(8)


# JPEG ---------------------------------------------------------------------------------------------


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def inserted(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with more segments behind its first two bytes."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def resized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG that says it is large."""
    data = small("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def jpeg_with_profile(chunks: int, size: int) -> bytes:
    """A JPEG with a profile of zeros in so many segments."""
    parts = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((n & 0xFF, chunks & 0xFF)) + bytes(size)) for n in range(1, chunks + 1)
    ]
    return inserted(small("JPEG"), *parts)


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG of empty scans: each costs a pass over all blocks and ten bytes."""
    table = segment(0xDB, b"\0" + b"\1" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    codes = [segment(0xC4, bytes((kind,)) + b"\1" + bytes(15) + b"\0") for kind in (0x00, 0x10)]
    first = segment(0xDA, b"\1\1\0\0\0\0")
    more = segment(0xDA, b"\1\1\0\1\x3f\0")
    return b"\xff\xd8" + table + frame + b"".join(codes) + first + b"\0\0" + more * scans + b"\xff\xd9"


def exif(*directories: bytes) -> bytes:
    """An EXIF block, as JPEG has it, from directories that stand one behind the other from byte 8 on."""
    return segment(0xE1, b"Exif\0\0II*\0" + struct.pack("<I", 8) + b"".join(directories))


def multi_picture(offset: int, size: int, count: int, entries: int) -> bytes:
    """A JPEG with an index of further pictures (MPO) that says what it is told to."""
    index = b"".join(
        struct.pack("<IIIHH", 0x030000 if n == 0 else 0, size, offset * (n > 0), 0, 0) for n in range(entries)
    )
    tags = [(0xB000, UNDEFINED, 4, b"0100"), long(0xB001, count), (0xB002, UNDEFINED, len(index), index)]
    return inserted(small("JPEG"), segment(0xE2, b"MPF\0II*\0" + struct.pack("<I", 8) + directory(tags, 8)))


# GIF ----------------------------------------------------------------------------------------------


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    """A GIF of two colours with these blocks."""
    return (
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(blocks) + b";"
    )


def gif_frame(width: int, height: int, left: int = 0, top: int = 0, data: bytes | None = None) -> bytes:
    """A black frame; `data` are its own LZW bytes, from the size of the first codes on."""
    packed = b"\2" + blocks_of(lzw_zeros(width * height)) if data is None else data
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + packed


def blocks_of(data: bytes) -> bytes:
    """Data in the blocks of up to 255 bytes that GIF has."""
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


@cache
def lzw_zeros(count: int) -> bytes:
    """So many pixels of colour 0 in four-colour LZW: every code stands for one pixel more than the one before."""
    bits, length, clear, left = 0, 0, 4, count
    out = bytearray()

    def put(code: int, width: int) -> None:
        nonlocal bits, length
        bits |= code << length
        length += width
        while length >= 8:
            out.append(bits & 0xFF)
            bits >>= 8
            length -= 8

    width = 3
    while left > 0:
        put(clear, width)
        run, width, following = 1, 3, 6
        while left > 0 and following < 4096:
            run = min(run, left)
            put(0 if run == 1 else 4 + run, width)
            left -= run
            run += 1
            following += run > 2  # the first code after a clear names nothing new
            width += following == 1 << width and width < 12
    put(5, width)
    put(0, 7)
    return bytes(out)


def comment(size: int) -> bytes:
    return b"!\xfe" + blocks_of(bytes(b"a" * size))


# WebP ---------------------------------------------------------------------------------------------


def riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1)


def three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


@cache
def webp_pixels(width: int, height: int) -> bytes:
    """The chunk with the pixels of a black lossless WebP."""
    out = BytesIO()
    Image.new("RGB", (width, height)).save(out, "WEBP", lossless=True, method=0)
    return out.getvalue()[12:]


def webp_animation(width: int, height: int, frames: int, frame: tuple[int, int], left: int = 0) -> bytes:
    """An animated WebP whose frames are all the same black picture."""
    place = three(left // 2) + three(0) + three(frame[0] - 1) + three(frame[1] - 1) + three(100) + b"\0"
    one = riff(b"ANMF", place + webp_pixels(*frame))
    head = riff(b"VP8X", b"\2\0\0\0" + three(width - 1) + three(height - 1)) + riff(b"ANIM", bytes(6))
    return riff(b"RIFF", b"WEBP" + head + one * frames)


# ICO and BMP --------------------------------------------------------------------------------------


def ico(picture: bytes, width: int = 16, height: int = 16, entries: int = 1, bits: int = 32) -> bytes:
    """An icon whose entries all point at one picture."""
    start = 6 + 16 * entries
    entry = struct.pack("<BBBBHHII", width & 0xFF, height & 0xFF, 0, 0, 1, bits, len(picture), start)
    return struct.pack("<HHH", 0, 1, entries) + entry * entries + picture


def bmp_header(width: int, height: int, bits: int = 8, compression: int = 0, colours: int = 0) -> bytes:
    return struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)


def bmp(width: int, height: int, pixels: bytes, *, bits: int = 8, compression: int = 0, colours: int = 2) -> bytes:
    """A BMP with a palette of black and white."""
    palette = (b"\0\0\0\0\xff\xff\xff\0" * 128)[: 4 * min(colours or 256, 256)] if bits <= 8 else b""
    start = 14 + 40 + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return head + bmp_header(width, height, bits, compression, colours) + palette + pixels


# JPEG 2000 ----------------------------------------------------------------------------------------


def codestream(**lies: int | bytes) -> bytes:
    """A good JPEG 2000 codestream of 16x16 whose SIZ segment says what it is told to."""
    data = bytearray(small("JPEG2000", no_jp2=True))
    places = {"width": 8, "height": 12, "tile_width": 24, "tile_height": 28, "components": 40}
    for name, value in lies.items():
        if name == "depths":
            assert isinstance(value, bytes)
            data[42 : 42 + len(value)] = value
        else:
            assert isinstance(value, int)
            struct.pack_into(">H" if name == "components" else ">I", data, places[name], value)
    return bytes(data)


def jp2(told: tuple[int, int], stream: bytes, before: bytes = b"") -> bytes:
    """A JP2 file whose header tells one size and whose codestream may tell another; `before` are boxes between them."""
    data = small("JPEG2000")
    at = data.index(b"ihdr") + 4
    begin = data.index(b"jp2c") - 4
    head = data[:at] + struct.pack(">II", told[1], told[0]) + data[at + 8 : begin]
    return head + before + struct.pack(">I", 8 + len(stream)) + b"jp2c" + stream


# AVIF and HEIF ------------------------------------------------------------------------------------


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def told_size(picture: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIF picture whose every `ispe` tells this size."""
    out, at = bytearray(picture), picture.find(b"ispe")
    assert at > 0
    while at > 0:
        struct.pack_into(">II", out, at + 8, width, height)
        at = picture.find(b"ispe", at + 4)
    return bytes(out)


def avif_grid(columns: int, rows: int, width: int, height: int) -> bytes:
    """An AVIF put together from so many tiles, all with the bytes of one picture of 64x64."""
    tile = small("AVIF", 64, 64)
    codec = tile[tile.index(b"av1C") - 4 :]
    codec = codec[: struct.unpack(">I", codec[:4])[0]]
    stream = tile[tile.index(b"mdat") + 4 :]
    tiles = columns * rows
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    items = [full_box(b"infe", struct.pack(">IH4sB", 1, 0, b"grid", 0), version=3)]
    items += [full_box(b"infe", struct.pack(">IH4sB", n + 2, 0, b"av01", 0), version=3, flags=1) for n in range(tiles)]
    sizes = box(
        b"ipco",
        full_box(b"ispe", struct.pack(">II", width, height)),
        full_box(b"ispe", struct.pack(">II", 64, 64)),
        codec,
        full_box(b"pixi", b"\3\x08\x08\x08"),
    )
    mine = [struct.pack(">IB2B", 1, 2, 1, 4)] + [struct.pack(">IB3B", n + 2, 3, 2, 0x83, 4) for n in range(tiles)]
    belongs = full_box(b"ipma", struct.pack(">I", tiles + 1), *mine, version=1)
    parts = b"".join(struct.pack(">I", n + 2) for n in range(tiles))
    refers = full_box(b"iref", box(b"dimg", struct.pack(">IH", 1, tiles), parts), version=1)

    def meta(data_at: int) -> bytes:
        place = struct.Struct(">IHHHII")
        first = place.pack(1, 0, 0, 1, data_at, len(grid))
        rest = [place.pack(n + 2, 0, 0, 1, data_at + len(grid), len(stream)) for n in range(tiles)]
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", struct.pack(">BBI", 0x44, 0, tiles + 1), first, *rest, version=2),
            full_box(b"iinf", struct.pack(">I", tiles + 1), *items, version=1),
            refers,
            box(b"iprp", sizes, belongs),
        )

    head = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", grid, stream)


def offsets(sizes: Iterable[int], start: int) -> list[int]:
    """Where things of these sizes begin, one behind the other."""
    return list(accumulate(sizes, initial=start))[:-1]


# Who meets them -----------------------------------------------------------------------------------


def worker_processes() -> list[psutil.Process]:
    """The worker processes of this process that are alive: the children of the fork server."""
    servers = (one for one in psutil.Process().children() if _alive(one) and "forkserver" in " ".join(one.cmdline()))
    return [one for server in servers for one in server.children() if _alive(one)]


def _alive(process: psutil.Process) -> bool:
    return bool(process.status() != psutil.STATUS_ZOMBIE)
