"""The pictures and the links of an HTML page, as a browser without scripts sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from crawler.discover import css, linked_data, media
from crawler.discover.address import Addresses
from crawler.discover.finds import Finds, Version
from crawler.discover.rules import Attributes, How, Rule, found_in, selector
from crawler.discover.scope import picture_format
from crawler.discover.srcset import Candidate, best_first, parse
from crawler.found import TDM, Kind

DEEPEST = 5_000
"""Elements within one another that are read. A parser takes time with the square of it, and no page has a tenth."""
_UNCLOSED = 10_000
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_NEVER_OPEN = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p", "li", "dt", "dd",
    "option", "td", "th", "tr", "tbody", "thead", "tfoot",
})  # fmt: skip
_ABOVE = 6
"""Elements above a picture in which its link and its figure are looked for."""
_LONGEST = 1000
_NESTED = 4
"""Pages in `srcdoc` within one another that are read."""
_TYPES = frozenset({"", "image/jpeg", "image/jpg", "image/png", "image/apng", "image/gif", "image/webp", "image/avif",
                    "image/bmp", "image/tiff"})  # fmt: skip
_REFRESH = re.compile(r"""\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?["']?([^"']*)""", re.IGNORECASE)
_HIDDEN_BASE = re.compile(
    r"<noscript(?:\s[^>]*)?>(?:(?!</noscript)[^<]|<(?!/noscript|base\s)){0,2000}<base(?=\s)", re.IGNORECASE
)
_FEEDS = ("application/rss+xml", "application/atom+xml")
_LAZY, _LARGE, _SET = 1, 3, 2
_WHOLE = frozenset({"body", "html"})


class _Around:
    """What stands around a picture."""

    __slots__ = ("figure", "link", "picture")

    def __init__(self) -> None:
        self.link: LexborNode | None = None
        self.figure: LexborNode | None = None
        self.picture: LexborNode | None = None


_Version = tuple[float, Candidate, str]
"""Rank, candidate and name of the rule."""


class _Versions:
    """The versions of one picture so far. `lazy`: a script puts one of them in the place of `src`."""

    __slots__ = ("found", "lazy")

    def __init__(self, found: list[_Version] | None = None) -> None:
        self.found = found or []
        self.lazy = False


def read(text: str, page: str, charset: str, finds: Finds, depth: int = 0) -> None:
    """Put everything that a page holds into `finds`. `depth`: pages within pages that it stands in."""
    text, cut = _without_depths(text)
    if cut:
        finds.cut("nested", page)
    tree = _parsed(text)
    _Reader(text, tree, Addresses(page, _base(tree), charset), finds, depth).read()


def base_of(text: str, page: str) -> str:
    """The address that references of a page are relative to."""
    return str(Addresses(page, _base(_parsed(text))).base)


def _base(tree: LexborHTMLParser) -> str:
    """What the first `base` says (HTML 4.2.3)."""
    node = tree.css_first("base[href]")
    return (node.attributes.get("href") or "") if node is not None else ""


def _parsed(text: str) -> LexborHTMLParser:
    """A page as browsers with scripts have it, in which a `noscript` of the head is no place for a `base`."""
    if "<noscript" in text and _HIDDEN_BASE.search(text):
        text = _HIDDEN_BASE.sub(lambda found: found[0][:-5], text)
    return LexborHTMLParser(text)


class _Reader:
    def __init__(self, text: str, tree: LexborHTMLParser, addresses: Addresses, finds: Finds, depth: int = 0) -> None:
        self._depth = depth
        self._text = text
        self._tree = tree
        self._addresses = addresses
        self._finds = finds
        self._settings = finds.settings
        self._sources: dict[int, list[_Version]] = {}
        self._captions: dict[int, str] = {}
        self._large: dict[int, str] = {}
        self._inside: set[int] | None = None

    def read(self) -> None:
        chosen = selector(self._text)
        if self._settings.selector and chosen:
            self._inside = {
                node.mem_id for part in self._tree.css(self._settings.selector) for node in (part, *part.css(chosen))
            }
        seen = -1
        for node in self._tree.css(chosen) if chosen else ():
            number = node.mem_id
            if number == seen:  # it is selected once for each reason
                continue
            seen = number
            tag, attributes = node.tag or "", node.attributes
            wanted = self._inside is None or number in self._inside
            special = _SPECIAL.get(tag)
            if special is not None:
                special(self, node, attributes, wanted)
            if wanted and (special is None or len(attributes) > 1):
                self._pictures(node, tag.lower(), attributes)

    # Pictures.

    def _pictures(self, node: LexborNode, tag: str, attributes: Attributes) -> None:
        versions = _Versions()
        for rule, value in found_in(tag, attributes):
            self._apply(rule, value, attributes, versions)
        if tag == "source":
            self._source(node, attributes, versions)
        elif tag == "img":
            self._img(node, attributes, versions)
        elif versions.found:
            self._take(versions, attributes.get("alt") or "", attributes.get("title") or "")

    def _apply(self, rule: Rule, value: str, attributes: Attributes, versions: _Versions) -> None:
        how, rank, name = rule.how, rule.rank, rule.name
        if how is How.SET:
            versions.lazy |= rule.lazy
            versions.found += [(rank, candidate, name) for candidate in parse(value)]
        elif how is How.CSS:
            self._css(value, "style attribute")
        elif how is How.NAMED and not picture_format(f"/{value.strip()}"):
            return  # a document or a film
        elif value[:1] in "[{" or (rank and "<" in value):
            return  # settings of a script
        elif rank == _LAZY and rule.tag == "" and "url(" in value:
            self._css(value, name)
        else:
            versions.lazy |= rule.lazy
            width = attributes.get("width") if rank == 0 and self._settings.width else None
            told = int(width) if width and width.isdecimal() and rule.tag == "img" else None
            versions.found.append((rank, Candidate(value, told or None), name))

    def _source(self, node: LexborNode, attributes: Attributes, versions: _Versions) -> None:
        """A choice of a `picture`: what a browser would take first is best, what it would not take is the last."""
        parent = node.parent
        if parent is None or parent.tag != "picture" or not versions.found:
            return
        kind = (attributes.get("type") or "").partition(";")[0].strip().lower()
        if kind not in _TYPES:
            for _, candidate, name in versions.found:
                if (address := self._addresses.of(candidate.url)) is not None:
                    self._finds.pass_over(address, f"picture {name}", "format", f"{kind} is not among --formats")
            return
        earlier = self._sources.setdefault(parent.mem_id, [])
        shown = media.holds(attributes.get("media") or "")
        first = not any(rank > _SET for rank, _, _ in earlier)
        rank = _SET + 0.5 if shown and first else _SET - 0.5 if shown else -1.0
        earlier += [(rank, candidate, f"picture {name}") for _, candidate, name in versions.found]

    def _img(self, node: LexborNode, attributes: Attributes, versions: _Versions) -> None:
        around = _around(node)
        if around.picture is not None:
            versions.found += self._sources.get(around.picture.mem_id, ())
        link_text = ""
        if around.link is not None:
            # Of several pictures in one link the first is the small version of what it leads to.
            large = None if self._settings.thumbnails else self._large.pop(around.link.mem_id, None)
            if large is not None:
                versions.found.append((_LARGE, Candidate(large), "a href"))
                if self._settings.width:
                    self._finds.drop(large)
            link_text = around.link.text(separator=" ") or around.link.attributes.get("title") or ""
        caption = self._caption(around.figure) if around.figure is not None else ""
        self._take(versions, attributes.get("alt") or "", attributes.get("title") or "", caption, link_text)

    def _take(self, versions: _Versions, alt: str, title: str, figcaption: str = "", link: str = "") -> None:
        """Hand over the versions of one picture, best first."""
        found, ordered = versions.found, []
        known, resolve = set(), self._addresses.of
        for rank, candidate, name in self._ordered(found) if len(found) > 1 else found:
            url = candidate.url
            address = resolve(url)
            if address is None:
                plain = url.strip()
                if plain[:5].lower() == "data:":
                    ordered.append(Version(f"data:{plain[5:]}", name, len(found) > 1))
                elif plain:
                    self._finds.pass_over(plain[:200], name, "no_address", "is no address of http or https")
            elif address not in known:
                known.add(address)
                ordered.append(Version(address, name, rank == 0 and versions.lazy))
        if ordered:
            self._finds.picture(
                ordered,
                alt and _words(alt),
                title and _words(title),
                figcaption and _words(figcaption),
                link and _words(link),
            )

    def _ordered(self, found: list[_Version]) -> Sequence[_Version]:
        if self._settings.width:
            return self._near_width(found, self._settings.width)
        own = [one.width for rank, one, _ in found if rank == _SET]
        if own and not any(own):  # `src` is the version for one pixel a pixel
            found = [(_SET if rank == 0 else rank, one, name) for rank, one, name in found]
        return sorted(found, key=_size)

    def _near_width(self, found: list[_Version], width: int) -> list[_Version]:
        """Versions as a browser would choose them for a place of that width, the large one behind a link last but one."""
        large = _SET - 0.25 if any(one.width for rank, one, _ in found if rank >= _SET) else _LARGE
        ordered = []
        for rank in sorted({rank for rank, _, _ in found}, key=lambda one: -(large if one == _LARGE else one)):
            group = {candidate: name for its, candidate, name in found if its == rank}
            ordered += [(rank, candidate, group[candidate]) for candidate in best_first(list(group), width)]
        return ordered

    def _script(self, node: LexborNode, attributes: Attributes, wanted: bool) -> None:
        if wanted and "ld+json" in (attributes.get("type") or "").lower():
            self._linked_data(node.text())

    def _style(self, node: LexborNode, _: Attributes, wanted: bool) -> None:
        if not wanted:
            return
        text = node.text()
        self._css(text, "style")
        if self._settings.stylesheets and "@import" in text.lower():
            for reference in css.imports(text):
                self._page(reference, "style @import", "stylesheet")

    def _css(self, text: str, name: str) -> None:
        if "(" in text:
            for reference in css.pictures(text):
                self._take(_Versions([(0, Candidate(reference), name)]), "", "")

    def _linked_data(self, text: str) -> None:
        for url, others, caption in linked_data.pictures(text):
            found = [(0.0, Candidate(one), "script ld+json") for one in (url, *others)]
            self._take(_Versions(found), "", "", caption)

    def _caption(self, figure: LexborNode) -> str:
        number = figure.mem_id
        if number not in self._captions:
            child = figure.last_child
            while child is not None and child.tag != "figcaption":
                child = child.prev
            if child is None:  # it is in an element of the figure, where it should not be
                child = figure.css_first("figcaption")
            self._captions[number] = child.text(separator=" ") if child is not None else ""
        return self._captions[number]

    # Links.

    def _anchor(self, node: LexborNode, attributes: Attributes, wanted: bool) -> None:
        href = attributes.get("href") or attributes.get("xlink:href")
        address = self._addresses.of(href) if href else None
        if address is None:
            if wanted and href and href[:11].lower() == "data:image/":
                self._finds.picture([Version(f"data:{href[5:]}", "a href")], "", _words(attributes.get("title") or ""))
            return
        relation = attributes.get("rel")
        if self._finds.anchor(address, relation is not None and "nofollow" in relation.lower().split()) or not wanted:
            return
        self._large[node.mem_id] = address
        title, link = attributes.get("title") or "", node.text(separator=" ")
        self._finds.picture([Version(address, "a href")], "", _words(title), "", _words(link))

    def _frame(self, node: LexborNode, attributes: Attributes, _: bool) -> None:
        inner = attributes.get("srcdoc")
        if inner:  # it is shown in the place of what `src` names (HTML 4.8.5)
            if self._depth < _NESTED:
                read(inner, str(self._addresses.base), "utf-8", self._finds, self._depth + 1)
            return
        self._page(attributes.get("src"), f"{node.tag} src", "frame")

    def _meta(self, _: LexborNode, attributes: Attributes, wanted: bool) -> None:
        content = attributes.get("content") or ""
        if (attributes.get("http-equiv") or "").lower() == "refresh":
            found = _REFRESH.match(content)
            if found is not None:
                self._page(found[1], "meta refresh", "page")
            return
        name = (attributes.get("name") or "").lower()
        if name in ("robots", self._finds.agent):
            self._finds.directives.update(one.strip() for one in content.lower().split(","))
        elif name == TDM and content.strip() == "1":
            self._finds.directives.add(TDM)

    def _link(self, _: LexborNode, attributes: Attributes, wanted: bool) -> None:
        relations = (attributes.get("rel") or "").lower().split()
        href = attributes.get("href")
        if "canonical" in relations:
            self._finds.canonical = self._addresses.of(href or "")
        elif "stylesheet" in relations and self._settings.stylesheets:
            self._page(href, "link stylesheet", "stylesheet")
        elif "next" in relations or "prev" in relations:
            self._page(href, "link next|prev", "page")
        elif "alternate" in relations and (attributes.get("type") or "").lower() in _FEEDS:
            self._page(href, "link alternate", "page")

    def _page(self, reference: str | None, name: str, kind: Kind) -> None:
        address = self._addresses.of(reference) if reference else None
        if address is not None:
            self._finds.link(address, name, kind)


def _size(version: _Version) -> tuple[float, int, float]:
    """Sorts the best version first."""
    rank, (_, width, density), _ = version
    return -rank, -(width or 0), -(1.0 if density is None else density)


_SPECIAL: dict[str, Callable[[_Reader, LexborNode, Attributes, bool], None]] = {
    "a": _Reader._anchor, "area": _Reader._anchor, "meta": _Reader._meta, "link": _Reader._link, "iframe": _Reader._frame,
    "frame": _Reader._frame, "script": _Reader._script, "style": _Reader._style,
}  # fmt: skip
"""What is done with elements that are more than places of pictures."""


def _around(node: LexborNode) -> _Around:
    around, above = _Around(), node.parent
    for _ in range(_ABOVE):
        if above is None:
            break
        tag = above.tag
        if tag == "a" and around.link is None:
            around.link = above
        elif tag == "figure":
            around.figure = above
            break
        elif tag == "picture" and around.picture is None:
            around.picture = above
        elif tag in _WHOLE:
            break
        above = above.parent
    return around


def _words(text: str) -> str:
    """A text of a page in one line."""
    if not text:
        return ""
    line = " ".join(text[: 4 * _LONGEST].split())[:_LONGEST]
    return line if line.isascii() else line.encode("utf-8", "replace").decode()


def _without_depths(text: str) -> tuple[str, bool]:
    """The text up to where its elements are nested too deeply, and whether that is not all of it."""
    if text.count("<") - 2 * text.count("</") < _UNCLOSED:
        return text, False
    depth = 0
    for found in _tags(text):
        depth += -1 if found[1] else 1
        if depth > DEEPEST:
            return text[: found.start()], True
        depth = max(depth, 0)
    return text, False


def _tags(text: str) -> Iterator[re.Match[str]]:
    for found in _TAG.finditer(text):
        if found[2].lower() not in _NEVER_OPEN and not (not found[1] and found[2][:1] == "!"):
            yield found
