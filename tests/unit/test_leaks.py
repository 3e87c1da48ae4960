"""The search for secrets in logs finds what it is there for, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.leaks import leaks


@pytest.mark.parametrize(
    "line",
    [
        '{"to": "cara.b+x@mail.example.com"}',
        "calling +4915112345678 now",
        "card 4242 4242 4242 4242",
        "card 4242424242424242,",
        "authorization eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
        "key sk_test_0123456789abcdef",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "Authorization: Basic QUMxMjM6c2VjcmV0dG9rZW4=",
        "the pepper is hunter2hunter2",
    ],
)
def test_it_finds(line: str) -> None:
    assert list(leaks([line], {"the pepper": "hunter2hunter2"}))


@pytest.mark.parametrize(
    "line",
    [
        '{"job_id":"019a8f5e2b7c7d1f9e3b5a6c7d8e","timestamp":"2025-11-22 00:00:00,123+0000"}',
        "at 2025-11-22T00:00:00.123456+00:00 it began",
        "arn:aws:lambda:us-east-1:000000000000:function:adbot-queue_MoneyWorker",
        "REPORT RequestId: 8f507cfc-xmpl-4697-b07a-ac58fc914c95 Duration: 12.34 ms Billed Duration: 13 ms",
        "version 1763769600000, rank 0050#1763769600000000",
        '"correlation_id":"90ad4123-4123-4123-4123-61839a2a5df3"',
    ],
)
def test_it_leaves_alone(line: str) -> None:
    assert list(leaks([line], {"the pepper": "hunter2hunter2"})) == []


def test_what_it_found_is_not_repeated() -> None:
    (said,) = leaks(["to cara@example.com"], {})

    assert "cara" not in said
