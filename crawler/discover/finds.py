"""What a page gives, as it is gathered: pictures once each, links that are followed, and what was passed over, counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crawler.discover.address import inline
from crawler.discover.scope import PICTURE, Rules, Verdict, identity, picture_format, refused_names, rules_of
from crawler.found import NO_PICTURES, FoundPicture, Kind, Link, Page, PageOrder, PassedOver

MOST_LINKS = 50_000
"""Links and pictures that are taken from one page or sitemap, each (sitemaps.org: at most 50,000 in a file)."""
MOST_FALLBACKS = 8
_DEEPEST_SITEMAP = 5
"""Sitemaps that lead to one another (sitemaps.org knows one index above them)."""
MOST_PASSED_OVER = 200
_MOST_INLINE = 20
"""Times the size of the largest picture in a page that all of them may have together."""

_NO_LINKS = ("nofollow", "none")


class Version(NamedTuple):
    """A version of a picture, and the rule that found it. A placeholder stands there until a script has run."""

    url: str
    rule: str
    placeholder: bool = False


def _together(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))[:MOST_FALLBACKS] if other else one


class Finds:
    """Everything that is found in one page.

    Attributes:
        directives: what its meta elements and its X-Robots-Tag say.
        canonical: what it names as its own address.
    """

    def __init__(self, order: PageOrder) -> None:
        self.settings = order.settings
        self.agent = order.agent
        self.directives = set(order.directives)
        self.canonical: str | None = None
        self._order = order
        self._rules: Rules = rules_of(order.settings, order.roots)
        self._pictures: dict[str, FoundPicture] = {}
        self._links: dict[str, Link] = {}
        self._passed_over: list[PassedOver] = []
        self._cuts: dict[str, tuple[int, str]] = {}
        self._inline = 0
        self._follows = order.settings.follow
        self._all = order.settings.srcset == "all"
        self._refused = refused_names(order.formats).search
        self.notes: list[str] = []

    # Pictures.

    def picture(
        self, versions: list[Version], alt: str = "", title: str = "", figcaption: str = "", link: str = ""
    ) -> None:
        """Take a picture in the best of its versions, or all of them if that is wanted."""
        if len(self._pictures) >= MOST_LINKS:
            self.cut("many_pictures", versions[0].url[:500])
            return
        if self._all:
            for version in versions:
                if self._is_taken(version):
                    self._add(version, (), alt, title, figcaption, link)
            return
        taken: list[Version] = []
        for version in versions:
            url, _, placeholder = version
            if placeholder:
                self._pass_placeholder(version)
            elif (url[:5] != "data:" and self._rules.all_pictures and not self._refused(url)) or self._is_taken(
                version
            ):
                taken.append(version)
        if taken:
            others = [one.url for one in taken[1:] if one.url[:5] != "data:"] if len(taken) > 1 else ()
            self._add(taken[0], tuple(others[:MOST_FALLBACKS]), alt, title, figcaption, link)

    def replace_pictures(self) -> None:
        """Forget the pictures so far: the user's function tells which there are."""
        self._pictures.clear()

    def drop(self, url: str) -> None:
        """A picture turns out to be a version of another, which is taken next."""
        self._pictures.pop(url, None)

    def pass_over(self, url: str, rule: str, why: str, detail: str) -> None:
        """Something was found and is not taken."""
        self.cut(why, url)
        if len(self._passed_over) < MOST_PASSED_OVER:
            self._passed_over.append(PassedOver(url[:2000], rule, why, detail))

    def cut(self, why: str, example: str, count: int = 1) -> None:
        """Something was left out."""
        before, first = self._cuts.get(why, (0, example))
        self._cuts[why] = before + count, first[:500]

    def _pass_placeholder(self, version: Version) -> None:
        if len(self._passed_over) < MOST_PASSED_OVER:
            shown = version.url if version.url[:5] != "data:" else f"{version.url[:40]}..."
            self._passed_over.append(
                PassedOver(shown, version.rule, "placeholder", "a script puts another in its place")
            )

    def _is_taken(self, version: Version) -> bool:
        url = version.url
        if url[:5] == "data:":
            return self._is_inline_taken(version)
        if why := self._rules.picture(url):
            self.pass_over(url, version.rule, why, f"--{why.replace('_', '-')} does not take it")
            return False
        if self._refused(url) and (named := picture_format(url)):
            self.pass_over(url, version.rule, "format", f"{named} is not among --formats")
            return False
        return True

    def _is_inline_taken(self, version: Version) -> bool:
        most, shown = self.settings.max_data_url, f"{version.url[:40]}..."
        found = inline(version.url, most)
        if found is None:
            self.pass_over(shown, version.rule, "data_url", "is no picture that can be decoded")
        elif found.data is None:
            self.pass_over(shown, version.rule, "data_url", f"{found.size} bytes, {most} allowed (--max-data-url)")
        elif "svg" in found.url[:20]:
            self.pass_over(shown, version.rule, "format", "svg is not among --formats")
        else:
            return True
        return False

    def _add(
        self, version: Version, fallbacks: tuple[str, ...], alt: str, title: str, figcaption: str, link: str
    ) -> None:
        url, data = version.url, None
        if url[:5] == "data:":
            found = inline(url, self.settings.max_data_url)
            assert found is not None and found.data is not None
            url, data = found.url, found.data
            self._inline += len(data)
            if self._inline > _MOST_INLINE * self.settings.max_data_url:
                self.cut("data_url", url[:100])
                return
        known = self._pictures.get(url)
        if known is not None:  # what is said of it anywhere is said of it, of the link around it last
            if known.rule == "a href" and known.title:
                known = known._replace(title=title or known.title)
            self._pictures[url] = known._replace(
                fallbacks=_together(known.fallbacks, fallbacks), alt=known.alt or alt, title=known.title or title,
                figcaption=known.figcaption or figcaption, link=known.link or link,
            )  # fmt: skip
        elif len(self._pictures) >= MOST_LINKS:
            self.cut("many_pictures", url)
        else:
            self._pictures[url] = FoundPicture(url, version.rule, fallbacks, alt, title, figcaption, link, data)

    # Links.

    def anchor(self, url: str, nofollow: bool) -> bool:
        """Take the link of an anchor, if it is followed. False for one that leads to a picture."""
        if len(self._links) >= MOST_LINKS:
            if picture_format(url):
                return False
            self.cut("many_links", url)
            return True
        verdict = self._rules.link(url)
        if verdict.why == PICTURE:
            return False
        if self._follows and url not in self._links:
            self._take_page(url, "a href", verdict, nofollow)
        return True

    def link(self, url: str, rule: str, kind: Kind = "page", *, given: bool = False) -> None:
        """Take a link, if it is followed.

        Args:
            given: it counts like one that was given, as the pages of a sitemap do: whatever is not followed otherwise.
        """
        depth, verdict = self._order.depth, self._rules.link(url)
        if url in self._links:
            return
        if given:
            depth = 0
        elif kind == self._order.kind and kind in ("sitemap", "stylesheet"):
            depth += 1
        if verdict.why == PICTURE and kind in ("page", "frame"):
            self.picture([Version(url, rule)])
        elif kind == "page" and not given:
            if self._follows:
                self._take_page(url, rule, verdict, False)
        elif kind == "frame" and self._order.kind == "frame":
            self.cut("nested_frames", url)
        elif kind == "sitemap" and depth > _DEEPEST_SITEMAP:
            self.cut("nested_sitemaps", url)
        elif verdict.why and kind in ("page", "frame"):
            self.cut(verdict.why, url)
        elif len(self._links) >= MOST_LINKS:
            self.cut("many_links", url)
        else:
            _, address, pattern, host = verdict if not verdict.why else identity(url)
            self._links[url] = Link(url, address, pattern, host, depth, kind, rule)

    def _take_page(self, url: str, rule: str, verdict: Verdict, nofollow: bool) -> None:
        """A link to a page, one step further."""
        why, address, pattern, host = verdict
        if self._order.depth >= self.settings.depth:
            why = "depth"
        elif nofollow and not self.settings.ignore_meta_robots:
            why = "nofollow"
        elif len(self._links) >= MOST_LINKS:
            why = "many_links"
        if why:
            self.cut(why, url)
        else:
            self._links[url] = Link(url, address, pattern, host, self._order.depth + 1, "page", rule)

    # In the end.

    def as_page(self, charset: str = "") -> Page:
        """All of it, without what the page asks to leave alone."""
        pictures: Iterable[FoundPicture] = self._pictures.values()
        links: Iterable[Link] = self._links.values()
        if not self.settings.ignore_meta_robots:
            for why in NO_PICTURES:
                if why in self.directives and self._pictures:
                    self.cut(why, self._order.url, len(self._pictures))
                    pictures = ()
                    break
            for why in _NO_LINKS:
                if why in self.directives and self._links:
                    self.cut("nofollow", self._order.url, len(self._links))
                    links = ()
                    break
        if self.canonical is not None and not self.settings.ignore_canonical and self.settings.follow:
            links = self._canonical_links(list(links))
        return Page(
            self._order.kind,
            tuple(pictures),
            tuple(links),
            tuple(self._passed_over),
            self._cuts,
            charset,
            tuple(self.notes),
        )

    def _canonical_links(self, links: list[Link]) -> Iterable[Link]:
        """A page that is a copy of another: its links are found there."""
        assert self.canonical is not None
        own, other = identity(self._order.url), self._rules.link(self.canonical)
        if other.why or other.address == own.address:
            return links
        pages = [one for one in links if one.kind == "page"]
        if pages:
            self.cut("canonical", self._order.url, len(pages))
        kept = [one for one in links if one.kind != "page"]
        original = Link(
            self.canonical, other.address, other.pattern, other.host, self._order.depth, "page", "link canonical"
        )
        return [original, *kept]
