"""One order's ticket as one workflow on the embedded AWS: paid, minted, mailed, counted.

At every step the worker's process is killed once, at the worst moment: the provider has done what it was asked, and its
answer is on the way. The lease runs out, the sweeper finds the job, another attempt follows; and there is still one
payment, one token, one mail, one event, which the providers' stand-ins tell.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from adbot_queue.jobs import job_types
from local.stack import Stack
from tests.e2e.conftest import Api, eventually

pytestmark = pytest.mark.timeout(900)

Aws = Callable[[str], Any]

MINTS = job_types.get("nft-mint") is not None
LATE = "hang=8x1"  # the first request is done at once and answered after 8 s: time to kill the waiting worker
STEP_S = 180  # the money queue's longest lease is about a minute; then there is a retry's delay, and the next hop


@dataclass(frozen=True)
class Part:
    """A step of the ticket, and where its effect is counted."""

    id: str
    provider: str
    worker: str


PARTS = [
    Part("pay", "stripe", "MoneyWorker"),
    *([Part("mint", "solana", "MoneyWorker")] if MINTS else []),
    Part("mail", "sendgrid", "EmailWorker"),
    Part("track", "segment", "AnalyticsWorker"),
]


def ticket(wallet: str, late: str = LATE) -> dict[str, Any]:
    """The workflow of one order."""
    order = uuid.uuid4().hex[:12]
    paid = "${steps.pay.result.payment_intent}"
    token = "${steps.mint.result.mint}" if MINTS else "none"
    mint = {
        "id": "mint",
        "type": "nft-mint",
        "payload": {
            "owner": "${input.wallet}",
            "name": "Ticket ${input.order}",
            "symbol": "TICKET",
            "uri": "https://tickets.example.com/${input.order}.json",
            "attributes": {"payment": paid, "note": late},
        },
    }
    steps = [
        {
            "id": "pay",
            "type": "payment-process",
            "payload": {
                "amount": "${input.amount}",
                "currency": "eur",
                "payment_method": "pm_card_visa",
                "metadata": {"order": "${input.order}", "note": late},
            },
        },
        {"id": "paid", "set_status": "paid by " + paid},
        *([mint] if MINTS else []),
        {
            "id": "mail",
            "type": "send-email",
            "payload": {
                "to": "cara@example.com",
                "subject": f"Your ticket ${{input.order}} {late}",
                "text": f"Order ${{input.order}}, payment {paid}, token {token}.",
            },
        },
        {
            "id": "track",
            "type": "analytics-track",
            "payload": {
                "event": "Ticket Sold",
                "user_id": "cara",
                "properties": {"order": "${input.order}", "amount": "${input.amount}", "note": late},
            },
        },
        {"id": "done", "set_status": "done"},
    ]
    given = {"order": order, "amount": 4900, "wallet": wallet}
    return {"type": "run-workflow", "payload": {"name": "ticket", "input": given, "steps": steps}}


@dataclass
class Box:
    """The stack, as far as a ticket goes through it."""

    api: Api
    aws: Aws
    stack: Stack
    providers: str = ""
    minted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        lambdas = self.aws("lambda")
        pages = lambdas.get_paginator("list_functions").paginate()
        self.functions = {one["FunctionName"]: one for page in pages for one in page["Functions"]}
        variables = self.functions[self.named("MoneyWorker")]["Environment"]["Variables"]
        self.providers = json.loads(variables["PROVIDERS"])["stripe"]["base"].removesuffix("/stripe")
        self.minted = set(self.effects().get("solana", ()))

    def named(self, part: str) -> str:
        """The function that has this in its name."""
        return next(name for name in self.functions if part in name)

    def effects(self) -> dict[str, dict[str, dict[str, int]]]:
        """By provider and key: requests and effects."""
        shown: dict[str, dict[str, dict[str, int]]] = requests.get(f"{self.providers}/_effects", timeout=60).json()
        return shown

    def happened(self, flow: str, part: Part) -> int:
        """How often the provider did what a step is for. Its key is the step's job; a chain knows new tokens only."""
        reported, job = self.effects()[part.provider], self.step(flow, part.id).get("job_id")
        keys = set(reported) - self.minted if part.provider == "solana" else {job} & set(reported)
        return sum(reported[key]["effects"] for key in keys)

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api("viewer", "GET", f"/jobs/{job_id}").json()
        return found

    def step(self, flow: str, name: str) -> dict[str, Any]:
        """Return the state of a step; empty before the workflow's first run."""
        return next((step for step in self.job(flow)["steps"] if step["step_id"] == name), {})

    def sweep(self) -> None:
        """What the schedule does every minute."""
        answer = self.aws("lambda").invoke(FunctionName=self.named("SweepJobs"), Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()

    def kill(self, worker: str) -> int:
        """End all processes of a worker of this stack, as `kill -9` does; how many there were."""
        port = urlsplit(self.stack["aws_endpoint"]).port
        mine = {f"GATEWAY_PORT={port}".encode(), f"AWS_LAMBDA_FUNCTION_NAME={self.named(worker)}".encode()}
        killed = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mine <= set((process / "environ").read_bytes().split(b"\0")):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
        return killed


@pytest.fixture
def box(api: Api, aws: Aws, stack: Stack) -> Box:
    return Box(api, aws, stack)


@pytest.fixture
def wallet(box: Box, aws: Aws, stack: Stack) -> Iterator[str]:
    """A customer's wallet, on a chain on which the payer has something to pay with."""
    if not MINTS:
        yield ""
        return
    from solders.keypair import Keypair  # noqa: PLC0415

    payer, secrets = Keypair(), aws("secretsmanager")
    name = stack["outputs"]["SolanaSecretId"]
    held = {"signing_key": str(payer), "rpc_url": f"{box.providers}/solana/"}
    before = secrets.get_secret_value(SecretId=name)["SecretString"]
    secrets.put_secret_value(SecretId=name, SecretString=json.dumps(held))
    funded = {"jsonrpc": "2.0", "id": 1, "method": "requestAirdrop", "params": [str(payer.pubkey()), 10_000_000_000]}
    assert "result" in requests.post(held["rpc_url"], json=funded, timeout=60).json()
    yield str(Keypair().pubkey())
    secrets.put_secret_value(SecretId=name, SecretString=before)


def enqueued(api: Api, body: dict[str, Any]) -> str:
    answer = api("admin", "POST", "/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def test_what_is_wrong_with_a_ticket_is_named_before_it_runs(api: Api, wallet: str) -> None:
    body = ticket(wallet)
    body["payload"]["steps"][0]["payload"]["amount"] = "${input.amuont}"

    answer = api("admin", "POST", "/jobs", json=body)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["payload.steps.0.payload.amount"]


def test_a_ticket_is_paid_minted_mailed_and_counted(api: Api, box: Box, wallet: str) -> None:
    flow = enqueued(api, ticket(wallet, late=""))

    eventually(lambda: box.job(flow)["state"] == "completed", 90)

    assert box.job(flow)["status"] == "done"
    for part in PARTS:
        assert box.happened(flow, part) == 1, part.id


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker's process in /proc")
def test_with_its_worker_killed_at_every_step_a_ticket_is_paid_minted_mailed_and_counted_once(
    api: Api, box: Box, wallet: str
) -> None:
    flow = enqueued(api, ticket(wallet))

    for part in PARTS:
        eventually(lambda part=part: box.happened(flow, part), STEP_S)
        assert box.kill(part.worker)
        assert box.step(flow, part.id)["state"] == "running"

        def over(part: Part = part) -> bool:
            box.sweep()
            return box.step(flow, part.id)["state"] != "running"

        eventually(over, STEP_S, every=3)

    eventually(lambda: box.job(flow)["state"] not in {"delayed", "waiting", "active"}, STEP_S)
    done = box.job(flow)
    assert (done["state"], done["status"]) == ("completed", "done")
    for part in PARTS:
        assert box.happened(flow, part) == 1, part.id
        job = box.job(box.step(flow, part.id)["job_id"])
        assert [attempt["error"] and attempt["error"]["kind"] for attempt in job["attempts"]][:1] == ["stalled"]
        assert job["attempts"][-1]["error"] is None
    mails = requests.get(f"{box.providers}/sendgrid/messages", timeout=60).json()["items"]
    paid = box.job(box.step(flow, "pay")["job_id"])["result"]["payment_intent"]
    assert sum(paid in json.dumps(mail) for mail in mails) == 1
