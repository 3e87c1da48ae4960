"""Leads one by one: added, changed, taken over, released, handed to a colleague; every refusal names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.leads import LeadsApi, phone


def test_a_lead_is_added_shown_and_listed(api: LeadsApi) -> None:
    made = api.add(1, phone="0151 12 000001", country="DE", fields={"city": "Bonn"}, project_id=None)
    assert made.status == 201
    assert (made.json["phone"], made.json["status"], made.json["owner_id"]) == (phone(1), "new", "sam")
    assert api("GET /leads/{id}", id=made.json["lead_id"]).json == made.json
    assert api("GET /leads").json == {"items": [made.json], "next": None}
    (entry,) = api("GET /leads/{id}/trail", id=made.json["lead_id"]).json["items"]
    assert (entry["what"], entry["actor"], entry["role"]) == ("created", "sam", "sales")
    (signed,) = api.world.ledger(action="lead.create")
    assert signed["target"] == f"lead:{made.json['lead_id']}"
    assert phone(1) not in str(signed)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"client_id": "nope"}, "client_id", "client nope does not exist"),
        ({"project_id": "nope"}, "project_id", "project nope does not exist"),
        ({"owner_id": "nope", "role": "admin"}, "owner_id", "user nope does not exist"),
        ({"owner_id": "eve"}, "owner_id", "must be your own id"),
        (
            {"phone": "0151 12000001"},
            "phone",
            "must begin with + and the country code, or the import must name a country",
        ),
        ({"phone": "+49 151"}, "phone", "is not a valid phone number"),
        ({"phone": "+4915112000001 / +4915112000002"}, "phone", "has more than one number"),
        ({"phone": "4.9151E+12"}, "phone", "is a number that a spreadsheet rounded; format the column as text"),
        ({"phone": "call me", "country": "DE"}, "phone", "is not a valid phone number"),
        ({"country": "XX"}, "country", "must be a country of ISO 3166-1 like DE"),
        ({"name": "  "}, "name", "must not be empty"),
        ({"priority": 10}, "priority", "must be between 0 and 9"),
        ({"tz": "Mars/Base"}, "tz", "must be an IANA time zone like Europe/Berlin"),
        ({"fields": {"note": "x" * 4001}}, "fields.note", "must have at most 1000 characters"),
        ({"fields": {f"f{n}": "x" * 999 for n in range(5)}}, "fields", "must have at most 4000 characters"),
        ({"consent": {"state": "granted", "source": "form"}}, "consent", "granted needs a source and a proof"),
        ({"consent": {"state": "yes"}}, "consent.state", "must be unknown, granted or denied"),
    ],
)
def test_a_bad_lead_is_refused_with_field_and_limit(
    api: LeadsApi, changes: dict[str, Any], field: str, message: str
) -> None:
    refused = api.add(1, **changes)
    assert (refused.status, refused.json["errors"]) == (422, [{"field": field, "message": message}])
    assert api("GET /leads").json["items"] == []


def test_one_phone_is_one_lead_of_an_owner_in_whatever_spelling(api: LeadsApi) -> None:
    made = api.add(1)
    again = api.add(1, phone="0049 (151) 12-000.001")
    assert (again.status, again.problem, again.json["lead_id"]) == (409, "conflict", made.json["lead_id"])


def test_another_owners_phone_is_refused_and_sales_do_not_hear_whose_it_is(api: LeadsApi) -> None:
    api.add(1)
    refused = api.add(1, user="tom")
    assert (refused.status, refused.json["detail"]) == (409, "phone: a lead of another owner has it")
    assert "sam" not in refused.text
    shown = api.add(1, user="ada", role="admin")
    assert shown.json["owner_ids"] == ["sam"]


def test_an_owner_who_is_not_exclusive_may_have_a_person_of_another_owner(api: LeadsApi) -> None:
    api.add(1)
    assert api("PUT /leads/settings", user="tom", body={"exclusive": False}).status == 200
    assert api.add(1, user="tom").status == 201
    assert api.add(1, user="tom").status == 409


def test_the_same_key_answers_with_the_first_lead(api: LeadsApi) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = api.add(1, headers=key), api.add(1, headers=key)
    assert (again.status, again.json, again.headers["idempotent-replayed"]) == (200, first.json, "true")
    assert api.add(1, name="Other", headers=key).problem == "idempotency-key-reused"


def test_sales_see_their_own_leads_alone_and_viewers_change_none(api: LeadsApi) -> None:
    lead_id = api.add(1).json["lead_id"]
    assert api("GET /leads/{id}", user="tom", id=lead_id).status == 404
    assert api("GET /leads/{id}/trail", user="tom", id=lead_id).status == 404
    assert api("PATCH /leads/{id}", user="tom", body={"priority": 1}, id=lead_id).status == 404
    assert api("GET /leads", user="tom").json["items"] == []
    assert api("GET /leads", user="tom", query={"owner_id": "sam"}).status == 422
    for act in ("take", "release"):
        assert api(f"POST /leads/{{id}}/{act}", user="tom", id=lead_id).status == 404
    assert api("POST /leads/{id}/assign", user="tom", body={"owner_id": "tom"}, id=lead_id).status == 404
    assert api("GET /leads/{id}", role="viewer", user="vic", id=lead_id).status == 200
    assert api("POST /leads/{id}/take", role="viewer", user="vic", id=lead_id).status == 403
    assert api("GET /leads", role="customer").status == 403
    found = api("GET /leads", role="admin", user="ada", query={"client_id": "acme"}).json["items"]
    assert [lead["lead_id"] for lead in found] == [lead_id]


def test_lists_filter_and_follow_cursors(api: LeadsApi) -> None:
    ids = [api.add(number, priority=number % 2).json["lead_id"] for number in range(5)]
    api("POST /leads/{id}/take", id=ids[0])
    first = api("GET /leads", query={"limit": "2"}).json
    rest = api("GET /leads", query={"limit": "10", "cursor": first["next"]}).json
    assert [lead["lead_id"] for lead in first["items"] + rest["items"]] == ids[::-1]
    for query, expected in (
        ({"status": "engaged"}, ids[:1]),
        ({"taken": "false"}, ids[:0:-1]),
        ({"consent": "unknown"}, []),
        ({"project_id": "roof"}, []),
        ({"queued": "true"}, []),
    ):
        found = api("GET /leads", query=query).json["items"]
        assert [lead["lead_id"] for lead in found] == expected, query
    assert api("GET /leads", query={"status": "gone"}).fields == ["status"]


def test_a_lead_is_changed_and_the_change_is_signed(api: LeadsApi) -> None:
    made = api.add(1).json
    body = {"name": "Bea", "phone": phone(2), "priority": 9, "version": 1}
    changed = api("PATCH /leads/{id}", body=body, id=made["lead_id"]).json
    assert (changed["name"], changed["phone"], changed["priority"], changed["version"]) == ("Bea", phone(2), 9, 2)
    assert api("PATCH /leads/{id}", body={"name": "Bea"}, id=made["lead_id"]).json == changed
    assert api("PATCH /leads/{id}", body=body, id=made["lead_id"]).status == 409
    (signed,) = api.world.ledger(action="lead.change")
    assert (signed["before"]["priority"], signed["after"]["priority"]) == (5, 9)
    assert "Bea" not in str(signed)
    assert api.add(1).status == 201  # the old phone is free again
    refused = api("PATCH /leads/{id}", body={"phone": phone(1)}, id=made["lead_id"])
    assert (refused.status, refused.json["detail"]) == (409, "phone: another lead has it")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"status": "contacted"}, 422, "status"),
        ({"status": "booked"}, 409, None),
        ({"status": "engaged"}, 409, None),
        ({"client_id": "nope"}, 422, "client_id"),
        ({"name": None}, 422, "name"),
        ({"touches": 0}, 422, "touches"),
    ],
)
def test_a_change_that_is_not_a_persons_to_make_is_refused(
    api: LeadsApi, body: dict[str, Any], status: int, field: str | None
) -> None:
    made = api.add(1).json
    refused = api("PATCH /leads/{id}", body=body, id=made["lead_id"])
    assert refused.status == status
    assert field is None or refused.fields == [field]
    assert api("GET /leads/{id}", id=made["lead_id"]).json == made


def test_a_lead_is_taken_once_and_the_loser_hears_who_and_when(api: LeadsApi) -> None:
    api("PUT /leads/settings", body={"name": "Sam Sample"})
    lead_id = api.add(1).json["lead_id"]
    taken = api("POST /leads/{id}/take", id=lead_id).json
    assert (taken["message"], taken["lead"]["status"], taken["lead"]["taken_by"]) == ("none", "engaged", "sam")
    assert api("POST /leads/{id}/take", id=lead_id).json == taken
    lost = api("POST /leads/{id}/take", role="admin", user="ada", id=lead_id)
    assert (lost.status, lost.json["taken_by_name"]) == (409, "Sam Sample")
    assert lost.json["taken_at"] == taken["lead"]["taken_at"]
    assert len(api.world.ledger(action="lead.take")) == 1


def test_a_lead_is_released_and_stays_with_a_person(api: LeadsApi) -> None:
    lead_id = api.add(1).json["lead_id"]
    api("POST /leads/{id}/take", id=lead_id)
    released = api("POST /leads/{id}/release", id=lead_id).json["lead"]
    assert (released["taken_by"], released["status"]) == (None, "engaged")
    assert api("POST /leads/{id}/release", id=lead_id).json["lead"] == released
    assert api("PATCH /leads/{id}", body={"status": "lost"}, id=lead_id).status == 200
    assert api("PATCH /leads/{id}", body={"status": "engaged"}, id=lead_id).json["status"] == "engaged"
    trail = api("GET /leads/{id}/trail", id=lead_id).json["items"]
    assert [entry["what"] for entry in trail] == ["changed", "changed", "released", "taken", "created"]


def test_a_lead_is_handed_to_a_colleague_with_its_phone(api: LeadsApi) -> None:
    lead_id = api.add(1).json["lead_id"]
    api("POST /leads/{id}/take", id=lead_id)
    unknown = api("POST /leads/{id}/assign", body={"owner_id": "tom"}, id=lead_id)
    assert unknown.json["errors"] == [{"field": "owner_id", "message": "user tom does not exist"}]
    api.add(2, user="tom")
    assigned = api("POST /leads/{id}/assign", body={"owner_id": "tom"}, id=lead_id).json["lead"]
    assert (assigned["owner_id"], assigned["taken_by"]) == ("tom", "tom")
    assert api("GET /leads/{id}", id=lead_id).status == 404
    assert len(api("GET /leads", user="tom").json["items"]) == 2
    assert api.add(1, user="tom").json["lead_id"] == lead_id  # 409: the phone went along
    assert api.add(1).status == 409
