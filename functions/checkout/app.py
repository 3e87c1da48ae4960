"""POST /checkout, GET /plans, PUT and DELETE /admin/plans/{id}."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, CUSTOMERS, STAFF
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotConfigured, NotFound, ProviderFailed
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.ledger import Actor
from adbot_queue.payments import checkout, plans, schemas

api = Api("Plans and checkout")


@api.post(
    "/checkout",
    roles=CUSTOMERS,
    body=schemas.StartCheckout,
    returns=schemas.CheckoutView,
    status=201,
    also=(200,),
    summary="Start a Stripe Checkout session for a plan",
    raises=(NotFound, Conflict, IdempotencyMismatch, NotConfigured, ProviderFailed),
)
def start_checkout(request: Request[schemas.StartCheckout]) -> Response:
    """The same Idempotency-Key answers 200 with the same session."""
    body, key = request.body, request.idempotency_key
    asked = (body.plan_id, body.success_url, body.cancel_url)
    begun = checkout.from_env().start(request.caller.id, *asked, key or request.request_id)
    replayed = key is not None and begun.replayed
    return Response.idempotent(schemas.CheckoutView.model_validate(begun), 201, replayed=replayed)


@api.get("/plans", roles=STAFF | CUSTOMERS, query=schemas.PlansQuery, returns=schemas.PlanPage, summary="List plans")
def list_plans(request: Request[None]) -> schemas.PlanPage:
    """Staff also see plans that are not for sale."""
    page, everything = request.query, request.caller.is_staff
    return schemas.PlanPage.of(*plans.from_env().list(page.limit, page.cursor, only_active=not everything))


@api.put(
    "/admin/plans/{id}",
    roles=ADMINS,
    body=schemas.PlanBody,
    returns=schemas.PlanView,
    summary="Create or replace a plan",
    also=(201,),
)
def put_plan(request: Request[schemas.PlanBody]) -> Response:
    """201 if the plan is new, 200 if it existed. Earlier purchases keep their terms."""
    plan, new = plans.from_env().put(request.path["id"], request.body.model_dump(), Actor.behind(request))
    return Response(schemas.PlanView.model_validate(plan), 201 if new else 200)


@api.delete("/admin/plans/{id}", roles=ADMINS, returns=schemas.PlanView, summary="Delete a plan", raises=(NotFound,))
def delete_plan(request: Request[None]) -> schemas.PlanView:
    """Returns the deleted plan."""
    return schemas.PlanView.model_validate(plans.from_env().remove(request.path["id"], Actor.behind(request)))


handler = api.handler
