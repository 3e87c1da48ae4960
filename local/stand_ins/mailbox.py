"""What people received: every mail, text, WhatsApp message and notification of the stand-ins, and Cognito's mails.

GET /mailbox?to=               newest first, of one receiver or of all
GET /mailbox/{channel}/{id}    one message
GET /mailbox/mail/{id}/html    the HTML part of a mail, for the frame that shows it
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local.stand_ins.stub_response import StubResponse

if TYPE_CHECKING:
    from jinja2 import Template

PATH = "/mailbox"
HOSTS = {"127.0.0.1", "localhost"}
"""Under which it answers: a page of the web whose name leads to this machine must not read codes."""

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; base-uri 'none'"
MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a mail may do: be seen. No scripts, no forms, no way out of its frame, nothing from the network."""

Stored = Iterable[dict[str, Any]]
"""What a stand-in keeps."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one receiver.

    Attributes:
        channel: mail, text, whatsapp or push.
        title: what a list of messages shows.
        state: how far it came, where the channel says so.
    """

    channel: str
    message_id: str
    at: int
    to: str
    title: str
    text: str = ""
    html: str = ""
    state: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Its page."""
        return f"{PATH}/{self.channel}/{self.message_id}"

    @property
    def when(self) -> str:
        """Date and time, UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S")


class Mailbox:
    """Reads what the stand-ins keep; it keeps nothing itself.

    Args:
        mails: of SendGrid.
        texts: of Twilio.
        notifications: of the push service.
        accounts: returns what Cognito sent; see `of_running_stack`.
    """

    def __init__(
        self,
        mails: Stored,
        texts: Stored,
        notifications: Stored,
        accounts: Callable[[], Stored] = lambda: (),
    ) -> None:
        self._mails, self._texts, self._notifications, self._accounts = mails, texts, notifications, accounts

    def respond(self, host: str, path: str, receiver: str = "") -> StubResponse:
        """Answer a GET.

        Args:
            host: as the caller names this server, with or without its port.
            path: of the request.
            receiver: a part of the address that the list is of; empty: all.
        """
        if urlsplit(f"//{host}").hostname not in HOSTS:
            return StubResponse(403, "The mailbox answers to 127.0.0.1 and localhost alone.")
        if path.rstrip("/") == PATH:
            return _page(messages=self.messages(receiver), receiver=receiver)
        for message in self.messages():
            if path == message.path:
                return _page(message=message)
            if path == f"{message.path}/html" and message.html:
                return StubResponse(200, message.html, {"content-security-policy": MAIL_POLICY})
        return StubResponse(404, "No such message. The stand-ins keep the last 1,000 of each channel.")

    def messages(self, receiver: str = "") -> list[Message]:
        """Return the messages of a receiver, newest first."""
        mails, texts, notifications = list(self._mails), list(self._texts), list(self._notifications)
        found = [*_of_mails(mails), *_of_accounts(self._accounts())]
        found += [*_of_texts(texts), *_of_notifications(notifications)]
        mine = [message for message in found if receiver.strip().casefold() in message.to.casefold()]
        return sorted(mine, key=lambda message: message.at)[::-1]


def _of_mails(mails: Stored) -> Iterator[Message]:
    """One message a personalization: its receivers see each other, and no others."""
    for kept in mails:
        mail = kept["message"]
        parts = {part["type"]: part["value"] for part in mail["content"]}
        for number, personal in enumerate(mail["personalizations"]):
            subject = personal.get("subject") or mail.get("subject", "")
            named = {
                "From": _addresses([mail["from"]]),
                "To": _addresses(personal["to"]),
                "Cc": _addresses(personal.get("cc", [])),
                "Reply-To": _addresses([mail["reply_to"]] if mail.get("reply_to") else []),
                "Subject": subject,
                **mail.get("headers", {}),
                **personal.get("headers", {}),
                "Message-ID": f"<{kept['id']}@stand-in.test>",
            }
            yield Message(
                channel="mail",
                message_id=f"{kept['id']}-{number}",
                at=kept["received_at"],
                to=named["To"],
                title=subject,
                text=parts.get("text/plain", ""),
                html=parts.get("text/html", ""),
                headers=[(name, value) for name, value in named.items() if value],
            )


def _of_accounts(mails: Stored) -> Iterator[Message]:
    for kept in mails:
        headers = {"From": kept["Source"], "To": ", ".join(kept["To"]), "Subject": kept["Subject"]}
        yield Message(
            channel="mail",
            message_id=kept["MessageId"].partition("@")[0],
            at=int(kept["Timestamp"]),
            to=headers["To"],
            title=kept["Subject"],
            text=kept["BodyText"] or "",
            html=kept["BodyHtml"] or "",
            headers=[*headers.items()],
        )


def of_running_stack(file: Path) -> Callable[[], Stored]:
    """Return a reader of the mails that Cognito sent in the stack that describes itself in `file`.

    The embedded AWS keeps them, in memory. While it does not answer there are none.
    """

    def read() -> Stored:
        try:
            endpoint = json.loads(file.read_text())["aws_endpoint"]
            with urllib.request.urlopen(f"{endpoint}/_ministack/ses/messages", timeout=5) as answer:
                accounts: dict[str, list[dict[str, Any]]] = json.load(answer)["messages"]
        except OSError:
            return ()
        return [mail for mails in accounts.values() for mail in mails]

    return read


def _of_texts(texts: Stored) -> Iterator[Message]:
    for kept in texts:
        channel = "whatsapp" if kept["to"].startswith("whatsapp:") else "text"
        sender = kept["from"] or kept["messaging_service_sid"] or ""
        error = f" (error {kept['error_code']})" if kept["error_code"] else ""
        yield Message(
            channel=channel,
            message_id=kept["sid"],
            at=int(parsedate_to_datetime(kept["date_created"]).timestamp()),
            to=kept["to"].removeprefix("whatsapp:"),
            title=kept["body"],
            text=kept["body"],
            state=f"{kept['status']}{error}",
            headers=[("From", sender.removeprefix("whatsapp:")), ("Template", kept.get("content_sid") or "")],
        )


def _of_notifications(notifications: Stored) -> Iterator[Message]:
    for kept in notifications:
        shown = kept["message"] if isinstance(kept["message"], dict) else {"body": str(kept["message"])}
        yield Message(
            channel="push",
            message_id=kept["message_id"],
            at=kept["received_at"],
            to=kept["id"],
            title=str(shown.get("title", "")),
            text=str(shown.get("body", "")),
            headers=[*kept["headers"].items(), ("payload", json.dumps(shown, ensure_ascii=False))],
        )


def _addresses(entries: Iterable[dict[str, str]]) -> str:
    return ", ".join(f"{one['name']} <{one['email']}>" if one.get("name") else one["email"] for one in entries)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    source = Path(__file__).with_name("mailbox.html.j2").read_text()
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)


def _page(**shown: Any) -> StubResponse:
    page = _template().render({"messages": [], "message": None, "receiver": "", **shown})
    return StubResponse(200, page, {"content-security-policy": PAGE_POLICY})
