"""`generate-content`: a text written by a model on Bedrock (`integrations.ai`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from adbot_queue.core.schema import Input
from adbot_queue.integrations.ai import RULES, Answered, Keyword, Language, Line, ask, misfit, result_of
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType

TOKENS_A_WORD = 3
"""Enough for the languages that take the most."""

EXTRA_TOKENS = 600
"""For the summary, the tags and the form."""

LENIENCE = 1.1
"""How many times the ordered number of words a text may have."""

RULES_OF_WRITING = (
    RULES + "Write the text that is ordered, of at most max_words words. State no fact that the order does not contain."
)


class GenerateContent(Input):
    """A text to be written. `language` is a tag such as `en` or `pt-BR`."""

    kind: Literal["article", "ad", "social", "email", "product"]
    topic: str = Field(min_length=1, max_length=2000)
    language: Language = "en"
    tone: Line | None = None
    audience: Line | None = None
    max_words: int = Field(default=300, ge=10, le=1000)
    keywords: list[Keyword] = Field(default_factory=list, max_length=20)


class Content(Answered):
    """A finished text."""

    title: str = Field(min_length=1, max_length=200)
    body: str = Field(min_length=1, max_length=20_000, description="the text itself, without its title")
    summary: str = Field(min_length=1, max_length=500)
    tags: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field(max_length=10)


def generate_content(payload: GenerateContent, context: Context) -> dict[str, Any]:
    """Have a text written.

    Returns:
        title, body, summary, tags; `model` and `request_id`, by which Bedrock's logs know the call.

    Raises:
        PermanentError: refused, filtered, or longer than its limit. TransientError: Bedrock is busy or was not reached,
        or the answer has not the form. NotConfigured: as `bedrock.converse`.
    """
    limit = payload.max_words * TOKENS_A_WORD + EXTRA_TOKENS
    asked = payload.model_dump(mode="json", exclude_none=True)
    content, known = ask("write_content", RULES_OF_WRITING, asked, Content, limit, context, "generate-content")
    if len(content.body.split()) > payload.max_words * LENIENCE:
        raise misfit("body: more than max_words")
    return result_of(content, known)


JOB = JobType(
    queue="ai-content",
    payload=GenerateContent,
    handler=generate_content,
    timeout_s=75,
    horizon_s=6 * HOUR_S,
    cap_s=15 * MINUTE_S,
    needs=("bedrock",),
    example={"kind": "social", "topic": "Our summer sale", "language": "en", "max_words": 60},
)
