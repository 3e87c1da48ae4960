"""How a user's leads are worked: capacity, hours, pace, template. Pure; stored on the user's reference row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from adbot_queue.leads import calendar
from adbot_queue.leads.calendar import Window

MAX_CAPACITY = 2_000
MAX_BATCH = 100
FIRST = "first"
"""The step that leads begin with."""


class Spread(StrEnum):
    """When the messages of a day go out."""

    EVEN = "even"  # over the whole window
    BURST = "burst"  # as fast as the sender may


class Category(StrEnum):
    """What WhatsApp takes a template for."""

    MARKETING = "marketing"
    UTILITY = "utility"


@dataclass(frozen=True, slots=True)
class Step:
    """The message of a step: an approved template, and which field of the lead each of its variables is.

    Attributes:
        content_sid: Twilio's id of the template.
        variables: name of each variable -> `name`, `client`, `project` or one of the lead's own fields.
    """

    content_sid: str
    category: Category = Category.MARKETING
    variables: Mapping[str, str] = field(default_factory=dict)


WORKDAYS: Mapping[str, str | None] = dict.fromkeys(calendar.WEEKDAYS[:5], "09:00-18:00")


@dataclass(frozen=True, slots=True)
class LeadSettings:
    """A user's settings.

    Attributes:
        user_id: whose. name: as colleagues see it.
        capacity: messages a day.
        week: hours by weekday, in `zone`.
        batch: messages at Twilio without a report, at most.
        pause_until: nothing goes out before (ms).
        exclusive: a person whom another owner has as a lead is not accepted, nor queued for the same day.
        steps: by name.
    """

    user_id: str
    name: str = ""
    capacity: int = 100
    week: Mapping[str, str | None] = field(default_factory=lambda: WORKDAYS)
    zone: str = "UTC"
    spread: Spread = Spread.EVEN
    batch: int = 20
    pause_until: int | None = None
    exclusive: bool = True
    steps: Mapping[str, Step] = field(default_factory=dict)
    version: int = 1

    def window(self, date: str) -> Window | None:
        """Return when messages may go out on a date; None on a day without hours."""
        return calendar.window_of(self.week, self.zone, date)

    def next_day(self, now: int) -> tuple[str, Window] | None:
        """Return the next date after today with hours that the pause leaves open, and its window."""
        return calendar.next_date(self.week, self.zone, now, self.pause_until)
