"""`optimize-seo`: a page described for search engines by a model on Bedrock (`integrations.ai`)."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from adbot_queue.core.schema import Input
from adbot_queue.integrations.ai import RULES, Answered, Keyword, Language, Line, ask, result_of
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType

SEO_TOKENS = 1200

RULES_OF_DESCRIBING = (
    RULES + "Describe the page for search engines: a title of at most 60 characters, a description of at most 160."
)


class OptimizeSeo(Input):
    """A page to be described for search engines. Nothing is fetched: `text` is all that the model sees of it."""

    url: str | None = Field(
        default=None, max_length=2000, pattern=r"^https?://[^\s]+$", description="an http or https URL"
    )
    title: Line | None = None
    text: str = Field(min_length=1, max_length=20_000)
    keywords: list[Keyword] = Field(default_factory=list, max_length=20)
    language: Language = "en"

    @model_validator(mode="after")
    def _names_the_page(self) -> Self:
        if self.url is None and self.title is None:
            raise ValueError("url, title or both are needed")
        return self


class Seo(Answered):
    """A page's description for search engines."""

    title: str = Field(min_length=1, max_length=60)
    description: str = Field(min_length=1, max_length=160)
    slug: str = Field(max_length=75, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    keywords: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(max_length=20)
    suggestions: list[Annotated[str, Field(min_length=1, max_length=300)]] = Field(max_length=10)


def optimize_seo(payload: OptimizeSeo, context: Context) -> dict[str, Any]:
    """Have a page described for search engines.

    Returns:
        title, description, slug, keywords, suggestions; `model` and `request_id` as `generate_content`.

    Raises:
        PermanentError, TransientError, NotConfigured: as `generate_content`.
    """
    asked = payload.model_dump(mode="json", exclude_none=True)
    seo, known = ask("describe_page", RULES_OF_DESCRIBING, asked, Seo, SEO_TOKENS, context, "optimize-seo")
    return result_of(seo, known)


JOB = JobType(
    queue="ai-seo",
    payload=OptimizeSeo,
    handler=optimize_seo,
    timeout_s=75,
    horizon_s=6 * HOUR_S,
    cap_s=15 * MINUTE_S,
    needs=("bedrock",),
    example={"title": "Running shoes", "text": "Light shoes for long distances, in twelve colours."},
)
