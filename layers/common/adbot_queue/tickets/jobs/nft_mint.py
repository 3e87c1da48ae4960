"""`nft-mint`: one ticket as a Solana token (Token-2022): exactly one, with its metadata in the mint itself.

The mint's key is derived from the signing key and the job's id, so every attempt at a job means the same address. The
chain lets a mint be created there once, in one transaction with all that belongs to it: nothing is ever half done, and
a duplicate fails. Each attempt looks there first. A retried job keeps its address even after a definite refusal or with
another payload, unlike its idempotency key: a job makes at most one token.

The gap: another signing key means another address. Change it when no such job is open or waits for a person.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Snooze, TransientError
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import MIN_S, calling, verdict
from adbot_queue.providers import solana

if TYPE_CHECKING:
    from solders.keypair import Keypair

    from adbot_queue.tickets.token_2022 import Metadata, Parties, Step

MAX_BYTES = {"name": 32, "symbol": 10, "uri": 200}
"""In UTF-8. The metadata interface has no limits of its own; wallets know those of Metaplex' token metadata."""

MAX_ATTRIBUTES = 8
MAX_TRANSACTION = 1232
"""Bytes that the network takes in one packet: https://solana.com/docs/core/transactions"""

MAX_PRICE = 10_000_000

PAUSE_S = 1.0
"""Between two looks at a transaction; a slot takes 0.4 s."""

FINAL_S = 15
"""After which a confirmed transaction is final as a rule: 32 slots."""

FUNDS_S = 300
"""When a payer without lamports is looked at again: a queue's ten attempts give a person most of an hour."""

FEE = 5000
"""Lamports for each of the two signatures."""

# Refusals of the chain that say no more than that the payer has too little.
UNFUNDED = frozenset({"AccountNotFound", "InsufficientFundsForFee", "InsufficientFundsForRent"})
# Errors of the system program (SystemError in https://docs.rs/solana-system-interface).
IN_USE, TOO_FEW = {"Custom": 0}, {"Custom": 1}
NO_HISTORY = -32011

pause = time.sleep


def _wallet(text: str) -> str:
    from solders.pubkey import Pubkey  # noqa: PLC0415

    try:
        key = Pubkey.from_string(text)
    except ValueError:
        raise ValueError("must be a wallet's address: base58 of 32 bytes") from None
    if not key.is_on_curve() or key == Pubkey.default():
        raise ValueError("must be a wallet's address: this one has no private key")
    return text


def _short(text: str, info: ValidationInfo) -> str:
    limit = MAX_BYTES[str(info.field_name)]
    if len(text.encode()) > limit:
        raise ValueError(f"may have {limit} bytes in UTF-8, has {len(text.encode())}")
    return text


def _uri(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"https", "ipfs", "ar"} or not parts.netloc or "@" in parts.netloc:
        raise ValueError("must be an https, ipfs or ar URI")
    return text


def _fitting(attributes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Refused when they make the transaction too large; nothing else can."""
    if taken := attributes.keys() & MAX_BYTES.keys():
        raise ValueError(f"must not be named {', '.join(sorted(taken))}: these are fields of their own")
    if not info.data.keys() >= MAX_BYTES.keys():
        return attributes  # one of the others is refused already
    from adbot_queue.tickets.token_2022 import Metadata, size  # noqa: PLC0415

    found = size(Metadata(**{name: info.data[name] for name in MAX_BYTES}, attributes=attributes))
    if found > MAX_TRANSACTION:
        raise ValueError(f"make a transaction of {found} bytes, the limit is {MAX_TRANSACTION}")
    return attributes


Text = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="text without control characters"),
    AfterValidator(_short),
]
Address = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[!-~]+$", description="an address without spaces"),
    AfterValidator(_uri),
]
Key = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$", description="text without control characters"),
]
Value = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class MintNft(Input):
    """A token to mint. It cannot be changed afterwards.

    Without an idempotency key two jobs of the same fields are one: give each ticket its number.
    """

    owner: Annotated[str, Field(min_length=32, max_length=44), AfterValidator(_wallet)] = Field(
        description="a wallet's address"
    )
    name: Text = Field(description="at most 32 bytes in UTF-8")
    symbol: Text = Field(description="at most 10 bytes in UTF-8")
    uri: Address = Field(description="where its description is: https, ipfs or ar")
    attributes: Annotated[dict[Key, Value], AfterValidator(_fitting)] = Field(
        default_factory=dict, max_length=MAX_ATTRIBUTES, description="what else it says of itself"
    )
    compute_unit_price: int = Field(
        default=0, ge=0, le=MAX_PRICE, description="micro-lamports a compute unit, to be served first when many ask"
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that a job means on the chain."""

    payer: Keypair
    key: Keypair
    parties: Parties
    metadata: Metadata
    price: int

    @property
    def mint(self) -> str:
        """The address of the token's mint."""
        return str(self.parties.mint)

    def steps(self, lamports: int = 0) -> list[Step]:
        """As `token_2022.steps`."""
        from adbot_queue.tickets import token_2022  # noqa: PLC0415

        return token_2022.steps(self.parties, self.metadata, lamports, self.price)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A transaction, and how far it has got as far as the node knows."""

    signature: str
    slot: int | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class _Account:
    """An account of the chain: whose program it is, what it holds."""

    program: str
    lamports: int
    data: bytes


def mint(payload: MintNft, context: Context) -> dict[str, Any]:
    """Make the token, unless it is there already, and wait until no fork can undo it.

    Returns:
        mint, token_account: addresses. signature, slot: of the transaction that made them, None when the node does not
        remember it. held: whether the token is still where it was minted to. lamports: what it cost.

    Raises:
        PermanentError: it would fail for what was asked, or something else is there. TransientError: the node is busy,
            behind or was not reached; the transaction did not get through; the payer has too little. Snooze: it is
            made, and not final yet. NotConfigured, Unavailable: as `solana.call`.
    """
    plan = _plan(payload, context.job_id)
    there, _ = _look(plan, "confirmed", context)
    if there is None:
        context.check_cancelled()
        sent: _Sent | None = _send(plan, context)
    else:
        sent = _origin(plan, context)
    sent = sent and _until_final(sent, plan, context)
    there, account = _look(plan, "finalized", context)
    if there is None:
        raise Snooze("the mint is not final yet", FINAL_S)
    result = _result(plan, there, account)
    telemetry.count("NftsMinted")
    telemetry.count("NftLamports", result["lamports"])
    logger.info("minted", mint=plan.mint, signature=sent and sent.signature)
    return {**result, "signature": sent and sent.signature, "slot": sent and sent.slot}


def _plan(payload: MintNft, job_id: str) -> _Plan:
    payer = solana.signer()
    from solders.keypair import Keypair  # noqa: PLC0415
    from solders.pubkey import Pubkey  # noqa: PLC0415

    from adbot_queue.tickets.token_2022 import Metadata, Parties  # noqa: PLC0415

    key = Keypair.from_seed(hmac.digest(payer.secret(), f"nft-mint:{job_id}".encode(), hashlib.sha256))
    parties = Parties(payer.pubkey(), key.pubkey(), Pubkey.from_string(payload.owner))
    metadata = Metadata(payload.name, payload.symbol, payload.uri, payload.attributes)
    return _Plan(payer, key, parties, metadata, payload.compute_unit_price)


def _ask(method: str, params: list[Any], context: Context) -> Any:
    try:
        with calling("solana", solana.TIMEOUT_S, context) as seconds:
            return solana.call(method, params, seconds)
    except ProviderFailed as error:
        if isinstance(error, solana.SimulationFailed):
            raise
        raise verdict(error) from error


def _look(plan: _Plan, commitment: str, context: Context) -> tuple[_Account | None, _Account | None]:
    """The mint and the owner's account for it."""
    addresses = [plan.mint, str(plan.parties.account)]
    answer = _ask("getMultipleAccounts", [addresses, {"encoding": "base64", "commitment": commitment}], context)
    found = [
        account and _Account(account["owner"], account["lamports"], b64decode(account["data"][0]))
        for account in answer["value"]
    ]
    return found[0], found[1]


def _send(plan: _Plan, context: Context) -> _Sent:
    from solders.hash import Hash  # noqa: PLC0415
    from solders.message import Message  # noqa: PLC0415
    from solders.transaction import Transaction  # noqa: PLC0415

    rent = _ask("getMinimumBalanceForRentExemption", [plan.metadata.space()], context)
    latest = _ask("getLatestBlockhash", [{"commitment": "confirmed"}], context)
    blockhash = Hash.from_string(latest["value"]["blockhash"])
    instructions = [instruction for _, instruction in plan.steps(rent)]
    message = Message.new_with_blockhash(instructions, plan.parties.payer, blockhash)
    transaction = Transaction([plan.payer, plan.key], message, blockhash)
    encoded = b64encode(bytes(transaction)).decode()
    try:
        _ask("sendTransaction", [encoded, {"encoding": "base64", "preflightCommitment": "confirmed"}], context)
    except solana.SimulationFailed as error:
        raise _refusal(error.extra["err"], plan) from error
    return _Sent(str(transaction.signatures[0]))


def _origin(plan: _Plan, context: Context) -> _Sent | None:
    """The transaction that made the mint: the first that went well, as far back as the node remembers."""
    try:
        listed = _ask("getSignaturesForAddress", [plan.mint, {"commitment": "confirmed"}], context)
    except TransientError as error:
        if isinstance(error.__cause__, ProviderFailed) and error.__cause__.extra.get("code") == NO_HISTORY:
            return None
        raise
    well = [entry for entry in listed if entry["err"] is None]
    return _Sent(well[-1]["signature"], well[-1]["slot"], well[-1]["confirmationStatus"]) if well else None


def _until_final(sent: _Sent, plan: _Plan, context: Context) -> _Sent:
    """The transaction when it is final.

    Raises:
        Snooze: it is confirmed, and time is up. TransientError: it is not even that, or it failed for a passing reason.
        PermanentError: it failed.
    """
    while sent.status != "finalized":
        if context.seconds_left() < PAUSE_S + 2 * MIN_S:
            if sent.status == "confirmed":
                raise Snooze("the transaction is confirmed and not final yet", FINAL_S)
            raise TransientError("the transaction was sent and not confirmed in time; the next attempt looks for it")
        pause(PAUSE_S)
        (status,) = _ask("getSignatureStatuses", [[sent.signature]], context)["value"]
        if status and status["err"] is not None:
            raise _refusal(status["err"], plan)
        if status:
            sent = _Sent(sent.signature, status["slot"], status["confirmationStatus"])
    return sent


def _refusal(error: Any, plan: _Plan) -> PermanentError | TransientError:
    """What an error of the chain means: TransactionError in https://docs.rs/solana-transaction-error, as JSON."""
    from adbot_queue.tickets.token_2022 import CREATE_ACCOUNT, CREATE_MINT  # noqa: PLC0415

    kind = next(iter(error)) if isinstance(error, dict) else error
    if kind in UNFUNDED:
        return _unfunded(plan)
    if kind != "InstructionError":
        return TransientError(f"the chain did not take the transaction: {kind}")
    index, code = error[kind]
    steps = [name for name, _ in plan.steps()]
    step = steps[index] if index < len(steps) else str(index)
    if step == CREATE_MINT and code == IN_USE:
        return TransientError("the mint is there already; the next attempt answers with it")
    if step in {CREATE_MINT, CREATE_ACCOUNT} and code == TOO_FEW:
        return _unfunded(plan)
    shown = code if isinstance(code, str) else " ".join(f"{name} {number}" for name, number in code.items())
    return PermanentError(f"the chain refused it: {step}, {shown}")


def _unfunded(plan: _Plan) -> TransientError:
    """Not the job's fault: it goes well when the payer has lamports again, at the latest when a person replays it."""
    telemetry.count("NftsUnfunded")
    return TransientError(f"the payer {plan.parties.payer} has too few lamports: fund it", FUNDS_S)


def _result(plan: _Plan, there: _Account, account: _Account | None) -> dict[str, Any]:
    """What is there, if it is what was asked for."""
    from adbot_queue.tickets import token_2022  # noqa: PLC0415

    is_token = there.program == str(token_2022.TOKEN_2022)
    try:
        shown = token_2022.read_mint(there.data if is_token else b"")
    except token_2022.NotAMint as error:
        raise PermanentError(
            f"the address {plan.mint} is taken by what is no such token: enqueue another job"
        ) from error
    if differing := token_2022.differences(shown, plan.parties, plan.metadata):
        raise PermanentError(f"the mint {plan.mint} was made with other values: {', '.join(differing)}")
    if account is None:
        raise PermanentError(
            f"the mint {plan.mint} was made, and this owner has no account for it: moved on, or another's"
        )
    fee = 2 * FEE - (-plan.price * token_2022.compute_units(plan.metadata) // 1_000_000)
    return {
        "mint": plan.mint,
        "token_account": str(plan.parties.account),
        "held": token_2022.read_amount(account.data) == 1,
        "lamports": there.lamports + account.lamports + fee,
    }


JOB = JobType(
    queue="money",
    payload=MintNft,
    handler=mint,
    timeout_s=20,  # 13 s of it are the chain's, until nothing can be undone
    window_s=365 * DAY_S,
    is_once=True,
    horizon_s=3 * DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("solana",),
    cancellable=True,
    example={
        "owner": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin",
        "name": "Seat 1",
        "symbol": "SEAT",
        "uri": "https://example.com/1.json",
    },
)
