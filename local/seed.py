"""What a fresh stack needs: users, provider keys, a pool and plans. All of it may be repeated."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric import ec

from local.settings import aws
from local.stack import CLIENTS, ROLES, Client, Stack, User, client, token
from local.stand_ins.sendgrid_events import public_key

POOL = "standard"
LAMPORTS = 100_000_000_000
"""Of the stand-in's chain: some 10,000 mints."""

PLANS: dict[str, dict[str, Any]] = {
    "starter": {
        "name": "Starter",
        "pool": POOL,
        "required_sessions": 5,
        "amount": 4900,
        "currency": "eur",
        "mode": "payment",
    },
    "pro": {
        "name": "Pro",
        "pool": POOL,
        "required_sessions": 25,
        "amount": 19900,
        "currency": "eur",
        "mode": "payment",
    },
    # What the samples in events/stripe and the demo buy.
    "monthly": {
        "name": "Monthly",
        "pool": POOL,
        "required_sessions": 5,
        "amount": 9900,
        "currency": "eur",
        "mode": "subscription",
        "interval": "month",
    },
    "demo": {
        "name": "Demo",
        "pool": POOL,
        "required_sessions": 5,
        "amount": 4900,
        "currency": "eur",
        "mode": "payment",
    },
}


def new_users(known: Mapping[str, User]) -> dict[str, User]:
    """One user a role: those already known, with their passwords, and new ones for the rest."""
    # The prefix satisfies the pool's password policy.
    return {
        role: known.get(role) or {"username": role, "password": f"Aa1-{secrets.token_urlsafe(18)}"} for role in ROLES
    }


def new_vapid_key() -> str:
    """A private key for web push: base64url of 32 bytes."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return base64.urlsafe_b64encode(number.to_bytes(32)).decode().rstrip("=")


def seed_users(stack: Stack) -> None:
    """Have every user of `stack` in the group of its role, with its password; a customer is in none."""
    cognito = client(stack, "cognito-idp")
    pool = stack["outputs"]["UserPoolId"]
    for role, user in stack["users"].items():
        name = user["username"]
        with suppress(cognito.exceptions.UsernameExistsException):
            cognito.admin_create_user(
                UserPoolId=pool,
                Username=name,
                MessageAction="SUPPRESS",
                UserAttributes=[
                    {"Name": "email", "Value": f"{name}@example.com"},
                    {"Name": "email_verified", "Value": "true"},
                ],
            )
        cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=user["password"], Permanent=True)
        if role != "customer":
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=role)


def clients(aws_endpoint: str, outputs: Mapping[str, str]) -> dict[str, Client]:
    """The credentials of the machines' app clients."""
    cognito, pool = aws(aws_endpoint, "cognito-idp"), outputs["UserPoolId"]
    found = {}
    for name in CLIENTS:
        client_id = outputs[f"{name.title()}ClientId"]
        described = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=client_id)["UserPoolClient"]
        found[name] = Client(client_id=client_id, client_secret=described["ClientSecret"])
    return found


def seed_secrets(stack: Stack) -> None:
    """Fill the secrets that the template made empty: with the environment's keys, or with what a stand-in takes."""
    held: dict[str, dict[str, str]] = {
        "Stripe": {
            "api_key": os.environ.get("STRIPE_API_KEY") or f"sk_test_{secrets.token_hex(12)}",
            "webhook_secret": stack["stripe_webhook_secret"],
        },
        "SendGrid": {
            "api_key": os.environ.get("SENDGRID_API_KEY") or f"SG.{secrets.token_hex(12)}",
            "webhook_public_key": os.environ.get("SENDGRID_WEBHOOK_PUBLIC_KEY")
            or public_key(stack["sendgrid_webhook_key"]),
        },
        "Twilio": {
            "account_sid": os.environ.get("TWILIO_ACCOUNT_SID") or f"AC{secrets.token_hex(16)}",
            "auth_token": os.environ.get("TWILIO_AUTH_TOKEN") or secrets.token_hex(16),
            "messaging_service_sid": os.environ.get("TWILIO_MESSAGING_SERVICE_SID", ""),
            "from": os.environ.get("TWILIO_FROM", "+15005550006"),
            "whatsapp_from": os.environ.get("TWILIO_WHATSAPP_FROM", "+15005550006"),
        },
        "WebPush": {"private_key": stack["vapid_key"], "subject": "mailto:admin@example.com"},
        "Segment": {"write_key": os.environ.get("SEGMENT_WRITE_KEY") or secrets.token_hex(16)},
        "Solana": _solana(stack),
    }
    manager = client(stack, "secretsmanager")
    for provider, secret in held.items():
        manager.put_secret_value(SecretId=stack["outputs"][f"{provider}SecretId"], SecretString=json.dumps(secret))


def _solana(stack: Stack) -> dict[str, str]:
    """Who pays for mints, and the node.

    The key stays the same, as mints are derived from it. The stand-in's chain is a new one at each start, and gives it
    lamports.
    """
    from solders.keypair import Keypair  # noqa: PLC0415 - 35 MB

    kept = client(stack, "secretsmanager").get_secret_value(SecretId=stack["outputs"]["SolanaSecretId"])
    known = json.loads(kept["SecretString"] or "{}")  # the embedded AWS has an empty value where AWS has none
    key = os.environ.get("SOLANA_SIGNING_KEY") or known.get("signing_key") or str(Keypair())
    node = os.environ.get("SOLANA_RPC_URL")
    if not node:
        node = f"{stack['providers_url']}/solana/"
        airdrop = [str(Keypair.from_base58_string(key).pubkey()), LAMPORTS]
        asked = {"jsonrpc": "2.0", "id": 1, "method": "requestAirdrop", "params": airdrop}
        requests.post(node, json=asked, timeout=60).raise_for_status()
    return {"signing_key": key, "rpc_url": node}


def seed_catalogue(stack: Stack) -> bool:
    """Create the pool and the plans through the API, as the owner would. False, and a warning, when a route refuses."""
    headers = {"authorization": f"Bearer {token(stack, 'owner')}"}
    wanted = {f"/admin/stock/pools/{POOL}": {}, **{f"/admin/plans/{plan}": body for plan, body in PLANS.items()}}
    done = True
    for path, body in wanted.items():
        answer = requests.put(stack["api_url"] + path, json=body, headers=headers, timeout=60)
        if not answer.ok:
            done = False
            print(f"WARNING: PUT {path} answered {answer.status_code}: {answer.text[:500]}", file=sys.stderr)
    return done
