"""Time zones from the pinned `tzdata` package, never from the machine.

`zoneinfo.ZoneInfo(name)` prefers the system's zone files, whose age is unknown: a Lambda runtime without the rules of
2026 puts Vancouver an hour off. Every process also runs with `PYTHONTZPATH=""` (template, Makefile, tests), so that
libraries that read zones themselves agree.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DATA = "tzdata"
_NO_PLACE = "Factory"
"""The tz database's value for a machine that is not set up. EventBridge Scheduler refuses it too."""


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the IANA names that the pinned release knows."""
    return frozenset((files(_DATA) / "zones").read_text("utf-8").split()) - {_NO_PLACE}


@lru_cache(maxsize=128)
def zone(name: str) -> ZoneInfo:
    """Return the zone of an IANA name, with the rules of the pinned release.

    Raises:
        ZoneInfoNotFoundError: the pinned release has no such zone.
    """
    if name not in names():
        raise ZoneInfoNotFoundError(f"{name!r} is not in tzdata")
    with (files(_DATA) / "zoneinfo").joinpath(*name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
