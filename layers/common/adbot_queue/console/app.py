"""The console's routes: who may see a page, what makes a form ours, and errors as pages."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

from adbot_queue.console import assets, forms, render, sessions, sign_in, snapshot
from adbot_queue.console.request import (
    Done,
    Raw,
    Redirect,
    Reply,
    View,
    Visit,
    cookies_of,
    form_of,
    with_query,
)
from adbot_queue.console.sessions import Session
from adbot_queue.core import events, problems, telemetry
from adbot_queue.core.callers import OWNERS, SALES, STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import AppError, Conflict, Forbidden, Invalid, NotFound, Unauthenticated, UnknownEvent
from adbot_queue.core.http import MAX_BODY
from adbot_queue.core.http_input import body_of, check_once, check_query
from adbot_queue.core.settings import variable
from adbot_queue.core.telemetry import logger

EVERYONE = None
"""Roles of a page that needs no sign-in."""

SIGNED_IN: frozenset[str] = frozenset()
"""Roles of a page for anyone who is signed in."""

MIN_PACKED = 600
"""Bytes from which an answer is worth compressing."""

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address of the console.

    Attributes:
        key: `GET /console/queues/{name}`.
        view: `module:function` below `console.views`; imported when it is first asked for.
        roles: groups that may call it; `SIGNED_IN`, or `EVERYONE`.
        keyed: a POST acts once for each form key; else it may be repeated.
        limit: bytes of a form.
    """

    key: str
    view: str
    roles: frozenset[str] | None = SIGNED_IN
    keyed: bool = True
    limit: int = MAX_BODY

    def load(self) -> View:
        """Return the view."""
        module, _, name = self.view.partition(":")
        return cast("View", getattr(import_module(f"adbot_queue.console.views.{module}"), name))


class Console:
    """The function's entry."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._patterns = [(route, *_pattern(route.key)) for route in self.routes]

    def handler(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer an HTTP API event. Never raises."""
        request_id = events.request_id(event) or context.aws_request_id
        logger.set_correlation_id(request_id)
        visit: Visit | None = None
        try:
            _check_event(event)
            visit = _visit(event, context, request_id)
            check_query(event)
            check_once(event, but="id")  # what is selected in a list
            if visit.path.startswith(assets.PATH + "/"):
                return _asset(visit)
            route, visit = self._find(visit)
            if visit.method == "POST":
                visit = visit.with_form(form_of(body_of(event, route.limit)))
            answer = _answer(route, visit)
        except Exception as error:  # noqa: BLE001  the one place where errors become pages
            answer = _failure(error, visit, request_id)
            if visit and visit.method == "HEAD":
                answer["body"] = ""
        finally:
            telemetry.flush()
        logger.info("answered", path=visit.path if visit else None, status=answer["statusCode"])
        return answer

    def _find(self, visit: Visit) -> tuple[Route, Visit]:
        wanted = "GET" if visit.method == "HEAD" else visit.method
        for route, method, pattern in self._patterns:
            if method == wanted and (found := pattern.fullmatch(visit.path)):
                return route, replace(visit, params=found.groupdict())
        raise NotFound(f"there is nothing at {visit.method} {visit.path}; /docs lists every route of the API")


def _answer(route: Route, visit: Visit) -> dict[str, Any]:
    session_id = visit.cookies.get(sign_in.cookie_name(), "")
    check = route.roles is not EVERYONE  # public pages and signing out work while the user pool is down
    has_figures = check and visit.method != "POST" and visit.path.startswith(sign_in.HOME)
    session, found = sessions.from_env().find_with(
        session_id, [snapshot.KEY] if has_figures else [], fresh_for=_fresh_for(route, visit), check=check
    )
    visit = replace(visit, session_or_none=session)
    if session is None and route.roles is not EVERYONE:
        return _sign_in_first(visit)
    if session and visit.path == sign_in.HOME and not session.groups & STAFF:
        return _redirect(Redirect("/console/leads/queue" if session.groups & SALES else "/my"))
    _check_role(route, session)
    if visit.method == "POST":
        _check_origin(visit, session)
    elif has_figures and session and session.groups & STAFF:
        shared = snapshot.from_env().of(next(iter(found), None), fresh=visit.has_acted, opens=not visit.is_tick)
        visit = replace(visit, snapshot_or_none=shared)
    reply = _act_once(route, visit) if visit.method == "POST" and route.keyed else route.load()(visit)
    return _written(reply, visit)


def _fresh_for(route: Route, visit: Visit) -> frozenset[str]:
    """Return whose groups are read again for this: everyone's for what only owners may do; an owner's for every form.

    Forms of admins let owners do more: move money above the limit, discard many.
    """
    if route.roles == OWNERS:
        return STAFF
    return OWNERS if visit.method == "POST" and route.keyed else frozenset()


def _pattern(key: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = key.partition(" ")
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9_.-]{1,200})", path))


def _method(http: Any) -> str:
    """The method of a request; an event that names none is a GET."""
    found = http.get("method") if isinstance(http, dict) else None
    return str(found) if events.is_text(found) else "GET"


def _visit(event: dict[str, Any], context: Any, request_id: str) -> Visit:
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    path = event.get("rawPath") or "/"
    domain = event["requestContext"].get("domainName") or ""
    return Visit(
        method=_method(event["requestContext"].get("http")),
        path=path.rstrip("/") or "/",
        params={},
        query=event.get("queryStringParameters") or {},
        form={},
        form_lists={},
        headers=headers,
        cookies=cookies_of(event),
        session_or_none=None,
        snapshot_or_none=None,
        base_url=variable("CONSOLE_URL") or f"https://{domain}",
        request_id=request_id,
        now=system_clock(),
        time_left=context.get_remaining_time_in_millis,
    )


def _check_event(event: Any) -> None:
    if problem := events.api_problem(event):
        raise UnknownEvent(f"this function answers HTTP API events: {problem}")


def _check_role(route: Route, session: Session | None) -> None:
    if route.roles and session and not session.groups & route.roles:
        raise Forbidden(f"needs one of the roles {', '.join(sorted(route.roles))}")


def _check_origin(visit: Visit, session: Session | None) -> None:
    """A form is ours if the browser says that it comes from a page of ours, and it carries the session's token.

    Raises:
        Forbidden: it is not.
    """
    if visit.headers.get("sec-fetch-site") != "same-origin":
        raise Forbidden("this form does not come from a page of this console")
    given = visit.headers.get("x-csrf") or visit.form.get("csrf", "")
    if session and not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Forbidden("this form belongs to another session; reload the page")


def _act_once(route: Route, visit: Visit) -> Reply:
    """Call a view that changes something, once for each form key.

    Raises:
        Invalid: the form has no key.
        Conflict: the same form is being handled, or the key is another form's.
    """
    key = visit.form.get("key", "")
    if not re.fullmatch(r"[A-Za-z0-9_-]{8,64}", key):
        raise Invalid.field("key", "must be 8 to 64 letters, digits, - or _")
    kept = forms.from_env()
    claim = kept.claim(visit.session.key, key, visit.sent)
    if isinstance(claim, Done):
        return claim
    try:
        reply = route.load()(visit)
    except AppError as error:
        if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            kept.release(claim)
        raise
    if isinstance(reply, Done):
        kept.keep(claim, reply)
    return reply


def _sign_in_first(visit: Visit) -> dict[str, Any]:
    """A page leads to the sign-in and back.

    A script gets the address in a header: a redirect would end inside the page.
    """
    if visit.is_fragment:
        here = urlsplit(visit.headers.get("hx-current-url", ""))
        target = f"{here.path}?{here.query}" if here.query else here.path
        location = with_query("/console/sign-in", {"next": sign_in.own_page(target)})
        return _html(HTTPStatus.UNAUTHORIZED, "", {"hx-redirect": location, "cache-control": "no-store"}, visit)
    if visit.method not in ("GET", "HEAD"):
        raise Unauthenticated("your session has ended; sign in, then send the form again")
    location = with_query("/console/sign-in", {"next": sign_in.own_page(visit.address)})
    return _redirect(Redirect(location))


def _written(reply: Reply, visit: Visit) -> dict[str, Any]:
    if isinstance(reply, Redirect):
        return _redirect(reply)
    if isinstance(reply, Raw):
        headers = {**SECURITY, "cache-control": "private, no-store", **reply.headers}
        return {"statusCode": reply.status, "headers": headers, **assets.as_body(reply.body)}
    if isinstance(reply, Done):
        return _done(reply, visit)
    answer = _html(reply.status, render.page(reply, visit), reply.headers, visit)
    return {**answer, "cookies": list(reply.cookies)} if reply.cookies else answer


def _done(reply: Done, visit: Visit) -> dict[str, Any]:
    if not visit.is_fragment:
        back = reply.open or reply.back or urlsplit(visit.headers.get("referer", "")).path
        return _redirect(Redirect(with_query(sign_in.own_page(back), {"answer": visit.form.get("key")})))
    if reply.open:
        location = with_query(reply.open, {"answer": visit.form.get("key")})
        return _html(HTTPStatus.OK, "", {"hx-redirect": location, "cache-control": "no-store"}, visit)
    return _html(HTTPStatus.OK, render.answer(reply, visit), {"cache-control": "no-store"}, visit)


def _failure(error: Exception, visit: Visit | None, request_id: str) -> dict[str, Any]:
    """An error as a page, as the frame's answer for a script, or as a problem document for a program."""
    problem = problems.answer(error, request_id)
    if visit is None or not (visit.is_fragment or "text/html" in visit.headers.get("accept", "")):
        return problem
    status = problem["statusCode"]
    known = error if isinstance(error, AppError) else None
    if isinstance(error, Conflict):
        logger.info("form refused", problem=error.slug)  # the detail may name people
    try:
        text = render.error(status, known, problem["body"], visit)
    except Exception:  # noqa: BLE001  the page of an error must not fail in its turn
        logger.exception("error page not rendered")
        return problem
    return _html(status, text, {"cache-control": "no-store"}, visit)


def _redirect(reply: Redirect) -> dict[str, Any]:
    headers = {**SECURITY, "location": reply.location, "cache-control": "no-store"}
    return {"statusCode": int(HTTPStatus.SEE_OTHER), "headers": headers, "cookies": list(reply.cookies), "body": ""}


def _html(status: int, text: str, headers: Mapping[str, str], visit: Visit) -> dict[str, Any]:
    raw = text.encode()
    sent = {
        **SECURITY,
        "content-type": "text/html; charset=utf-8",
        "cache-control": "private, no-cache",
        "vary": "Accept-Encoding, HX-Request, X-Tick, X-Part, X-Have",
        **headers,
    }
    if status == HTTPStatus.OK and "no-store" not in sent["cache-control"]:
        sent["etag"] = f'W/"{hashlib.sha256(raw).hexdigest()[:16]}"'
        if sent["etag"] in visit.headers.get("if-none-match", ""):
            return {"statusCode": int(HTTPStatus.NOT_MODIFIED), "headers": sent, "body": ""}
    if visit.method == "HEAD":
        return {"statusCode": int(status), "headers": sent, "body": ""}
    if "gzip" in visit.headers.get("accept-encoding", "") and len(raw) >= MIN_PACKED:
        packed = gzip.compress(raw, 9, mtime=0)
        return {"statusCode": int(status), "headers": {**sent, "content-encoding": "gzip"}, **assets.as_body(packed)}
    return {"statusCode": int(status), "headers": sent, "body": text}


def _asset(visit: Visit) -> dict[str, Any]:
    version, _, name = visit.path.removeprefix(assets.PATH + "/").partition("/")
    found = assets.serve(version, name, visit.headers.get("accept-encoding", ""))
    if found is None or visit.method not in ("GET", "HEAD"):
        raise NotFound(f"there is no file {visit.path}")
    raw, headers = found
    sent = {**headers, "x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
    if visit.method == "HEAD":
        return {"statusCode": int(HTTPStatus.OK), "headers": sent, "body": ""}
    return {"statusCode": int(HTTPStatus.OK), "headers": sent, **assets.as_body(raw)}
