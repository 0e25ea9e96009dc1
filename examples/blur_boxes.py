"""Blurs parts of pictures, such as faces, that a column of the input names.

    python -m crawler run faces.jsonl -o pictures --transform examples.blur_boxes:blur

`faces.jsonl` has a line for each picture, with boxes as shares of its width and height (left, top, right, bottom):

    {"url": "https://example.org/crowd.jpg", "boxes": [[0.1, 0.2, 0.25, 0.5]]}

In a CSV file the column holds the same list as JSON text. A picture whose boxes cannot be understood is missed as
`transform_failed`: better no picture than one with a face in it.
"""

import json

from PIL import Image, ImageFilter

from crawler import Sample


def blur(picture: Image.Image, sample: Sample) -> Image.Image:
    """The picture with its boxes blurred so far that nobody is known in them."""
    boxes = sample.columns.get("boxes") or []
    for left, top, right, bottom in json.loads(boxes) if isinstance(boxes, str) else boxes:
        if not 0 <= left < right <= 1 or not 0 <= top < bottom <= 1:
            raise ValueError(f"a box is four shares from 0 to 1, not {[left, top, right, bottom]}")
        width, height = picture.size
        box = int(left * width), int(top * height), -int(-right * width // 1), -int(-bottom * height // 1)
        part = picture.crop(box)
        picture.paste(part.filter(ImageFilter.GaussianBlur(max(part.size) / 8)), box[:2])
    return picture
