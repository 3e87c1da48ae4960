"""Signing up: address and password, then the code of the mail. None of it is in an address."""

from __future__ import annotations

from http import HTTPStatus

from adbot_queue.console import sign_up
from adbot_queue.console.request import Page, Redirect, Reply, Visit
from adbot_queue.core.errors import Invalid


def ask(visit: Visit) -> Reply:
    """The form; who is signed in needs none."""
    if visit.session_or_none:
        return Redirect("/my")
    return _form()


def begin(visit: Visit) -> Reply:
    """Create the user, then ask for the code."""
    email = visit.form.get("email", "")
    try:
        name = sign_up.from_env().begin(email, visit.form.get("password", ""))
    except Invalid as refused:
        return _form(email, refused)
    return _code(name)


def confirm(visit: Visit) -> Reply:
    """Confirm the address; signing in follows."""
    name = visit.form.get("email", "")
    try:
        sign_up.from_env().confirm(name, visit.form.get("code", ""))
    except Invalid as refused:
        return _refused(name, refused)
    # No redirect: it would go on to the sign-in page, another origin, where no form of ours may lead.
    shown = {"text": "Your address is confirmed. Sign in to go on.", "href": "/my", "link": "Sign in"}
    return Page(
        "signed_out.html", "Address confirmed", shown, headers={"cache-control": "no-store", "refresh": "0; url=/my"}
    )


def resend(visit: Visit) -> Reply:
    """Send another code."""
    name = visit.form.get("email", "")
    try:
        sign_up.from_env().resend(name)
    except Invalid as refused:
        return _refused(name, refused)
    return _code(name, sent_again=True)


def _refused(name: str, refused: Invalid) -> Page:
    """Show the form that has the field at fault."""
    at_fault = {error.field for error in refused.errors}
    return _form(name, refused) if "email" in at_fault else _code(name, refused)


def _form(email: str = "", refused: Invalid | None = None) -> Page:
    return _page("sign_up.html", "Sign up", refused, email=email)


def _code(name: str, refused: Invalid | None = None, *, sent_again: bool = False) -> Page:
    return _page("sign_up_code.html", "Confirm your address", refused, email=name, sent_again=sent_again)


def _page(template: str, title: str, refused: Invalid | None, **shown: object) -> Page:
    errors = {
        error.field: f"{error.field.capitalize()} {error.message}." for error in (refused.errors if refused else ())
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
    return Page(template, title, {**shown, "errors": errors}, int(status), {"cache-control": "no-store"})
