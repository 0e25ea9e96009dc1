"""What a body is that may be a page: told from its Content-Type and its first bytes (WHATWG MIME Sniffing 5, 7.1)."""

from __future__ import annotations

import re

from crawler.found import Kind
from crawler.signatures import sniff

ENOUGH = 1024
"""Bytes in which a page shows itself."""

_TYPES = re.compile(
    r"\s*(?:text/(?:html|xml|css)|application/(?:xhtml\+xml|xml|rss\+xml|atom\+xml|rdf\+xml))\s*(?:;|$)", re.IGNORECASE
)
_BEGINS = re.compile(
    rb"[\t\n\x0c\r ]*(?:<!doctype html|<html|<head|<body|<script|<iframe|<h1|<div|<font|<table|<a|<style|<title|<b|<br|<p|"
    rb"<meta|<link)[\s>/]|[\t\n\x0c\r ]*(?:<!--|<\?xml|<urlset|<sitemapindex|<rss|<feed)", re.IGNORECASE
)  # fmt: skip
_SVG = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]", re.DOTALL | re.IGNORECASE
)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has (WHATWG MIME Sniffing 3)."""
_STRAY = 32
"""How many of them a page that says that it is one may begin with."""
_GZIP = b"\x1f\x8b"
_LISTS: tuple[Kind, ...] = ("robots", "sitemap", "stylesheet")


def says_page(content_type: str) -> bool:
    """True for the type of a page or a feed."""
    return _TYPES.match(content_type) is not None


def says_css(content_type: str) -> bool:
    """True for the type of a style sheet."""
    return content_type.strip().lower().startswith("text/css")


def is_picture(head: bytes) -> bool:
    """True for what begins like a picture, and like nothing that is printed or drawn by a program."""
    return sniff(head) not in ("", "PDF", "EPS")


def is_page(head: bytes, content_type: str, kind: Kind) -> bool:
    """Whether what begins like this is a page, where one is possible. A picture is none, whatever it is called."""
    if kind in _LISTS:
        return True
    if kind == "picture" or (sniff(head) and not head.startswith(b"<")):
        return False
    if head.startswith(_GZIP):
        return kind == "page" or "gzip" in content_type
    text = head.removeprefix(b"\xef\xbb\xbf")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[2:].replace(b"\0", b"")
    if _SVG.match(text):
        return False
    if _BEGINS.match(text) is not None:
        return True
    return says_page(content_type) and len(_BINARY.findall(text[:ENOUGH])) <= _STRAY
