"""Which addresses may be connected to. Checked on the address of the socket itself, so that a name that resolves
to something else, an odd spelling or a redirect cannot pass.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

_V4_REFUSED = [ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4")]
_V6_GLOBAL = ip_network("2000::/3")
_V6_REFUSED = [ip_network(net) for net in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")]
_V6_MAPPED, _V6_NAT64 = ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class BlockedAddress(OSError):
    """The address is not public, and private addresses are not allowed."""

    def __init__(self, address: str, host: str = "") -> None:
        name = f"{host} is {address}, which" if host and host != address else address
        super().__init__(f"{name} is not a public address; --allow-net opens its network, --allow-private all")


@lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """True for an address of the public internet (IANA special-purpose registries, RFC 6890 and its updates).

    IPv4 inside IPv6 counts as that IPv4 address where the form is still in use (mapped, NAT64, ISATAP) and is
    refused where it is not (compatible, translated, 6to4, Teredo).
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _v4_public(ip) if isinstance(ip, IPv4Address) else _v6_public(ip)


def _v4_public(ip: IPv4Address) -> bool:
    return ip.is_global and not any(ip in net for net in _V4_REFUSED)


def _v6_public(ip: IPv6Address) -> bool:
    tail = IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip in _V6_MAPPED or ip in _V6_NAT64:
        return _v4_public(tail)
    if (int(ip) >> 32) & 0xFFFF_FFFF in _ISATAP and not _v4_public(tail):
        return False
    return ip in _V6_GLOBAL and ip.is_global and not any(ip in net for net in _V6_REFUSED)


class Guard:
    """Decides on every address that is connected to: the public internet, and what was opened on purpose.

    Args:
        allow_private: everything is open.
        nets: networks that are open besides, as `10.1.0.0/16`.
    """

    def __init__(self, allow_private: bool = False, nets: Iterable[str] = ()) -> None:
        self.open = allow_private
        self._nets = [ip_network(net) for net in nets]
        self._exempt: set[tuple[str, int]] = set()

    def exempt(self, address: str, port: int) -> None:
        """Let this address and port pass: the user's own proxy."""
        self._exempt.add((address, port))

    def permits(self, address: str) -> bool:
        """True for an address that may be connected to."""
        return self.open or is_public(address) or (bool(self._nets) and self._opened(address))

    def _opened(self, address: str) -> bool:
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in net for net in self._nets)

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket of one connection, after its address has been checked.

        Raises:
            BlockedAddress: the address is not open.
        """
        family, kind, proto, _, address = info
        if not self.permits(address[0]) and (address[0], address[1]) not in self._exempt:
            raise BlockedAddress(address[0])
        return socket.socket(family=family, type=kind, proto=proto)
