"""What was counted of events and articles; links to reports."""

from __future__ import annotations

from adbot_queue.analytics import schemas, service
from adbot_queue.core.errors import NotFound
from adbot_queue.core.http import STAFF, Api, Request
from adbot_queue.reports import schemas as report_schemas
from adbot_queue.reports import service as reports

api = Api()


@api.get(
    "/analytics",
    roles=STAFF,
    query=schemas.AnalyticsQuery,
    returns=schemas.AnalyticsView,
    summary="Tracked events and people by hour (up to 7 days) or by day (up to 31)",
)
def analytics(request: Request[None]) -> schemas.AnalyticsView:
    """As of the last snapshot; one Query by the day, one a day by the hour."""
    return service.from_env().show(request.query)


@api.get(
    "/articles/{id}/stats",
    roles=STAFF,
    returns=schemas.ArticleView,
    summary="Views and readers of an article, in all and by day",
    raises=(NotFound,),
)
def article(request: Request[None]) -> schemas.ArticleView:
    """As the job rebuild-article-stats has put it together last."""
    return service.from_env().article(request.path["id"])


@api.get(
    "/reports/{id}",
    roles=STAFF,
    returns=report_schemas.ReportView,
    summary="Fresh links to the files that the job generate-report has made; good for 15 minutes",
    raises=(NotFound,),
)
def report(request: Request[None]) -> report_schemas.ReportView:
    """The id is the job's."""
    return report_schemas.ReportView.of(reports.from_env().show(request.path["id"]))


handler = api.handler
