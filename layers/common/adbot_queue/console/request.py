"""What a view is asked, and what it may answer. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from adbot_queue.console.figures import Snapshot
from adbot_queue.console.sessions import Session
from adbot_queue.core.callers import Caller
from adbot_queue.core.errors import Forbidden, Invalid, Malformed, Unauthenticated
from adbot_queue.core.field_errors import field_errors
from adbot_queue.core.ids import fingerprint
from adbot_queue.ledger import Actor

QueryModel = TypeVar("QueryModel", bound=BaseModel)

DRAWERS = ("job", "bot", "order")
"""Parameters that name what a list's drawer shows."""

MAX_FIELDS = 2_000
"""Fields of a form."""


@dataclass(frozen=True, eq=False, repr=False)
class Visit:
    """A request as a view sees it.

    Attributes:
        path: without a trailing slash.
        params: what the route's `{names}` stand for.
        now: server time, in ms.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    form_lists: Mapping[str, list[str]]
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    session_or_none: Session | None
    snapshot_or_none: Snapshot | None
    base_url: str
    request_id: str
    now: int
    time_left: Callable[[], int]

    def with_form(self, fields: Mapping[str, list[str]]) -> Visit:
        """Return the visit with a form's fields; the last value of a repeated field counts."""
        form = {name: values[-1] for name, values in fields.items()}
        return replace(self, form_lists=dict(fields), form=form)

    @property
    def session(self) -> Session:
        """Who is signed in; only on routes that are not public."""
        if self.session_or_none is None:
            raise Unauthenticated("sign in first")
        return self.session_or_none

    @property
    def snapshot(self) -> Snapshot:
        """The figures of all pages; only for staff, and only on pages."""
        if self.snapshot_or_none is None:
            raise Forbidden("figures are for staff")
        return self.snapshot_or_none

    @property
    def caller(self) -> Caller:
        """Who is signed in, as services know a caller."""
        return Caller(self.session.user, self.session.groups)

    @property
    def actor(self) -> Actor:
        """Who signs the ledger."""
        return Actor(self.session.user, self.caller.role, self.request_id)

    @property
    def is_tick(self) -> bool:
        """Whether the page that is open asks for its live region alone."""
        return "x-tick" in self.headers

    @property
    def is_fragment(self) -> bool:
        """Whether the page's script asks, and not the browser for a whole page."""
        return "hx-request" in self.headers

    @property
    def has_acted(self) -> bool:
        """Whether this page shows what a form of it has just changed: its first refreshes after that, or a new page."""
        return "x-acted" in self.headers or ("answer" in self.query and not self.is_tick)

    @property
    def drawer_only(self) -> bool:
        """Whether a list opens this page in its drawer."""
        return self.headers.get("x-part") == "drawer"

    @property
    def opened(self) -> str:
        """What the drawer of this page shows: the id in its address, which a script may have changed since."""
        here = self.headers.get("hx-current-url", "") if self.is_tick else ""
        query = dict(parse_qsl(urlsplit(here).query)) if here else self.query
        return next((query[name] for name in DRAWERS if query.get(name)), "")

    def here(self, **changes: str | None) -> str:
        """Return this page's address with other parameters; None takes one away. Dialogs and answers do not stay."""
        kept = {name: value for name, value in self.query.items() if name not in ("open", "answer")}
        return with_query(self.path, {**kept, **changes})

    def query_as(self, model: type[QueryModel], **fixed: str) -> QueryModel:
        """Return the parameters that a service's query model knows; the others are the page's own.

        Raises:
            Invalid: one of them breaks a rule.
        """
        names = {field.alias or name for name, field in model.model_fields.items()}
        given = {name: value for name, value in self.query.items() if name in names and value}
        return checked(model, given | fixed)

    @property
    def address(self) -> str:
        """Path and query as they stand in the browser."""
        return with_query(self.path, self.query)

    @cached_property
    def reason(self) -> str:
        """The reason that a form gives, for the ledger."""
        return self.form.get("reason", "").strip()

    @property
    def sent(self) -> str:
        """Fingerprint of a form: where it was sent, and its fields but for token and key."""
        fields = sorted((name, values) for name, values in self.form_lists.items() if name not in ("csrf", "key"))
        return fingerprint(repr((self.path, fields)))

    def form_key(self, *parts: object) -> str:
        """Return the key of a form: the same until what it acts on changes, another one for each session.

        Args:
            parts: the action, what it acts on, and the version that the person sees.
        """
        text = "\x1f".join([self.session.csrf, *map(str, parts)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Page:
    """A page: `template` in `pages/`, and what it shows.

    A tick gets the block `live` of the template, a drawer the block `drawer`.
    """

    template: str
    title: str
    data: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Undo:
    """The inverse of an action: where its form posts, and with what."""

    path: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Done:
    """The answer to a form: what changed, in words.

    Attributes:
        back: page to show when the browser runs no script; the one that has the form if None.
        open: page to open instead of staying.
    """

    text: str
    undo: Undo | None = None
    back: str | None = None
    open: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Redirect:
    """Another page of ours, or of the sign-in."""

    location: str
    cookies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Raw:
    """Bytes with headers of their own: files, downloads."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200


Reply = Page | Done | Redirect | Raw
View = Callable[[Visit], Reply]


def checked(model: type[QueryModel], given: Mapping[str, Any]) -> QueryModel:
    """Return texts of a form or an address as a service's model.

    Raises:
        Invalid: one of them breaks a rule.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = field_errors(error, model)
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in found), errors=found) from error


def with_query(path: str, query: Mapping[str, str | None]) -> str:
    """Return an address with more parameters than it has; those without a value are left out."""
    kept = {name: value for name, value in query.items() if value}
    return f"{path}{'&' if '?' in path else '?'}{urlencode(kept, quote_via=quote)}" if kept else path


def cookies_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the cookies of an HTTP API event: AWS lists them, the embedded AWS leaves them in the header."""
    lines = event.get("cookies") or [(event.get("headers") or {}).get("cookie", "")]
    found: dict[str, str] = {}
    for part in ";".join(lines).split(";"):
        name, separator, value = part.strip().partition("=")
        if separator:
            found.setdefault(name, value)
    return found


def form_of(raw: bytes) -> dict[str, list[str]]:
    """Return the fields of a form.

    Raises:
        Malformed: it is not UTF-8, or has too many fields.
    """
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            raw.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError as error:  # UnicodeDecodeError among them
        raise Malformed(f"form: must be UTF-8 with at most {MAX_FIELDS} fields") from error
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
