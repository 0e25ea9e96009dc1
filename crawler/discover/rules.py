"""Where pictures stand in a page: one table, a line for each rule. A rule is named after the tag and the attribute it reads.

All that is found in one element are versions of one picture, but what a style sheet names. `rank` says which is better, before
widths and densities are compared: 3 a large version, 2 a set of versions, 1 what a script would load later, 0 the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Attributes = Mapping[str, str | None]


class How(Enum):
    """How the value of an attribute is read."""

    URL = "an address"
    SET = "a srcset"
    CSS = "declarations of CSS"
    NAMED = "an address, if it ends like that of a picture"


@dataclass(frozen=True, slots=True)
class Rule:
    """One place where a picture may stand. `name` is what people are told.

    Attributes:
        tag: empty for any.
        only: values of other attributes, in lower case, one of whose words has to be there; by name.
        lazy: a script puts it in the place of what stands there until then.
    """

    tag: str
    attribute: str
    how: How = How.URL
    rank: int = 0
    only: tuple[str, frozenset[str]] | None = None
    lazy: bool = False
    name: str = field(init=False)

    def __post_init__(self) -> None:
        told = self.attribute
        if self.only is not None and self.tag in ("meta", "link"):
            told = "|".join(sorted(self.only[1]))
        object.__setattr__(self, "name", f"{self.tag} {told}".strip())

    def holds(self, attributes: Attributes) -> bool:
        """Whether the other attributes of the element are as they must be."""
        if self.only is None:
            return True
        return not self.only[1].isdisjoint((attributes.get(self.only[0]) or "").lower().split())


def _only(name: str, *values: str) -> tuple[str, frozenset[str]]:
    return name, frozenset(values)


_TYPES = tuple(f"image/{kind}" for kind in ("jpeg", "png", "gif", "webp", "avif", "svg+xml"))

RULES: tuple[Rule, ...] = (
    # A picture, and what a browser would take of it
    Rule("img", "src"),
    Rule("img", "srcset", How.SET, 2),
    Rule("source", "srcset", How.SET, 2),
    Rule("input", "src", only=_only("type", "image")),
    Rule("video", "poster"),
    Rule("image", "href"),
    Rule("image", "xlink:href"),
    Rule("feimage", "href"),
    Rule("feimage", "xlink:href"),
    Rule("body", "background"),
    Rule("table", "background"),
    Rule("td", "background"),
    Rule("th", "background"),
    Rule("object", "data", How.NAMED),
    Rule("object", "data", only=_only("type", *_TYPES)),
    Rule("embed", "src", How.NAMED),
    Rule("embed", "src", only=_only("type", *_TYPES)),
    Rule("", "style", How.CSS),
    # What a script loads when it is scrolled to
    *(
        Rule("img", name, rank=1, lazy=True)
        for name in (
            "data-src", "data-original", "data-lazy-src", "data-lazy", "data-lazyload", "data-lazy-load", "data-lazy-original",
            "data-lazy-img", "data-original-src", "data-img-src", "data-img", "data-image", "data-image-src", "data-echo",
            "data-defer-src", "data-cfsrc", "data-actualsrc", "data-url", "data-src-retina", "data-delayed-url", "data-ll-src",
            "data-normal", "data-flickity-lazyload", "data-unveil", "data-deferred", "data-pagespeed-lazy-src", "data-source",
        )
    ),
    *(
        Rule("img", name, How.SET, 2, lazy=True)
        for name in ("data-srcset", "data-lazy-srcset", "data-original-set", "data-original-srcset", "data-ll-srcset",
                     "data-bgset")
    ),
    *(Rule("source", name, How.SET, 2, lazy=True) for name in ("data-srcset", "data-lazy-srcset", "data-original-set")),
    Rule("video", "data-poster", rank=1, lazy=True),
    *(
        Rule("", name, rank=1)
        for name in ("data-bg", "data-background", "data-background-image", "data-bg-src", "data-lazy-bg", "data-bg-image",
                     "data-lazy-background", "data-original-bg")
    ),
    # The large one behind a small one
    *(
        Rule("img", name, rank=3)
        for name in (
            "data-orig-file", "data-zoom-image", "data-zoom-src", "data-zoom", "data-full", "data-full-src", "data-fullsrc",
            "data-large-file", "data-large_image", "data-large", "data-large-src", "data-high-res", "data-highres",
            "data-hi-res-src", "data-pin-media", "data-retina", "data-2x", "data-at2x",
        )
    ),
    # What a page says that it is about
    Rule("meta", "content", only=_only("property", "og:image", "og:image:url")),
    Rule("meta", "content", only=_only("property", "og:image:secure_url")),
    Rule("meta", "content", only=_only("name", "og:image", "og:image:url")),
    Rule("meta", "content", only=_only("name", "twitter:image", "twitter:image:src")),
    Rule("meta", "content", only=_only("property", "twitter:image", "twitter:image:src")),
    Rule("meta", "content", only=_only("itemprop", "image", "thumbnailurl", "contenturl")),
    Rule("meta", "content", only=_only("name", "thumbnail", "msapplication-tileimage")),
    Rule("link", "href", only=_only("rel", "icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon")),
    Rule("link", "href", only=_only("rel", "image_src")),
    Rule("link", "href", only=_only("itemprop", "image", "thumbnailurl", "contenturl")),
    Rule("link", "imagesrcset", How.SET, 2, only=_only("as", "image")),
    Rule("link", "href", only=_only("as", "image")),
)  # fmt: skip


def _by_place() -> dict[str, dict[str, list[Rule]]]:
    found: dict[str, dict[str, list[Rule]]] = {}
    for rule in RULES:
        found.setdefault(rule.tag, {}).setdefault(rule.attribute, []).append(rule)
    return found


_BY_PLACE = _by_place()
ANYWHERE: Mapping[str, list[Rule]] = _BY_PLACE[""]
BY_PLACE: Mapping[str, Mapping[str, list[Rule]]] = {
    tag: {name: [*own.get(name, ()), *ANYWHERE.get(name, ())] for name in {*own, *ANYWHERE}}
    for tag, own in _BY_PLACE.items()
}
"""The rules by tag and attribute, with those for any element."""


def selector(text: str) -> str:
    """One CSS selector for all elements of a page that are looked at. What few pages have is selected where it stands."""
    chosen = _ALWAYS
    if "style" in text or "STYLE" in text:
        chosen += ',[style*="("]'
    if "data-" in text or "DATA-" in text:
        lower = text.lower()
        chosen += "".join(f",[{name}]" for name in _RARE if name in lower)
    return chosen


_PLAIN = ("a[href]", "a[xlink\\:href]", "area[href]", "iframe", "frame", "script[type]", "style")
_ALWAYS = ",".join([*_PLAIN, *sorted("feImage" if tag == "feimage" else tag for tag in _BY_PLACE if tag)])
_RARE = sorted(name for name in ANYWHERE if name != "style")


def found_in(tag: str, attributes: Attributes) -> list[tuple[Rule, str]]:
    """The rules that an element fulfils, with the values they read."""
    own, found = BY_PLACE.get(tag, ANYWHERE), []
    for name, value in attributes.items():
        if value and name in own:
            found += [(rule, value) for rule in own[name] if rule.only is None or rule.holds(attributes)]
    return found
