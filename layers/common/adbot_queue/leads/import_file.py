"""Files of leads, as CRMs and spreadsheets write them: which column is what, and what a line says. Pure.

`core.record_files` reads the formats. A column is known by its name in a few languages, or as the caller maps it;
every other column is a field of the lead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from adbot_queue.core.errors import Invalid
from adbot_queue.core.instants import day_start, instant
from adbot_queue.core.record_files import KeyColumn, Record, read
from adbot_queue.core.spreadsheets import unsafe
from adbot_queue.core.strict_json import shown
from adbot_queue.core.zones import names as zone_names
from adbot_queue.leads import phones
from adbot_queue.leads.model import DEFAULT_PRIORITY, MAX_PRIORITY, MIN_PRIORITY, UNKNOWN_CONSENT, Consent, ConsentState
from adbot_queue.leads.service import (
    ID,
    ID_IN_WORDS,
    MAX_FIELD,
    MAX_FIELD_NAME,
    MAX_FIELDS,
    MAX_FIELDS_SIZE,
    MAX_NAME,
    MAX_PROOF,
    LeadSpec,
)

MAX_LINES = 10_000


class Column(StrEnum):
    """What a column may be."""

    PHONE = "phone"
    NAME = "name"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    COUNTRY = "country"
    CLIENT_ID = "client_id"
    PROJECT_ID = "project_id"
    PRIORITY = "priority"
    SOURCE = "source"
    TZ = "tz"
    CONSENT = "consent"
    CONSENT_SOURCE = "consent_source"
    CONSENT_TEXT = "consent_text"
    CONSENT_PROOF = "consent_proof"
    CONSENT_AT = "consent_at"
    IGNORED = "ignored"


_NAMES: Mapping[Column, str] = {
    Column.PHONE: """
        whatsapp, whatsapp number, whatsapp phone, whatsapp phone number,
        mobile phone number, mobile phone, mobile number, mobile, cell phone, cell, cellphone, handy, handynummer,
        mobil, mobiltelefon, mobilnummer, movil, telefono movil, celular, portable, telephone mobile, cellulare,
        person phone mobile, person phone, phone number, phone, phone 1 value, primary phone, telephone,
        telephone number, tel, telefon, telefonnummer, rufnummer, telefono, numero de telefono, telefone,
        numero de telephone, business phone, company phone, person phone work, home phone""",
    Column.NAME: """
        name, full name, fullname, contact name, contact, person name, lead name, display name, vollstandiger name,
        nombre completo, nom complet, nome completo""",
    Column.FIRST_NAME: """
        first name, firstname, given name, forename, person first name, vorname, nombre, prenom, nome,
        primeiro nome""",
    Column.LAST_NAME: """
        last name, lastname, surname, family name, person last name, nachname, familienname, apellido, apellidos,
        nom, nom de famille, cognome, sobrenome""",
    Column.COUNTRY: "country, country code, land, pais, pays, paese",
    Column.CLIENT_ID: "client id, client",
    Column.PROJECT_ID: "project id, project",
    Column.PRIORITY: "priority, prioritat, prioridad, priorite, prioridade",
    Column.SOURCE: "source, lead source, original source, origin, quelle, fuente, fonte",
    Column.TZ: "tz, time zone, timezone, zeitzone",
    Column.CONSENT: """
        consent, opt in, optin, opted in, whatsapp opt in, whatsapp consent, marketing consent, einwilligung,
        consentimiento, consentement, consenso, consentimento""",
    Column.CONSENT_SOURCE: "consent source, opt in source, optin source, einwilligung quelle",
    Column.CONSENT_TEXT: "consent text, opt in text, einwilligung text",
    Column.CONSENT_PROOF: "consent proof, opt in proof, einwilligung nachweis",
    Column.CONSENT_AT: "consent at, consent date, opt in date, optin date, einwilligung datum",
}
"""Names of columns, without case, accents and punctuation; of several phones the first in this order counts."""

_ORDER = [(" ".join(name.split()), column) for column, names in _NAMES.items() for name in names.split(",")]
_BY_NAME = dict(_ORDER)
_PREFERENCE = {name: place for place, (name, _) in enumerate(_ORDER)}

_GRANTED = {"yes", "y", "true", "1", "x", "granted", "given", "opted in", "ja", "j", "si", "oui", "sim", "wahr"}
_DENIED = {"no", "n", "false", "0", "denied", "withdrawn", "opted out", "nein", "non", "nao", "falsch"}
_UNKNOWN = {"", "unknown", "unbekannt", "n/a", "-"}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every line that does not say otherwise.

    Attributes:
        country: of phones without a country code.
        consent: where, when and with which proof these people agreed; granted if the caller declares that they did.
        columns: what columns are, by their names in the file, where the caller says.
    """

    client_id: str | None = None
    project_id: str | None = None
    country: str | None = None
    source: str = ""
    consent: Consent = UNKNOWN_CONSENT
    columns: Mapping[str, Column] | None = None

    def column_of(self, name: str) -> Column | None:
        """Return what a column is; None: a field of the lead."""
        return (self.columns or {}).get(name) or _BY_NAME.get(_plain(name))


@dataclass(slots=True)
class ImportLine:
    """A line of an import: what it says, or why it is refused.

    Attributes:
        number: the line of the file on which it begins, from 1.
        spec: None where it is refused.
        problem: why it is refused.
        lead_id: the lead that it became.
    """

    number: int
    spec: LeadSpec | None
    problem: str = ""
    lead_id: str | None = None

    def refuse(self, problem: str) -> None:
        """Refuse the line."""
        self.spec, self.lead_id, self.problem = None, None, problem


def parse(raw: bytes, content_type: str, defaults: Defaults) -> list[ImportLine]:
    """Read a file of leads: CSV, JSON lines, a JSON array, or a form with one of these.

    Raises:
        Malformed, UnreadableFile: as `record_files.read`.
        Invalid: no line at all, or more than 10,000.
    """
    key = KeyColumn(Column.PHONE, lambda name: defaults.column_of(name) is Column.PHONE, _may_be_phone)
    records = read(raw, content_type, key)
    lines: list[ImportLine] = []
    first_on: dict[str, int] = {}
    for record in records:
        if len(lines) == MAX_LINES:
            raise Invalid.field("body", f"must have at most {MAX_LINES} lines")
        line = _line(record, defaults)
        if line.spec and first_on.setdefault(line.spec.phone, line.number) != line.number:
            line.refuse(f"phone: the same as on line {first_on[line.spec.phone]}")
        lines.append(line)
    if not lines:
        raise Invalid.field("body", "must have at least one line")
    return lines


def _line(record: Record, defaults: Defaults) -> ImportLine:
    if record.problem:
        until = f" (lines {record.line} to {record.last_line}: is a quote not closed?)" if record.last_line else ""
        return ImportLine(record.line, None, record.problem + until)
    if not isinstance(record.value, dict):
        return ImportLine(record.line, None, "must be an object")
    try:
        return ImportLine(record.line, _Cells(record.value, defaults).spec())
    except ValueError as error:
        return ImportLine(record.line, None, str(error))


class _Cells:
    """The cells of a line by what they are; those of no known column are fields.

    Raises:
        ValueError: a value is no text, number or truth value.
    """

    def __init__(self, record: Mapping[str, Any], defaults: Defaults) -> None:
        self._defaults = defaults
        self._known: dict[Column, str] = {}
        self._fields: dict[str, str] = {}
        for name in sorted(record, key=lambda name: _PREFERENCE.get(_plain(name), len(_PREFERENCE))):
            text, column = _text(name, record[name]), defaults.column_of(name)
            if not text or column is Column.IGNORED:
                continue
            if column is None or column in self._known:
                self._fields[name] = text
            else:
                self._known[column] = text

    def spec(self) -> LeadSpec:
        """Return the lead that the line describes.

        Raises:
            ValueError: names the column and the rule.
        """
        client_id = self._id(Column.CLIENT_ID, self._defaults.client_id)
        if client_id is None:
            raise ValueError("client_id: needed, in a column or for the whole import")
        return LeadSpec(
            client_id,
            self._name(),
            self._phone(),
            self._id(Column.PROJECT_ID, self._defaults.project_id),
            self._priority(),
            self._at_most(Column.SOURCE, MAX_NAME) or self._defaults.source,
            self._checked_fields(),
            self._consent(),
            self._zone(),
        )

    def _id(self, column: Column, default: str | None) -> str | None:
        found = self._known.get(column, default)
        if found and not ID.fullmatch(found):
            raise ValueError(f"{column}: must be {ID_IN_WORDS}")
        return found

    def _at_most(self, column: Column, size: int) -> str:
        text = self._known.get(column, "")
        if len(text) > size:
            raise ValueError(f"{column}: must have at most {size} characters")
        return text

    def _name(self) -> str:
        parts = [self._known.get(part, "") for part in (Column.FIRST_NAME, Column.LAST_NAME)]
        name = " ".join((self._known.get(Column.NAME) or " ".join(parts)).split())
        if not name:
            raise ValueError("name: must not be empty")
        if len(name) > MAX_NAME:
            raise ValueError(f"name: must have at most {MAX_NAME} characters")
        return name

    def _phone(self) -> str:
        country = self._known.get(Column.COUNTRY, "").upper()
        is_code = re.fullmatch(r"[A-Z]{2}", country) and phones.is_country(country)
        if country and not is_code:
            self._fields.setdefault(Column.COUNTRY, self._known[Column.COUNTRY])
        try:
            return phones.e164(self._known.get(Column.PHONE, ""), country if is_code else self._defaults.country)
        except ValueError as error:
            raise ValueError(f"phone: {error}") from error

    def _priority(self) -> int:
        text = self._known.get(Column.PRIORITY, str(DEFAULT_PRIORITY))
        if not re.fullmatch(r"[0-9]", text):
            raise ValueError(f"priority: must be between {MIN_PRIORITY} and {MAX_PRIORITY}")
        return int(text)

    def _zone(self) -> str | None:
        name = self._known.get(Column.TZ)
        if name is not None and name not in zone_names():
            raise ValueError("tz: must be an IANA time zone like Europe/Berlin")
        return name

    def _consent(self) -> Consent:
        said, declared = _plain(self._known.get(Column.CONSENT, "")), self._defaults.consent
        if said in _UNKNOWN:
            return declared if declared.state is ConsentState.GRANTED else UNKNOWN_CONSENT
        if said not in _GRANTED | _DENIED:
            raise ValueError("consent: must be yes, no or empty")
        consent = Consent(
            ConsentState.GRANTED if said in _GRANTED else ConsentState.DENIED,
            self._at_most(Column.CONSENT_SOURCE, MAX_NAME) or declared.source,
            self._at_most(Column.CONSENT_TEXT, MAX_FIELD) or declared.text,
            self._consent_at(),
            self._at_most(Column.CONSENT_PROOF, MAX_PROOF) or declared.proof,
        )
        if consent.state is ConsentState.GRANTED and not (consent.source and consent.proof):
            raise ValueError("consent: granted needs a source and a proof")
        return consent

    def _consent_at(self) -> int | None:
        text = self._known.get(Column.CONSENT_AT)
        if text is None:
            return self._defaults.consent.at
        try:
            return instant(text) if "T" in text else day_start(text)
        except ValueError as error:
            raise ValueError(f"consent_at: {error}") from error

    def _checked_fields(self) -> dict[str, str]:
        if len(self._fields) > MAX_FIELDS:
            raise ValueError(f"fields: must have at most {MAX_FIELDS} columns")
        for name, text in self._fields.items():
            if not 1 <= len(name) <= MAX_FIELD_NAME:
                raise ValueError(f"{shown(name)}: the name of a column must have 1 to {MAX_FIELD_NAME} characters")
            if len(text) > MAX_FIELD:
                raise ValueError(f"{shown(name)}: must have at most {MAX_FIELD} characters")
        if sum(len(name) + len(text) for name, text in self._fields.items()) > MAX_FIELDS_SIZE:
            raise ValueError(f"fields: must have at most {MAX_FIELDS_SIZE} characters")
        return self._fields


def _text(name: str, value: Any) -> str:
    """Return a cell as text, without the apostrophe that keeps it from being a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ValueError(f"{shown(name)}: must be a text or a number")  # noqa: TRY004  a verdict, not a bug
    return unsafe(str(value).strip())


def _may_be_phone(text: str) -> bool:
    return sum(letter.isdigit() for letter in text) >= phones.MIN_DIGITS


@lru_cache(maxsize=1_000)
def _plain(name: str) -> str:
    """Return a name in lower case without accents and punctuation: `Téléphone (mobile)` is `telephone mobile`."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    words = "".join(letter if letter.isalnum() else " " for letter in letters if not unicodedata.combining(letter))
    return " ".join(words.split())
