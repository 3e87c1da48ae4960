"""Signing in, and every way in which it must not work."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from adbot_queue.console import sessions, sign_in
from adbot_queue.console.id_token import IdTokens
from adbot_queue.console.sessions import BUSY, CHECK_MS, MAX_AGE_MS, MAX_IDLE_MS, Person, PoolGroups, Sessions
from adbot_queue.console.sign_in import Attempt, SignIn
from adbot_queue.core import aws
from adbot_queue.core.callers import STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Unauthenticated, Unavailable
from adbot_queue.core.settings import settings
from tests.builders.console_world import ORIGIN, ConsoleWorld

ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_pool"
CLIENT = "console-client"
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = OURS.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEYS = json.dumps({"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OURS.public_key())), "kid": "one"}]})


def claims(**changed: Any) -> dict[str, Any]:
    """What the pool says of a person who signs in; a claim of None is left out."""
    now = int(time.time())
    made = {
        "sub": "sub-olga",
        "iss": ISSUER,
        "aud": CLIENT,
        "exp": now + 300,
        "iat": now,
        "token_use": "id",
        "nonce": "n-1",
        "cognito:username": "olga",
        "cognito:groups": ["owner"],
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


def token(key: Any = OURS, algorithm: str = "RS256", kid: str = "one", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers={"kid": kid})


def hmac_with_the_public_key() -> str:
    """A token signed with what everybody may read, as if it were a shared secret."""
    with patch("jwt.algorithms.is_pem_format", lambda _: False):
        return token(PUBLIC, "HS256")


def tokens(fetch: Callable[[], str] = lambda: KEYS) -> IdTokens:
    return IdTokens(ISSUER, CLIENT, fetch)


def test_a_token_of_the_pool_for_this_sign_in_says_who_it_is() -> None:
    person = tokens().verify(token(), "n-1")
    assert (person.user, person.username) == ("sub-olga", "olga")


NOT_OURS: dict[str, Callable[[], str]] = {
    "forged: another key under our key's name": lambda: token(THEIRS),
    "forged: a key that the pool does not have": lambda: token(THEIRS, kid="two"),
    "forged: changed after signing": lambda: token()[:-8] + "AAAAAAAA",
    "algorithm none": lambda: jwt.encode(claims(), None, algorithm="none", headers={"kid": "one"}),
    "algorithm HS256 with the public key": hmac_with_the_public_key,
    "expired": lambda: token(exp=int(time.time()) - 60),
    "without an end": lambda: token(exp=None),
    "of another pool": lambda: token(iss=ISSUER.replace("_pool", "_other")),
    "for another client": lambda: token(aud="shop"),
    "an access token": lambda: token(token_use="access"),
    "of another sign-in": lambda: token(nonce="n-2"),
    "without a nonce": lambda: token(nonce=None),
    "without a subject": lambda: token(sub=None),
    "no token at all": lambda: "not.a.token",
}


@pytest.mark.parametrize("made", NOT_OURS.values(), ids=NOT_OURS)
def test_57_every_other_token_is_refused(made: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated, match="sign-in failed"):
        tokens().verify(made(), "n-1")


def test_keys_are_read_once_and_again_when_a_key_is_new() -> None:
    read: list[str] = []

    def fetch() -> str:
        read.append("keys")
        return KEYS

    checked = tokens(fetch)
    for _ in range(3):
        checked.verify(token(), "n-1")
    assert len(read) == 1
    with pytest.raises(Unauthenticated):
        checked.verify(token(THEIRS, kid="two"), "n-1")
    assert len(read) == 2


AWAY = [
    "https://evil.example/console",
    "//evil.example/console",
    "/\\evil.example",
    "\\/evil.example",
    "/console@evil.example/..//evil.example",
    "/consolex",
    "/console/../../evil",
    "/ /evil.example",
    "/console/\r\nset-cookie: a=b",
    "javascript:alert(1)",
    "/console?next=\x00",
    "/console/ünicode",
    "/other",
    "",
    "/console/" + "a" * 1000,
]


@pytest.mark.parametrize("target", AWAY)
def test_57_the_way_back_leads_to_no_other_place(target: str) -> None:
    assert sign_in.own_page(target) == "/console"


@pytest.mark.parametrize(
    "target", ["/console", "/console/queues?state=dead&q=a%20b", "/my", "/my/bots/1", "/console/jobs/ab-1_2"]
)
def test_the_way_back_keeps_a_page_of_ours(target: str) -> None:
    assert sign_in.own_page(target) == target


@dataclass
class Pool:
    """The user pool's token endpoint: a code is good once, for the verifier that began the sign-in."""

    codes: dict[str, Attempt] = field(default_factory=dict)
    status: int = 200
    made: dict[str, Any] = field(default_factory=dict)

    def __call__(self, _url: str, form: dict[str, str], client_id: str, secret: str) -> tuple[int, bytes]:
        assert (client_id, secret) == (CLIENT, "shh")
        attempt = self.codes.pop(form["code"], None)
        good = attempt is not None and attempt.verifier == form["code_verifier"]
        if self.status != 200 or not good or attempt is None:
            return max(400, self.status), b'{"error": "invalid_grant"}'
        return 200, json.dumps({"id_token": token(**{"nonce": attempt.nonce, **self.made})}).encode()


@pytest.fixture
def pool(console: ConsoleWorld) -> Iterator[Pool]:
    made = Pool()
    console.groups["olga"] = frozenset({"owner"})
    flow = SignIn("https://sign-in.example.com", CLIENT, "shh", tokens(), made)
    with patch.object(sign_in, "from_env", lambda: flow):
        yield made


def begin(console: ConsoleWorld, target: str = "/console/queues") -> tuple[str, dict[str, list[str]]]:
    """The cookie of a sign-in that has begun, and what the pool's page is asked."""
    asked = console.get(f"/console/sign-in?next={target}", role=None)
    assert asked.status == 303
    sent = urlsplit(asked.headers["location"])
    assert (sent.netloc, sent.path) == ("sign-in.example.com", "/oauth2/authorize")
    (name,) = asked.cookies
    assert name == "__Host-a-adbot-queue"
    assert asked.cookies[name].endswith("; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax")
    return f"{name}={asked.cookies[name].partition(';')[0]}", parse_qs(sent.query)


def come_back(console: ConsoleWorld, cookie: str, code: str, state: str, also: str = "") -> Any:
    path = f"/console/signed-in?code={code}&state={state}"
    return console.get(path, role=None, cookie=f"{cookie}; {also}")


def test_a_sign_in_ends_where_it_began_with_a_session_of_its_own(console: ConsoleWorld, pool: Pool) -> None:
    cookie, asked = begin(console)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{ORIGIN}/console/signed-in"]
    attempt = Attempt.of_cookie(cookie.partition("=")[2])
    assert attempt
    assert asked["code_challenge"] == [attempt.challenge]
    pool.codes["c-1"] = attempt
    done = come_back(console, cookie, "c-1", asked["state"][0])
    assert (done.status, done.headers["location"]) == (303, "/console/queues")
    value, _, flags = done.cookies["__Host-s-adbot-queue"].partition(";")
    assert len(value) >= 43
    assert flags == " Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax"
    assert "Max-Age=0" in done.cookies["__Host-a-adbot-queue"]
    session = sessions.from_env().find(value)
    assert session
    assert (session.user, session.groups) == ("sub-olga", {"owner"})


def test_57_a_sign_in_of_another_browser_or_a_used_code_starts_no_session(console: ConsoleWorld, pool: Pool) -> None:
    cookie, asked = begin(console)
    other, _ = begin(console)
    attempt = Attempt.of_cookie(cookie.partition("=")[2])
    assert attempt
    state = asked["state"][0]
    for given in ("", other, "__Host-a-adbot-queue=bm90IG91cnM"):
        pool.codes["c-2"] = attempt
        refused = come_back(console, given, "c-2", state)
        assert (refused.status, refused.cookies) == (401, {}), given
    assert come_back(console, cookie, "", state).status == 401
    assert come_back(console, cookie, "c-2", "another-state").status == 401
    pool.codes["c-2"] = attempt
    assert come_back(console, cookie, "c-2", state).status == 303
    assert come_back(console, cookie, "c-2", state).status == 401  # used
    assert come_back(console, cookie, "c-3", state).status == 401  # never given


@pytest.mark.parametrize("status", [500, 503])
def test_a_pool_that_fails_is_said_to_be_busy(console: ConsoleWorld, pool: Pool, status: int) -> None:
    cookie, asked = begin(console)
    pool.status = status
    assert come_back(console, cookie, "c-4", asked["state"][0]).status == 503


def test_57_a_session_cannot_be_fixed_and_a_new_sign_in_ends_the_old_one(console: ConsoleWorld, pool: Pool) -> None:
    cookie, asked = begin(console)
    attempt = Attempt.of_cookie(cookie.partition("=")[2])
    assert attempt
    planted = "A" * 43
    pool.codes["c-5"] = attempt
    first = come_back(console, cookie, "c-5", asked["state"][0], f"__Host-s-adbot-queue={planted}")
    value = first.cookies["__Host-s-adbot-queue"].partition(";")[0]
    assert value != planted
    assert sessions.from_env().find(planted) is None
    pool.codes["c-6"] = attempt
    second = come_back(console, cookie, "c-6", asked["state"][0], f"__Host-s-adbot-queue={value}")
    assert sessions.from_env().find(value) is None
    assert sessions.from_env().find(second.cookies["__Host-s-adbot-queue"].partition(";")[0])


def test_57_groups_come_from_the_pool_whatever_a_token_says(console: ConsoleWorld, pool: Pool) -> None:
    for pool_says, token_says, role in (({"owner"}, None, "owner"), ({"customer"}, ["owner"], "customer")):
        console.groups["olga"] = frozenset(pool_says)
        pool.made = {"cognito:groups": token_says}
        cookie, asked = begin(console)
        attempt = Attempt.of_cookie(cookie.partition("=")[2])
        assert attempt
        pool.codes["c-7"] = attempt
        done = come_back(console, cookie, "c-7", asked["state"][0])
        session = sessions.from_env().find(done.cookies["__Host-s-adbot-queue"].partition(";")[0])
        assert session
        assert session.groups == {role}


def test_57_a_disabled_user_gets_no_session(console: ConsoleWorld, pool: Pool) -> None:
    console.groups["olga"] = None
    cookie, asked = begin(console)
    attempt = Attempt.of_cookie(cookie.partition("=")[2])
    assert attempt
    pool.codes["c-8"] = attempt
    done = come_back(console, cookie, "c-8", asked["state"][0])
    assert (done.status, done.cookies) == (401, {})


def test_57_signing_out_ends_the_session_in_every_tab(console: ConsoleWorld, pool: Pool) -> None:
    assert pool
    kept = console.person("leaver", "viewer")
    assert console.get("/console", "leaver").status == 200
    done = console.post("/console/sign-out", role="leaver", script=False)
    assert done.status == 200
    assert done.cookies["__Host-s-adbot-queue"].startswith("; Path=/; Max-Age=0; Secure; HttpOnly")
    assert done.headers["refresh"].startswith("0; url=https://sign-in.example.com/logout?client_id=console-client&")
    console.cookies["leaver"] = kept  # another tab still has it
    assert console.get("/console", "leaver").status == 303
    tick = console.tick("/console", "leaver", hx_current_url=f"{ORIGIN}/console/queues?x=1")
    assert (tick.status, tick.headers["hx-redirect"]) == (401, "/console/sign-in?next=%2Fconsole%2Fqueues%3Fx%3D1")


@pytest.mark.usefixtures("pool")
def test_57_signing_out_works_while_the_user_pool_is_down_and_after_the_session_ended(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: str) -> None:
        raise Unavailable("the sign-in service is busy")

    for role in ("owner", "viewer", "customer"):
        console.person(f"leaving-{role}", role)
    kept = sessions.from_env()
    late = {"csrf": console.session("leaving-owner").csrf}
    monkeypatch.setattr(kept, "_groups", down)
    for role in ("owner", "viewer", "customer"):
        who = f"leaving-{role}"
        csrf = console.session(who).csrf
        monkeypatch.setattr(kept, "now", lambda: system_clock() + CHECK_MS)  # the groups are due
        assert console.get("/my", who).status == 503
        assert console.get("/docs", who).status == 200
        assert console.post("/console/sign-out", {"csrf": "another"}, who, script=False).status == 403
        done = console.post("/console/sign-out", {"csrf": csrf}, who, script=False)
        assert (done.status, done.cookies["__Host-s-adbot-queue"][:18]) == (200, "; Path=/; Max-Age=")
        monkeypatch.setattr(kept, "now", system_clock)
        assert kept.find(console.cookies[who]) is None
    again = console.post("/console/sign-out", late, "leaving-owner", script=False)
    assert (again.status, "signed out" in again.words) == (200, True)
    assert console.post("/console/sign-out", late, "leaving-owner", script=False, sec_fetch_site="none").status == 403


@pytest.mark.parametrize("cookie", ["", "A" * 43, "../../etc", "ü", "a" * 4000])
def test_57_a_made_up_cookie_opens_no_session(console: ConsoleWorld, cookie: str) -> None:
    assert console.get("/console", role=None, cookie=f"__Host-s-adbot-queue={cookie}").status == 303


def test_the_browsers_id_is_not_in_the_table(console: ConsoleWorld) -> None:
    kept = console.person("secretive", "viewer")
    rows = aws.dynamodb().scan(TableName=settings().system_table)["Items"]  # a test may scan
    assert kept not in json.dumps(rows)
    assert any(row["pk"]["S"].startswith("SESSION#") for row in rows)


class Clock:
    now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


def test_24_a_group_that_was_taken_away_is_gone_in_five_minutes_and_at_once_for_owners(console: ConsoleWorld) -> None:
    assert console
    clock, groups = Clock(), {"ida": frozenset({"owner"})}
    asked: list[str] = []

    def read(username: str, _user: str) -> frozenset[str] | None:
        asked.append(username)
        return groups.get(username)

    kept = Sessions(aws.dynamodb(), settings().system_table, read, clock)
    made = kept.start(Person("sub-ida", "ida", "Ida"))
    assert made
    groups["ida"] = frozenset({"viewer"})
    clock.now += CHECK_MS - 1
    found = kept.find(made)
    assert found
    assert found.groups == {"owner"}
    fresh = kept.find(made, fresh_for=STAFF)
    assert fresh
    assert fresh.groups == {"viewer"}
    groups["ida"] = frozenset()
    clock.now += CHECK_MS
    later = kept.find(made)
    assert later
    assert later.groups == frozenset()
    assert len(asked) == 3
    del groups["ida"]  # deleted, or disabled
    clock.now += CHECK_MS
    assert kept.find(made) is None
    clock.now += 1
    assert kept.find(made) is None


def test_a_session_ends_after_twelve_hours_and_after_one_without_use(console: ConsoleWorld) -> None:
    assert console
    clock = Clock()
    kept = Sessions(aws.dynamodb(), settings().system_table, lambda *_: frozenset({"viewer"}), clock)
    idle, used = (kept.start(Person("sub", "ida", "Ida")) for _ in range(2))
    assert idle
    assert used
    for _ in range(MAX_AGE_MS // MAX_IDLE_MS):
        clock.now += MAX_IDLE_MS
        assert kept.find(used)
    clock.now += 1
    assert kept.find(idle) is None
    assert kept.find(used) is None


def test_groups_are_those_of_the_pool_and_none_makes_a_customer(console: ConsoleWorld) -> None:
    assert console
    cognito = aws.cognito()
    pool = cognito.create_user_pool(PoolName="people")["UserPool"]["Id"]
    cognito.create_group(UserPoolId=pool, GroupName="admin")
    subjects = {"nora": "sub-nora"}
    for name in ("ada", "carl", "dora"):
        made = cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")["User"]
        subjects[name] = next(one["Value"] for one in made["Attributes"] if one["Name"] == "sub")
    cognito.admin_add_user_to_group(UserPoolId=pool, Username="ada", GroupName="admin")
    cognito.admin_disable_user(UserPoolId=pool, Username="dora")
    groups = PoolGroups(cognito, pool)
    found = [groups(name, subjects[name]) for name in ("ada", "carl", "dora", "nora")]
    assert found == [{"admin"}, {"customer"}, None, None]
    assert groups("ada", subjects["carl"]) is None  # another person has the name now


@pytest.mark.parametrize("code", [*sorted(BUSY), "no answer"])
def test_a_pool_that_cannot_be_asked_ends_no_session_and_allows_no_act(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    class Pool:
        def admin_get_user(self, **_: str) -> dict[str, Any]:
            if code == "no answer":
                raise ConnectTimeoutError(endpoint_url="https://cognito-idp")
            raise ClientError({"Error": {"Code": code}}, "AdminGetUser")

    kept = sessions.from_env()
    console.session("owner")
    before = console.world.ledger()
    monkeypatch.setattr(kept, "_groups", PoolGroups(Pool(), "pool"))  # type: ignore[arg-type]
    assert console.post("/console/queues/http/pause", {"reason": "why"}).status == 503
    monkeypatch.setattr(kept, "now", lambda: system_clock() + CHECK_MS)
    assert console.get("/console/queues").status == 503
    assert console.world.ledger() == before
    monkeypatch.undo()
    assert console.get("/console/queues").status == 200


def test_24_an_owner_who_is_one_no_more_does_nothing_that_needs_the_owner(console: ConsoleWorld) -> None:
    """For each form that admins may send: the same form lets owners do more."""
    console.person("eve", "owner")
    session = console.session("eve")
    console.groups["eve"] = frozenset({"viewer"})
    before = console.world.ledger()
    assert console.get("/console/queues", "eve").status == 200
    assert console.post("/console/bots/none/cancel", {"reason": "x", "csrf": session.csrf}, "eve").status == 403
    assert console.world.ledger() == before


def test_a_clock_that_was_ahead_does_not_spare_a_session_its_check(console: ConsoleWorld) -> None:
    assert console
    clock, groups = Clock(), [frozenset({"owner"}), frozenset({"viewer"})]
    kept = Sessions(aws.dynamodb(), settings().system_table, lambda *_: groups.pop(0), clock)
    made = kept.start(Person("sub-zoe", "zoe", "Zoe"))
    assert made
    clock.now -= CHECK_MS
    found = kept.find(made)
    assert found
    assert found.groups == {"viewer"}


CROSS = {
    "another site": {"sec_fetch_site": "cross-site"},
    "another origin of the site": {"sec_fetch_site": "same-site"},
    "typed by hand": {"sec_fetch_site": "none"},
    "no such header": {"sec_fetch_site": None},
}


@pytest.mark.parametrize("headers", CROSS.values(), ids=CROSS)
@pytest.mark.parametrize("script", [True, False], ids=["script", "form"])
def test_25_a_form_of_another_page_changes_nothing(
    console: ConsoleWorld, headers: dict[str, str | None], *, script: bool
) -> None:
    before = console.world.ledger()
    refused = console.post("/console/queues/http/pause", {"reason": "evil"}, "admin", script=script, **headers)
    assert refused.status == 403
    assert console.world.ledger() == before


@pytest.mark.parametrize("given", ["", "x", "another session's"])
def test_25_a_form_without_the_sessions_token_changes_nothing(console: ConsoleWorld, given: str) -> None:
    token_given = console.session("viewer").csrf if given == "another session's" else given
    before = console.world.ledger()
    refused = console.post("/console/queues/http/pause", {"reason": "evil", "csrf": token_given}, "admin")
    assert refused.status == 403
    assert "reload the page" in refused.words
    assert console.world.ledger() == before


def test_no_page_can_be_framed_or_run_foreign_script(console: ConsoleWorld) -> None:
    for page in (console.get("/console"), console.get("/console/none"), console.get("/console", role=None)):
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert re.search(r"default-src 'none'; script-src 'self';.*frame-ancestors 'none'", policy)
        assert page.headers["x-content-type-options"] == "nosniff"
