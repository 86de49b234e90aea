"""The pull rate limit of an account, as Docker Hub states it with every manifest.

`RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 76;w=21600` give pulls per `w` seconds.
`Docker-RateLimit-Source` is the account or address that they apply to. Unlimited accounts get
none of these headers. (Docker's documentation, "Pull usage and limits".)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Ten digits exceed any real number of pulls or seconds.
_MAX_QUOTA: Final = 10**10 - 1
_QUOTA: Final = re.compile(r"(\d{1,10})(?:\s*;\s*w=(\d{1,10}))?")
_SOURCE: Final = re.compile(r"[0-9A-Za-z.:_-]{1,64}")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`remaining` of `limit` pulls in `window` seconds (0 if not stated), for `source`."""

    limit: int
    remaining: int
    window: int = 0
    source: str = ""

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> RateLimit | None:
        """Parse the headers, in any letter case; None if they are missing or malformed."""
        limit = _QUOTA.match(headers.get("RateLimit-Limit", "").strip())
        remaining = _QUOTA.match(headers.get("RateLimit-Remaining", "").strip())
        if limit is None or remaining is None or int(limit[1]) == 0:
            return None
        source = headers.get("Docker-RateLimit-Source", "").strip()
        return cls(
            limit=int(limit[1]),
            remaining=int(remaining[1]),
            window=int(limit[2] or remaining[2] or 0),
            source=source if _SOURCE.fullmatch(source) else "",
        )

    def is_sane(self) -> bool:
        """Whether `parse` could have made it: what is read from a cache may be anything."""
        return (
            0 < self.limit <= _MAX_QUOTA
            and 0 <= self.remaining <= _MAX_QUOTA
            and 0 <= self.window <= _MAX_QUOTA
            and (not self.source or _SOURCE.fullmatch(self.source) is not None)
        )
