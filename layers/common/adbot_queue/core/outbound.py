"""Send to an address that a user gave, without access to our own network.

Names are resolved here, every address of a name must be public, and the connection goes to a checked address: no second
look-up could answer differently. Redirects are new addresses, checked again.

There are no exceptions: every address from the API is the caller's word, whatever the caller's role. The local run and
the tests have receivers on the same machine under names of `.test`, a domain that cannot be registered (RFC 6761): see
`local_receivers`.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

from adbot_queue.core.errors import Invalid

MAX_URL = 2000
MAX_REDIRECTS = 3
MAX_REFUSAL = 1024
CONNECT_S = 5.0
LOOPBACK = "127.0.0.1"

_REDIRECTS = {
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
HTTPS = 443
_MIN_PORT = 1024  # below are other protocols' ports, 443 apart
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Reserved by IANA, and not known as such to every Python from 3.11 on.
_RESERVED_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_RESERVED_6 = (IPv6Network("2001::/23"), IPv6Network("3fff::/20"))

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int, float], Iterable[str]]
"""(name, port, seconds) -> addresses. Raises OSError, as `socket.getaddrinfo`."""


class BadAddress(ValueError):
    """Nothing is ever sent there; the text says why, as in "the address …"."""


class Unreachable(Exception):
    """No answer in time, or none that can be read; a later try may succeed."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads, as far as its text tells."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == HTTPS else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        body: the beginning of the body, as far as it was asked for; empty where it could not be read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Outbound:
    """Sends to public https addresses, and to nothing else.

    Args:
        resolve: looks a name up.
        tls: how certificates are checked; by default against the machine's authorities.
        receivers: name -> port of this machine that plays it, spoken to without TLS; as `local_receivers`.
    """

    def __init__(
        self,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        receivers: Mapping[str, int] | None = None,
    ) -> None:
        self._receivers = receivers or {}
        self._resolve = resolve or _resolve
        self._tls = tls

    def place(self, url: str) -> Endpoint:
        """Take a URL apart; no look-up, no connection.

        Raises:
            BadAddress: by its text alone nothing may be sent there.
        """
        if len(url) > MAX_URL or not re.fullmatch(r"[!-\[\]-~]+", url):
            raise BadAddress(f"must be a URL of printable ASCII characters, at most {MAX_URL}")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise BadAddress("is not a URL") from error
        if parts.scheme != "https" or not host:
            raise BadAddress("must be an https URL")
        if "@" in parts.netloc:
            raise BadAddress("must not hold a user name or password")
        if port == 0:
            raise BadAddress("must not use port 0")
        port = port or HTTPS
        if port != HTTPS and port < _MIN_PORT:
            raise BadAddress(f"must use port 443 or one from {_MIN_PORT} on")
        _check_host(host)
        return Endpoint(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """Send, following redirects with the same POST.

        Args:
            url: the receiver.
            body: the content.
            headers: in addition to Host and Content-Length.
            seconds: for all of it, from the first look-up to the last answer's headers.

        Returns:
            The last answer; of its body the first `MAX_REFUSAL` bytes, and only if it is a refusal.

        Raises:
            BadAddress: nothing may be sent there, or to where it redirects.
            Unreachable: no answer.
        """
        deadline = time.monotonic() + seconds
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._post(self.place(url), body, headers, deadline)
            onward = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not onward:
                return answer
            url = urljoin(url, onward)
        raise Unreachable(f"more than {MAX_REDIRECTS} redirects")

    def request(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], seconds: float, max_body: int
    ) -> Answer:
        """Send one request. Redirects are not followed: its credentials are for this receiver alone.

        As `post`, with a method; `max_body` bytes of the answer's body are read, whatever its status.

        Raises:
            BadAddress, Unreachable: as `post`.
        """
        deadline = time.monotonic() + seconds
        return self._send(self.place(url), method, body, headers, deadline, lambda _: max_body)

    def _post(self, place: Endpoint, body: bytes, headers: Mapping[str, str], deadline: float) -> Answer:
        return self._send(place, "POST", body, headers, deadline, _of_a_refusal)

    def _send(
        self,
        place: Endpoint,
        method: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        max_body: Callable[[int], int],
    ) -> Answer:
        try:
            connected = self._connect(place, self._addresses(place, deadline), deadline)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"could not connect ({type(error).__name__})") from error
        # A timeout of the socket is one for each piece that comes; a receiver that drips would hold us for ever.
        watch = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [connected])
        watch.daemon = True
        watch.start()
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.sock = connected
        try:
            sent = {"host": place.authority, "connection": "close", "accept": "*/*", **headers}
            connection.request(method, place.target, body, sent)
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, answered, _beginning(response, max_body(response.status)))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"no answer ({type(error).__name__})") from error
        finally:
            watch.cancel()
            connection.close()

    def _addresses(self, place: Endpoint, deadline: float) -> list[str]:
        """The addresses of a place, all of which may be connected to."""
        if place.host in self._receivers:
            return [LOOPBACK]
        found = list(dict.fromkeys(self._resolve(place.host, place.port, _left(deadline))))
        if not found:
            raise OSError("the name has no address")
        if not all(is_public(ip_address(text)) for text in found):
            raise BadAddress("leads to an address that is not public")
        return found

    def _connect(self, place: Endpoint, addresses: list[str], deadline: float) -> socket.socket:
        """A connection to the first of these that takes one."""
        for address in addresses[:-1]:
            try:
                return self._connect_to(place, address, deadline)
            except OSError:
                continue
        return self._connect_to(place, addresses[-1], deadline)

    def _connect_to(self, place: Endpoint, address: str, deadline: float) -> socket.socket:
        port = self._receivers.get(place.host, place.port)
        connected = socket.create_connection((address, port), min(CONNECT_S, _left(deadline)))
        try:
            connected.settimeout(_left(deadline))
            if place.host not in self._receivers:
                # The certificate must be for the name that was given, whatever address it has.
                return (self._tls or _tls()).wrap_socket(connected, server_hostname=place.host)
        except BaseException:
            connected.close()
            raise
        return connected


def is_public(address: Address) -> bool:
    """Return whether the address is public, also if it is an IPv4 address wrapped in IPv6."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped:
            return is_public(wrapped)
        if address not in _GLOBAL_UNICAST or address.scope_id or any(address in block for block in _RESERVED_6):
            return False
    elif any(address in block for block in _RESERVED_4):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _check_host(host: str) -> None:
    """Refuse what needs no look-up to be refused."""
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        if not is_public(address):
            raise BadAddress("is not a public address")
        return
    labels = host.split(".")
    # 127.1, 0x7f000001, 2130706433 and 0177.0.0.1 are addresses to some resolvers.
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        raise BadAddress("must be a name, or an address in its usual form")
    if not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels):
        raise BadAddress("holds a host name that cannot be")
    if len(labels) == 1 or any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
        raise BadAddress("must be a public name")


def _left(deadline: float) -> float:
    """Seconds to the deadline.

    Raises:
        TimeoutError: there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    return left


def _resolve(host: str, port: int, seconds: float) -> list[str]:
    """The system's look-up, which knows no timeout, given one."""
    found: list[str] = []
    failed: list[OSError] = []

    def look() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(str(sockaddr[0]) for *_, sockaddr in answers)
        except OSError as error:
            failed.append(error)
        except UnicodeError as error:  # the codec of host names
            failed.append(OSError(str(error)))

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    looker.join(seconds)
    if failed:
        raise failed[0]
    if looker.is_alive():
        raise TimeoutError("the name was not found in time")
    return found


def _of_a_refusal(status: int) -> int:
    return MAX_REFUSAL if status >= HTTPStatus.BAD_REQUEST else 0


def _beginning(response: http.client.HTTPResponse, size: int) -> bytes:
    """Return the first bytes of a body, which could be of any size; the answer counts without them."""
    try:
        return response.read(size) if size else b""
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def local_receivers() -> dict[str, int]:
    """The receivers of a local run: names of `.test`, and the ports of this machine that play them.

    `LOCAL_RECEIVERS=hooks.test=4711,push.test=8099` is the environment of the embedded AWS, never of the template's
    functions, and counts only where AWS itself is on this machine.
    """
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname
    if endpoint not in {LOOPBACK, "localhost"}:
        return {}
    pairs = (entry.strip().partition("=") for entry in os.environ.get("LOCAL_RECEIVERS", "").split(","))
    return {name.lower(): int(port) for name, _, port in pairs if name.lower().endswith(".test") and port.isdecimal()}


@lru_cache(maxsize=1)
def from_env() -> Outbound:
    """As the installation is set up."""
    return Outbound(receivers=local_receivers())


def check_url(url: str, field: str = "webhook_url") -> None:
    """Look at an address before anything is promised; whether its name is a public one shows when it is delivered to.

    Raises:
        Invalid: nothing would ever be sent there.
    """
    try:
        from_env().place(url)
    except BadAddress as error:
        raise Invalid.field(field, str(error)) from error
