"""Imports as people send them: a verdict for every line, each lead once, no lead of what does not exist."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.core.errors import AppError, Invalid
from adbot_queue.leads.import_file import Column, Defaults, parse
from adbot_queue.leads.importer import Importer
from adbot_queue.leads.model import Consent, ConsentState
from tests.builders.crash import Killed, before_transactions, crash_after, every_call
from tests.builders.leads import GRANTED, LeadsApi, Team, phone
from tests.builders.payments import snapshot

ACME = Defaults(client_id="acme", country="DE")


def only(text: str | bytes, defaults: Defaults = ACME, content_type: str = "text/csv") -> Any:
    """Return what the one line of a file says."""
    raw = text.encode() if isinstance(text, str) else text
    (line,) = parse(raw, content_type, defaults)
    assert line.problem == ""
    assert line.spec
    return line.spec


FILES: dict[str, str | bytes] = {
    "plain": "name,phone\nAnn Lee,0151 12000001\n",
    "HubSpot": "Record ID,First Name,Last Name,Phone Number,Mobile Phone Number\n1,Ann,Lee,030 901820,0151 12000001\n",
    "Salesforce": '"Salutation","First Name","Last Name","Mobile","Phone"\n"","Ann","Lee","0151/12000001",""\n',
    "Pipedrive": "Person - Name,Person - Phone,Person - Email\nAnn Lee,+49 151 12000001,a@x.de\n",
    "Google contacts": "First Name,Last Name,Phone 1 - Label,Phone 1 - Value\nAnn,Lee,Mobile,+49 151 12000001\n",
    "Outlook": "First Name,Middle Name,Last Name,Business Phone,Home Phone,Mobile Phone\nAnn,,Lee,,,0151-12000001\n",
    "Zoho": "Lead Name,Phone,Mobile\nAnn Lee,,015112000001\n",
    "German, semicolons": "Vorname;Nachname;Mobiltelefon\nAnn;Lee;0151 12000001\n",
    "Spanish, accents": "Nombre;Apellidos;Teléfono móvil\nAnn;Lee;+4915112000001\n",
    "French": "Prénom;Nom;Téléphone\nAnn;Lee;+4915112000001\n",
    "tabs": "name\tphone\nAnn Lee\t0151 12000001\n",
    "byte order mark": "\ufeffname,phone\r\nAnn Lee,0151 12000001\r\n",
    "sep= line": "sep=;\r\nname;phone\r\nAnn Lee;0151 12000001\r\n",
    "quotes and line breaks": 'name,note,phone\n"Ann\nLee","said ""hi""\r\nthen left","0151 12000001"\n',
    "formula characters": 'name,phone,note\n\'=Ann Lee,="015112000001",=1+1\n',
    "apostrophe of an export": "name,phone\nAnn Lee,'+4915112000001\n",
    "JSON lines": '{"name": "Ann Lee", "phone": "0151 12000001"}\n',
    "JSON array": '[{"name": "Ann Lee", "phone": "+4915112000001", "score": 7, "vip": true, "x": null}]',
    "columns padded by Excel": "name,phone,,\nAnn Lee,0151 12000001,,\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_crm_or_a_spreadsheet_is_understood(name: str) -> None:
    found = only(FILES[name])
    assert (found.name.removeprefix("="), found.phone) == ("Ann Lee", phone(1))


def test_what_is_no_known_column_becomes_a_field() -> None:
    found = only('name,phone,City,Phone number,empty\nAnn,0151 12000001,"Bonn ",030 901820,\n')
    assert found.phone == "+4930901820"  # `phone number` comes before `phone`
    assert found.fields == {"City": "Bonn", "phone": "0151 12000001"}
    array = only('[{"name": "Ann", "phone": "+4915112000001", "score": 7, "vip": true, "x": null}]')
    assert array.fields == {"score": "7", "vip": "true"}


def test_the_caller_says_what_columns_are() -> None:
    columns = {"Kontakt": Column.NAME, "Nr": Column.PHONE, "phone": Column.IGNORED}
    found = only("Kontakt,Nr,phone\nAnn,0151 12000001,nonsense\n", Defaults("acme", country="DE", columns=columns))
    assert (found.name, found.phone, found.fields) == ("Ann", phone(1), {})


@pytest.mark.parametrize(
    ("cells", "consent"),
    [
        ({}, Consent()),
        ({"consent": "unknown"}, Consent()),
        ({"consent": "No"}, Consent(ConsentState.DENIED)),
        (
            {"Opt-in": "JA", "consent source": "fair", "consent proof": "card 7", "consent date": "2026-01-02"},
            Consent(ConsentState.GRANTED, "fair", "", 1_767_312_000_000, "card 7"),
        ),
    ],
)
def test_consent_is_read_from_its_columns(cells: dict[str, str], consent: Consent) -> None:
    assert only(json.dumps({"name": "Ann", "phone": phone(1)} | cells)).consent == consent


def test_a_declaration_counts_where_a_line_says_nothing() -> None:
    text = f"name,phone,consent\nA,{phone(1)},\nB,{phone(2)},no\nC,{phone(3)},yes\n"
    lines = parse(text.encode(), "text/csv", Defaults("acme", consent=GRANTED))
    states = [line.spec.consent.state for line in lines if line.spec]
    assert states == [ConsentState.GRANTED, ConsentState.DENIED, ConsentState.GRANTED]


def test_source_and_proof_of_an_import_count_for_lines_that_say_yes() -> None:
    about = Consent(ConsentState.UNKNOWN, "fair", "", 7, "card")
    text = f"name,phone,consent\nA,{phone(1)},\nB,{phone(2)},yes\n"
    first, second = parse(text.encode(), "text/csv", Defaults("acme", consent=about))
    assert first.spec
    assert second.spec
    assert (first.spec.consent, second.spec.consent) == (
        Consent(),
        Consent(ConsentState.GRANTED, "fair", "", 7, "card"),
    )


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (
            {"phone": "0151 12000001"},
            "phone: must begin with + and the country code, or the import must name a country",
        ),
        ({"phone": ""}, "phone: must not be empty"),
        ({"phone": "+4915112000001, +4915112000002"}, "phone: has more than one number"),
        ({"phone": "+49 151 12000001 ext. 5"}, "phone: must not have an extension"),
        ({"phone": "4,91511E+12"}, "phone: is a number that a spreadsheet rounded; format the column as text"),
        ({"phone": ["+4915112000001"]}, "phone: must be a text or a number"),
        ({"name": " "}, "name: must not be empty"),
        ({"name": "x" * 201}, "name: must have at most 200 characters"),
        ({"consent": "maybe"}, "consent: must be yes, no or empty"),
        ({"consent": "yes"}, "consent: granted needs a source and a proof"),
        ({"consent": "no", "consent_at": "yesterday"}, "consent_at: must be a date like 2026-12-31"),
        ({"priority": "high"}, "priority: must be between 0 and 9"),
        ({"client": "x" * 2_000}, "client_id: must be 1 to 64 of A-Z, a-z, 0-9 and . _ : @ -, a letter or digit first"),
        ({"project": "a b"}, "project_id: must be 1 to 64 of A-Z, a-z, 0-9 and . _ : @ -, a letter or digit first"),
        ({"source": "x" * 201}, "source: must have at most 200 characters"),
        ({"consent": "no", "consent_text": "x" * 1_001}, "consent_text: must have at most 1000 characters"),
        ({"consent": "no", "consent_proof": "x" * 501}, "consent_proof: must have at most 500 characters"),
        ({"n" * 65: "x"}, f"{'n' * 64}: the name of a column must have 1 to 64 characters"),
        ({"tz": "Berlin"}, "tz: must be an IANA time zone like Europe/Berlin"),
        ({"note": "x" * 1_001}, "note: must have at most 1000 characters"),
        ({str(n): "x" for n in range(51)}, "fields: must have at most 50 columns"),
        ({str(n): "x" * 999 for n in range(5)}, "fields: must have at most 4000 characters"),
        ({"client": ""}, "client_id: needed, in a column or for the whole import"),
    ],
)
def test_a_bad_line_is_refused_with_column_and_rule(cells: dict[str, Any], problem: str) -> None:
    row = {"name": "Ann", "phone": phone(1), "client": "acme"} | cells
    good = {"name": "Bea", "phone": phone(2), "client": "acme"}
    lines = parse(f"{json.dumps(row)}\n{json.dumps(good)}".encode(), "application/x-ndjson", Defaults())
    assert [line.problem for line in lines] == [problem, ""]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "body: must have at least one line"),
        ("name,email\nAnn,a@x.de\n", "body: line 1: must name the columns, phone among them"),
        ('name,phone\n"Ann,+49151', "body: line 2: a quote is not closed"),
        ("name,phone,phone\n", "body: line 1: the column phone is named twice"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, error: str) -> None:
    with pytest.raises(AppError) as refused:
        parse(text.encode(), "text/csv" if text else "", ACME)
    assert refused.value.detail == error


def test_an_import_has_10000_lines_at_most() -> None:
    text = "name,phone\n" + "Ann,\n" * 10_000
    lines = parse(text.encode(), "text/csv", ACME)
    assert [line.number for line in lines] == list(range(2, 10_002))
    assert {line.problem for line in lines} == {"phone: must not be empty"}
    with pytest.raises(Invalid, match="body: must have at most 10000 lines"):
        parse(f"{text}Bea,\n".encode(), "text/csv", ACME)


def imported(team: Team, text: str, *, key: str | None = None, defaults: Defaults = ACME, left: int = 60_000) -> Any:
    by = team.by(key=key)._replace(fingerprint=text)
    return Importer(team.leads).run("sam", parse(text.encode(), "text/csv", defaults), defaults, by, lambda: left)


def test_each_line_has_its_verdict_and_refuses_no_other(api: LeadsApi) -> None:
    api.add(1)
    api("PUT /leads/settings", user="tom", body={})
    api.add(2, user="tom")
    lines = [
        "name;phone;client;project",
        f"own;{phone(1)};acme;",
        f"toms;{phone(2)};acme;",
        f"good;0{phone(3)[3:]};acme;",
        f"twice;{phone(3)};acme;",
        f"no client;{phone(4)};nope;",
        f"no project;{phone(5)};acme;nope",
        "bad;call;acme;",
        f"also good;{phone(6)};acme;",
    ]
    answer = api(
        "POST /leads/import", body="\r\n".join(lines), query={"country": "de"}, headers={"content-type": "text/csv"}
    )
    assert answer.status == 200
    assert [(line["line"], line["verdict"], line["detail"]) for line in answer.json["lines"]] == [
        (2, "refused", "phone: a lead of this owner has it"),
        (3, "refused", "phone: a lead of another owner has it"),
        (4, "created", ""),
        (5, "refused", "phone: the same as on line 4"),
        (6, "refused", "client_id: client nope does not exist"),
        (7, "refused", "project_id: project nope does not exist"),
        (8, "refused", "phone: is not a valid phone number"),
        (9, "created", ""),
    ]
    assert (answer.json["created"], answer.json["refused"], answer.json["is_complete"]) == (2, 6, True)
    listed = {lead["lead_id"]: lead for lead in api("GET /leads").json["items"]}
    created = [line["lead_id"] for line in answer.json["lines"] if line["verdict"] == "created"]
    assert [(listed[one]["name"], listed[one]["not_sendable"]) for one in created] == [
        ("good", "consent_unknown"),
        ("also good", "consent_unknown"),
    ]
    assert len(listed) == 3


def test_a_declared_consent_is_signed_in_the_ledger(api: LeadsApi) -> None:
    declared = {"client_id": "acme", "consent_declared": "true"}
    refused = api("POST /leads/import", body=f"name,phone\nA,{phone(1)}\n", query=declared)
    assert refused.fields == ["consent_declared"]
    declared |= {"consent_source": "fair 2026", "consent_proof": "cards, shelf 3"}
    made = api("POST /leads/import", body=f"name,phone\nA,{phone(1)}\n", query=declared).json
    lead = api("GET /leads/{id}", id=made["lines"][0]["lead_id"]).json
    assert (lead["not_sendable"], lead["consent"]["source"]) == (None, "fair 2026")
    (signed,) = api.world.ledger(action="lead.import")
    assert signed["after"] == {"created": 1, "owner_id": "sam", "consent_declared": True}
    assert signed["target"] == f"lead-import:{made['import_id']}"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"country": "XX"}, "country"),
        ({"columns": "{"}, "columns"),
        ({"columns": '{"a": "b"}'}, "columns.a"),
        ({"owner_id": "tom"}, "owner_id"),
        ({"surprise": "1"}, "surprise"),
    ],
)
def test_a_bad_parameter_of_an_import_is_named(api: LeadsApi, query: dict[str, str], field: str) -> None:
    refused = api("POST /leads/import", body=f"name,phone\nA,{phone(1)}\n", query=query)
    assert (refused.status, refused.fields) == (422, [field])


def test_admins_import_for_a_user_who_exists(api: LeadsApi) -> None:
    query = {"owner_id": "sam", "client_id": "acme"}
    text = f"name,phone\nA,{phone(1)}\n"
    refused = api("POST /leads/import", role="admin", user="ada", body=text, query=query)
    assert refused.json["errors"] == [{"field": "owner_id", "message": "user sam does not exist"}]
    api("PUT /leads/settings", body={})
    assert api("POST /leads/import", role="admin", user="ada", body=text, query=query).json["created"] == 1
    assert len(api("GET /leads").json["items"]) == 1


CSV = "name,phone\n" + "".join(f"Lead {number},{phone(number)}\n" for number in range(40))


def test_an_import_sent_again_under_its_key_answers_the_same(team: Team) -> None:
    first = imported(team, CSV, key="k")
    again = imported(team, CSV, key="k")
    assert [line.lead_id for line in again.lines] == [line.lead_id for line in first.lines]
    assert again.is_complete
    with pytest.raises(AppError, match="used with another import"):
        imported(team, CSV + "\n", key="k")
    without = imported(team, CSV)
    assert {line.problem for line in without.lines} == {"phone: a lead of this owner has it"}


def test_an_import_that_runs_out_of_time_goes_on_with_the_same_request(team: Team) -> None:
    text, left = CSV, iter([60_000, 60_000, 1_000, 1_000])
    by = team.by(key="k")._replace(fingerprint=text)
    cut = Importer(team.leads).run("sam", parse(text.encode(), "text/csv", ACME), ACME, by, lambda: next(left))
    assert not cut.is_complete
    reached = [line.lead_id for line in cut.lines if line.lead_id]
    assert len(reached) == 32
    rest = imported(team, CSV, key="k")
    assert rest.is_complete
    assert [line.lead_id for line in rest.lines][:32] == reached
    assert len([row for row in team.rows("LEAD#") if row["sk"] == "L"]) == 40


def test_killed_after_any_call_of_an_import_the_repetition_ends_it(team: Team) -> None:
    restore = snapshot()
    with crash_after(None) as calls:
        wanted = [line.lead_id for line in imported(team, CSV, key="k").lines]
    for call in every_call(len(calls.names)):
        restore()
        with crash_after(call), pytest.raises(Killed):
            imported(team, CSV, key="k")
        assert [line.lead_id for line in imported(team, CSV, key="k").lines] == wanted
        leads = [row for row in team.rows("LEAD#") if row["sk"] == "L"]
        assert len(leads) == 40
        holders = team.store.holders(lead["phone"] for lead in leads)
        assert all(len(holder.lead_ids) == 1 for holder in holders.values())
        assert len([row for row in team.rows("LEAD#") if row.get("what") == "imported"]) == 40


def test_a_phone_that_another_request_takes_in_between_is_refused_and_the_others_enter(team: Team) -> None:
    pending = [lambda: team.lead(7)]
    with before_transactions(lambda _: pending.pop()() if pending else None):
        result = imported(team, CSV)
    assert [(line.number, line.problem) for line in result.lines if line.problem] == [
        (9, "phone: a lead of this owner has it")
    ]
    assert len([row for row in team.rows("LEAD#") if row["sk"] == "L"]) == 40


def test_people_who_opted_out_stay_so(team: Team) -> None:
    writer = team.store.writer()
    writer.opt_out(phone(1), team.clock())
    writer.commit()
    result = imported(team, CSV, defaults=Defaults("acme", consent=GRANTED))
    (lead,) = team.store.find([phone(1)])
    assert lead.id == result.lines[1].lead_id
    assert lead.refusal() == "opted_out"
    assert team.prepare().prepared == 39


def test_an_import_takes_a_read_and_three_transactions_for_96_lines(team: Team) -> None:
    text = "name,phone\n" + "".join(f"Lead {number},{phone(number)}\n" for number in range(192))
    with crash_after(None) as calls:
        assert imported(team, text).is_complete
    assert calls.names.count("TransactWriteItems") == 6
    assert len(calls.names) <= 10
