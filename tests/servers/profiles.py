"""ICC profiles (version 2.4, ICC.1:2001-04) as bytes, built from what they mean: primaries, curves, inks.

Beside each profile stands its meaning as a formula, so that a test can say what a colour becomes without a colour engine.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
Primaries: TypeAlias = Sequence[tuple[float, float]]

D50: Final = np.array([0.9642, 1.0, 0.8249])
"""White of the connection space."""
D65: Final = (0.3127, 0.3290)
SRGB: Final[Primaries] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3: Final[Primaries] = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB: Final[Primaries] = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA: Final = 563 / 256
"""2.2 as the standard has it: exact in the eight bits behind the point that a curve has."""

INKS: Final = np.array([(0.0, 0.62, 0.88), (0.90, 0.0, 0.49), (1.0, 0.93, 0.0), (0.0, 0.0, 0.0)])
"""What cyan, magenta, yellow and black let through of red, green and blue. Black is the blackest there is, so that
compensation for the black point has nothing to do: engines differ in whether they apply it."""


def rgb_profile(primaries: Primaries, gamma: float | None = None, padding: int = 0) -> bytes:
    """A display profile of three primaries; without `gamma` with the curve of sRGB, as Display P3 has it.

    Args:
        padding: bytes of a private tag, which make it as large as those of printers are.
    """
    matrix = to_pcs(primaries)
    curve = _gamma_curve(gamma) if gamma else _table_curve(to_linear(np.linspace(0, 1, 1024)))
    tags = {name: _xyz(matrix[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    if padding:
        tags[b"test"] = b"data" + bytes(4) + struct.pack(">I", 1) + bytes(padding)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    """A display profile for one grey channel."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _gamma_curve(gamma)})


def cmyk_profile() -> bytes:
    """A printer profile whose paper takes the four inks of `INKS`: a table of Lab values with two points an ink.

    That is its perceptual table. In its colorimetric one everything is middle grey, so that it shows which one was taken.
    """
    points = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    lab = srgb_to_lab(inks_on_paper(points))
    return _profile(
        b"prtr", b"CMYK", b"Lab ", {b"A2B0": _table(lab), b"A2B1": _table(np.full_like(lab, 50) * (1, 0, 0))}
    )


def rgb_to_srgb(colours: Numbers, primaries: Primaries, gamma: float | None = None) -> Numbers:
    """Colours (0 to 1) of such a profile in sRGB."""
    linear = colours**gamma if gamma else to_linear(colours)
    return from_linear(linear @ (np.linalg.inv(to_pcs(SRGB)) @ to_pcs(primaries)).T)


def grey_to_srgb(grey: Numbers, gamma: float) -> Numbers:
    """Grey (0 to 1) of such a profile as a grey of sRGB."""
    return from_linear(grey**gamma)


def inks_on_paper(inks: Numbers) -> Numbers:
    """Colours in sRGB of amounts of ink (rows of 0 to 1): each ink takes away what it does not let through."""
    passed: Numbers = 1 - inks[:, :, None] * (1 - INKS[None])
    colours: Numbers = passed.prod(axis=1)
    return colours


def to_linear(colours: Numbers) -> Numbers:
    """The curve of sRGB (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def from_linear(light: Numbers) -> Numbers:
    """The curve of sRGB backwards; what lies outside is cut off."""
    clipped = np.clip(light, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)


def to_pcs(primaries: Primaries) -> Numbers:
    """Linear colours to XYZ under D50: the primaries scaled to white D65, adapted by Bradford."""
    own = np.array([_xyz_of(*point) for point in primaries]).T
    white = _xyz_of(*D65)
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gain = np.diag((cones @ D50) / (cones @ white))
    result: Numbers = np.linalg.inv(cones) @ gain @ cones @ (own * np.linalg.solve(own, white))
    return result


def srgb_to_lab(colours: Numbers) -> Numbers:
    """CIE Lab under D50 of colours in sRGB."""
    ratio = to_linear(colours) @ to_pcs(SRGB).T / D50
    bent = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / 3 / (6 / 29) ** 2 + 4 / 29)
    x, y, z = bent.T
    return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _table(lab: Numbers) -> bytes:
    """Four inks of two steps each to Lab, eight bits."""
    identity = bytes(range(256))
    cells = np.rint(np.column_stack([lab[:, 0] * 2.55, lab[:, 1:] + 128])).clip(0, 255).astype(np.uint8).tobytes()
    unity = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return b"mft1" + bytes(4) + struct.pack(">BBBx", 4, 3, 2) + unity + identity * 4 + cells + identity * 3


def _xyz_of(x: float, y: float) -> Numbers:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: Numbers) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _gamma_curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))


def _table_curve(values: Numbers) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(values)}H", len(values), *np.rint(values * 65535).astype(int))


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"made for a test\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(8 + 3 + 67)
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(D50)} | tags
    entries, data = [], b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        entries.append(struct.pack(">4sII", tag, start + len(data), len(content)))
        data += content + bytes(-len(content) % 4)
    size = start + len(data)
    made = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(">I4xI4s4s4s", size, 0x02400000, kind, space, pcs) + made + b"acsp" + bytes(24)
    head += struct.pack(">I", 0) + _fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + b"".join(entries) + data
