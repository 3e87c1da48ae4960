"""Signing in and out, and the theme."""

from __future__ import annotations

from urllib.parse import urlsplit

from adbot_queue.console import render, sessions, sign_in
from adbot_queue.console.request import Page, Redirect, Reply, Visit
from adbot_queue.console.sign_in import Attempt
from adbot_queue.core.errors import Invalid, Unauthenticated


def start(visit: Visit) -> Reply:
    """Lead to the user pool's page. The way back is to the one address that the pool knows: first go there."""
    target = sign_in.own_page(visit.query.get("next", ""))
    if visit.session_or_none:
        return Redirect(target)
    host = visit.headers.get("host", "")
    if host.partition(":")[0] == "127.0.0.1" and host != urlsplit(visit.base_url).netloc:
        return Redirect(f"{visit.base_url}{visit.address}")
    attempt = Attempt.new(target)
    kept = sign_in.cookie(sign_in.attempt_cookie_name(), attempt.cookie_value(), sign_in.ATTEMPT_S)
    return Redirect(sign_in.from_env().authorize_url(attempt, visit.base_url), (kept,))


def finish(visit: Visit) -> Reply:
    """Start a session under a new id, whatever cookies came along."""
    attempt = Attempt.of_cookie(visit.cookies.get(sign_in.attempt_cookie_name(), ""))
    if visit.session_or_none and (attempt is None or attempt.state != visit.query.get("state")):
        return Redirect(sign_in.HOME)  # another tab was faster
    person = sign_in.from_env().finish(attempt, visit.query, visit.base_url)
    kept = sessions.from_env()
    if visit.session_or_none:
        kept.end(visit.session_or_none)
    session_id = kept.start(person)
    if session_id is None:
        raise Unauthenticated("sign-in failed: this user is disabled")
    forgotten = sign_in.cookie(sign_in.attempt_cookie_name(), "", 0)
    target = attempt.target if attempt else sign_in.HOME
    return Redirect(target, (sign_in.session_cookie(session_id), forgotten))


def end(visit: Visit) -> Reply:
    """End the session in every tab, then the user pool's own; one that is over already changes nothing."""
    if visit.session_or_none:
        sessions.from_env().end(visit.session_or_none)
    url = sign_in.from_env().logout_url(visit.base_url)
    # A redirect would be to another origin, where no form of ours may lead.
    return Page(
        "signed_out.html",
        "Signed out",
        {"text": "This console is signed out in every tab. One step ends the sign-in service's session too.",
         "href": url, "link": "Finish signing out"},
        headers={"cache-control": "no-store", "refresh": f"0; url={url}"},
        cookies=(sign_in.session_cookie(""),),
    )  # fmt: skip


def ended(_visit: Visit) -> Reply:
    """Where the user pool leads after signing out."""
    text = "You are signed out of the console and of the sign-in service."
    return Page("signed_out.html", "Signed out", {"text": text, "href": "/console", "link": "Sign in again"})


def theme(visit: Visit) -> Reply:
    """Keep light, dark or the system's choice in a cookie, so that the first paint has it."""
    chosen = visit.form.get("theme", "")
    if chosen not in render.THEMES:
        raise Invalid.field("theme", f"must be one of {', '.join(render.THEMES)}")
    back = urlsplit(visit.headers.get("referer", ""))
    target = f"{back.path}?{back.query}" if back.query else back.path
    kept = f"theme={chosen}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Lax"
    return Redirect(sign_in.own_page(target), (kept,))
