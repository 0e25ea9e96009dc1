"""Leaves out pictures on which nothing is to be seen: placeholders, tracking pixels, empty scans.

    python -m crawler run urls.txt -o pictures --transform examples.drop_blank:drop_blank

What is left out is missed as `dropped`. The contrast of the others is put into the metadata.
"""

from PIL import Image, ImageStat

from crawler import Sample

LEAST_CONTRAST = 4.0
"""Standard deviation of the grey levels, of 255."""


def drop_blank(picture: Image.Image, sample: Sample) -> Image.Image | None:
    """The picture, or None if it is of one colour but for some noise."""
    seen = picture
    if picture.mode in ("LA", "RGBA"):  # what is clear is seen as white
        seen = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    contrast = ImageStat.Stat(seen.convert("L")).stddev[0]
    sample.values["contrast"] = round(contrast, 2)
    return picture if contrast >= LEAST_CONTRAST else None
