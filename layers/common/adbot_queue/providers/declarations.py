"""Every provider, one declaration each: its credentials, and how fast it may be asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider.

    Attributes:
        name: what the code says: `stripe`.
        label: what people say: `Stripe`.
        parameter: the template's parameter for its secret; empty: it has none.
        fields: what the secret must hold before any job is taken that needs the provider.
        per_second: calls a second, from all workers together; None: as many as come.
        burst: calls at once after a pause.
        settings: what its entry in PROVIDERS must hold as well -> the template's parameter for it.
        apart: its parts are strangers to each other (the push services of browsers): each has a circuit of its own, and
            there is none of the whole.
    """

    name: str
    label: str
    parameter: str
    fields: tuple[str, ...]
    per_second: float | None = None
    burst: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    apart: bool = False


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        # 100 writes a second are allowed in live mode, 25 in test mode: https://docs.stripe.com/rate-limits
        Provider("stripe", "Stripe", "StripeSecretArn", ("api_key",), 25, 25),
        Provider("sendgrid", "SendGrid", "SendGridSecretArn", ("api_key",)),
        Provider("segment", "Segment", "SegmentSecretArn", ("write_key",)),
        Provider("twilio", "Twilio", "TwilioSecretArn", ("account_sid", "auth_token")),
        Provider("web-push", "Web push", "WebPushSecretArn", ("private_key", "subject"), apart=True),
        Provider("solana", "Solana", "SolanaSecretArn", ("signing_key", "rpc_url")),
        Provider("bedrock", "Bedrock", "", (), settings={"model": "BedrockModelId"}),
        Provider("cognito", "Cognito", "", (), settings={"pool": "UserPool", "sign_in": "SignInUrl"}),
        Provider("plugins", "Plugins", "", (), settings={"functions": "PluginFunctionArns"}),
    )
}
