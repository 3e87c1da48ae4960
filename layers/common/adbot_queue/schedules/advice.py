"""What a text that is no expression may mean: other schedulers' dialects, missing parentheses. Pure."""

from __future__ import annotations

import re

from adbot_queue.schedules.cron import BadExpression, Cron
from adbot_queue.schedules.cron_dialects import nickname, six_fields

MAX_SHOWN = 60
"""Characters that an error quotes of an expression."""


def problem_with(text: str) -> str:
    """What is wrong with a text that is not `cron(...)`, `rate(...)` or `at(...)`."""
    if written := nickname(text):
        return f"{text!r} is not supported: write {written}"
    parts = text.split()
    if parts and re.match(r"(CRON_)?TZ=", parts[0], re.ASCII | re.IGNORECASE):
        return f"{parts[0][:MAX_SHOWN]!r} is not part of an expression: the field timezone names the zone"
    if named := re.fullmatch(r"(cron|rate|at) ?\(? ?([^()]*?) ?\)?", text, re.ASCII | re.IGNORECASE):
        return f"{text[:MAX_SHOWN]!r} must be written {named[1].lower()}({named[2]})"
    if not 5 <= len(parts) <= 7:  # noqa: PLR2004  fields of a cron of any dialect
        return "must be cron(...), rate(...) or at(...)" + (f", not {text[:MAX_SHOWN]!r}" if text else "")
    try:
        Cron.parse(text)
    except BadExpression as error:
        return str(error)
    return f"cron fields stand in parentheses: cron({text})"


def suggestion(text: str) -> str | None:
    """Return the expression that a text of another scheduler's dialect means, None if there is none."""
    inner = re.sub(r"^cron\((.*)\)$", r"\1", " ".join(text.split()))
    found = nickname(inner)
    if found is None and (six := six_fields(inner.upper().split())):
        try:
            Cron.parse(six)
        except BadExpression:
            return None
        found = f"cron({six})"
    return found
