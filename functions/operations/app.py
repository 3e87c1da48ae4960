"""Operations: processing mode, health log, call logs, overview, metrics."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, OWNERS, STAFF
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.ledger import Actor
from adbot_queue.operations import call_log_schemas as event_schemas
from adbot_queue.operations import overview, prometheus, schemas
from adbot_queue.platform import call_log as event_log
from adbot_queue.platform import circuit_probe, health_log, kill_switch, mode
from adbot_queue.platform.call_log import CallKind

api = Api("System")


@api.get("/admin/system/mode", roles=STAFF, returns=schemas.ModeView, summary="Get the processing mode")
def get_mode(_request: Request[None]) -> schemas.ModeView:
    """Reads the stored mode, not a cached one."""
    return schemas.ModeView.model_validate(mode.from_env().read())


@api.post(
    "/admin/system/mode",
    roles=OWNERS,
    body=schemas.SetMode,
    returns=schemas.ModeView,
    summary="Set the processing mode (kill switch; in force within 5 seconds)",
)
def set_mode(request: Request[schemas.SetMode]) -> schemas.ModeView:
    """Setting the same mode again changes nothing."""
    wanted = request.body
    return schemas.ModeView.model_validate(
        kill_switch.from_env().set(wanted.mode, wanted.reason, Actor.behind(request))
    )


@api.post(
    "/admin/system/circuits/{provider}/probe",
    roles=ADMINS,
    body=schemas.ProbeCircuit,
    returns=schemas.CircuitView,
    summary="Probe a provider now (its next call passes an open circuit)",
    raises=(NotFound, Conflict),
)
def probe_circuit(request: Request[schemas.ProbeCircuit]) -> schemas.CircuitView:
    """A call that succeeds closes the circuit, one that fails opens it for longer. Probing twice changes nothing."""
    circuit = circuit_probe.from_env().request(request.path["provider"], request.body.reason, Actor.behind(request))
    return schemas.CircuitView.model_validate(circuit)


@api.get(
    "/admin/system/logs",
    roles=STAFF,
    query=schemas.LogsQuery,
    returns=schemas.LogPage,
    summary="List health log entries of the last 7 days",
)
def list_logs(request: Request[None]) -> schemas.LogPage:
    """Newest first."""
    page = request.query
    found, following = health_log.from_env().read(page.level, page.limit, page.cursor)
    return schemas.LogPage.model_validate({"items": found, "next": following})


@api.get(
    "/ai/events",
    roles=STAFF,
    query=event_schemas.CallsQuery,
    returns=event_schemas.AiEventPage,
    summary="List model calls of the last 90 days with tokens, cost and duration",
)
def list_ai_events(request: Request[None]) -> event_schemas.AiEventPage:
    """Newest first. Prompts and answers are not kept here."""
    page = request.query
    found, following = event_log.from_env().read(CallKind.AI, page.since, page.until, page.limit, page.cursor)
    return event_schemas.AiEventPage.model_validate({"items": found, "next": following})


@api.get(
    "/plugins/executions",
    roles=STAFF,
    query=event_schemas.CallsQuery,
    returns=event_schemas.PluginExecutionPage,
    summary="List plugin executions of the last 90 days",
)
def list_plugin_executions(request: Request[None]) -> event_schemas.PluginExecutionPage:
    """Newest first."""
    page = request.query
    found, following = event_log.from_env().read(CallKind.PLUGIN, page.since, page.until, page.limit, page.cursor)
    return event_schemas.PluginExecutionPage.model_validate({"items": found, "next": following})


@api.get(
    "/admin/system/metrics", roles=STAFF, returns=schemas.OverviewView, summary="Get the overview of the whole system"
)
def get_overview(_request: Request[None]) -> schemas.OverviewView:
    """Mode, queues with the last 5 and 60 minutes, dead letters, bots."""
    return schemas.OverviewView.of(overview.gather(), overview.recent())


@api.get(
    "/metrics",
    roles=STAFF,
    scope="metrics.read",
    produces="text/plain",
    summary="Get the metrics in the Prometheus text format",
)
def get_metrics(_request: Request[None]) -> Response:
    """Totals of all processes together."""
    return Response(prometheus.exposition(overview.gather()), headers={"content-type": prometheus.CONTENT_TYPE})


handler = api.handler
