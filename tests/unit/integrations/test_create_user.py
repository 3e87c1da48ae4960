"""create-user: one account a job, in its groups, with one mail, wherever an attempt dies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from adbot_queue.core import aws, telemetry
from adbot_queue.core.errors import NotConfigured
from adbot_queue.integrations.jobs.create_user import CreateUser
from adbot_queue.jobs.model import Job
from adbot_queue.providers import registry
from tests.builders.calls import providers
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.jobs import Jobs
from tests.builders.payments import empty
from tests.builders.processors import failure, run
from tests.builders.world import Answer, AwsHarness

CARA = {"email": "cara@example.com", "groups": ["customer", "viewer"]}
SIGN_IN = "https://bots.example.com/sign-in"


@pytest.fixture(scope="module")
def people(_one_world: AwsHarness) -> str:
    """A pool takes moto two seconds: the tests share it."""
    cognito = aws.cognito()
    pool: str = cognito.create_user_pool(
        PoolName="people",
        AliasAttributes=["email"],
        Schema=[{"Name": "job", "AttributeDataType": "String", "Mutable": False}],
    )["UserPool"]["Id"]
    for group in ("owner", "admin", "viewer", "customer"):
        cognito.create_group(UserPoolId=pool, GroupName=group)
    return pool


@pytest.fixture
def pool(people: str) -> Iterator[str]:
    empty()
    for user in users(people):
        aws.cognito().admin_delete_user(UserPoolId=people, Username=user["Username"])
    with providers(cognito={"pool": people, "sign_in": SIGN_IN}):
        yield people


@pytest.fixture
def jobs(_one_world: AwsHarness, pool: str) -> Jobs:
    return Jobs(_one_world)


def create(key: str = "job-1", **changes: Any) -> Any:
    return run("create-user", CARA | changes, key=key)


def refused(key: str = "job-1", **changes: Any) -> tuple[str, str]:
    found, _ = failure("create-user", CARA | changes, key=key)
    return found.kind, found.message


def users(pool: str) -> list[Any]:
    return aws.cognito().list_users(UserPoolId=pool)["Users"]


def groups(pool: str, username: str) -> set[str]:
    found = aws.cognito().admin_list_groups_for_user(UserPoolId=pool, Username=username)["Groups"]
    return {group["GroupName"] for group in found}


def mails(jobs: Jobs) -> list[Job]:
    return [job for job in jobs.all() if job.type == "send-email"]


def refusing(monkeypatch: pytest.MonkeyPatch, call: str, code: str, status: int = 400) -> None:
    def refuse(**_: Any) -> None:
        answered = {"HTTPStatusCode": status, "HTTPHeaders": {}}
        raise ClientError({"Error": {"Code": code, "Message": "cara"}, "ResponseMetadata": answered}, call)  # type: ignore[typeddict-item]

    monkeypatch.setattr(aws.cognito(), call, refuse)


def test_an_account_is_made_put_into_its_groups_and_written_to(pool: str, jobs: Jobs) -> None:
    result = create()

    (user,) = users(pool)
    attributes = {entry["Name"]: entry["Value"] for entry in user["Attributes"]}
    assert result == {
        "user_id": attributes["sub"],
        "username": user["Username"],
        "groups": ["customer", "viewer"],
        "welcome": mails(jobs)[0].id,
    }
    assert (attributes["email"], attributes["email_verified"]) == ("cara@example.com", "true")
    assert groups(pool, user["Username"]) == {"customer", "viewer"}
    (mail,) = mails(jobs)
    assert mail.payload["to"] == "cara@example.com"
    assert SIGN_IN in mail.payload["text"]
    assert user["Username"] in mail.payload["text"]
    assert "UsersCreated" in telemetry.metrics.metric_set


def test_the_user_may_ask_for_a_password_and_the_one_that_is_set_is_not_kept(
    pool: str, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    cognito = aws.cognito()
    made, confirmed = cognito.admin_create_user, cognito.admin_set_user_password
    monkeypatch.setattr(cognito, "admin_create_user", lambda **given: (asked.append(given), made(**given))[1])
    monkeypatch.setattr(
        cognito, "admin_set_user_password", lambda **given: (asked.append(given), confirmed(**given))[1]
    )

    result = create()

    assert users(pool)[0]["UserStatus"] == "CONFIRMED"
    passwords = {asked[0]["TemporaryPassword"], asked[1]["Password"]}
    assert len(passwords) == 2
    for password in passwords:
        assert all(re.search(kind, password) for kind in (r"[a-z]", r"[A-Z]", r"\d", r".{40}"))
        assert password not in str(result) + str(mails(jobs)[0].payload)
    assert asked[0]["MessageAction"] == "SUPPRESS"


def test_a_name_may_be_chosen(pool: str) -> None:
    assert create(username="cara")["username"] == "cara"


def test_the_same_job_again_finds_its_own_user_and_writes_once(pool: str, jobs: Jobs) -> None:
    first = create(username="cara")
    aws.cognito().admin_set_user_password(UserPoolId=pool, Username="cara", Password="Chosen-by-cara-1", Permanent=True)
    kept = aws.cognito().admin_get_user(UserPoolId=pool, Username="cara")["UserLastModifiedDate"]

    assert create(username="cara") == first
    assert len(users(pool)) == len(mails(jobs)) == 1
    assert aws.cognito().admin_get_user(UserPoolId=pool, Username="cara")["UserLastModifiedDate"] == kept


def test_wherever_an_attempt_dies_the_next_one_finishes_it(pool: str, jobs: Jobs) -> None:
    create(key="first", username="first")  # what is kept for a while is known from here on
    with crash_after(None, aws.cognito()) as calls:
        create(key="counted", username="counted")
    asked = [name for name in calls.names if name.startswith("Admin")]
    assert asked == ["AdminCreateUser", "AdminAddUserToGroup", "AdminAddUserToGroup", "AdminSetUserPassword"]
    for call in every_call(len(calls.names)):
        empty()
        name = f"cara{call}"
        with pytest.raises(Killed), crash_after(call, aws.cognito()):
            create(key=name, username=name)

        result = create(key=name, username=name)

        assert groups(pool, name) == {"customer", "viewer"}
        assert aws.cognito().admin_get_user(UserPoolId=pool, Username=name)["UserStatus"] == "CONFIRMED"
        assert [mail.id for mail in mails(jobs)] == [result["welcome"]]


def test_a_name_that_another_job_or_a_person_has_used_is_taken(pool: str, jobs: Jobs) -> None:
    create(username="cara")
    aws.cognito().admin_create_user(UserPoolId=pool, Username="carl")

    assert refused(key="job-2", username="cara") == ("permanent", "the user name is taken")
    assert refused(key="job-3", username="carl") == ("permanent", "the user name is taken")
    assert groups(pool, "carl") == set()
    assert len(mails(jobs)) == 1


def test_an_address_that_another_user_has_is_refused(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, "admin_create_user", "AliasExistsException")

    assert refused(username="cara") == ("permanent", "the address belongs to another user")


@pytest.mark.parametrize(
    ("code", "status", "kind", "message"),
    [
        ("TooManyRequestsException", 400, "throttled", "Cognito refused (TooManyRequestsException)"),
        ("LimitExceededException", 400, "throttled", "Cognito refused (LimitExceededException)"),
        ("InternalErrorException", 500, "transient", "Cognito refused (InternalErrorException)"),
        ("ServiceUnavailable", 503, "transient", "Cognito refused (ServiceUnavailable)"),
        ("InvalidParameterException", 400, "permanent", "Cognito refused (InvalidParameterException)"),
        ("InvalidPasswordException", 400, "permanent", "Cognito refused (InvalidPasswordException)"),
        (
            "AccessDeniedException",
            400,
            "provider_closed",
            "provider closed: the user pool does not let us make users: AccessDeniedException",
        ),
        (
            "ResourceNotFoundException",
            400,
            "provider_closed",
            "provider closed: the user pool does not let us make users: ResourceNotFoundException",
        ),
    ],
)
@pytest.mark.parametrize("call", ["admin_create_user", "admin_add_user_to_group", "admin_set_user_password"])
def test_refusals_of_every_call_are_classified_and_hold_no_words_of_cognitos(
    pool: str, monkeypatch: pytest.MonkeyPatch, call: str, code: str, status: int, kind: str, message: str
) -> None:
    refusing(monkeypatch, call, code, status)

    assert refused() == (kind, message)


@pytest.mark.parametrize(("missing", "parameter"), [("pool", "UserPool"), ("sign_in", "SignInUrl")])
def test_what_is_not_set_up_is_named_before_anything_is_done(pool: str, missing: str, parameter: str) -> None:
    with providers(cognito={missing: ""}):
        kind, message = refused()
        with pytest.raises(NotConfigured, match=parameter):
            registry.check("cognito")

    assert (kind, message) == ("permanent", f"{parameter} is empty: Cognito is not set up")
    assert users(pool) == []


def test_the_mail_is_a_job_of_the_tenant_that_created_the_user(pool: str, jobs: Jobs) -> None:
    job = jobs.run("create-user", CARA, tenant="ada")

    (mail,) = mails(jobs)
    assert mail.tenant == "ada"
    assert job.result is not None
    assert job.result["welcome"] == mail.id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "cara"}, "email"),
        ({"groups": ["owner"]}, "groups"),
        ({"groups": ["nobody"]}, "groups"),
        ({"username": "cara@example.com"}, "username"),
        ({"username": ""}, "username"),
        ({"password": "x"}, "password"),
    ],
)
def test_an_account_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        CreateUser.model_validate(CARA | changes)

    assert error.value.errors()[0]["loc"][0] == field


def test_to_queue_it_asks_aws_for_three_things_and_cognito_for_nothing(pool: str, jobs: Jobs) -> None:
    """The answer's time is that of these calls; they are counted because a clock in a test tells of the machine."""

    def post(email: str) -> Answer:
        body = {"type": "create-user", "payload": CARA | {"email": email}}
        return jobs.world.http("jobs", "POST /jobs", role="admin", body=body)

    post("first@example.com")  # what is kept for a while is known from here on
    with crash_after(None, aws.cognito()) as calls:
        answer = post("second@example.com")

    assert answer.status == 202
    assert calls.names == ["UpdateItem", "TransactWriteItems", "SendMessage"]
    assert users(pool) == []
