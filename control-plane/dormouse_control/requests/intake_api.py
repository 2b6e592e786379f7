"""HTTP of calls that nobody waits for. The gateway leads only those here that say so.

Calls with `Prefer: respond-async` (RFC 7240); all others go to a predictor, and never come here.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from dormouse_control import rules
from dormouse_control.deps import CallerDep, PlatformDep, SessionDep, VisitorDep
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.requests.api import LOCATION, read
from dormouse_control.requests.checks import TAG
from dormouse_control.requests.intake import WEBHOOK_HEADER, take
from dormouse_control.requests.schemas import RequestRead

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class _RepeatableCall(RepeatableRoute):
    meant = ("x-dormouse-model", "x-dormouse-priority", WEBHOOK_HEADER, TAG)


router = APIRouter(route_class=_RepeatableCall)


async def _body(request: Request) -> bytes:
    return await request.body()


PreferHeader = Annotated[
    str | None,
    Header(alias="prefer", description="With `respond-async` this is the answer (RFC 7240)."),
]
WebhookHeader = Annotated[
    str | None,
    Header(
        alias=WEBHOOK_HEADER, description="https:// URL that is told when the request has ended."
    ),
]


def ask(
    request: Request,
    body: Annotated[bytes, Depends(_body)],
    caller: CallerDep,
    visitor: VisitorDep,
    session: SessionDep,
    platform: PlatformDep,
    response: Response,
    _prefer: PreferHeader = None,
    _webhook: WebhookHeader = None,
) -> RequestRead:
    """Leave a call of a model to be made when it can be, and fetch the result later."""
    row = take(
        session,
        caller=caller,
        path=request.url.path,
        headers=request.headers,
        body=body,
        address=visitor.address,
        platform=platform,
        now=platform.clock(),
    )
    response.headers["location"] = LOCATION.format(id=row.id)
    response.headers["preference-applied"] = "respond-async"
    [found] = read(session, [row], platform=platform)
    return RequestRead.model_validate(found)


for _path in PATHS:
    router.add_api_route(
        _path,
        ask,
        methods=["POST"],
        name=f"ask_{_path.removeprefix('/v1/').replace('/', '_')}",
        status_code=202,
        response_model=RequestRead,
        dependencies=[rules.CALLER],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    )
