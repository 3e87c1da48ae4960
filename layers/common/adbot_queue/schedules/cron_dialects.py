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

_SECONDS = re.compile(r"(?:\*|\d{1,2}(?:[-,]\d{1,2})*)(?:/\d{1,2})?", re.ASCII)
_WEEKDAYS = re.compile(r"(?:\*|([0-7])(?:-([0-7]))?)(?:/([1-7]))?", re.ASCII)

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
            # Quartz counts weekdays from Sunday = 1 and needs a ?, Spring counts as Unix does and needs none.
            quartz = "?" in parts and "0" not in re.split(r"\D", parts[5])
            return _six(parts[1:6], sunday=1 if quartz else 0, year=parts[6] if parts[6:] else "*")
    return None


def remark(parts: list[str]) -> str:
    """Return what is not supported of fields that have no six here; empty when they are nothing known."""
    if len(parts) == 5:  # noqa: PLR2004
        return "; Unix cron joins day-of-month and day-of-week with or: make two schedules"
    if len(parts) in {6, 7} and not parts[0].isdigit() and _SECONDS.fullmatch(parts[0]):
        first = len(parts) == 7 or "?" not in {parts[2], parts[4]}  # noqa: PLR2004  without seconds a ? is there
        return f"; with {parts[0]!r} as seconds (Quartz, Spring) it is finer than a minute" if first else ""
    return ""


def _six(five: list[str], sunday: int, year: str = "*") -> str | None:
    """The same moments in six fields, where they can be said so.

    Unix joins day-of-month and day-of-week with "or" when both are restricted: that is two schedules here.
    """
    minute, hour, day, month, weekday = five
    if weekday not in {"*", "?"}:
        weekday = ",".join(_weekday(part, sunday) for part in weekday.split(","))
    if "?" not in {day, weekday}:
        if weekday == "*":
            weekday = "?"
        elif day == "*":
            day = "?"
        else:
            return None
    return f"{minute} {hour} {day} {month} {weekday} {year}"


def _weekday(part: str, sunday: int) -> str:
    """One of a list of weekdays, counted from Sunday = 1; a range over the week's end and a step become a list."""

    def here(day: int) -> int:
        return (day - sunday) % 7 + 1

    found = _WEEKDAYS.fullmatch(part)
    if not found:  # names, 6L, 6#3
        return re.sub(rf"^[{sunday}-7](?=[L#])", lambda day: str(here(int(day[0]))), part)
    first, last, step = int(found[1] or sunday), int(found[2] or 0), int(found[3] or 1)
    if first < sunday:
        return part
    end = last if found[2] else first if found[1] and not found[3] else sunday + 6
    days = sorted({here(day) for day in range(first, end + (7 if end < first else 0) + 1, step)})
    if len(days) == 7:  # noqa: PLR2004
        return "*"
    whole = len(days) > 2 and days[-1] - days[0] == len(days) - 1  # noqa: PLR2004  as a range
    return f"{days[0]}-{days[-1]}" if whole else ",".join(map(str, days))
