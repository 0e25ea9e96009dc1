"""The addresses in a style sheet: pictures, and other style sheets (CSS Syntax 3, 4.3.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_FONT = re.compile(r"@font-face\s*\{[^}]*(?:\}|$)", re.IGNORECASE)
_IMPORT = re.compile(r"""@import\s+(?:url\(\s*)?(?:"([^"\n]*)"|'([^'\n]*)'|([^"'()\s;]+))[^;]*;?""", re.IGNORECASE)
_URL = re.compile(
    r"""(?:url|src)\(\s*(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|((?:[^"'()\\\s]|\\[0-9a-fA-F]{1,6}\s?|\\.)+))\s*\)""",
    re.IGNORECASE | re.DOTALL,
)
_SET = re.compile(r"image-set\(((?:[^()]|\([^()]*\))*)\)", re.IGNORECASE)
_STRING = re.compile(r"""(?:^|,)\s*(?:"([^"\n]*)"|'([^'\n]*)')""")
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(\n|.)", re.DOTALL)


def pictures(text: str) -> Iterator[str]:
    """What `url()` and `image-set()` name, but for fonts and imports; fragments of this document left out."""
    text = _IMPORT.sub("", _FONT.sub("", _COMMENT.sub("", text)))
    for found in _URL.finditer(text):
        reference = _plain(found[1] or found[2] or found[3] or "")
        if reference and not reference.startswith("#"):
            yield reference
    for choice in _SET.finditer(text):
        for one in _STRING.finditer(choice[1]):
            yield one[1] or one[2] or ""


def imports(text: str) -> Iterator[str]:
    """The style sheets that are imported."""
    for found in _IMPORT.finditer(_COMMENT.sub("", text)):
        yield _plain(found[1] or found[2] or found[3] or "")


def _plain(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    if found[1]:
        number = int(found[1], 16)
        return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return "" if found[2] == "\n" else found[2]
