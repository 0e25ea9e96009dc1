"""What the first bytes say a file is (WHATWG MIME Sniffing 6.1 and the formats' own specifications)."""

from __future__ import annotations

import re

_SIGNATURES: list[tuple[int, bytes, str]] = [
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"\0\0\1\0", "ICO"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "EPS"),
    (0, b"%PDF-", "PDF"),
    (0, b"icns", "ICNS"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    (0, b"\x01\xda", "SGI"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"/* XPM */", "XPM"),
    (0, b"\xb1\x68\xde\x3a", "DCX"),
    (0, b"BLP1", "BLP"),
    (0, b"BLP2", "BLP"),
    (0, b"FTEX", "FTEX"),
    (20, b"GIMP", "GBR"),
    (4, b"\x11\xaf", "FLI"),
    (4, b"\x12\xaf", "FLC"),
    (0, b"DanM", "MSP"),
    (0, b"LinS", "MSP"),
    (0, b"\x80\xe8\0\0", "PIXAR"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"P7 332", "XV thumbnail"),
    (0, b"Image type: ", "IM"),
    (2048, b"PCD_", "PCD"),
]

_PORTABLE = re.compile(rb"P[1-7fF]\s")
_PCX = re.compile(rb"\n[\x00\x02-\x05]\x01[\x01\x02\x04\x08]")
_XBM = re.compile(rb"#define\s+\w+_width\s")
_IMT = re.compile(rb"(\*[^\n]*\n)*width \d")
_CUR = re.compile(rb"\x00\x00\x02\x00(?!\x00\x00)")
_DIB = re.compile(
    rb"[\x28\x6c\x7c]\x00\x00\x00.{8}\x01\x00[\x01\x04\x08\x10\x18\x20]\x00[\x00-\x06]\x00\x00\x00", re.DOTALL
)
# A TGA has no mark at its beginning: a kind, a colour table that fits it, a size that is not nothing, a depth.
_TGA = re.compile(
    rb".(\x00[\x02\x03\x0a\x0b].{5}|\x01[\x01\x09].{4}[\x0f\x10\x18\x20]).{4}"
    rb"(?!\x00\x00)..(?!\x00\x00)..[\x01\x08\x0f\x10\x18\x20]",
    re.DOTALL,
)
_PATTERNS = (
    (_PORTABLE, "PPM"), (_PCX, "PCX"), (_XBM, "XBM"), (_IMT, "IMT"), (_CUR, "CUR"), (_DIB, "DIB"), (_TGA, "TGA"),
)  # fmt: skip


def sniff(data: bytes) -> str:
    """Name of the format that `data` starts like, empty if it looks like no picture."""
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--")) and b"<svg" in head):
        return "SVG"
    return next((name for pattern, name in _PATTERNS if pattern.match(data)), "")
