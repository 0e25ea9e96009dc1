"""Which proxy a request goes through: the one that was named, or what the environment says."""

from __future__ import annotations

from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # not in its stubs

from yarl import URL

from crawler.checks import check_proxy


class Proxies:
    """The proxy for each address.

    Args:
        named: address of a proxy for everything; empty for what the environment says, `none` for no proxy.

    Raises:
        SettingsError: what the environment says is no address of an HTTP proxy.
    """

    def __init__(self, named: str) -> None:
        self._environment: dict[str, str] = {}
        self._by_scheme: dict[str, URL] = {}
        if named == "":
            self._environment = getproxies_environment()
            for scheme in ("http", "https"):
                if address := self._environment.get(scheme, ""):
                    whole = address if "://" in address else f"http://{address}"
                    check_proxy(whole, f"{scheme.upper()}_PROXY, which --proxy none turns off: ")
                    self._by_scheme[scheme] = URL(whole)
        elif named != "none":
            self._by_scheme = {"http": URL(named), "https": URL(named)}

    def __bool__(self) -> bool:
        return bool(self._by_scheme)

    def all(self) -> set[URL]:
        """Every proxy that may be used."""
        return set(self._by_scheme.values())

    def of(self, url: URL) -> URL | None:
        """The proxy for `url`, None if it is asked directly."""
        found = self._by_scheme.get(url.scheme)
        if found is None or (
            self._environment and proxy_bypass_environment(f"{url.host}:{url.port}", self._environment)
        ):
            return None
        return found
