"""Bytes from the network. The only place that uses aiohttp's client; its errors end here as misses."""
