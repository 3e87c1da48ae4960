"""Addresses that users give are never a way into our own network."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core.outbound import MAX_REDIRECTS, BadAddress, Outbound, Unreachable, is_public
from tests.builders.receiver import Receiver, only_loopback, receiving

PUBLIC = "93.184.216.34"


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    """Not here: `asked` forbids less."""


@pytest.fixture(autouse=True)
def asked() -> Iterator[list[Any]]:
    """The addresses of attempted connections; only loopback is let through."""
    with only_loopback() as tried:
        yield tried


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def answering(*rounds: list[str]) -> Callable[[str, int, float], list[str]]:
    """A DNS that answers so, another time otherwise."""
    left = list(rounds)
    return lambda _host, _port, _seconds: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104  an address to be refused
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # the metadata of a cloud machine
        "169.254.170.2",
        "100.64.0.1",  # carrier-grade NAT
        "192.0.0.8",
        "192.88.99.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:a9fe:a9fe::",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001:0:1::",  # Teredo
        "2001:db8::1",
        "2001:10::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
    ],
)
def test_what_is_not_somebodys_on_the_internet_is_refused_in_text_and_behind_a_name(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(BadAddress):
        Outbound(resolve=answering([address])).post("https://receiver.example.com/", b"", {}, 5)
    with pytest.raises(BadAddress):
        Outbound().place(f"https://[{address}]/" if ":" in address else f"https://{address}/")


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example.com/",
        "ftp://receiver.example.com/",
        "//receiver.example.com/",
        "receiver.example.com",
        "https://",
        "https:///path",
        "",
        "https://user@receiver.example.com/",
        "https://user:secret@receiver.example.com/",
        "https://@receiver.example.com/",
        "https://receiver.example.com@127.0.0.1/",
        "https://receiver.example.com:0/",
        "https://receiver.example.com:22/",
        "https://receiver.example.com:25/",
        "https://receiver.example.com:80/",
        "https://receiver.example.com:65536/",
        "https://receiver.example.com:x/",
        "https://localhost/",
        "https://sub.localhost/",
        "https://intranet/",
        "https://db.internal/",
        "https://printer.local/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://127.0.0.1./",
        "https://1.2.3.256/",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://receiver.example.com\\@127.0.0.1/",
        "https://receiver.example.com\t.evil.example/",
        "https://receiver.example.com/\r\nhost: evil",
        "https://receiver.example.com/ x",
        "https://rece\u0131ver.example.com/",
        "https://receiver%2eexample.com/",
        "https://-receiver.example.com/",
        "https://receiver..example.com/",
        "https://receiver.example.com/" + "x" * 2000,
    ],
)
def test_by_its_text_alone_nothing_is_sent_there(url: str) -> None:
    with pytest.raises(BadAddress):
        Outbound().place(url)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://receiver.example.com", "receiver.example.com", "/"),
        ("https://RECEIVER.example.com:443/a?b=c&d#e", "receiver.example.com", "/a?b=c&d"),
        ("https://receiver.example.com:8443/a/../b", "receiver.example.com:8443", "/a/../b"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://[2606:2800:220:1::1]:8443/", "[2606:2800:220:1::1]:8443", "/"),
        ("https://93.184.216.34/", "93.184.216.34", "/"),
    ],
)
def test_a_public_https_address_is_taken_apart(url: str, authority: str, target: str) -> None:
    place = Outbound().place(url)
    assert (place.authority, place.target) == (authority, target)


def test_one_address_that_is_not_public_among_others_refuses_them_all(asked: list[Any]) -> None:
    with pytest.raises(BadAddress):
        Outbound(resolve=answering([PUBLIC, "10.0.0.1"])).post("https://receiver.example.com/", b"", {}, 5)
    assert asked == []


def test_the_address_that_was_checked_is_connected_to_and_no_other(asked: list[Any]) -> None:
    rebinding = answering([PUBLIC], ["127.0.0.1"])
    with pytest.raises(Unreachable):
        Outbound(resolve=rebinding).post("https://receiver.example.com/", b"", {}, 5)
    assert asked == [(PUBLIC, 443)]
    with pytest.raises(BadAddress):  # the second time it is looked up anew, and checked anew
        Outbound(resolve=rebinding).post("https://receiver.example.com/", b"", {}, 5)
    assert asked == [(PUBLIC, 443)]


def test_another_address_of_the_name_is_tried_when_one_does_not_answer(asked: list[Any]) -> None:
    with pytest.raises(Unreachable):
        Outbound(resolve=answering([PUBLIC, "8.8.8.8"])).post("https://receiver.example.com/", b"", {}, 5)
    assert asked == [(PUBLIC, 443), ("8.8.8.8", 443)]


def test_a_name_that_is_not_found_may_be_found_later() -> None:
    def unknown(*_: Any) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(Unreachable):
        Outbound(resolve=unknown).post("https://receiver.example.com/", b"", {}, 5)


def test_a_look_up_that_hangs_ends_in_time() -> None:
    def hangs(_host: str, _port: int, seconds: float) -> list[str]:
        assert 0 < seconds <= 5
        raise TimeoutError

    with pytest.raises(Unreachable):
        Outbound(resolve=hangs).post("https://receiver.example.com/", b"", {}, 5)


def test_a_receiver_on_this_machine_is_spoken_to_as_it_is(receiver: Receiver) -> None:
    receiver.answers = [(202, {"Retry-After": "7"})]
    answer = Outbound(receivers=receiver.names).post(f"{receiver.url}?a=1", b"{}", {"x-mine": "yes"}, 5)
    assert (answer.status, answer.headers["retry-after"]) == (202, "7")
    ((path, headers, body),) = receiver.seen
    assert (path, body, headers["x-mine"], headers["host"]) == ("/hook?a=1", b"{}", "yes", receiver.host)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_with_the_same_post(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"Location": "/elsewhere"}), (204, {})]
    answer = Outbound(receivers=receiver.names).post(receiver.url, b"body", {}, 5)
    assert answer.status == 204
    assert [(path, body) for path, _, body in receiver.seen] == [("/hook", b"body"), ("/elsewhere", b"body")]


@pytest.mark.parametrize(
    "onward",
    [
        "http://127.0.0.1:1/",
        "https://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://localhost/",
        "file:///etc/passwd",
        "http://receiver.example.com/",
        "https://u:p@receiver.example.com/",
    ],
)
def test_a_redirect_to_where_nothing_may_be_sent_is_refused(receiver: Receiver, onward: str) -> None:
    receiver.answers = [(307, {"Location": onward})]
    with pytest.raises(BadAddress):
        Outbound(receivers=receiver.names).post(receiver.url, b"", {}, 5)
    assert len(receiver.seen) == 1


def test_a_redirect_to_a_name_with_a_private_address_is_refused(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "https://rebound.example.com/"})]

    def resolve(host: str, _port: int, _seconds: float) -> list[str]:
        assert host == "rebound.example.com"
        return ["192.168.0.1"]

    with pytest.raises(BadAddress):
        Outbound(resolve, receivers=receiver.names).post(receiver.url, b"", {}, 5)


def test_redirects_end(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "/again"})] * 9
    with pytest.raises(Unreachable, match="redirects"):
        Outbound(receivers=receiver.names).post(receiver.url, b"", {}, 5)
    assert len(receiver.seen) == MAX_REDIRECTS + 1


def test_a_redirect_that_names_no_place_is_an_answer(receiver: Receiver) -> None:
    receiver.answers = [(302, {}), (303, {"Location": "/get"})]
    outbound = Outbound(receivers=receiver.names)
    assert [outbound.post(receiver.url, b"", {}, 5).status for _ in range(2)] == [302, 303]


def test_a_receiver_that_drips_does_not_hold_us(receiver: Receiver) -> None:
    receiver.drip = True
    with pytest.raises(Unreachable):
        Outbound(receivers=receiver.names).post(receiver.url, b"", {}, 0.5)


def test_a_receiver_that_talks_nonsense_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def nonsense() -> None:
            taken, _ = server.accept()
            taken.recv(4096)
            taken.sendall(b"220 mail.example.com ESMTP\r\n")
            taken.close()

        threading.Thread(target=nonsense, daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(Unreachable):
            Outbound(receivers={"hooks.test": port}).post("https://hooks.test/", b"", {}, 5)


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of receiver.example.com, signed by itself; key and certificate in one file."""
    from cryptography import x509  # noqa: PLC0415  only these tests need it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "receiver.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[tuple[Receiver, list[str | None]]]:
    """A receiver that speaks TLS, and the names that it was asked for."""
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    connect = socket.create_connection

    def to_the_receiver(address: tuple[str, int], timeout: float) -> socket.socket:
        assert address == (PUBLIC, made.port)
        return connect(("127.0.0.1", made.port), timeout)

    with receiving(tls) as made, patch("socket.create_connection", to_the_receiver):
        yield made, asked


def test_the_certificate_must_be_for_the_name_that_tls_announces(
    secure: tuple[Receiver, list[str | None]], certificate: Path
) -> None:
    receiver, asked = secure
    host = f"receiver.example.com:{receiver.port}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    outbound = Outbound(answering([PUBLIC]), trusting)
    assert outbound.post(f"https://{host}/", b"", {}, 5).status == 200
    assert asked == ["receiver.example.com"]
    assert receiver.seen[0][1]["host"] == host


def test_a_certificate_for_another_name_is_refused(
    secure: tuple[Receiver, list[str | None]], certificate: Path
) -> None:
    receiver, _ = secure
    host = f"other.example.com:{receiver.port}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    with pytest.raises(Unreachable):
        Outbound(answering([PUBLIC]), trusting).post(f"https://{host}/", b"", {}, 5)
    assert receiver.seen == []


def test_an_untrusted_certificate_is_refused(secure: tuple[Receiver, list[str | None]]) -> None:
    receiver, _ = secure
    host = f"receiver.example.com:{receiver.port}"
    with pytest.raises(Unreachable):
        Outbound(answering([PUBLIC])).post(f"https://{host}/", b"", {}, 5)
    assert receiver.seen == []
