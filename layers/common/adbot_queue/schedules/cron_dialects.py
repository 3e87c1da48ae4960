"""What people paste from other schedulers, and how it is written here. Pure.

Unix cron has five fields and counts weekdays from Sunday = 0; Quartz and Spring put seconds first; Jenkins spreads load
with `H`. Each looks like an expression of EventBridge Scheduler and means something else, so none is taken silently.
"""

from __future__ import annotations

import re

_NICKNAMES = {
    "@yearly": "cron(0 0 1 1 ? *)",
    "@annually": "cron(0 0 1 1 ? *)",
    "@monthly": "cron(0 0 1 * ? *)",
    "@weekly": "cron(0 0 ? * SUN *)",
    "@daily": "cron(0 0 * * ? *)",
    "@midnight": "cron(0 0 * * ? *)",
    "@hourly": "cron(0 * * * ? *)",
}

_HINTS = (
    (r"L-\d+", "days counted back from the month's end are not supported; L is the last day"),
    (r"LW|WL", "the last working day is not supported; L is the last day, 28W the working day closest to the 28th"),
    (r"(.*,)?H(\(.*\))?(/\d+)?(,.*)?", "H is Jenkins'; name the value, or a step like 0/15"),
    (r"\?", "? is allowed only in day-of-month or day-of-week"),
    (r"R|C|\d*[RC]|.*~.*", "random and calendar values are not supported"),
)
_WEEKDAY_HINTS = (
    (r"(.*\D)?0(\D.*)?", "weekdays are SUN to SAT or 1 (Sunday) to 7 (Saturday)"),
    (r"[A-Z]{3}-[A-Z]{3}", "a range runs from SUN to SAT; list the days instead, like FRI,SAT,SUN"),
    (r".*#.*,.*|.*,.*#.*", "# cannot be combined with other values"),
)


def hint(field: str, text: str) -> str:
    """Return what the text is elsewhere, to be appended to an error about it; empty when it is nothing known."""
    hints = _HINTS + (_WEEKDAY_HINTS if field == "day-of-week" else ())
    return next((f"; {says}" for pattern, says in hints if re.fullmatch(pattern, text, re.ASCII)), "")


def nickname(text: str) -> str | None:
    """Return the expression of a nickname like `@daily`, None if it is none."""
    return _NICKNAMES.get(text.lower())


def six_fields(parts: list[str]) -> str | None:
    """Return the six fields for five of Unix cron, or for six or seven with seconds first; None when there are none.

    Whether they are a valid expression is the caller's to check.
    """
    match len(parts):
        case 5:
            return _six(parts, sunday=0)
        case 6 | 7 if re.fullmatch(r"\d{1,2}", parts[0], re.ASCII):
            # Quartz counts weekdays from Sunday = 1 and needs a ?, Spring counts as Unix does and knows none.
            return _six(parts[1:6], sunday=1 if "?" in parts else 0, year=parts[6] if parts[6:] else "*")
    return None


def _six(five: list[str], sunday: int, year: str = "*") -> str | None:
    """The same moments in six fields, where they can be said so.

    Unix joins day-of-month and day-of-week with "or" when both are restricted: that is two schedules here.
    """
    minute, hour, day, month, weekday = five
    if sunday == 0:
        weekday = re.sub(r"(?<![#/\w])[0-7](?!\w)", lambda found: str(int(found[0]) % 7 + 1), weekday)
    if "?" not in {day, weekday}:
        if weekday == "*":
            weekday = "?"
        elif day == "*":
            day = "?"
        else:
            return None
    return f"{minute} {hour} {day} {month} {weekday} {year}"
