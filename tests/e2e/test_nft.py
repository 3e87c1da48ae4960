"""A ticket becomes a token: over HTTP, on the money queue's worker as it is deployed, on a chain that can be read."""

from __future__ import annotations

import uuid
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import requests
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from adbot_queue.tickets import token_2022
from local.stack import Stack
from tests.e2e.conftest import Api

ENDED = {"completed", "failed", "dead", "cancelled"}


def ticket(**attributes: str) -> dict[str, Any]:
    """A ticket that no other test has."""
    return {
        "type": "nft-mint",
        "payload": {
            "owner": str(Keypair().pubkey()),
            "name": "Ticket 7",
            "symbol": "TICKET",
            "uri": "https://example.com/tickets/7.json",
            "attributes": {"nonce": uuid.uuid4().hex, **attributes},
        },
    }


def ended(api: Api, eventually: Callable[..., Any], job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = api("viewer", "GET", f"/jobs/{job_id}").json()
        return job if job["state"] in ENDED else None

    found: dict[str, Any] = eventually(look, 120)
    return found


def on_chain(stack: Stack, address: str) -> bytes:
    ask = {"jsonrpc": "2.0", "id": 1, "method": "getAccountInfo", "params": [address, {"encoding": "base64"}]}
    answer = requests.post(f"{stack['providers_url']}/solana/", json=ask, timeout=60).json()
    return b64decode(answer["result"]["value"]["data"][0])


def effects(stack: Stack, mint: str) -> dict[str, int]:
    shown: dict[str, int] = requests.get(f"{stack['providers_url']}/_effects", timeout=60).json()["solana"][mint]
    return shown


def test_a_ticket_is_minted_once_and_the_chain_shows_it(api: Api, stack: Stack, eventually: Callable[..., Any]) -> None:
    asked = ticket(seat="A1")
    answer = api("admin", "POST", "/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    assert api("admin", "POST", "/jobs", json=asked).json()["job_id"] == answer.json()["job_id"]

    job = ended(api, eventually, answer.json()["job_id"])
    assert job["state"] == "completed", job
    shown = token_2022.read_mint(on_chain(stack, job["result"]["mint"]))
    assert (shown.supply, shown.decimals, shown.mint_authority) == (1, 0, None)
    assert shown.metadata.attributes == asked["payload"]["attributes"]
    account = token_2022.TokenAccount.from_bytes(on_chain(stack, job["result"]["token_account"])[:165])
    assert (account.owner, account.amount) == (Pubkey.from_string(asked["payload"]["owner"]), 1)
    assert effects(stack, job["result"]["mint"]) == {"requests": 1, "effects": 1}


def test_a_node_that_was_busy_makes_it_later_at_no_attempts_cost(
    api: Api, stack: Stack, eventually: Callable[..., Any]
) -> None:
    job = ended(api, eventually, api("admin", "POST", "/jobs", json=ticket(note="fail=429x1")).json()["job_id"])

    assert (job["state"], job["attempt"]) == ("completed", 1)
    assert effects(stack, job["result"]["mint"]) == {"requests": 2, "effects": 1}


def test_a_ticket_without_an_owner_is_refused_by_its_field(api: Api) -> None:
    asked = ticket()
    asked["payload"]["owner"] = "FAe4sisG95oZ42w7buUn5qEE4TAnfTTFPiguZUHmhiF1"
    answer = api("admin", "POST", "/jobs", json=asked)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["payload.owner"]
