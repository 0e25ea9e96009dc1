"""The text of a page from its bytes (HTML, 13.2.3: byte order mark, header, meta; then what fits)."""

from __future__ import annotations

import codecs
import re

_PRESCAN = 1024
_COMMENT = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"""([^\s=/>"']+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""")
_CHARSET = re.compile(r"""charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;"']+))""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")

# Where the Encoding Standard (4.2) means another encoding than Python does by the same label.
_LABELS = {
    **dict.fromkeys(
        ("ascii", "us-ascii", "ansi_x3.4-1968", "latin1", "latin-1", "l1", "iso-8859-1", "iso8859-1", "iso_8859-1",
         "iso_8859-1:1987", "iso88591", "iso-ir-100", "csisolatin1", "cp819", "ibm819", "x-cp1252"), "cp1252"
    ),
    **dict.fromkeys(("iso-8859-9", "iso8859-9", "iso88599", "iso_8859-9", "latin5", "l5", "x-cp1254"), "cp1254"),
    **dict.fromkeys(("iso-8859-11", "iso8859-11", "iso885911", "tis-620", "dos-874"), "cp874"),
    **dict.fromkeys(("gb2312", "gb_2312-80", "gbk", "x-gbk", "chinese", "csgb2312", "iso-ir-58", "gb_2312"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "cn-big5", "csbig5", "x-x-big5"), "big5hkscs"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "ms932", "windows-31j", "csshiftjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "euckr", "ks_c_5601-1987", "ks_c_5601-1989", "ksc5601", "korean", "windows-949"), "cp949"),
    **dict.fromkeys(("x-euc-jp", "euc-jp", "cseucpkdfmtjapanese"), "euc_jp"),
    **dict.fromkeys(("unicode", "utf-16", "ucs-2", "iso-10646-ucs-2", "csunicode", "unicodefeff"), "utf-16-le"),
    **{f"x-cp125{n}": f"cp125{n}" for n in range(9)},
    "x-mac-roman": "mac_roman", "macintosh": "mac_roman", "x-mac-cyrillic": "mac_cyrillic", "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8", "x-unicode20utf8": "utf-8", "unicode20utf8": "utf-8", "iso-8859-8-i": "iso8859_8",
    "logical": "iso8859_8", "visual": "iso8859_8", "koi8-ru": "koi8-u", "koi": "koi8-r", "koi8": "koi8-r",
}  # fmt: skip
_MARKS = [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le")]
_NO_TEXT = frozenset({
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec", "idna", "punycode",
    "raw_unicode_escape", "unicode_escape", "undefined", "mbcs", "utf_7",
})  # fmt: skip


def decoded(body: bytes, content_type: str = "") -> tuple[str, str]:
    """The text of a page, and the encoding it was read in (a name that Python knows). Never fails."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace"), name
    name = _of_header(content_type) or _of_meta(body[:_PRESCAN])
    if name:
        return body.decode(name, "replace"), name
    try:
        return body.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace"), "cp1252"


def codec_of(label: str) -> str:
    """Python's name for an encoding by a label of the Encoding Standard; empty for one that is none."""
    label = label.strip("\t\n\f\r ").lower()
    try:
        found = codecs.lookup(_LABELS.get(label, label)).name
        "".encode(found)
    except (LookupError, UnicodeError, ValueError, TypeError):
        return ""
    return "" if found.replace("-", "_") in _NO_TEXT else found


def _of_header(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    return codec_of(found[1] or found[2] or found[3] or "") if found else ""


def _of_meta(head: bytes) -> str:
    """What a meta element, or the declaration of an XML document, says (HTML 13.2.3.2)."""
    declared = _XML.match(head)
    if declared is not None:
        return _readable(codec_of(declared[1].decode("ascii")))
    for meta in _META.finditer(_COMMENT.sub(b" ", head)):
        given = {
            one[1].lower(): (one[2] or one[3] or one[4] or b"").decode("latin-1")
            for one in _ATTRIBUTE.finditer(meta[1])
        }
        label = given.get(b"charset", "")
        if not label and given.get(b"http-equiv", "").lower() == "content-type":
            found = _CHARSET.search(given.get(b"content", ""))
            label = (found[1] or found[2] or found[3] or "") if found else ""
        if name := codec_of(label) if label else "":
            return _readable(name)
    return ""


def _readable(name: str) -> str:
    """What could be read as ASCII so far is not in UTF-16, whatever it says."""
    return "utf-8" if name.startswith("utf-16") else name
