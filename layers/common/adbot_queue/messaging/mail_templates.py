"""The product's own mails: a template each in `mails/`, and a model of its variables.

`mails/<name>.txt.j2` sets the subject and the text, `mails/<name>.html.j2` the HTML part, with every variable escaped.
A new mail is these two files and a model here, which declares the mail's kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field, HttpUrl, UrlConstraints

from adbot_queue.core.schema import Input
from adbot_queue.messaging.suppressions import MailKind
from adbot_queue.providers import stripe_currencies as currencies

if TYPE_CHECKING:
    from jinja2 import Environment

MAILS = Path(__file__).with_name("mails")

Line = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^\P{Cc}+$", description="text without control characters")
]
"""A line of text: subjects are made of it."""

Link = Annotated[HttpUrl, UrlConstraints(max_length=2000, allowed_schemes=["https"])]


class Variables(Input):
    """The variables of a template, and the kind of its mail: an unsubscribe ends marketing only."""

    kind: ClassVar[MailKind]


class Welcome(Variables):
    """For a new user."""

    kind = MailKind.TRANSACTIONAL

    name: Line
    sign_in_url: Link


class Ticket(Variables):
    """For the buyer of a ticket."""

    kind = MailKind.TRANSACTIONAL

    name: Line
    event: Line
    mint_address: str = Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$", description="32 to 44 base58 characters")
    starts_at: AwareDatetime | None = None
    venue: Line | None = None
    explorer_url: Link | None = None


class OrderLine(Input):
    """What was bought; `amount` in the currency's smallest unit."""

    description: Line
    amount: int = Field(ge=0, le=100_000_000)


class OrderConfirmation(Variables):
    """A receipt; `total` in the currency's smallest unit."""

    kind = MailKind.TRANSACTIONAL

    name: Line
    order_id: Line
    lines: list[OrderLine] = Field(min_length=1, max_length=50)
    total: int = Field(ge=0, le=1_000_000_000)
    currency: str = Field(pattern=r"^[a-z]{3}$", description="a three-letter ISO 4217 code in lower case")


class ReportReady(Variables):
    """For the person who requested a report."""

    kind = MailKind.TRANSACTIONAL

    name: Line
    report: Line
    url: Link
    expires_at: AwareDatetime


TEMPLATES: dict[str, type[Variables]] = {
    "welcome": Welcome,
    "ticket": Ticket,
    "order-confirmation": OrderConfirmation,
    "report-ready": ReportReady,
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rendered:
    """A mail that can be sent."""

    subject: str
    text: str
    html: str


def check(template: str, variables: Mapping[str, Any], *, tolerant: bool = False) -> dict[str, Any]:
    """The variables with defaults filled in, as JSON; unknown ones are refused, or (`tolerant`) left out.

    Raises:
        ValidationError: they do not fit the template; names each that is missing or wrong.
    """
    extra: Literal["ignore", "forbid"] = "ignore" if tolerant else "forbid"
    values = TEMPLATES[template].model_validate_json(json.dumps(variables), extra=extra)
    return values.model_dump(mode="json", exclude_none=True)


def render(template: str, variables: Mapping[str, Any]) -> Rendered:
    """Make the mail.

    Args:
        template: one of `TEMPLATES`.
        variables: as `check` gave them.

    Raises:
        ValidationError: as `check`.
    """
    values = dict(TEMPLATES[template].model_validate_json(json.dumps(variables)))
    mails = _environment()
    text = mails.get_template(f"{template}.txt.j2").make_module(values)
    return Rendered(
        subject=str(vars(text)["subject"]).strip(),
        text=str(text).strip() + "\n",
        html=mails.get_template(f"{template}.html.j2").render(values),
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape  # noqa: PLC0415

    mails = Environment(
        loader=FileSystemLoader(MAILS),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    mails.filters.update(money=currencies.text, moment=_moment)
    return mails


def _moment(when: datetime) -> str:
    """`1 May 2026, 19:00 (UTC+02:00)`."""
    zone = f"UTC{when:%z}"
    return f"{when.day} {when:%B %Y, %H:%M} ({zone[:6]}:{zone[6:]})"
