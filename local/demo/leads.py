"""`make demo T=leads` plays a day of outreach over WhatsApp against the running local stack, step by step.

Leads are imported, prepared and sent in batches; meanwhile people answer, stop, and are taken over, and WhatsApp
pauses the template. At the end the exported CSV, the table and what Twilio's stand-in received say the same. Every run
has a user, a template and phones of its own.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import requests
from botocore.exceptions import EndpointConnectionError

from adbot_queue.core.zones import zone
from local import stack as stacks
from local.demo.main import StepFailed
from local.settings import Refused, Settings
from local.stack import Stack
from local.stand_ins.whatsapp import bsuid

LEADS, TAKEN, STOPS, REPLIES = 200, 5, 3, 2
PATIENCE = 420
"""Seconds until the queue must be sent; the embedded AWS runs on the machine's own cores."""

WHATSAPP_ENDS = {"delivered": "delivered", "failed": "failed", "undelivered": "failed", "sent": "sent", "read": "read"}


def play(stack: Stack, number: int = LEADS) -> dict[str, int]:
    """Play a day with a number of leads and print what happens; how many entries are in each state at the end.

    Raises:
        StepFailed: a step did not end as it must.
    """
    return _Play(stack, number).run()


class _Play:
    def __init__(self, stack: Stack, number: int) -> None:
        self._stack, self._number = stack, number
        self._run = secrets.token_hex(4)
        self._owner, self._template = f"demo-{self._run}", f"HX{secrets.token_hex(16)}"
        self._phones = [f"+49151{10_000 + secrets.randbelow(89_999):05d}{place:03d}" for place in range(number)]
        self._token = stacks.token(stack, "admin")
        self._step = 0
        hour = datetime.now(UTC).hour
        self._zone = "UTC" if 1 <= hour < 22 else "Asia/Tokyo"  # the day must not end while it is played
        self._date = datetime.now(zone(self._zone)).date().isoformat()
        self._about = {"owner_id": self._owner, "date": self._date}

    def run(self) -> dict[str, int]:
        print(f"\nA day of outreach, on {self._stack['api_url']}, of the user {self._owner}:", flush=True)
        self._set_up()
        self._import()
        self._prepare()
        self._start()
        taken = self._take()
        stopped, replied = self._answers()
        self._pause()
        self._finish()
        return self._compare(taken, stopped, replied)

    def _set_up(self) -> None:
        self._approve("approved")
        self._call("PUT", f"/leads/clients/{self._owner}", 200, json={"name": "Demo"})
        settings = {
            "name": "Demo",
            "capacity": self._number,
            "zone": self._zone,
            "week": dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "00:00-24:00"),
            "spread": "burst",
            "batch": self._number // 5,
            "steps": {"first": {"content_sid": self._template, "variables": {"1": "name", "2": "Offer"}}},
        }
        self._call("PUT", "/leads/settings", 200, params={"user_id": self._owner}, json=settings)
        self._say(f"a user who sends in batches of {self._number // 5}, and a template that WhatsApp has approved")

    def _import(self) -> None:
        lines = ["Name;Mobile;Offer;Opt-in"]
        lines += [f"Lead {number};{phone};roofs;yes" for number, phone in enumerate(self._phones)]
        lines += ["No country;0151 1234567;roofs;yes", f"Twice;{self._phones[0]};roofs;yes"]
        answer = self._call(
            "POST",
            "/leads/import",
            200,
            params={
                "owner_id": self._owner,
                "client_id": self._owner,
                "consent_declared": "true",
                "consent_source": "demo",
                "consent_proof": "demo",
            },
            data="\r\n".join(lines).encode(),
            headers={"content-type": "text/csv"},
        )
        self._check(
            answer["created"] == self._number, f"the import created {answer['created']} leads, not {self._number}"
        )
        self._say(f"{answer['created']} leads are imported; refused lines: {answer['refused']}")

    def _prepare(self) -> None:
        answer = self._call("POST", "/leads/queue/prepare", 200, json=self._about)
        self._check(answer["prepared"] == self._number, f"prepared {answer['prepared']}, skipped {answer['skipped']}")
        again = self._call("POST", "/leads/queue/prepare", 200, json=self._about)
        self._say(f"the queue of {self._date} is prepared: {answer['prepared']}; a second time: {again['prepared']}")

    def _start(self) -> None:
        answer = self._call("POST", "/leads/queue/start", 202, json=self._about)
        self._say(f"automation is {answer['state']}: {answer['counts'].get('queued')} messages to send")

    def _take(self) -> list[str]:
        """Take leads from the end of the queue over while the others are sent."""
        self._until(lambda: self._counts().get("delivered", 0) > 0, "no message was delivered")
        last = [entry for entry in self._entries() if entry["state"] == "queued"][-TAKEN:]
        answers = [self._call("POST", f"/leads/{entry['lead_id']}/take", 200) for entry in last]
        said = Counter(answer["message"] for answer in answers)
        self._say(f"{len(answers)} leads are taken over while it sends: {dict(said)}")
        return [answer["lead"]["phone"] for answer in answers if answer["message"] == "cancelled"]

    def _answers(self) -> tuple[list[str], list[str]]:
        """Let people stop, and reply without a phone."""
        wanted = STOPS + REPLIES

        def delivered() -> list[str]:
            return [entry["phone"] for entry in self._entries() if entry["state"] == "delivered"][:wanted]

        self._until(lambda: len(delivered()) == wanted, "too few messages were delivered")
        phones = delivered()
        stops, replies = phones[:STOPS], phones[STOPS:]
        for phone, text in zip(stops, ("STOP", "Abmelden", "СТОП"), strict=True):
            self._write(phone, {"text": text})
        self._until(lambda: self._confirmed(stops) == STOPS, "not every STOP is confirmed")
        for phone in replies:
            heard = self._write(phone, {"text": "Tell me more", "hides_phone": True})
            self._check(heard["from"] == f"whatsapp:{bsuid(phone)}", "the reply shows a phone")
        by_phone = {entry["phone"]: entry["lead_id"] for entry in self._entries()}
        for phone, status in [*((phone, "opted_out") for phone in stops), *((phone, "engaged") for phone in replies)]:
            lead = self._call("GET", f"/leads/{by_phone[phone]}", 200)
            self._check(lead["status"] == status, f"the lead is {lead['status']}, not {status}")
        self._say(f"{STOPS} people stop in three languages, {REPLIES} reply without a phone: the leads know it")
        self._until(lambda: self._notices() >= REPLIES, "the owner is not notified of the replies")
        self._say(f"{STOPS} STOPs are confirmed once each, and the owner of {REPLIES} leads is notified of the replies")
        written = self._call("POST", f"/leads/{by_phone[replies[0]]}/messages", 202, json={"text": "With pleasure!"})
        refused = self._call("POST", f"/leads/{by_phone[stops[0]]}/messages", 409, json={"text": "But why?"})
        self._say(
            f"a text to one who replied is on its way ({written['job_id'][:12]}…); one who stopped: {refused['detail']}"
        )
        return stops, replies

    def _pause(self) -> None:
        self._until(lambda: self._counts().get("sent", 0) >= self._number * 0.3, "the queue is not sent")
        self._approve("paused")
        self._until(lambda: self._day()["state"] == "stopped", "the run does not stop")
        day = self._day()
        self._check(day["reason"] == "template_paused", f"the run stopped because of {day['reason']}")
        self._say(
            f"WhatsApp pauses the template: the run stops by itself ({day['reason']}), {day['counts']['failed']} failed"
        )
        refused = self._call("POST", "/leads/queue/start", 409, json=self._about)
        self._say(f"a start is refused: {refused['detail']}")
        self._approve("approved")

    def _finish(self) -> None:
        self._call("POST", "/leads/queue/start", 202, json=self._about)
        self._until(lambda: self._day()["state"] == "done", "the queue is not sent to its end")
        counts = {name: number for name, number in self._counts().items() if number}
        self._say(f"the template is approved again, a second run sends the rest: {counts}")

    def _compare(self, taken: list[str], stopped: list[str], replied: list[str]) -> dict[str, int]:
        """Hold the exported file against the table and against what the stand-in received, message by message."""
        table = {entry["lead_id"]: entry for entry in self._entries()}
        url = f"{self._stack['api_url']}/leads/queue/export.csv"
        exported = requests.get(url, params=self._about, headers=self._headers(), timeout=60)
        rows = {row["lead_id"]: row for row in csv.DictReader(io.StringIO(exported.content.decode("utf-8-sig")))}
        same = {lead: (row["state"], row["sid"]) for lead, row in rows.items()}
        self._check(
            same == {lead: (entry["state"], entry["sid"] or "") for lead, entry in table.items()}
            and len(rows) == self._number,
            "the exported file is not the table",
        )
        received = {
            message["sid"]: (message["to"].removeprefix("whatsapp:"), WHATSAPP_ENDS.get(message["status"]))
            for message in self._stand_in("GET", "/messages")["items"]
            if message["content_sid"] == self._template
        }
        sent = {row["sid"]: (row["phone"].lstrip("'"), row["state"]) for row in rows.values() if row["sid"]}
        self._check(received == sent, f"Twilio received {len(received)} messages, the file has {len(sent)} sent ones")
        phones = [phone for phone, _ in received.values()]
        self._check(len(set(phones)) == len(phones), "a person got two messages")
        self._check(not set(phones) & set(taken), "a person who was taken over got a message")
        states = Counter(row["state"] for row in rows.values())
        self._say(f"file = table = what Twilio received: {len(received)} messages; {dict(states)}")
        self._check(len(stopped) == STOPS and len(replied) == REPLIES, "people are missing")
        print("Done: no person got two messages, and none after a take.\n", flush=True)
        return dict(states)

    def _confirmed(self, phones: list[str]) -> int:
        texts = [one for one in self._stand_in("GET", "/messages")["items"] if not one["content_sid"]]
        return sum(one["to"].removeprefix("whatsapp:") in phones for one in texts)

    def _notices(self) -> int:
        """How many mails to the owner wait until the replies have been unread for five minutes."""
        delayed = self._call("GET", "/queues/messages/jobs", 200, params={"state": "delayed", "limit": 100})["items"]
        return sum(job["type"] == "notify-lead-reply" for job in delayed)

    # The API and the stand-in

    def _day(self) -> dict[str, Any]:
        return self._call("GET", "/leads/queue", 200, params=self._about | {"limit": 1})

    def _counts(self) -> dict[str, int]:
        found: dict[str, int] = self._day()["counts"]
        return found

    def _entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self._call("GET", "/leads/queue", 200, params=self._about | {"limit": 100} | cursor)
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    def _approve(self, status: str) -> None:
        body = "Hello {{1}}, may we show you {{2}}? Reply STOP to end."
        template = {"name": f"demo_{self._run}", "status": status, "category": "UTILITY", "body": body}
        self._stand_in("PUT", f"/templates/{self._template}", json=template)

    def _write(self, phone: str, said: dict[str, Any]) -> dict[str, Any]:
        heard = self._stand_in("POST", f"/people/{phone}/messages", json=said)
        self._check(heard["statuses"] == [200], f"our webhook answered {heard['statuses']}")
        return heard

    def _stand_in(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        url = f"{self._stack['providers_url']}/twilio{path}"
        answer = requests.request(method, url, timeout=60, **request)
        if not answer.ok:
            raise StepFailed(f"The stand-in answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    def _call(self, method: str, path: str, wanted: int, **request: Any) -> dict[str, Any]:
        headers = self._headers() | request.pop("headers", {})
        answer = requests.request(method, self._stack["api_url"] + path, headers=headers, timeout=60, **request)
        if answer.status_code != wanted:
            raise StepFailed(f"{method} {path} answered {answer.status_code}, not {wanted}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found

    def _until(self, holds: Callable[[], bool], lacking: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if holds():
                return
            time.sleep(0.5)
        raise StepFailed(f"After {PATIENCE} s: {lacking}; the day is {json.dumps(self._day())[:600]}.")

    def _check(self, holds: bool, lacking: str) -> None:  # noqa: FBT001
        if not holds:
            raise StepFailed(f"{lacking[:1].upper()}{lacking[1:]}.")

    def _say(self, sentence: str) -> None:
        self._step += 1
        print(f"  {self._step:2}. {sentence}", flush=True)


def main() -> int:
    """Play; 1 and a sentence on stderr when a step fails."""
    try:
        play(stacks.read(stacks.path(Settings.from_environment())))
    except (requests.ConnectionError, EndpointConnectionError):
        print("The local stack does not answer: `make run` first.", file=sys.stderr)
        return 1
    except Refused as error:
        print(f"The demo failed. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
