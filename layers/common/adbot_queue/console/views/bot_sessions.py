"""The sessions of a bot: reassigning them, old and new side by side, and reporting one lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, AdbotStatus
from adbot_queue.adbots.service import MAX_MOVED
from adbot_queue.console.formats import number
from adbot_queue.console.request import Done, Page, Reply, Visit
from adbot_queue.console.views import jobs
from adbot_queue.core.errors import Conflict, Invalid, NotFound


def show(visit: Visit) -> Reply:
    """The form that names sessions to take away and to give. Two reads."""
    return _form(visit, _bot(visit))


def compare(visit: Visit) -> Reply:
    """What a reassign would change; it writes nothing, so it may be sent again."""
    adbot = _bot(visit)
    add, remove = _ids(visit, "add"), _ids(visit, "remove")
    errors = [*_problems(adbot, add, remove)]
    return _form(visit, adbot, add, remove, errors)


def reassign(visit: Visit) -> Reply:
    """Give a bot the sessions, and return the others to stock: all or nothing."""
    adbot, reason = _bot(visit), jobs.reason_of(visit)
    if visit.form.get("version") != str(adbot.version):
        raise Conflict("the bot has changed since you compared: compare again")
    add, remove = _ids(visit, "add"), _ids(visit, "remove")
    done = service.from_env().reassign(adbot.id, add, remove, _command(visit, reason)).adbot
    lacks = f" It lacks {number(done.missing)} and waits for them." if done.missing else ""
    got = "1 session" if len(add) == 1 else f"{number(len(add))} sessions"
    text = f"Reassigned. It got {got}, {number(len(remove))} went back to {adbot.pool}.{lacks}"
    page = f"/console/bots/{adbot.id}"
    return Done(text, back=page, open=page)


def lose(visit: Visit) -> Reply:
    """Report a session of a bot lost."""
    adbots, adbot, reason = service.from_env(), _bot(visit), jobs.reason_of(visit)
    session = visit.form.get("session", "").strip()
    if not session:
        raise Invalid.field("session", "name the session")
    if not adbot.holds(*adbots.sessions.position(adbot.pool, session)):
        raise Conflict(f"session {session} is not assigned to this bot")
    after = adbots.lose_session(session, _command(visit, reason))
    what = "was lost already"
    if after:
        what = (
            f"is lost. The bot waits for {number(after.missing)}" if after.missing else "is lost. The bot has another"
        )
    return Done(f"Session {session} {what}.", back=f"/console/bots/{adbot.id}")


def _form(
    visit: Visit, adbot: Adbot, add: Sequence[str] = (), remove: Sequence[str] = (), errors: list[str] | None = None
) -> Page:
    held = service.from_env().sessions.session_ids(adbot.runs) if adbot.runs else []
    shown = {
        "adbot": adbot,
        "held": held,
        "add": add,
        "remove": remove,
        "after": [*(one for one in held if one not in remove), *add],
        "missing": adbot.missing + len(remove) - len(add),
        "texts": {name: visit.form.get(name, "") for name in ("add", "remove")},
        "errors": errors,
        "compares": errors is not None and not errors,
        "most": MAX_MOVED,
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK
    return Page("bot_sessions.html", "Reassign sessions", shown, status=int(status))


def _problems(adbot: Adbot, add: list[str], remove: list[str]) -> Iterator[str]:
    """Yield what a reassign would be refused for, each with its field."""
    named = [*add, *remove]
    if not 1 <= len(named) <= MAX_MOVED:
        yield f"add, remove: must name 1 to {MAX_MOVED} sessions in all"
        return
    if len(set(named)) < len(named):
        yield "add, remove: must name each session once"
        return
    sessions = service.from_env().sessions
    for one in remove:
        try:
            if not adbot.holds(*sessions.position(adbot.pool, one)):
                yield f"remove: session {one} is not assigned to this bot"
        except (Conflict, NotFound) as refused:
            yield f"remove: {refused.detail}"
    header = service.from_env().pools.header(adbot.pool)
    for one in add:
        try:
            sessions.free_place(header, one)
        except (Conflict, NotFound) as refused:
            yield f"add: {refused.detail}"
    room = adbot.missing + len(remove)
    if len(add) > room:
        yield f"add: the bot has room for {room}, {len(add)} were named"


def _bot(visit: Visit) -> Adbot:
    adbot = service.from_env().adbot(visit.params["id"], None)
    if adbot.status is AdbotStatus.CANCELLED:
        raise Conflict(f"adbot {adbot.id} is cancelled: it holds no sessions")
    return adbot


def _ids(visit: Visit, name: str) -> list[str]:
    """Return the ids of a field: one a line, or with commas."""
    return visit.form.get(name, "").replace(",", " ").split()


def _command(visit: Visit, reason: str) -> Command:
    return Command(visit.actor, reason, visit.form["key"], visit.path)
