"""Solana over JSON-RPC: a node's address and the key that pays and signs are one secret.

No library: solders' reader ends the process on some answers that it does not expect. Node operators put their keys into
the address, so it is never logged or shown.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from adbot_queue.core.errors import AccountRefused, NotConfigured, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.waiting import retry_after, throttled

if TYPE_CHECKING:
    from solders.keypair import Keypair

CONNECT_S = 2
TIMEOUT_S = 5
"""A node answers out of its memory, in tens of milliseconds; it simulates a transaction in a few."""

OK, TOO_MANY = 200, 429

CLOSED = {401: "does not accept", 402: "wants to be paid for", 403: "does not accept"}
"""What a node refuses its user by, whatever the call."""

THROTTLES = {429, -32005, -32429}
"""JSON-RPC codes of overloaded nodes: -32005 is Solana's own for a node that is behind, and several operators' for a
rate limit; the others are operators' as well."""

PREFLIGHT_FAILED = -32002
"""The simulation before sending failed: `rpc_custom_error` in https://docs.rs/solana-rpc-client-api."""


class SimulationFailed(ProviderFailed):
    """The node did not send a transaction because it would fail. `extra["err"]` is why, in the chain's terms."""


def signer() -> Keypair:
    """The key that pays and signs.

    Raises:
        NotConfigured: none is set, or it is not base58 of 64 bytes. Unavailable: as `secrets.read`.
    """
    text = registry.credential("solana", "signing_key")
    from solders.keypair import Keypair  # noqa: PLC0415
    from solders.signature import Signature  # noqa: PLC0415

    try:
        # A signature is base58 of 64 bytes as well, and unlike a key's its reader is made for any text.
        return Keypair.from_bytes(bytes(Signature.from_string(str(text))))
    except ValueError:
        raise NotConfigured(
            '"signing_key" in the secret that SolanaSecretArn names is not base58 of a 64-byte key pair'
        ) from None


def call(method: str, params: list[Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Ask the node.

    Args:
        method: of https://solana.com/docs/rpc.
        params: its parameters.
        timeout_s: for the whole call.

    Returns:
        `result` of the answer.

    Raises:
        NotConfigured: no node is set. AccountRefused: it does not accept us. Unavailable: as `secrets.read`.
        SimulationFailed: only for `sendTransaction`.
        ProviderFailed: refused or not reached; always `retryable`, with `retry_after` seconds if the node said so.
    """
    address = str(registry.credential("solana", "rpc_url"))
    try:
        answer = _pool().request(
            "POST",
            address,
            body=json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode(),
            headers={"content-type": "application/json"},
            timeout=Timeout(connect=min(CONNECT_S, timeout_s), total=timeout_s),
            retries=False,
        )
    except HTTPError as error:
        # Some of urllib3's sentences quote the address.
        raise ProviderFailed(f"Solana's node could not be reached ({type(error).__name__})", retryable=True) from None
    if refusal := CLOSED.get(answer.status):
        logger.warning("Solana's node refused", method=method, status=answer.status)
        raise AccountRefused(
            f"Solana's node {refusal} the rpc_url in the secret that SolanaSecretArn names (HTTP {answer.status})"
        )
    if answer.status != OK:
        logger.warning("Solana's node refused", method=method, status=answer.status)
        sentence = f"Solana's node refused {method} (HTTP {answer.status})"
        if answer.status == TOO_MANY:
            raise throttled(sentence, answer.headers)
        raise ProviderFailed(sentence, retryable=True, retry_after=retry_after(answer.headers))
    return _result(method, answer.data, answer.headers)


def _result(method: str, body: bytes, headers: Any) -> Any:
    try:
        answer = json.loads(body)
        error = answer.get("error")
        if error is None:
            return answer["result"]
        code, data = int(error["code"]), error.get("data")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ProviderFailed(f"Solana's node answered {method} with something else", retryable=True) from None
    logger.warning("Solana's node refused", method=method, code=code)
    if code == PREFLIGHT_FAILED and isinstance(data, dict) and data.get("err") is not None:
        raise SimulationFailed("the transaction would fail", retryable=False, err=data["err"])
    sentence = f"Solana's node refused {method} (JSON-RPC {code})"
    if code in THROTTLES:
        raise throttled(sentence, headers, code=code)
    raise ProviderFailed(sentence, retryable=True, retry_after=retry_after(headers), code=code)


@lru_cache(maxsize=1)
def _pool() -> PoolManager:
    """The connections of this process; a worker runs up to ten jobs at once."""
    return PoolManager(maxsize=10)
