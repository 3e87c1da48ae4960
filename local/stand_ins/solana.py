"""A Solana node as far as the project asks one: JSON-RPC in front of LiteSVM, which runs the chain's own programs.

What a transaction does is therefore no imitation. What is: there are no forks and no other nodes, a blockhash expires
only when a test says so, and each request is a slot, so that a transaction is confirmed when it is first asked for and
final a slot later. The chain is in memory and starts empty; `requestAirdrop` funds a payer, as on the test networks.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.stub_response import Effects, StubResponse

if TYPE_CHECKING:
    from solders.litesvm import LiteSVM
    from solders.transaction import Transaction

OK = 200
MAX_TRANSACTION = 1232
VERSION = "litesvm"
CONFIRMED, FINAL = 1, 2
"""Slots after which a transaction is one and the other."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction that the chain took, whether it went well or not."""

    signature: str
    slot: int
    error: Any
    keys: tuple[str, ...]


class RpcError(Exception):
    """A refusal in the node's words."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.refusal = {"code": code, "message": message, **({"data": data} if data is not None else {})}


class Solana:
    """A chain of its own, and its only node."""

    def __init__(self) -> None:
        self.effects = Effects()
        self.landed: list[Landed] = []
        self.before_landing: Callable[[], bool] = lambda: True
        """Called between a simulation that went well and the block; False loses the transaction."""
        self.final_after = FINAL
        self.slot = 0
        self._chain: LiteSVM | None = None
        self._faults = FaultInjection()
        self._lock = threading.Lock()

    @property
    def chain(self) -> LiteSVM:
        """The chain; importing it takes a moment and 35 MB, so it is made when first used."""
        if self._chain is None:
            from solders.litesvm import LiteSVM  # noqa: PLC0415

            self._chain = LiteSVM()
            self.slot = self._chain.get_clock().slot
        return self._chain

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case."""
        if (method, path) != ("POST", "/"):
            return StubResponse(405, "Used HTTP Method is not allowed. POST or OPTIONS is required")
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return StubResponse(415, "Supplied content type is not allowed. Content-Type: application/json is required")
        try:
            asked = json.loads(body)
        except ValueError:
            return StubResponse(200, _refusal(None, {"code": -32700, "message": "Parse error"}))
        if not isinstance(asked, dict) or asked.get("jsonrpc") != "2.0" or not isinstance(asked.get("method"), str):
            return StubResponse(200, _refusal(None, {"code": -32600, "message": "Invalid request"}))
        with self._lock:
            return self._answer(asked)

    def _answer(self, asked: dict[str, Any]) -> StubResponse:
        answers: dict[str, Callable[..., Any]] = {
            "sendTransaction": self._send,
            "getLatestBlockhash": self._latest_blockhash,
            "getMinimumBalanceForRentExemption": self._rent,
            "getAccountInfo": self._account_info,
            "getMultipleAccounts": self._accounts_info,
            "getBalance": self._balance,
            "getSignatureStatuses": self._statuses,
            "getSignaturesForAddress": self._signatures,
            "requestAirdrop": self._airdrop,
        }
        number, params, answer = asked.get("id"), asked.get("params", []), answers.get(asked["method"])
        if answer is None:
            return StubResponse(200, _refusal(number, {"code": -32601, "message": "Method not found"}))
        self.chain.warp_to_slot(self.slot + 1)
        self.slot += 1
        try:
            value = answer(*params)
        except RpcError as error:
            return StubResponse(200, _refusal(number, error.refusal))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            return StubResponse(
                200, _refusal(number, {"code": -32602, "message": f"Invalid params: {type(error).__name__}"})
            )
        if isinstance(value, StubResponse):
            return value if value.status != OK else replace(value, body=_result(number, value.body))
        return StubResponse(200, _result(number, value))

    # Looking

    def _in_context(self, value: Any) -> dict[str, Any]:
        return {"context": {"slot": self.slot, "apiVersion": VERSION}, "value": value}

    def _latest_blockhash(self, _config: Any = None) -> Any:
        return self._in_context(
            {"blockhash": str(self.chain.latest_blockhash()), "lastValidBlockHeight": self.slot + 150}
        )

    def _rent(self, size: int, _config: Any = None) -> int:
        return self.chain.minimum_balance_for_rent_exemption(size)

    def _balance(self, address: str, _config: Any = None) -> Any:
        return self._in_context(self.chain.get_balance(_key(address)) or 0)

    def _account_info(self, address: str, config: dict[str, Any] | None = None) -> Any:
        return self._in_context(self._account(address, config or {}))

    def _accounts_info(self, addresses: list[str], config: dict[str, Any] | None = None) -> Any:
        return self._in_context([self._account(address, config or {}) for address in addresses])

    def _account(self, address: str, config: dict[str, Any]) -> Any:
        if config.get("encoding") != "base64":
            raise RpcError(-32602, "this node answers in base64 only")
        found = self.chain.get_account(_key(address))
        if found is None or self._is_hidden(address, str(config.get("commitment", "finalized"))):
            return None
        return {
            "data": [base64.b64encode(bytes(found.data)).decode(), "base64"],
            "executable": found.executable,
            "lamports": found.lamports,
            "owner": str(found.owner),
            "rentEpoch": found.rent_epoch,
            "space": len(found.data),
        }

    def _is_hidden(self, address: str, commitment: str) -> bool:
        """Whether the transaction that first names the account is not as far as that yet."""
        first = next((one for one in self.landed if address in one.keys and one.error is None), None)
        return first is not None and _LEVELS.index(self._status(first)) < _LEVELS.index(commitment)

    def _status(self, landed: Landed) -> str:
        age = self.slot - landed.slot
        return _LEVELS[(age >= CONFIRMED) + (age >= self.final_after)]

    def _statuses(self, signatures: list[str], _config: Any = None) -> Any:
        known = {one.signature: one for one in self.landed}
        return self._in_context([self._status_of(known[name]) if name in known else None for name in signatures])

    def _status_of(self, one: Landed) -> dict[str, Any]:
        status = self._status(one)
        return {
            "slot": one.slot,
            "confirmations": None if status == "finalized" else self.slot - one.slot,
            "err": one.error,
            "status": {"Ok": None} if one.error is None else {"Err": one.error},
            "confirmationStatus": status,
        }

    def _signatures(self, address: str, _config: Any = None) -> Any:
        named = [one for one in self.landed if address in one.keys]
        return [
            {
                "signature": one.signature,
                "slot": one.slot,
                "err": one.error,
                "memo": None,
                "blockTime": None,
                "confirmationStatus": self._status(one),
            }
            for one in reversed(named)
        ]

    # Changing

    def _airdrop(self, address: str, lamports: int, _config: Any = None) -> str:
        from solders.transaction_metadata import TransactionMetadata  # noqa: PLC0415

        done = self.chain.airdrop(_key(address), lamports)
        if not isinstance(done, TransactionMetadata):
            raise RpcError(-32603, "Internal error")
        self.chain.expire_blockhash()  # otherwise the same again would be the same transaction
        return str(done.signature())

    def _send(self, encoded: str, config: dict[str, Any] | None = None) -> StubResponse:
        if (config or {}).get("encoding") != "base64":
            raise RpcError(-32602, "this node takes base64 only")
        raw = base64.b64decode(encoded, validate=True)
        if len(raw) > MAX_TRANSACTION:
            raise RpcError(-32602, f"decoded solana_transaction too large: {len(raw)} bytes (max: 1232 bytes)")
        transaction = _transaction(raw)
        keys = tuple(str(key) for key in transaction.message.account_keys)
        # What is made signs for itself: the second signature is a new mint's.
        key = keys[transaction.message.header.num_required_signatures - 1]
        self.effects.asked(key)
        mood = self._faults.of(key, raw.decode("latin-1"))
        if mood.refusal:
            return refusal("solana", mood.refusal)
        if mood.status:
            return StubResponse(mood.status, "a failure that was asked for", mood.headers)
        self._simulate(transaction)
        if self.before_landing():
            self._land(transaction, keys, key)
        return StubResponse(200, str(transaction.signatures[0]), delay=mood.delay)

    def _simulate(self, transaction: Transaction) -> None:
        from solders.transaction_metadata import FailedTransactionMetadata  # noqa: PLC0415

        simulated = self.chain.simulate_transaction(transaction)
        if not isinstance(simulated, FailedTransactionMetadata):
            return
        error = json.loads(simulated.to_json())["err"]
        if error == "SignatureFailure":
            raise RpcError(-32003, "Transaction signature verification failure")
        data = {
            "err": error,
            "logs": simulated.meta().logs(),
            "accounts": None,
            "unitsConsumed": simulated.meta().compute_units_consumed(),
            "returnData": None,
        }
        raise RpcError(-32002, f"Transaction simulation failed: {simulated.err()}", data)

    def _land(self, transaction: Transaction, keys: tuple[str, ...], key: str) -> None:
        from solders.transaction_metadata import FailedTransactionMetadata  # noqa: PLC0415

        was_there = self.chain.get_account(_key(key)) is not None
        done = self.chain.send_transaction(transaction)
        error = json.loads(done.to_json())["err"] if isinstance(done, FailedTransactionMetadata) else None
        self.landed.append(Landed(str(transaction.signatures[0]), self.slot, error, keys))
        if error is None and not was_there:
            self.effects.happened(key)


_LEVELS = ("processed", "confirmed", "finalized")


def _key(address: str) -> Any:
    from solders.pubkey import Pubkey  # noqa: PLC0415

    return Pubkey.from_string(address)


def _transaction(raw: bytes) -> Transaction:
    from solders.transaction import Transaction  # noqa: PLC0415

    return Transaction.from_bytes(raw)


def _result(number: Any, value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": value}


def _refusal(number: Any, error: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": error}
