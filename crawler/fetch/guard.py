"""Which addresses may be connected to. Checked on the address of the socket itself, so that a name that resolves
to something else, an odd spelling or a redirect cannot pass.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_V4_REFUSED = [ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4")]
_V6_GLOBAL = ip_network("2000::/3")
_V6_REFUSED = [ip_network(net) for net in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")]
_V6_MAPPED, _V6_NAT64 = ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


class BlockedAddress(OSError):
    """The address is not public, and private addresses are not allowed."""

    def __init__(self, address: str, host: str = "") -> None:
        name = f"{host} is {address}, which" if host and host != address else address
        super().__init__(f"{name} is not a public address; --allow-private opens it")


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


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make the socket of one connection, after its address has been checked.

    Raises:
        BlockedAddress: the address is not public.
    """
    family, kind, proto, _, address = info
    if not is_public(address[0]):
        raise BlockedAddress(address[0])
    return socket.socket(family=family, type=kind, proto=proto)


class PublicResolver(AbstractResolver):
    """A resolver that gives only public addresses, so that a refusal can name the host it was met under."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        public = [one for one in found if is_public(one["host"])]
        if not found:
            raise OSError(None, "no address")
        if not public:
            raise BlockedAddress(found[0]["host"], host)
        return public

    async def close(self) -> None:
        await self._inner.close()
