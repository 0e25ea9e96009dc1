"""Who is remembered: hosts with targets, hosts that taught something, hosts that were given up. A million pass by."""

from __future__ import annotations

from collections import OrderedDict

from crawler.frontier.host import Host, Rules
from crawler.model import Reason

REMEMBERED = 4096
"""Idle hosts that are remembered for what they taught; one that still has to be left alone always is."""
_LOOKS = 4
"""Idle hosts that are looked at when there are too many, each time one more comes."""


class HostBook:
    """All hosts by name. `busy` are those with targets."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.busy: dict[str, Host] = {}
        self.idle: OrderedDict[str, Host] = OrderedDict()
        self._given_up: dict[str, tuple[Reason, str]] = {}

    def host(self, name: str) -> Host:
        """The host of a target, as it was left or new."""
        host = self.busy.get(name)
        if host is None:
            host = self.idle.pop(name) if name in self.idle else Host(name, self._rules)
            host.refusal = host.refusal or self._given_up.get(name)
            self.busy[name] = host
        return host

    def given_up(self, name: str) -> bool:
        """True for a host whose targets are refused."""
        return name in self._given_up or (name in self.busy and self.busy[name].refusal is not None)

    def spills(self, name: str) -> bool:
        """True for a host that has targets on disk."""
        return name in self.busy and self.busy[name].spilled > 0

    def set_aside(self, host: Host, now: float) -> None:
        """A host has nothing to do: remember it while it has to be left alone, and as long as there is room."""
        del self.busy[host.name]
        if host.refusal is not None:
            self._given_up[host.name] = host.refusal
            return
        self.idle[host.name] = host
        for _ in range(min(_LOOKS, max(0, len(self.idle) - REMEMBERED))):
            name, oldest = self.idle.popitem(last=False)
            if oldest.ready_at > now:
                self.idle[name] = oldest
