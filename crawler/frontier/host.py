"""The pace of one host: how many requests at once, how long between two, and what its answers teach about both."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crawler.model import Answer, Miss, Postponed, Reason, Visit

DOWN_AFTER = 20
"""Connections in a row that failed: the host is given up for this run."""
LONGEST_REST = 60.0
"""Seconds a host that fails is left alone at most when it does not say how long."""
LONGEST_REDIAL = 1.0
"""The same for a host that cannot be connected to: there is nobody to be polite to, and the run must end."""
FIRST_REST = 0.5
_ON_THE_WAY = 0.02
_STRANGER = 4
_SLOW_FACTOR = 4.0
_SLOW_SECONDS = 0.5
"""A host is slow when it takes so many times as long as it did, and so many seconds longer."""

_NO_CONNECTION = frozenset({Reason.DNS, Reason.CONNECT, Reason.CONNECT_TIMEOUT, Reason.TLS, Reason.PROXY})
_NO_ANSWER = frozenset({Reason.TIMEOUT, Reason.RESET})
_DISTRESS = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Rules:
    """What every host is held to.

    Attributes:
        per_host: requests at once.
        gap: seconds from one request to the next.
        max_wait: longest wait granted, and longest Crawl-delay kept, in seconds.
        adapt: learn from failures and latency.
        scout: a new host gets one request until it has answered, so that its robots.txt is read before anything else.
    """

    per_host: int
    gap: float = 0.0
    max_wait: float = 300.0
    adapt: bool = True
    scout: bool = False


class Host:
    """One host that has targets, or that must be remembered for its pace.

    Attributes:
        queue, pages: its targets in memory, in order, pictures and pages; `spilled` more wait on disk behind them.
        active: requests under way; `unsent` of them have not left yet.
        due: it asked, or deserves, to be left alone until then.
        gap: seconds from one request to the next.
        limit: requests at once, now.
        refusal: reason and words for all of its targets, once it has been given up.
        place, rest_until: where it stands, for the frontier.
    """

    __slots__ = (
        "active", "down", "due", "gap", "known", "last_sent", "latency", "limit", "name", "pages", "place", "placed", "queue",
        "quickest",
        "refilling", "refusal", "rest_until", "rules", "spilled", "streak", "streak_began", "streak_from", "unsent",
    )  # fmt: skip

    def __init__(self, name: str, rules: Rules) -> None:
        self.name = name
        self.rules = rules
        self.queue: deque[Visit] = deque()
        self.pages: deque[Visit] = deque()
        self.spilled = 0
        self.refilling = False
        self.active = 0
        self.unsent = 0
        self.due = 0.0
        self.gap = rules.gap
        self.last_sent = -rules.gap
        self.limit: float = 1 if rules.scout else rules.per_host
        self.known = not rules.scout
        self.refusal: tuple[Reason, str] | None = None
        self.place = 0
        self.rest_until = 0.0
        self.streak = 0
        self.streak_from = self.streak_began = 0.0
        self.down = 0
        self.latency: float | None = None
        self.quickest = 0.0
        self.placed = 0

    @property
    def held(self) -> int:
        """Targets in memory."""
        return len(self.queue) + len(self.pages)

    @property
    def full(self) -> bool:
        """True while it can take no further request, however long one waits."""
        return self.active >= int(self.limit) or (self.unsent > 0 and self.gap > 0)

    @property
    def ready_at(self) -> float:
        """When it may be asked next."""
        if not self.gap:
            return self.due
        # A little more: requests take different times on their way, and it is the host that counts the gap.
        return max(self.due, self.last_sent + self.gap + min(_ON_THE_WAY, self.gap / 10))

    def took(self, visit: Visit, now: float) -> None:
        """One of its targets has been given out."""
        visit.taken_at, visit.sent_at, visit.latency, visit.crawl_delay = now, 0.0, None, 0.0
        visit.paced, visit.unsent = self.gap > 0, True
        self.active += 1
        self.unsent += 1

    def sent(self, visit: Visit) -> None:
        """A request has left, at `visit.sent_at`."""
        self.unsent -= visit.unsent
        visit.unsent = False
        self.last_sent = max(self.last_sent, visit.sent_at)

    def learn(self, visit: Visit, answer: Answer | None, now: float) -> None:
        """One of its requests is over."""
        self.active -= 1
        self.unsent -= visit.unsent
        visit.unsent = False
        self.gap = max(self.gap, min(visit.crawl_delay, self.rules.max_wait))
        if self.gap and visit.sent_at:
            answered = visit.latency and visit.sent_at + visit.latency
            self._place_in_time(visit, now if isinstance(answer, Postponed) else answered)
        if answer is None or (isinstance(answer, Miss) and not answer.asked):
            return
        if not isinstance(answer, Miss) or not self._failed(answer, visit, now):
            self._answered(visit, isinstance(answer, Postponed))

    def _place_in_time(self, visit: Visit, answered: float | None) -> None:
        """When a request came to the host, as far as its answer tells: no later than that, and mostly as long before it as
        the quickest answer took. A slow way there must not shorten the gap that the host sees. Where little is known of
        a host, or little is lost by it, the answer itself is what counts; but never more than a quarter of the gap.
        """
        if answered is None:
            return
        took = answered - visit.sent_at
        self.quickest = took if self.placed == 0 else min(self.quickest, took)
        self.placed += 1
        early = self.quickest if self.placed > _STRANGER and took > self.gap / 10 else 0.0
        self.last_sent = max(self.last_sent, min(answered - early, visit.sent_at + self.gap / 4))

    def _answered(self, visit: Visit, only_robots: bool) -> None:
        self.streak = self.down = 0
        if not self.known:
            self.known, self.limit = True, self.rules.per_host
        if not self.rules.adapt or visit.latency is None or only_robots:
            return
        usual = self.latency
        if usual is not None and visit.latency > max(usual * _SLOW_FACTOR, usual + _SLOW_SECONDS):
            self._ask_less(1.0)
            self.latency = usual + (visit.latency - usual) * 0.02  # in the end its new pace is the usual one
            return
        self.latency = visit.latency if usual is None else usual + (visit.latency - usual) * 0.1
        if self.limit < self.rules.per_host:
            self.limit = min(self.rules.per_host, self.limit + 1 / self.limit)

    def _failed(self, miss: Miss, visit: Visit, now: float) -> bool:
        """Take note of a failure of the host; False for a miss that tells nothing bad of it."""
        unconnected = miss.reason in _NO_CONNECTION or (miss.reason in _NO_ANSWER and not miss.status)
        distress = miss.status in _DISTRESS or miss.reason is Reason.ROBOTS_UNREACHABLE or miss.retry_after is not None
        if not unconnected and self.down:
            self.streak = self.down = 0  # it can be connected to
        self.down += unconnected
        if not unconnected and not distress:
            if miss.reason is not Reason.SERVER_ERROR:
                return False
            self.streak = 0  # it answers: the address is broken, and perhaps the host is strained
            if self.rules.adapt:
                self._ask_less(self.limit / 2)
            return True
        left_at = visit.sent_at or visit.taken_at
        if unconnected:
            self.last_sent = max(self.last_sent, left_at)  # a connection that fails is a request too
        if miss.retry_after is not None:
            self.due = max(self.due, now + miss.retry_after)
        same = self.streak > 0 and left_at < self.streak_from  # it left before the last failure was known
        if not same:
            self.streak_began = self.streak_began if self.streak else now
            self.streak += 1
            self.streak_from = now
            if self.rules.adapt:
                self._ask_less(self.limit / 2)
                longest = LONGEST_REDIAL if unconnected else LONGEST_REST
                self.due = max(self.due, now + min(longest, FIRST_REST * 2.0 ** min(self.streak - 1, 30)))
        self.refusal = self.refusal or self._given_up(miss, now)
        return True

    def _given_up(self, miss: Miss, now: float) -> tuple[Reason, str] | None:
        if miss.retry_after is not None and miss.retry_after > self.rules.max_wait:
            asked = f"{self.name} asked for {miss.retry_after:.0f} s"
            return Reason.RATE_LIMITED, f"{asked}, --max-wait is {self.rules.max_wait:g} s"
        if self.down >= DOWN_AFTER:
            return Reason.HOST_DOWN, f"{self.down} connections in a row failed, the last: {miss.detail}"
        if self.streak >= DOWN_AFTER and now - self.streak_began >= self.rules.max_wait:
            reason = Reason.RATE_LIMITED if miss.status == 429 else Reason.HOST_DOWN
            return reason, f"refused everything for {now - self.streak_began:.0f} s, the last: {miss.detail}"
        return None

    def _ask_less(self, by: float) -> None:
        self.limit = max(1.0, self.limit - by)
