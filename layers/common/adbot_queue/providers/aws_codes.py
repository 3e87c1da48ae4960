"""How AWS services refuse whom a call is from, whatever it asks for.

https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html; the older names are those of the query APIs.
"""

from __future__ import annotations

CALLER_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "SubscriptionRequiredException",
        "UnrecognizedClientException",
    }
)
"""The role, its credentials, or the account's subscription to the service."""
