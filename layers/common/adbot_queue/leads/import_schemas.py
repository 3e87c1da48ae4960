"""What an import of leads looks like over HTTP."""

from __future__ import annotations

from typing import Self

from pydantic import Field, Json, model_validator

from adbot_queue.core.schema import Query, View
from adbot_queue.leads.import_file import Column, Defaults, ImportLine
from adbot_queue.leads.importer import Imported
from adbot_queue.leads.model import Consent, ConsentState
from adbot_queue.leads.schemas import Country, Id, Source
from adbot_queue.leads.service import MAX_FIELD, MAX_PROOF


class ImportQuery(Query):
    """What holds for every line that does not say otherwise."""

    owner_id: Id | None = Field(None, description="whose leads they become; the caller's if absent")
    client_id: Id | None = None
    project_id: Id | None = None
    country: Country | None = Field(None, description="of phones without a country code", examples=["DE"])
    source: Source = ""
    consent_declared: bool = Field(
        default=False,
        description="the caller signs that these people agreed to be written to; needs consent_source and "
        "consent_proof. A line that says no stays no",
    )
    consent_source: Source = ""
    consent_text: str = Field("", max_length=MAX_FIELD)
    consent_proof: str = Field("", max_length=MAX_PROOF)
    columns: Json[dict[str, Column]] | None = Field(
        None,
        description="a JSON object: names of the file's columns and what they are, where their names do not say; "
        "ignored: neither known nor a field",
        examples=['{"Kontakt-Nr.": "phone"}'],
    )

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if self.consent_declared and not (self.consent_source and self.consent_proof):
            raise ValueError("consent_declared: needs consent_source and consent_proof")
        return self

    def defaults(self, now: int) -> Defaults:
        """Return what the service takes."""
        state = ConsentState.GRANTED if self.consent_declared else ConsentState.UNKNOWN
        consent = Consent(state, self.consent_source, self.consent_text, now, self.consent_proof)
        return Defaults(self.client_id, self.project_id, self.country, self.source, consent, self.columns)


class ImportLineView(View):
    """A line of the file, and what became of it."""

    line: int = Field(description="of the file, on which the record begins, from 1")
    verdict: str = Field(description="created, refused, not_reached (time ran out: the same request goes on)")
    lead_id: str | None
    detail: str = Field(description="why it is refused: the column and the rule")

    @classmethod
    def of(cls, line: ImportLine) -> Self:
        """Return the view of a line."""
        verdict = "created" if line.lead_id else "refused" if line.problem else "not_reached"
        return cls(line=line.number, verdict=verdict, lead_id=line.lead_id, detail=line.problem)


class ImportView(View):
    """An import with a verdict for each line."""

    import_id: str
    created: int
    refused: int
    not_reached: int
    is_complete: bool = Field(description="false: time ran out; the same request under its Idempotency-Key goes on")
    lines: list[ImportLineView]

    @classmethod
    def of(cls, imported: Imported) -> Self:
        """Return the view of an import."""
        lines = [ImportLineView.of(line) for line in imported.lines]
        verdicts = [line.verdict for line in lines]
        counts = {name: verdicts.count(name) for name in ("created", "refused", "not_reached")}
        return cls(import_id=imported.import_id, **counts, is_complete=imported.is_complete, lines=lines)
