"""One body to what is in it: a page, a sitemap, a feed, a style sheet, a robots.txt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from crawler import urls
from crawler.discover import css, feeds, html
from crawler.discover.address import Addresses
from crawler.discover.charset import decoded
from crawler.discover.extractor import Extractor
from crawler.discover.finds import Finds, Version
from crawler.discover_settings import DiscoverSettings
from crawler.found import Page, PageOrder
from crawler.model import Target, found_target
from crawler.picture_settings import FORMATS


def read(body: bytes, order: PageOrder, extractor: Extractor | None = None) -> Page:
    """Everything that a body holds. Never raises for what is in it.

    Raises:
        ExtractorFailed: the user's function did.
    """
    finds = Finds(order)
    if body.startswith(b"\x1f\x8b"):
        try:
            body, whole = feeds.unpacked(body)
        except feeds.Refused as error:
            finds.notes.append(str(error))
            finds.cut("broken_gzip", order.url)
            return finds.as_page()
        if not whole:
            finds.notes.append(f"more than {feeds.MOST_EXPANDED} bytes after unpacking, the rest is not read")
            finds.cut("large_sitemap", order.url)
    if feeds.root_of(body):
        feeds.read_xml(body, order.url, finds)
        return finds.as_page()
    if order.kind == "robots":
        feeds.read_robots(body.decode("utf-8", "replace"), order.url, finds)
        return finds.as_page("utf-8")
    text, charset = decoded(body, order.content_type)
    if order.kind == "stylesheet":
        _read_css(text, order.url, charset, finds)
    elif order.kind != "sitemap":
        _read_html(text, order.url, charset, finds, extractor)
    else:
        finds.notes.append("is no sitemap")
        finds.cut("no_sitemap", order.url)
    return finds.as_page(charset)


def discover(page: str | bytes, url: str, settings: DiscoverSettings | None = None, **flags: Any) -> list[Target]:
    """The pictures of a page, in order, in the best version of each. Pure: nothing is fetched.

    >>> [target.url for target in discover('<img src="a.jpg" srcset="b.jpg 2x">', "https://example.org/gallery/")]
    ['https://example.org/gallery/b.jpg']

    Args:
        page: HTML, as text or as bytes in whatever encoding; a sitemap or a feed too.
        url: where it came from.
        settings, flags: what is looked for, as in `DiscoverSettings`: `discover(html, url, srcset="all")`.

    Returns:
        Targets; what the page says of a picture is in `columns`, its other versions in `found.fallbacks`.

    Raises:
        BadURL: `url` is no address of http or https. SettingsError: a flag that is none, or has a value that is not allowed.
    """
    if flags:
        known = {field.name: getattr(settings or DiscoverSettings(), field.name) for field in fields(DiscoverSettings)}
        settings = DiscoverSettings(**known | flags)
    settings = settings or DiscoverSettings()
    own = str(urls.parse(url))
    order = PageOrder(own, "", "page", 0, (own,), (), "crawler", FORMATS, settings)
    body = page if isinstance(page, bytes) else page.encode("utf-8", "surrogatepass")
    if isinstance(page, str):
        order = order._replace(content_type="text/html; charset=utf-8")
    found = read(body, order, Extractor(settings.extractor) if settings.extractor else None)
    return [
        found_target(at, picture, own, 0, at, settings.caption, own) for at, picture in enumerate(found.pictures)
    ]  # fmt: skip


def _read_html(text: str, page: str, charset: str, finds: Finds, extractor: Extractor | None) -> None:
    given = extractor.of(text, page) if extractor is not None else None
    html.read(text, page, charset, finds)
    if given is not None:
        finds.replace_pictures()
        addresses = Addresses(page)
        for one in given:
            _add(one, addresses, finds)


def _add(given: Mapping[str, Any], addresses: Addresses, finds: Finds) -> None:
    """A picture that the user's function named."""
    found = [addresses.of(one) for one in (given["url"], *given.get("fallbacks", ()))]
    versions = [Version(one, "extractor") for one in found if one is not None]
    if not versions:
        finds.pass_over(str(given["url"])[:200], "extractor", "no_address", "is no address of http or https")
        return
    told = {name: str(given.get(name) or "") for name in ("alt", "title", "figcaption", "link")}
    finds.picture(versions, **told)


def _read_css(text: str, page: str, charset: str, finds: Finds) -> None:
    addresses = Addresses(page, "", charset)
    for reference in css.imports(text):
        if (address := addresses.of(reference)) is not None:
            finds.link(address, "css @import", "stylesheet")
    for reference in css.pictures(text):
        if reference[:5].lower() == "data:":
            finds.picture([Version(reference, "css url")])
        elif (address := addresses.of(reference)) is not None:
            finds.picture([Version(address, "css url")])
