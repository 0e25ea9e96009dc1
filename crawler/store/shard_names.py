"""What shards and samples are called: as img2dataset calls them, so that what reads its output reads ours."""

from __future__ import annotations

import re

SHARD_DIGITS = 5
_STATS = re.compile(r"(\d{5,})_stats\.json")


def shard_name(shard: int) -> str:
    """`00012`."""
    return f"{shard:0{SHARD_DIGITS}d}"


def stats_name(shard: int) -> str:
    """The file that is published last: where it is, the shard is whole."""
    return f"{shard_name(shard)}_stats.json"


def shard_of_stats(name: str) -> int | None:
    """The shard behind the name of a file of counts."""
    found = _STATS.fullmatch(name)
    return int(found[1]) if found else None


def sample_key(index: int, shard_count: int) -> str:
    """Number of the shard and place in it: `000120034` is the 35th target of shard 12, with 10,000 in each."""
    shard, place = divmod(index, shard_count)
    digits = len(str(shard_count - 1)) if shard_count > 1 else 0
    return f"{shard * 10**digits + place:0{SHARD_DIGITS + digits}d}"
