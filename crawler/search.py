"""What a run does with pages: it gives them to be read, keeps what they gave, and knows when nothing more can come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from crawler import urls
from crawler.clock import Clock
from crawler.discover_settings import DiscoverSettings
from crawler.found import CUTS, PAGES, Page, PageOrder, opt_out
from crawler.model import Fetched, Miss, Reason, Target, Visit
from crawler.page_kind import ENOUGH, is_page, is_picture, says_css
from crawler.ports import Findings, Processor

Listing = Callable[[Target], Awaitable[None]]
Judge = Callable[[DiscoverSettings, tuple[str, ...], str], str]
Seen = Callable[[Target, Page], None]


class Search:
    """The pages of one run.

    Args:
        agent: our name in robots rules.
        formats: of pictures that are taken.
        judge: why an address is not visited, under some settings and from some page given; empty if it is.
        ignore_x_robots: as in `FetchSettings`, for what is a picture after all.
        listing: is awaited with every picture found, which is then not fetched.
        seen: is told of every page that has been read.
    """

    def __init__(
        self,
        findings: Findings,
        processor: Processor,
        settings: DiscoverSettings,
        clock: Clock,
        *,
        agent: str,
        formats: tuple[str, ...],
        judge: Judge,
        ignore_x_robots: bool = False,
        listing: Listing | None = None,
        seen: Seen | None = None,
    ) -> None:
        self.findings = findings
        self.listing = listing
        self._processor = processor
        self._settings = settings
        self._clock = clock
        self._agent = agent
        self._formats = formats
        self._judge = judge
        self._ignore_x_robots = ignore_x_robots
        self._seen = seen
        self._open = 0
        self._all_given = False
        self._credentials: dict[str, tuple[str, str]] = {}

    # What is given.

    async def give(self, targets: Sequence[Target]) -> tuple[Sequence[Target], Sequence[Miss]]:
        """Take those that are pages; returns the others, and pages that cannot be visited.

        Positions behind the first picture found belong to pictures: what a later run is given there is a page as well.
        """
        for target in targets:
            if target.credentials is not None:
                self._remember(target, target.credentials)
        base = self.findings.base
        if base is None:
            return targets, ()
        pages = targets if self._settings.explicit else [target for target in targets if target.index >= base]
        missed = await self.findings.give(pages) if pages else ()
        return ([] if self._settings.explicit else [target for target in targets if target.index < base]), missed

    async def given(self, total: int | None) -> None:
        """The input has been read to its end, and had so many targets; None if it was not."""
        if total is not None:
            await self.findings.begin(total)
        self._all_given = True
        self.close_if_done()

    def known(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Targets that were found, with the credentials that were given for their site."""
        if not self._credentials:
            return targets
        return [replace(target, credentials=self._credentials.get(_origin(target.url))) for target in targets]

    def _remember(self, target: Target, credentials: tuple[str, str]) -> None:
        if origin := _origin(target.url):
            self._credentials[origin] = credentials

    # What is read.

    def began(self, target: Target) -> None:
        """A target is on its way: one that may be a page can give more."""
        if target.readable and target.index < PAGES:
            self._open += 1

    def finished(self, target: Target) -> None:
        """A target has ended."""
        if target.readable and target.index < PAGES:
            self._open -= 1
        self.close_if_done()

    async def read(self, fetched: Fetched, visit: Visit) -> Fetched | Miss | int | None:
        """A body that may be a page: how many new pictures it gave, or why it gave none; the body under the name of its
        picture, if it is one, and None if that is known already.
        """
        target = visit.target
        assert target.found is not None
        kind, body = target.found.kind, fetched.body
        if is_page(body[:ENOUGH], fetched.content_type, kind):
            return await self._page(fetched, visit)
        if not self._ignore_x_robots and (said := opt_out(fetched.directives)):
            return Miss(target, Reason.OPTED_OUT, said, fetched.status)
        if kind == "either":
            return fetched
        if not is_picture(body):
            detail = f"{fetched.content_type[:60] or 'no Content-Type'}, starts with {body[:24]!r}"
            return Miss(target, Reason.NOT_PAGE, detail, fetched.status)
        picture = await self.findings.as_picture(target)
        self.close_if_done()
        if picture is None:
            return None
        if self.listing is not None:
            await self.listing(picture)
            return None
        visit.target = picture
        return fetched._replace(target=picture)

    async def led_away(self, visit: Visit, url: str) -> bool:
        """A page has led to another address. True if that ends it: it is known as a page of its own, or not to be visited."""
        target, found = visit.target, visit.target.found
        if found is None or found.kind not in ("page", "frame") or target.index < PAGES:
            return False
        why = "" if found.rule == "given" else self._judge(self._settings, tuple(found.root.split()), url)
        if not why and not await self.findings.claims(target, url):
            why = "moved"
        if why:
            cuts = {why: (1, url)}
            await self.findings.record(target, Page(found.kind, cuts=cuts), target.url, 0, visit.attempts)
            self.close_if_done()
        return bool(why)

    def inline(self, target: Target) -> Fetched:
        """The body of a picture that stood in its page."""
        assert target.found is not None and target.found.data is not None
        kind = target.url.partition(":")[2].partition(";")[0].partition(",")[0]
        return Fetched(target, target.found.data, target.found.page, 200, kind, self._clock.wall(), 0.0)

    async def _page(self, fetched: Fetched, visit: Visit) -> Miss | int:
        target, most = visit.target, self._settings.max_page_bytes
        if len(fetched.body) > most:
            return Miss(
                target, Reason.TOO_LARGE, f"a page of {len(fetched.body)} bytes, {most} allowed", fetched.status
            )
        page = await self._processor.read(fetched, self._order(fetched))
        if isinstance(page, Miss):
            return page
        if self._seen is not None:
            self._seen(target, page)
        if target.index < PAGES and not page.pictures and not page.links:
            left_out = ", ".join(f"{count} {CUTS.get(why, why)}" for why, (count, _) in page.cuts.items())
            words = f"{fetched.content_type[:60]}, a page in which no picture is found"
            return Miss(target, Reason.NOT_IMAGE, f"{words} ({left_out})" if left_out else words, fetched.status)
        return await self.findings.record(target, page, fetched.final_url, fetched.status, visit.attempts)

    def _order(self, fetched: Fetched) -> PageOrder:
        found = fetched.target.found
        assert found is not None
        url = str(urls.parse(fetched.final_url))
        roots = tuple(found.root.split()) or tuple(dict.fromkeys((fetched.target.url, url)))
        if found.depth == 0 and url not in roots:  # where what was given has led
            roots = (*roots, url)
        kind = "stylesheet" if says_css(fetched.content_type) else found.kind
        return PageOrder(
            url, fetched.content_type, kind, found.depth, roots, fetched.directives, self._agent, self._formats,
            self._settings,
        )  # fmt: skip

    def close_if_done(self) -> None:
        """Nothing that waits or is under way can give more: say so."""
        if self._all_given and not self._open and self.findings.idle:
            self.findings.close()


def _origin(url: str) -> str:
    try:
        return urls.origin(urls.parse(url))
    except urls.BadURL:
        return ""
