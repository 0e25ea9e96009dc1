"""One opened picture to what is stored of it: chosen, decoded once, rendered into every output, encoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from PIL import Image

from crawler.model import NO_LIKENESS, Companion, Likeness, Reason, Sample
from crawler.picture_settings import ANIMATED, Output, ProcessSettings
from crawler.process import custom, planes
from crawler.process.colour import is_grey, profile_of, simple, to_srgb
from crawler.process.decode import Refused, format_name, load, shrink_on_load, turn_of
from crawler.process.done import Done, More
from crawler.process.encode import EXTENSIONS, encode, options_of
from crawler.process.frames import Timing, count_frames, frames_of, is_timed, plays_of
from crawler.process.geometry import Plan, Size, lying
from crawler.process.headers import check_tiff
from crawler.process.likeness import LOOKED_AT, look, pixel_hash
from crawler.process.tags import exif_json, kept_blocks, tag_options
from crawler.process.transform import background_of, busiest, planned, rendered, size_to_decode

_MOST_NOTES = 8
_LONGEST_NOTE = 200


@dataclass(frozen=True)
class Orders:
    """What is done to every picture, worked out once from the settings.

    Attributes:
        outputs: what is made of it; nothing where the bytes are kept as they came.
        options: of the encoders, by format.
        function: the user's own.
        early: the source itself is looked at, upright and in sRGB, before it is scaled.
    """

    settings: ProcessSettings
    outputs: tuple[Output, ...]
    options: dict[str, dict[str, Any]]
    function: custom.Function | None
    dedup: str
    early: bool

    @classmethod
    def of(cls, settings: ProcessSettings, function: custom.Function | None) -> Orders:
        outputs = () if settings.encode == "original" else settings.outputs
        options: dict[str, dict[str, Any]] = {one.encode: options_of(one.encode, settings) for one in outputs}
        dedup = settings.dedup_by
        return cls(settings, outputs, options, function, dedup, function is not None or dedup == "pixels")

    @property
    def original(self) -> bool:
        return not self.outputs

    @property
    def in_planes(self) -> bool:
        """True if a JPEG may stay in YCbCr all the way."""
        return bool(self.outputs) and not self.early


class Piece:
    """One opened picture on its way.

    Args:
        body: the bytes it was opened from.
        whole: decode all of its pixels.
        notes: where notes are taken.
        heard: gives what decoders have said on standard error.
    """

    def __init__(
        self,
        orders: Orders,
        picture: Image.Image,
        body: bytes,
        sample: Sample | None,
        whole: bool,
        notes: list[str],
        heard: Callable[[], list[str]],
    ) -> None:
        self._orders = orders
        self._settings = orders.settings
        self._picture = picture
        self._body = body
        self._sample = sample
        self._whole = whole
        self._notes = notes
        self._heard = heard
        self.shrunk = False
        self._in_planes = False
        self._source = format_name(picture)
        self._turn = turn_of(picture)
        self._upright = lying(picture.size, self._turn)

    def made(self, digest: bytes) -> Done:
        """Everything that is stored of it."""
        began = perf_counter()
        orders, settings, picture = self._orders, self._settings, self._picture
        self._check_wanted()
        check_tiff(picture, settings.max_pixels)
        size = picture.size
        frames = count_frames(picture, self._body)
        used = self._used(frames)
        plans = self._decode(used)
        decoded = perf_counter()
        exif = exif_json(picture, settings.exif_gps, self._notes) if settings.exif or settings.exif_gps else None
        tags = self._tags() if settings.kept and not orders.original else {}
        if self._sample is not None:
            width, height = self._upright
            self._sample = replace(self._sample, width=width, height=height, format=self._source, values={})
        reels, timing, likeness = self._render(used, plans)
        values = _checked(self._sample.values) if self._sample is not None else {}
        scaled = perf_counter()
        companions: list[Companion] = []
        data, name = None, self._source
        if not orders.original:
            name, size = settings.encode, reels[0][0].size
            data, companions = self._encode(reels, timing, tags)
        self._notes += self._heard()
        more = None
        if frames > 1 or self._notes or companions or likeness is not NO_LIKENESS or exif is not None or values:
            notes = tuple(dict.fromkeys(note[:_LONGEST_NOTE] for note in self._notes))[:_MOST_NOTES]
            more = More(frames, notes, tuple(companions), likeness, exif, values)
        spent = decoded - began, scaled - decoded, perf_counter() - scaled
        return Done(data, name, EXTENSIONS[name], *size, *self._upright, self._source, digest, spent, more)

    def _check_wanted(self) -> None:
        if self._settings.picky and (unwanted := self._settings.unwanted(*self._upright)) is not None:
            raise Refused(*unwanted)

    def _used(self, frames: int) -> int:
        """How many frames are looked at; of bytes that are stored as they came the first, or all to compare them."""
        settings, orders = self._settings, self._orders
        used = frames if orders.original and orders.dedup == "pixels" else min(frames, settings.most_frames)
        width, height = self._upright
        if used > 1 and used * width * height > settings.max_pixels:
            told = f"{used} frames of {width}x{height} are {used * width * height} pixels"
            raise Refused(Reason.TOO_MANY_PIXELS, f"{told}, {settings.max_pixels} allowed")
        return used

    def _decode(self, used: int) -> list[Plan]:
        """Decode the first frame, no larger than need be."""
        picture = self._picture
        plans = self._plans(self._upright, used)
        if not self._whole:
            self._shrink(plans, used)
        load(picture)
        # The EXIF of a PNG may come after its pixels (PNG 3rd edition, 5.6).
        if self._source == "png" and (turn := turn_of(picture)) is not self._turn:
            self._turn, self._upright = turn, lying(picture.size, turn)
            self._check_wanted()
            plans = self._plans(self._upright, used)
        return plans

    def _shrink(self, plans: list[Plan], used: int) -> None:
        """Have it decoded no larger than need be, and in YCbCr where it is stored so again."""
        orders, picture = self._orders, self._picture
        self._in_planes = in_planes = (
            orders.in_planes and used == 1 and planes.suits(picture, self._settings)
            and planes.fits(orders.outputs, plans, self._upright)
        )  # fmt: skip
        margin = (planes.MARGIN,) if in_planes else ()
        size = (1, 1) if orders.original else size_to_decode(plans, self._upright, self._turn, *margin)
        if size is not None and orders.dedup == "near":  # its look is taken from what is decoded
            size = max(size[0], LOOKED_AT), max(size[1], LOOKED_AT)
        if size is not None or in_planes:
            shrink_on_load(picture, size, in_planes)
            self.shrunk = self._source == "jpeg"

    def _plans(self, upright: Size, used: int) -> list[Plan]:
        return [planned(upright, output, self._settings, used) for output in self._orders.outputs]

    def _render(self, used: int, plans: list[Plan]) -> tuple[list[list[Image.Image]], Timing | None, Likeness]:
        """For every output its frames; how they are played; what tells that another picture is the same."""
        orders, settings, picture = self._orders, self._settings, self._picture
        profile = profile_of(picture)
        reels: list[list[Image.Image]] = [[] for _ in orders.outputs]
        durations: list[int] = []
        pixels: list[int] = []
        planned_for = self._upright
        seen: int | None = None
        for number, (frame, duration) in enumerate(self._frames(used)):
            if orders.original and not (orders.early or orders.dedup == "near"):
                break  # it has been decoded, that is all
            image, turn = frame if self._in_planes else simple(frame, self._notes), self._turn
            upright = lying(frame.size, turn) if number else self._upright  # pages differ in size
            if orders.early:
                image = self._early(image, profile, pixels)
                turn, upright = None, image.size
            if upright != planned_for:
                plans, planned_for = self._plans(upright, used), upright
            if number == 0 and orders.dedup == "near":
                seen = look(image, turn)
            if settings.gravity == "entropy" and (number == 0 or self._source == "tiff"):
                plans = [busiest(image, todo, upright, turn) for todo in plans]
            for output, todo, reel in zip(orders.outputs, plans, reels, strict=True):
                if number == 0 or not output.label or output.encode in ANIMATED:
                    told = None if orders.function or self._keeps_profile(output, profile) else profile
                    made = rendered(image, todo, upright, turn, told, output, settings, self._notes)
                    reel.append(made.copy() if made is frame and used > 1 else made)
            durations.append(duration)
        timing = Timing(durations, plays_of(picture)) if used > 1 and is_timed(picture) else None
        if seen is None and not pixels:
            return reels, timing, NO_LIKENESS
        return reels, timing, Likeness(_together(pixels), seen)

    def _frames(self, used: int) -> Iterator[tuple[Image.Image, int]]:
        settings = self._settings
        return frames_of(self._picture, self._body, used, settings.max_pixels, settings.most_frames > 1)

    def _early(self, image: Image.Image, profile: bytes | None, pixels: list[int]) -> Image.Image:
        """A frame upright: hashed in sRGB, and in sRGB through the user's function if there is one."""
        orders = self._orders
        if self._turn is not None:
            image = image.transpose(self._turn)
        common = to_srgb(image, profile, self._notes) if profile is not None else image
        if orders.dedup == "pixels":
            pixels.append(pixel_hash(common))
        if orders.function is None:
            return image
        assert self._sample is not None
        given = common.copy() if common is self._picture else common
        return simple(custom.apply(orders.function, given, self._sample), self._notes)

    def _keeps_profile(self, output: Output, profile: bytes | None) -> bool:
        """True if the pixels of an output stay in the space of the source's profile, which goes with them."""
        settings = self._settings
        if "icc" not in settings.kept or profile is None or self._orders.function is not None or output.encode == "gif":
            return False
        if profile[16:20] != b"GRAY":  # ICC.1:2022 7.2.6
            return True
        padded = output.fit == "contain" and not is_grey(background_of(settings))
        return output.encode in ("jpeg", "png") and settings.mode == "auto" and not padded

    def _tags(self) -> dict[str, dict[str, Any]]:
        """By label: what of the source's metadata is written into an output."""
        found, own = {}, profile_of(self._picture)
        blocks = {}
        if any(output.encode != "gif" for output in self._orders.outputs):  # which holds none of it
            blocks = kept_blocks(self._picture, self._settings.kept, self._notes)
        for output in self._orders.outputs:
            profile = own if self._keeps_profile(output, own) else None
            found[output.label] = tag_options(blocks, output.encode, profile, self._notes)
        return found

    def _encode(
        self, reels: list[list[Image.Image]], timing: Timing | None, tags: dict[str, dict[str, Any]]
    ) -> tuple[bytes, list[Companion]]:
        """The main picture, and what goes with it: variants, and frames that have no room in one file."""
        orders = self._orders
        main, companions = b"", []
        for output, reel in zip(orders.outputs, reels, strict=True):
            together = timing is not None and output.encode in ANIMATED
            options, kept = orders.options[output.encode], tags.get(output.label, {})
            data = encode(reel if together else reel[:1], output.encode, options, timing, kept)
            extension = EXTENSIONS[output.encode]
            if output.label:
                companions.append(Companion(output.label, data, output.encode, extension, *reel[0].size))
            else:
                main = data
            for number, frame in enumerate(() if together or output.label else reel[1:], 1):
                data = encode([frame], output.encode, options, None, kept)
                companions.append(Companion(f"{number:04d}", data, output.encode, extension, *frame.size))
        return main, companions


def _together(hashes: list[int]) -> int | None:
    """One hash for the hashes of all frames."""
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    found = hashlib.blake2b(b"".join(one.to_bytes(8, "big", signed=True) for one in hashes), digest_size=8)
    return int.from_bytes(found.digest(), "big", signed=True)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """What the user's function gave, if it can be written down."""
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(Reason.TRANSFORM_FAILED, f"values cannot be written as JSON: {error}") from None
    return values
