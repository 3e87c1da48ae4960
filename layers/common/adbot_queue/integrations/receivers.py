"""HTTP receivers whose address a caller gave: a circuit each, and what their answers mean for the job.

A receiver (host and port) that hangs, is not reached or answers 5xx opens its circuit after a few requests; the others
to it then wait at no attempt's cost, and delay no request to another receiver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from http import HTTPStatus

from adbot_queue.core import outbound
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Throttled, TransientError
from adbot_queue.jobs.provider_call import Guard, guarded
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.providers.waiting import retry_after

_COME_AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
}


def call(
    url: str,
    timeout_s: float,
    context: Context,
    send: Callable[[float], outbound.Answer],
    expected: Collection[int] = (),
) -> outbound.Answer:
    """Send to a receiver within its circuit; return its answer unless that is a failure.

    Args:
        url: where to.
        timeout_s: the most that it may take.
        context: the job's.
        send: sends within that many seconds.
        expected: statuses that are no failure, 5xx included.

    Raises:
        PermanentError: the address is not public. TransientError: no answer, or a 5xx. Throttled: 429, or before the
        time that an earlier one named. CircuitIsOpen: the receiver is failing, and is not asked.
    """
    try:
        place = outbound.from_env().place(url)
        with guarded(Guard("the receiver", circuit_of(place)), timeout_s, context) as seconds:
            answer = _sent(send, seconds)
            if answer.status in expected:
                return answer
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise Throttled("the receiver answered HTTP 429", retry_after(answer.headers, context.now))
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise refusal(answer, context)
            return answer
    except outbound.BadAddress as error:
        raise PermanentError(f"the receiver's address {error}") from error


def refusal(answer: outbound.Answer, context: Context) -> TransientError | PermanentError:
    """Return what an answer that is no success means: 4xx are final but for 408, 409 and 425."""
    status = answer.status
    if status in _COME_AGAIN or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(f"the receiver answered HTTP {status}", retry_after(answer.headers, context.now))
    return PermanentError(f"the receiver refused it (HTTP {status})")


def circuit_of(place: outbound.Endpoint) -> str:
    """Name the circuit of a receiver: of one length, whatever a caller gave as its host."""
    return circuits.RECEIVER + hashlib.sha256(place.authority.encode()).hexdigest()[:24]


def _sent(send: Callable[[float], outbound.Answer], seconds: float) -> outbound.Answer:
    try:
        return send(seconds)
    except outbound.Unreachable as error:
        raise TransientError(f"the receiver could not be reached: {error}") from error
