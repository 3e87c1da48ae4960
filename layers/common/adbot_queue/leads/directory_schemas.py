"""What users' settings, clients and projects look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Instant, Moment, Query, View
from adbot_queue.leads import calendar
from adbot_queue.leads.references import Client, Project
from adbot_queue.leads.schemas import FieldName, Id, Name, Zone
from adbot_queue.leads.settings import FIRST, MAX_BATCH, MAX_CAPACITY, WORKDAYS, Category, LeadSettings, Spread, Step

Hours = Annotated[
    str,
    Field(max_length=11, description="hours like 09:00-18:00; what ends before it begins ends on the next day"),
    AfterValidator(calendar.check_hours),
]
Weekday = Annotated[str, Field(pattern=f"^({'|'.join(calendar.WEEKDAYS)})$", description="mon to sun")]
Variable = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class StepBody(Input):
    """The message of a step."""

    content_sid: str = Field(pattern=r"^HX[0-9a-fA-F]{32}$", description="HX and 32 hex digits")
    category: Category = Field(Category.MARKETING, strict=False, description="as WhatsApp approved it")
    variables: dict[Variable, FieldName] = Field(
        default_factory=dict,
        max_length=100,
        description="each variable's source: name, client, project, or a field of the lead",
        examples=[{"1": "name", "2": "city"}],
    )


class SettingsBody(Input):
    """All settings of a user, anew."""

    name: str = Field("", max_length=200, description="as colleagues see it")
    capacity: int = Field(100, ge=1, le=MAX_CAPACITY, description="messages a day")
    week: dict[Weekday, Hours | None] = Field(default_factory=lambda: dict(WORKDAYS), description="hours by weekday")
    zone: Zone = "UTC"
    spread: Spread = Field(Spread.EVEN, strict=False, description="even: over the whole window; burst: at once")
    batch: int = Field(20, ge=1, le=MAX_BATCH, description="messages at Twilio without a report")
    pause_until: Instant | None = Field(None, description="nothing goes out before")
    exclusive: bool = Field(default=True, description="refuse people whom another owner has as a lead")
    steps: dict[Annotated[str, Field(pattern=f"^{FIRST}$", description=FIRST)], StepBody] = Field(default_factory=dict)
    version: int | None = Field(None, ge=1, description="refuse (409) unless they have this version")

    def settings(self, user_id: str) -> LeadSettings:
        """Return what the service takes."""
        steps = {name: Step(step.content_sid, step.category, step.variables) for name, step in self.steps.items()}
        others = {name: getattr(self, name) for name in type(self).model_fields if name not in {"steps", "version"}}
        return LeadSettings(user_id, **others, steps=steps)


class LeadStepView(View):
    """The message of a step."""

    content_sid: str
    category: str
    variables: dict[str, str]


class SettingsView(View):
    """Settings of a user, and the next date that a queue can be prepared for."""

    user_id: str
    name: str
    capacity: int
    week: dict[str, str | None]
    zone: str
    spread: str
    batch: int
    pause_until: Moment | None
    exclusive: bool
    steps: dict[str, LeadStepView]
    next_date: str | None
    next_window: str | None = Field(description="in UTC: from/to")
    version: int

    @classmethod
    def of(cls, settings: LeadSettings, now: int) -> Self:
        """Return the view of settings at this time."""
        following = settings.next_day(now)
        date, window = following or (None, None)
        names = [name for name in cls.model_fields if name not in {"next_date", "next_window", "steps"}]
        return cls(
            **{name: getattr(settings, name) for name in names},
            steps={name: LeadStepView.model_validate(step) for name, step in settings.steps.items()},
            next_date=date,
            next_window=window and f"{iso(window.start)}/{iso(window.end)}",
        )


class UserQuery(Query):
    """Whose settings."""

    user_id: Id | None = Field(None, description="the caller's own if absent")


class ClientBody(Input):
    """A client."""

    name: Name
    version: int | None = Field(None, ge=1, description="refuse (409) unless it has this version")

    def client(self, client_id: str) -> Client:
        """Return what the service takes."""
        return Client(client_id, self.name)


class ProjectBody(ClientBody):
    """A project."""

    client_id: Id | None = Field(None, description="whose; any client's if absent")

    def project(self, project_id: str) -> Project:
        """Return what the service takes."""
        return Project(project_id, self.name, self.client_id)


class ClientView(View):
    """A client."""

    client_id: str = Field(validation_alias="id")
    name: str
    version: int


class ProjectView(View):
    """A project."""

    project_id: str = Field(validation_alias="id")
    name: str
    client_id: str | None
    version: int


class ClientPage(View):
    """Clients, by id."""

    items: list[ClientView]
    next: str | None


class ProjectPage(View):
    """Projects, by id."""

    items: list[ProjectView]
    next: str | None
