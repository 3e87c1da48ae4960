"""What was counted of events and articles; links to reports."""

from __future__ import annotations

from adbot_queue.analytics import schemas, service
from adbot_queue.core.callers import STAFF
from adbot_queue.core.errors import NotFound
from adbot_queue.core.http import Api, Request
from adbot_queue.jobs import service as jobs
from adbot_queue.jobs.api.schemas import JobView
from adbot_queue.reports import service as reports

api = Api("Analytics")


@api.get(
    "/analytics",
    roles=STAFF,
    query=schemas.AnalyticsQuery,
    returns=schemas.AnalyticsView,
    summary="Count tracked events and people by hour (up to 7 days) or day (up to 31)",
)
def get_analytics(request: Request[None]) -> schemas.AnalyticsView:
    """As of the last snapshot."""
    return service.from_env().show(request.query)


@api.get(
    "/articles/{id}/stats",
    roles=STAFF,
    returns=schemas.ArticleView,
    summary="Get views and readers of an article, in total and by day",
    raises=(NotFound,),
)
def get_article_stats(request: Request[None]) -> schemas.ArticleView:
    """As of the last run of the job `rebuild-article-stats`."""
    return service.from_env().article(request.path["id"])


@api.get(
    "/reports/{id}",
    roles=STAFF,
    returns=JobView,
    summary="Get a report with download links (valid for 15 minutes)",
    tag="Reports",
    raises=(NotFound,),
)
def get_report(request: Request[None]) -> JobView:
    """The job `generate-report`; once it is completed, `result.files` has a `url` each."""
    job = jobs.from_env().job(request.path["id"])
    return JobView.of(reports.from_env().with_links(job))


handler = api.handler
