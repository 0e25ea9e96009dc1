"""What is done to the pictures: the group of settings that crosses to the workers, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from crawler.checks import GB as GB
from crawler.checks import KB as KB
from crawler.checks import (
    LONGEST,
    check_choice,
    check_choices,
    check_colour,
    check_function,
    check_range,
    check_switch,
    is_size,
)
from crawler.checks import MB as MB
from crawler.errors import SettingsError
from crawler.extras import require
from crawler.model import Reason

Fit = Literal["inside", "outside", "cover", "contain", "fill", "none"]
Gravity = Literal[
    "center", "north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest", "entropy"
]
Filter = Literal["auto", "lanczos", "bicubic", "hamming", "bilinear", "box", "nearest"]
Encode = Literal["jpeg", "png", "webp", "avif", "gif", "original"]
Subsampling = Literal["420", "422", "444"]
Mode = Literal["auto", "rgb"]
Truncated = Literal["miss", "keep"]
Executor = Literal["process", "thread"]
Check = Literal["pixels", "header"]
Kept = Literal["exif", "icc", "xmp"]
Dedup = Literal["url", "bytes", "pixels", "near"]

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "ico", "tiff", "avif", "jpeg2000")
"""What is opened unless the user says otherwise. Pillow knows forty formats, and one of them starts Ghostscript."""
EXTRA_FORMATS = ("heif",)
"""What is opened only when it is asked for, with an extra."""
ANIMATED = ("webp", "gif", "png")
"""Formats that hold all frames in one file."""

_NEAR = 4
_FARTHEST = 10
_VARIANT = re.compile(r"(?P<name>[A-Za-z][\w-]{0,31}):(?P<size>\d+(?:x\d+)?)(?::(?P<fit>\w+))?(?::(?P<encode>\w+))?")


@dataclass(frozen=True, slots=True)
class Output:
    """One picture to be made of a source: `label` is empty for the main one."""

    label: str
    box: tuple[int, int]
    fit: Fit
    encode: Encode


@dataclass(frozen=True)
class ProcessSettings:
    """What is done to the pictures, in worker processes."""

    size: int | tuple[int, int] = 512
    """Target size in pixels: `N` is a square of N x N, or `WxH`."""
    fit: Fit = "inside"
    """How a picture meets the size: inside (longest side), outside (shortest side), cover (crop), contain (pad),
    fill (stretch), none (keep the size)."""
    gravity: Gravity = "center"
    """Which part `cover` keeps: center, a side or a corner (north, northeast...), or entropy: where most is to be seen."""
    upscale: bool = False
    """Also enlarge pictures that are smaller than the size."""
    filter: Filter = "auto"
    """How pixels are resampled: lanczos, bicubic, hamming, bilinear, box, nearest; auto is hamming to shrink and lanczos
    to enlarge, and bicubic where a JPEG becomes a smaller JPEG."""
    variant: tuple[str, ...] = ()
    """A further picture from the same decode: `NAME:SIZE:FIT:FORMAT`, such as `thumb:128:cover:webp`; the name becomes
    part of the file's. May be given more than once."""
    encode: Encode = "jpeg"
    """Format of the stored pictures: jpeg, png, webp, avif, gif; `original` keeps the bytes exactly as they came."""
    check: Check = "pixels"
    """With `--encode original`: what of a picture is looked at before it is stored, all of its `pixels`, in a worker, or only
    its `header`, which is many times faster; what is cut off or broken behind it is then stored too, and sizes are told as
    they lie in the file. Of jpeg, png, gif, webp, bmp and avif only."""
    quality: int = 90
    """Quality of JPEG, WebP and AVIF, 1 to 100."""
    progressive: bool = False
    """Progressive JPEG."""
    subsampling: Subsampling = "420"
    """Colour resolution of JPEG and AVIF: 420 (a quarter), 422 (half), 444 (full)."""
    lossless: bool = False
    """Lossless WebP."""
    compression: int = 6
    """Effort of PNG, 0 (none) to 9 (smallest)."""
    background: str = "white"
    """Colour behind what is transparent where the output cannot keep that (JPEG), and around `contain`: a name or
    `#rrggbb`."""
    mode: Mode = "auto"
    """`rgb` makes grey pictures RGB too; `auto` leaves them grey where the format can."""
    frames: int | str = "first"
    """Frames of an animation: `first`, `all`, or how many. WebP, GIF and PNG keep them in one file; otherwise each is a
    file of its own. Pages of a TIFF are frames too."""
    strip: bool = True
    """Leave out EXIF (with GPS), ICC profile and XMP; the pixels are sRGB. `--no-strip` is `--keep exif,icc,xmp`."""
    keep: tuple[str, ...] = ()
    """Metadata copied to the stored picture: any of exif (with GPS), icc (the pixels then stay in that colour space),
    xmp. The orientation tag is never copied."""
    formats: tuple[str, ...] = FORMATS
    """Formats that are taken, by content: any of jpeg, png, webp, gif, bmp, ico, tiff, avif, jpeg2000; `default` is all of
    these, heif needs the extra `heif`. Others are missed as `unsupported_format`."""
    truncated: Truncated = "miss"
    """Pictures that are cut off: `miss` them, or `keep` what decodes."""
    min_size: int | tuple[int, int] = 0
    """Smallest picture taken, in pixels before scaling: `N` for the shortest side, or `WxH`; 0 takes any."""
    max_size: int | tuple[int, int] = 0
    """Largest picture taken, in pixels before scaling: `N` for the longest side, or `WxH`; 0 takes any."""
    min_aspect: float = 0.0
    """Smallest width divided by height that is taken; 0 takes any."""
    max_aspect: float = 0.0
    """Largest width divided by height that is taken; 0 takes any."""
    min_bytes: int = 0
    """Smallest body taken, in bytes."""
    max_pixels: int = 64 * MB
    """Largest picture, in pixels, all frames that are used together; told from its header, before it costs memory. `64MP`
    and plain numbers are understood."""
    dedup: str = "url"
    """What counts as the same picture and is stored once: the same `url`, also the same `bytes` (SHA-256), also the same
    `pixels` once decoded, or `near`: what looks the same. `near:N` is a distance of at most N of 64 bits (default 4)."""
    verify_hash: str = ""
    """Column of the input with the SHA-256 or MD5 that the body must have; an empty cell is not checked."""
    exif: bool = False
    """Put the EXIF tags into the metadata, without GPS."""
    exif_gps: bool = False
    """Put the EXIF tags into the metadata, with GPS."""
    transform: str | Callable[..., Any] = ""
    """A function of yours that every picture goes through in a worker, `package.module:function`: it takes a
    `PIL.Image` (upright, sRGB) and returns one, or None to drop the picture."""
    executor: Executor = "process"
    """Where pictures are worked on: in worker `process`es, or in `thread`s of this one, for comparison and where no process
    can be started. With threads nothing isolates a picture that crashes, takes too long or takes too much memory."""
    workers: int = 0
    """Worker processes, or threads; 0 is one for each core."""
    process_timeout: float = 20.0
    """Seconds for one picture in a worker; a picture that takes longer is missed as `too_slow`."""
    worker_memory: int = 2 * GB
    """Address space of one worker process; a picture that needs more is missed as `out_of_memory`."""

    def __post_init__(self) -> None:
        if not is_size(self.size):
            raise SettingsError("size", f"{self.size!r} given, must be N or WxH with sides from 1 to 65535 pixels")
        for name, choices in _CHOICES.items():
            check_choice(self, name, get_args(choices))
        for name in ("upscale", "progressive", "lossless", "strip", "exif", "exif_gps"):
            check_switch(self, name)
        check_range(self, "quality", 1, 100)
        check_range(self, "compression", 0, 9)
        check_colour(self, "background")
        self._check_frames()
        check_choices(self, "keep", get_args(Kept))
        check_choices(self, "formats", (*FORMATS, *EXTRA_FORMATS), default=FORMATS)
        if "heif" in self.formats:
            require("pillow_heif", "formats")
        self._check_wanted()
        check_range(self, "max_pixels", 1)
        self._check_dedup()
        self._check_variants()
        if not isinstance(self.verify_hash, str):
            raise SettingsError("verify_hash", f"{self.verify_hash!r} given, must be the name of a column")
        check_function(self, "transform")
        if self.executor == "thread" and self.truncated == "keep":
            raise SettingsError("executor", "thread given, cannot be used with --truncated keep, which needs processes")
        self._check_check()
        check_range(self, "workers", 0, 1024)
        check_range(self, "process_timeout", 0.01, LONGEST)
        check_range(self, "worker_memory", 256 * MB)

    @property
    def box(self) -> tuple[int, int]:
        """The size as width and height."""
        return _pair(self.size)

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What is made of every source: the main picture, then its variants."""
        return (Output("", self.box, self.fit, self.encode), *map(self._variant, self.variant))

    @cached_property
    def most_frames(self) -> int:
        """How many frames of a source are used at most."""
        return {"first": 1, "all": 1 << 30}.get(str(self.frames)) or int(self.frames)

    @cached_property
    def kept(self) -> frozenset[str]:
        """Which metadata is copied."""
        return frozenset(self.keep if self.strip else get_args(Kept))

    @property
    def dedup_by(self) -> str:
        """`url`, `bytes`, `pixels` or `near`."""
        return self.dedup.partition(":")[0]

    @property
    def distance(self) -> int:
        """Bits in which the perceptual hashes of two pictures that count as the same may differ."""
        return int(self.dedup.partition(":")[2] or _NEAR)

    @cached_property
    def picky(self) -> bool:
        """True if pictures are chosen by their size or shape."""
        return bool(self.min_size or self.max_size or self.min_aspect or self.max_aspect)

    def unwanted(self, width: int, height: int) -> tuple[Reason, str] | None:
        """Why a picture of this size, as a viewer shows it, is not taken; None if it is."""
        least, most = _pair(self.min_size), _pair(self.max_size)
        aspect = width / height if height else 0.0
        told = f"{width}x{height}"
        if width < least[0] or height < least[1]:
            return Reason.TOO_SMALL, f"{told}, at least {least[0]}x{least[1]} wanted"
        if self.max_size and (width > most[0] or height > most[1]):
            return Reason.TOO_BIG, f"{told}, at most {most[0]}x{most[1]} wanted"
        if aspect < self.min_aspect:
            return Reason.WRONG_ASPECT, f"{told} is {aspect:.3g}, at least {self.min_aspect:g} wanted"
        if self.max_aspect and aspect > self.max_aspect:
            return Reason.WRONG_ASPECT, f"{told} is {aspect:.3g}, at most {self.max_aspect:g} wanted"
        return None

    def _check_frames(self) -> None:
        if isinstance(self.frames, str) and self.frames.isdecimal():
            object.__setattr__(self, "frames", int(self.frames))
        if self.frames not in ("first", "all") and not (type(self.frames) is int and 1 <= self.frames <= 1 << 30):
            raise SettingsError("frames", f"{self.frames!r} given, must be first, all, or a number from 1")

    def _check_wanted(self) -> None:
        for name in ("min_size", "max_size"):
            if getattr(self, name) != 0 and not is_size(getattr(self, name)):
                raise SettingsError(
                    name, f"{getattr(self, name)!r} given, must be 0, N or WxH with sides up to 65535 pixels"
                )
        least, most = _pair(self.min_size), _pair(self.max_size)
        if self.max_size and (most[0] < least[0] or most[1] < least[1]):
            raise SettingsError("max_size", f"{self.max_size!r} given, must be at least min_size ({self.min_size!r})")
        check_range(self, "min_aspect", 0)
        check_range(self, "max_aspect", 0)
        if 0 < self.max_aspect < self.min_aspect:
            raise SettingsError(
                "max_aspect", f"{self.max_aspect!r} given, must be at least min_aspect ({self.min_aspect!r})"
            )
        check_range(self, "min_bytes", 0)

    def _check_check(self) -> None:
        if self.check == "pixels":
            return
        if self.encode != "original":
            raise SettingsError(
                "check", f"header given, needs --encode original; --encode {self.encode} decodes anyway"
            )
        used = {"transform": self.transform, "exif": self.exif, "exif_gps": self.exif_gps}
        needs = [f"--{name.replace('_', '-')}" for name, given in used.items() if given]
        needs += [f"--dedup {self.dedup_by}"] if self.dedup_by in ("pixels", "near") else []
        if needs:
            raise SettingsError("check", f"header given, cannot be used with {needs[0]}, which opens every picture")

    def _check_dedup(self) -> None:
        kind, colon, distance = self.dedup.partition(":") if isinstance(self.dedup, str) else ("", "", "")
        if kind not in get_args(Dedup) or (
            colon and not (kind == "near" and distance.isdecimal() and int(distance) <= _FARTHEST)
        ):
            raise SettingsError(
                "dedup",
                f"{self.dedup!r} given, must be url, bytes, pixels, near, or near:N with N from 0 to {_FARTHEST}",
            )

    def _check_variants(self) -> None:
        given = (self.variant,) if isinstance(self.variant, str) else self.variant
        object.__setattr__(self, "variant", tuple(given))
        if self.variant and self.encode == "original":
            raise SettingsError("variant", "cannot be made with --encode original, which stores bytes as they came")
        labels = [output.label for output in self.outputs]
        if repeated := {label for label in labels if labels.count(label) > 1}:
            raise SettingsError(
                "variant", f"{', '.join(sorted(repeated))} given more than once: a name is for one variant"
            )

    def _variant(self, given: str) -> Output:
        found = _VARIANT.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            raise SettingsError(
                "variant", f"{given!r} given, must be NAME:SIZE[:FIT[:FORMAT]], as in thumb:128:cover:webp"
            )
        sides = [int(side) for side in found["size"].split("x")]
        fit, encode = found["fit"] or "inside", found["encode"] or self.encode
        formats = tuple(name for name in get_args(Encode) if name != "original")
        if not all(1 <= side <= 65_535 for side in sides):
            raise SettingsError("variant", f"{given!r} given, sides are from 1 to 65535 pixels")
        if fit not in get_args(Fit):
            raise SettingsError("variant", f"{given!r} given, its fit must be one of {', '.join(get_args(Fit))}")
        if encode not in formats:
            raise SettingsError("variant", f"{given!r} given, its format must be one of {', '.join(formats)}")
        return Output(found["name"], (sides[0], sides[-1]), fit, encode)  # type: ignore[arg-type]


_CHOICES: dict[str, Any] = {
    "fit": Fit, "gravity": Gravity, "filter": Filter, "encode": Encode, "subsampling": Subsampling,
    "mode": Mode, "truncated": Truncated, "executor": Executor,
    "check": Check,
}  # fmt: skip


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
