"""nft-mint: a ticket is one token on the chain, whatever happens on the way. The chain runs Solana's own programs."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction
from urllib3.exceptions import NewConnectionError

from adbot_queue.core import telemetry
from adbot_queue.jobs import job_types
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled
from adbot_queue.jobs.retry import failure_of
from adbot_queue.tickets import token_2022
from adbot_queue.tickets.jobs import nft_mint as nft
from local.stand_ins.solana import Solana
from tests.builders.crash import Killed
from tests.builders.payments import DEFAULT_SECRETS, secret
from tests.builders.providers import Peers

SIGNING_KEY = DEFAULT_SECRETS["solana"]["signing_key"]
PAYER = Keypair.from_base58_string(SIGNING_KEY)
CARA = Keypair.from_seed(bytes([1] * 32))
SOL = 1_000_000_000
GOOD = {
    "owner": str(CARA.pubkey()),
    "name": "Ticket 7",
    "symbol": "TICKET",
    "uri": "https://example.com/tickets/7.json",
    "attributes": {"seat": "A1", "événement": "Fête"},
}


@dataclass
class Attempts:
    """Attempts at jobs, with a clock that goes on when the processor waits."""

    now: int = 1_763_769_900_000
    waits: int = 0
    on_wait: Callable[[], None] = field(default=lambda: None)

    def pause(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        self.waits += 1
        self.on_wait()

    def run(self, job: str = "job-1", *, cancelled: bool = False, cycle: int = 0, **changes: Any) -> dict[str, Any]:
        known = job_types.find("nft-mint")
        key = f"{job}-{cycle}" if cycle else job
        deadline = self.now + known.timeout_s * 1000
        context = Context(job, 1, key, deadline, lambda: self.now, lambda: cancelled, lambda _percent, _note: None)
        return known.run(known.payload.model_validate(GOOD | changes), context) or {}

    def failure(self, job: str = "job-1", **options: Any) -> tuple[str, str, float | None]:
        """Kind and sentence as the platform stores them, and the seconds asked for."""
        try:
            result = self.run(job, **options)
        except Exception as error:  # noqa: BLE001  this is the platform's own question
            failure, retry_after = failure_of(error)
            return failure.kind, failure.message, retry_after
        raise AssertionError(f"it went well: {result}")


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    made = Attempts()
    monkeypatch.setattr(nft, "pause", made.pause)
    return made


@pytest.fixture
def chain(peers: Peers) -> Solana:
    """A chain on which the payer has a SOL."""
    peers.stand_ins.solana.chain.airdrop(PAYER.pubkey(), SOL)
    return peers.stand_ins.solana


def mint_of(chain: Solana, result: dict[str, Any]) -> token_2022.Shown:
    found = chain.chain.get_account(Pubkey.from_string(result["mint"]))
    assert found is not None
    assert found.owner == token_2022.TOKEN_2022
    return token_2022.read_mint(bytes(found.data))


def tokens(chain: Solana) -> dict[str, int]:
    """How many were ever made, by mint."""
    return {key: counts["effects"] for key, counts in chain.effects.shown().items() if counts["effects"]}


def sends(chain: Solana) -> int:
    return sum(counts["requests"] for counts in chain.effects.shown().values())


def signed(chain: Solana, instructions: list[Instruction], payer: Keypair, *others: Keypair) -> Transaction:
    latest = chain.chain.latest_blockhash()
    return Transaction([payer, *others], Message.new_with_blockhash(instructions, payer.pubkey(), latest), latest)


# What is made


def test_a_ticket_is_one_immutable_token_in_its_owners_wallet(chain: Solana, attempts: Attempts) -> None:
    result = attempts.run()

    shown = mint_of(chain, result)
    assert (shown.supply, shown.decimals) == (1, 0)
    assert (shown.mint_authority, shown.freeze_authority, shown.update_authority) == (None, None, None)
    assert shown.pointer == (None, Pubkey.from_string(result["mint"]))
    assert shown.of == Pubkey.from_string(result["mint"])
    assert shown.metadata == token_2022.Metadata(GOOD["name"], GOOD["symbol"], GOOD["uri"], GOOD["attributes"])
    account = chain.chain.get_account(Pubkey.from_string(result["token_account"]))
    assert account is not None
    holder = token_2022.TokenAccount.from_bytes(bytes(account.data)[:165])
    assert (holder.owner, holder.amount, str(holder.mint)) == (CARA.pubkey(), 1, result["mint"])


def test_the_result_can_be_looked_up_on_the_chain(chain: Solana, attempts: Attempts) -> None:
    result = attempts.run()

    (landed,) = chain.landed
    assert (result["signature"], result["slot"], result["held"]) == (landed.signature, landed.slot, True)
    assert result.keys() == {"mint", "token_account", "held", "lamports", "signature", "slot"}
    assert SIGNING_KEY not in json.dumps(result)


@pytest.mark.parametrize("price", [0, 1, 999, 10_000_000])
def test_the_cost_is_what_the_payer_lost(chain: Solana, attempts: Attempts, price: int) -> None:
    before = chain.chain.get_balance(PAYER.pubkey()) or 0
    result = attempts.run(compute_unit_price=price)

    assert result["lamports"] == before - (chain.chain.get_balance(PAYER.pubkey()) or 0)
    counted = telemetry.metrics.metric_set
    assert (counted["NftsMinted"]["Value"], counted["NftLamports"]["Value"]) == ([1.0], [float(result["lamports"])])


def test_a_second_token_cannot_be_minted(chain: Solana, attempts: Attempts) -> None:
    result = attempts.run()
    mint, account = Pubkey.from_string(result["mint"]), Pubkey.from_string(result["token_account"])
    more = Instruction(
        token_2022.TOKEN_2022,
        bytes([7]) + (1).to_bytes(8, "little"),
        [AccountMeta(mint, False, True), AccountMeta(account, False, True), AccountMeta(PAYER.pubkey(), True, False)],
    )
    refused = chain.chain.send_transaction(signed(chain, [more], PAYER))

    assert "Custom(5)" in str(refused.err()), "Token-2022: the supply is fixed"
    assert mint_of(chain, result).supply == 1


def test_the_payer_may_be_the_owner(chain: Solana, attempts: Attempts) -> None:
    assert attempts.run(owner=str(PAYER.pubkey()))["held"]


def test_the_chain_accepts_the_largest_ticket_that_can_be_enqueued(chain: Solana, attempts: Attempts) -> None:
    largest = {"name": "n" * 32, "symbol": "s" * 10, "uri": "https://example.com/" + "u" * 180}
    spare = 1232 - token_2022.size(token_2022.Metadata(*largest.values(), {"k": "v" * 200}))
    fits = {"k": "v" * (200 + spare)}

    assert attempts.run(**largest, attributes=fits, compute_unit_price=1)["held"]
    with pytest.raises(ValidationError, match=r"attributes\n.*1233 bytes, the limit is 1232"):
        nft.MintNft.model_validate(GOOD | largest | {"attributes": {"k": fits["k"] + "v"}})


# Once, whatever happens


def test_the_same_job_again_is_the_same_token(chain: Solana, attempts: Attempts) -> None:
    first, again, another = attempts.run(), attempts.run(), attempts.run("job-2")

    assert first == again
    assert tokens(chain) == {first["mint"]: 1, another["mint"]: 1}
    assert sends(chain) == 2


def test_an_attempt_that_died_after_sending_is_answered_by_the_next_without_a_second_token(
    chain: Solana, attempts: Attempts
) -> None:
    def die() -> None:
        raise Killed

    attempts.on_wait = die
    with pytest.raises(Killed):
        attempts.run()
    attempts.on_wait = lambda: None
    result = attempts.run()

    assert (tokens(chain), sends(chain)) == ({result["mint"]: 1}, 1)
    assert result["signature"] == chain.landed[0].signature


@pytest.mark.parametrize("call", range(1, 8))
def test_wherever_an_attempt_dies_the_next_one_ends_with_one_token(
    chain: Solana, attempts: Attempts, peers: Peers, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    answer = peers.answer

    def dying(*asked: Any) -> Any:
        answered = answer(*asked)
        if len(peers.requests) == call:
            raise Killed
        return answered

    monkeypatch.setattr(peers, "answer", dying)
    with pytest.raises(Killed):
        attempts.run()
    result = attempts.run()

    assert result["held"]
    assert (tokens(chain), sends(chain)) == ({result["mint"]: 1}, 1)


def test_an_attempt_asks_the_node_seven_times(chain: Solana, attempts: Attempts, peers: Peers) -> None:
    attempts.run()

    assert len(peers.requests) == 7, "the test above dies after each of them"


def test_an_answer_that_was_lost_is_had_by_the_next_attempt(chain: Solana, attempts: Attempts) -> None:
    payload = {"attributes": {"note": "hang=60x1"}}

    assert attempts.failure(**payload)[:2] == ("transient", "Solana's node could not be reached (ReadTimeoutError)")
    assert attempts.run(**payload)["held"]
    assert (len(tokens(chain)), sends(chain)) == (1, 1)


def test_a_transaction_that_got_lost_is_sent_again(chain: Solana, attempts: Attempts) -> None:
    chain.before_landing = lambda: False
    sentence = "the transaction was sent and not confirmed in time; the next attempt looks for it"
    assert attempts.failure()[:2] == ("transient", sentence)
    assert attempts.waits < 20, "an attempt ends before its time does"

    chain.before_landing = lambda: True
    assert attempts.run()["held"]
    assert (list(tokens(chain).values()), sends(chain)) == ([1], 2)


def test_a_transaction_that_gets_through_while_the_next_one_is_on_its_way_makes_that_one_fail(
    chain: Solana, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Any] = []
    with monkeypatch.context() as slow:
        slow.setattr(chain, "_land", lambda *arguments: late.extend(arguments))
        attempts.failure()

    def overtaken() -> bool:
        chain._land(*late)
        return True

    chain.before_landing = overtaken
    sentence = "the mint is there already; the next attempt answers with it"
    # The price represents the later blockhash, of which this chain has one at a time.
    assert attempts.failure(compute_unit_price=1)[:2] == ("transient", sentence)
    result = attempts.run()

    assert tokens(chain) == {result["mint"]: 1}
    assert [landed.error for landed in chain.landed] == [None, {"InstructionError": [2, {"Custom": 0}]}]
    assert result["signature"] == chain.landed[0].signature


def test_a_node_that_does_not_show_the_mint_yet_refuses_it_a_second_time(
    chain: Solana, attempts: Attempts, peers: Peers
) -> None:
    attempts.run()
    chain.chain.expire_blockhash()
    peers.instead.append(lambda: (200, {"result": {"value": [None, None]}}))

    assert attempts.failure()[:2] == ("transient", "the mint is there already; the next attempt answers with it")
    assert list(tokens(chain).values()) == [1]


def test_a_job_that_was_retried_after_a_definite_no_still_means_the_same_token(
    chain: Solana, attempts: Attempts
) -> None:
    assert attempts.run() == attempts.run(cycle=1)
    assert list(tokens(chain).values()) == [1]


def test_with_another_signing_key_the_token_is_another(chain: Solana, attempts: Attempts) -> None:
    other = Keypair.from_seed(bytes([9] * 32))
    chain.chain.airdrop(other.pubkey(), SOL)
    first = attempts.run()
    with secret("solana", json.dumps(DEFAULT_SECRETS["solana"] | {"signing_key": str(other)})):
        second = attempts.run()

    assert first["mint"] != second["mint"]


def test_nothing_is_sent_for_a_job_that_was_cancelled(chain: Solana, attempts: Attempts) -> None:
    with pytest.raises(Cancelled):
        attempts.run(cancelled=True)

    assert sends(chain) == 0


# Finality


def test_it_is_done_when_no_fork_can_undo_it(chain: Solana, attempts: Attempts) -> None:
    chain.final_after = 6
    attempts.run()

    assert attempts.waits == 6


def test_a_token_that_is_not_final_in_time_is_looked_at_later_at_no_attempts_cost(
    chain: Solana, attempts: Attempts
) -> None:
    chain.final_after = 60
    assert attempts.failure() == ("snoozed", "the transaction is confirmed and not final yet", 15)
    assert attempts.failure() == ("snoozed", "the transaction is confirmed and not final yet", 15)

    chain.final_after = 0
    assert attempts.run()["held"]
    assert (len(tokens(chain)), sends(chain)) == (1, 1)


def test_another_node_that_is_behind_is_given_time(chain: Solana, attempts: Attempts, peers: Peers) -> None:
    attempts.run()
    account = chain.chain.get_account(PAYER.pubkey())
    assert account is not None
    there = {"owner": str(account.owner), "lamports": 1, "data": ["", "base64"]}
    peers.instead += [
        lambda: (200, {"result": {"value": [there, None]}}),
        lambda: (200, {"result": []}),
        lambda: (200, {"result": {"value": [None, None]}}),
    ]

    assert attempts.failure() == ("snoozed", "the mint is not final yet", 15)


@pytest.mark.parametrize("answer", [{"result": []}, {"error": {"code": -32011, "message": "no history"}}])
def test_a_node_without_a_memory_answers_without_the_transaction(
    chain: Solana, attempts: Attempts, peers: Peers, answer: dict[str, Any]
) -> None:
    first = attempts.run()
    seen = chain._account(first["mint"], {"encoding": "base64"})
    peers.instead += [lambda: (200, {"result": {"value": [seen, None]}}), lambda: (200, answer)]

    assert attempts.run() == first | {"signature": None, "slot": None}


# What is there already


def test_a_ticket_that_was_handed_on_or_torn_up_was_minted_all_the_same(chain: Solana, attempts: Attempts) -> None:
    result = attempts.run()
    mint, account = Pubkey.from_string(result["mint"]), Pubkey.from_string(result["token_account"])
    burn = Instruction(
        token_2022.TOKEN_2022,
        bytes([8]) + (1).to_bytes(8, "little"),
        [AccountMeta(account, False, True), AccountMeta(mint, False, True), AccountMeta(CARA.pubkey(), True, False)],
    )
    chain.chain.send_transaction(signed(chain, [burn], PAYER, CARA))

    assert mint_of(chain, result).supply == 0
    assert attempts.run() == result | {"held": False}
    assert list(tokens(chain).values()) == [1]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"name": "Ticket 8"}, "name"),
        ({"symbol": "T", "uri": "ar://abc"}, "symbol, uri"),
        ({"attributes": {"seat": "A2"}}, "attributes"),
    ],
)
def test_a_payload_that_was_changed_after_the_token_was_made_is_refused_by_its_fields(
    chain: Solana, attempts: Attempts, changes: dict[str, Any], fields: str
) -> None:
    mint = attempts.run()["mint"]

    assert attempts.failure(**changes)[:2] == ("permanent", f"the mint {mint} was made with other values: {fields}")
    assert list(tokens(chain).values()) == [1]


def test_another_owner_after_the_token_was_made_is_refused(chain: Solana, attempts: Attempts) -> None:
    mint = attempts.run()["mint"]
    kind, message, _ = attempts.failure(owner=str(Keypair().pubkey()))

    sentence = f"the mint {mint} was made, and this owner has no account for it: moved on, or another's"
    assert (kind, message) == ("permanent", sentence)
    assert list(tokens(chain).values()) == [1]


def test_an_address_taken_by_another_is_reported_as_taken(chain: Solana, attempts: Attempts) -> None:
    mint = nft._plan(nft.MintNft.model_validate(GOOD), "job-1").parties.mint
    gift = TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=mint, lamports=SOL // 10)
    chain.chain.send_transaction(signed(chain, [transfer(gift)], PAYER))
    kind, message, _ = attempts.failure()

    assert (kind, message) == (
        "permanent",
        f"the address {mint} is taken by what is no such token: enqueue another job",
    )
    assert sends(chain) == 0


# Lamports


@pytest.mark.parametrize(
    "lamports",
    [
        0,  # never funded
        900_000,  # enough for the fee
        4_000_000,  # and for the mint
        6_000_000,  # and nearly for the owner's account
    ],
)
def test_a_payer_without_lamports_is_the_operators_to_fund_and_the_job_waits_for_it(
    peers: Peers, attempts: Attempts, lamports: int
) -> None:
    chain = peers.stand_ins.solana
    if lamports:
        chain.chain.airdrop(PAYER.pubkey(), lamports)
    sentence = f"the payer {PAYER.pubkey()} has too few lamports: fund it"

    assert attempts.failure() == ("transient", sentence, 300)
    assert "NftsUnfunded" in telemetry.metrics.metric_set
    assert tokens(chain) == {}

    chain.chain.expire_blockhash()
    chain.chain.airdrop(PAYER.pubkey(), SOL)
    assert attempts.run()["held"]


def test_lamports_spent_between_simulation_and_block_are_reported_the_same_way(
    chain: Solana, attempts: Attempts
) -> None:
    def spend() -> bool:
        chain.chain.set_account(PAYER.pubkey(), Account(2_000_000, b"", Pubkey.default()))
        return True

    chain.before_landing = spend

    assert attempts.failure()[1:] == (f"the payer {PAYER.pubkey()} has too few lamports: fund it", 300)
    assert tokens(chain) == {}


# The chain's and the node's refusals


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"InstructionError": [4, "InvalidInstructionData"]}, "permanent", "metadata, InvalidInstructionData"),
        ({"InstructionError": [9, {"Custom": 14}]}, "permanent", "mint one, Custom 14"),
        ({"InstructionError": [8, {"Custom": 0}]}, "permanent", "create token account, Custom 0"),
        ({"InstructionError": [99, {"Custom": 1}]}, "permanent", "99, Custom 1"),
        ("BlockhashNotFound", "transient", "BlockhashNotFound"),
        ("AccountInUse", "transient", "AccountInUse"),
        ({"DuplicateInstruction": 1}, "transient", "DuplicateInstruction"),
        ("InsufficientFundsForFee", "transient", "too few lamports"),
        ({"InsufficientFundsForRent": {"account_index": 0}}, "transient", "too few lamports"),
    ],
)
def test_refusals_of_the_chain_are_classified_by_code_and_step(
    chain: Solana, attempts: Attempts, peers: Peers, error: Any, kind: str, message: str
) -> None:
    failing_send(peers, {"code": -32002, "message": "simulation failed: secrets", "data": {"err": error, "logs": []}})
    found = attempts.failure()

    assert found[0] == kind
    assert message in found[1]
    assert "secrets" not in found[1]


def failing_send(peers: Peers, error: dict[str, Any], status: int = 200) -> None:
    """The fourth request of an attempt is the one that sends."""
    answers = [
        {"result": {"value": [None, None]}},
        {"result": 3_000_000},
        {"result": {"value": {"blockhash": str(peers.stand_ins.solana.chain.latest_blockhash())}}},
        {"error": error},
    ]
    peers.instead += [lambda answer=answer: (200, answer) for answer in answers[:-1]]
    peers.instead.append(lambda: (status, answers[-1]))


@pytest.mark.parametrize(
    ("wish", "message", "seconds"),
    [
        ("fail=503x1", "Solana's node refused sendTransaction (HTTP 503)", None),
        ("fail=413x1", "Solana's node refused sendTransaction (HTTP 413)", None),
    ],
)
def test_a_node_that_is_busy_is_asked_again(
    chain: Solana, attempts: Attempts, wish: str, message: str, seconds: float | None
) -> None:
    payload = {"attributes": {"note": wish}}

    assert attempts.failure(**payload) == ("transient", message, seconds)
    assert attempts.run(**payload)["held"]
    assert list(tokens(chain).values()) == [1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": {"code": -32002, "message": "odd"}}, "refused getMultipleAccounts (JSON-RPC -32002)"),
        ({"error": {"code": 1234567, "message": "new"}}, "refused getMultipleAccounts (JSON-RPC 1234567)"),
        ({"error": "no"}, "answered getMultipleAccounts with something else"),
        ({"nothing": 1}, "answered getMultipleAccounts with something else"),
        ([], "answered getMultipleAccounts with something else"),
    ],
)
def test_a_node_that_says_what_we_do_not_know_is_asked_again(
    chain: Solana, attempts: Attempts, peers: Peers, answer: Any, message: str
) -> None:
    peers.instead.append(lambda: (200, answer))

    assert attempts.failure()[:2] == ("transient", f"Solana's node {message}")
    assert attempts.run()["held"]


def test_a_node_that_is_down_is_retried_and_its_address_is_not_shown(
    chain: Solana, attempts: Attempts, peers: Peers
) -> None:
    def no_route() -> Any:
        raise NewConnectionError(None, "refused by https://node.test/?api-key=secret")  # type: ignore[arg-type]

    peers.instead.append(no_route)

    assert attempts.failure() == ("transient", "Solana's node could not be reached (NewConnectionError)", None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_node_that_does_not_accept_us_is_closed_and_names_the_setting(
    chain: Solana, attempts: Attempts, peers: Peers, status: int
) -> None:
    peers.instead.append(lambda: (status, {}))
    kind, message, _ = attempts.failure()

    assert kind == "provider_closed"
    assert "SolanaSecretArn" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"signing_key": ""},
        {"signing_key": "nonsense"},
        {"signing_key": str(CARA.pubkey())},
        {"signing_key": SIGNING_KEY[:-1] + "2"},
        {"signing_key": "0" + SIGNING_KEY[1:]},
    ],
)
def test_an_invalid_key_fails_the_job_names_the_setting_and_is_not_shown(
    chain: Solana, attempts: Attempts, changes: dict[str, str]
) -> None:
    with secret("solana", json.dumps(DEFAULT_SECRETS["solana"] | changes)):
        kind, message, _ = attempts.failure()

    assert kind == "permanent"
    assert "SolanaSecretArn" in message
    assert not changes.get("signing_key") or changes["signing_key"] not in message
    assert sends(chain) == 0


def test_calls_end_before_the_job_must(chain: Solana, attempts: Attempts, peers: Peers) -> None:
    attempts.run()

    assert set(peers.timeouts) == {5.0}


# What is refused before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner": "cara"}, "owner"),
        ({"owner": "0" * 40}, "owner"),
        ({"owner": "1" * 32}, "owner"),  # the system program
        ({"owner": "FAe4sisG95oZ42w7buUn5qEE4TAnfTTFPiguZUHmhiF1"}, "owner"),  # off the curve
        ({"owner": SIGNING_KEY}, "owner"),
        ({"name": ""}, "name"),
        ({"name": "n" * 33}, "name"),
        ({"name": "é" * 17}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"symbol": "s" * 11}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"uri": "http://example.com/7.json"}, "uri"),
        ({"uri": "https://"}, "uri"),
        ({"uri": "https://cara@example.com/7.json"}, "uri"),
        ({"uri": "data:application/json,{}"}, "uri"),
        ({"uri": "https://example.com/a b"}, "uri"),
        ({"uri": "https://example.com/" + "u" * 181}, "uri"),
        ({"attributes": {"k": "v" * 500}}, "attributes"),
        ({"attributes": {"name": "x"}}, "attributes"),
        ({"attributes": {str(index): "v" for index in range(9)}}, "attributes"),
        ({"attributes": {"": "v"}}, "attributes"),
        ({"attributes": {"k": 1}}, "attributes"),
        ({"compute_unit_price": -1}, "compute_unit_price"),
        ({"compute_unit_price": 10_000_001}, "compute_unit_price"),
        ({"decimals": 2}, "decimals"),
    ],
)
def test_a_ticket_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        nft.MintNft.model_validate(GOOD | changes)

    assert [error["loc"][0] for error in refused.value.errors()] == [field]


@pytest.mark.parametrize("uri", ["ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "ar://x-1_y"])
def test_the_description_may_be_on_ipfs_or_arweave(uri: str) -> None:
    assert nft.MintNft.model_validate(GOOD | {"uri": uri}).uri == uri


# The stand-in


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("nonsense", -32700),
        ("[]", -32600),
        ('{"jsonrpc": "2.0", "id": 1, "method": "mint"}', -32601),
        ('{"jsonrpc": "2.0", "id": 1, "method": "getBalance", "params": []}', -32602),
        ('{"jsonrpc": "2.0", "id": 1, "method": "getBalance", "params": ["cara"]}', -32602),
        ('{"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": ["AAAA"]}', -32602),
        (
            '{"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": ["AAAA", {"encoding": "base64"}]}',
            -32602,
        ),
    ],
)
def test_the_stand_in_refuses_what_a_node_would(body: str, code: int) -> None:
    answer = Solana().respond("POST", "/", {"content-type": "application/json"}, body)

    assert answer.status == 200
    assert answer.body["error"]["code"] == code


def test_the_stand_in_takes_json_that_is_posted_and_nothing_else() -> None:
    node = Solana()

    assert node.respond("GET", "/", {}, "").status == 405
    assert node.respond("POST", "/", {"content-type": "text/plain"}, "{}").status == 415


def test_the_stand_in_takes_no_transaction_that_is_too_large_or_not_signed(chain: Solana) -> None:
    ask = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction"}
    gift = transfer(TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=CARA.pubkey(), lamports=SOL // 10))
    good = bytes(signed(chain, [gift], PAYER))

    def sent(raw: bytes) -> dict[str, Any]:
        params = [b64encode(raw).decode(), {"encoding": "base64"}]
        body = json.dumps(ask | {"params": params})
        answered: dict[str, Any] = chain.respond("POST", "/", {"content-type": "application/json"}, body).body
        return answered

    assert sent(good + bytes(1232))["error"]["code"] == -32602
    assert sent(good[:1] + bytes(64) + good[65:])["error"]["code"] == -32003
    assert chain.chain.get_balance(CARA.pubkey()) is None
    assert len(b64decode(b64encode(good))) == len(good)
    assert "result" in sent(good)
    assert chain.chain.get_balance(CARA.pubkey()) == SOL // 10
