"""HTTP of budgets."""

from fastapi import APIRouter, Response

from dormouse_control import rules
from dormouse_control.budgets import operations
from dormouse_control.budgets.schemas import BudgetList, BudgetPage, BudgetRead, BudgetWrite
from dormouse_control.deps import (
    ActorDep,
    AfterDep,
    CallerDep,
    IdDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
)
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.pages import Cursors

router = APIRouter(prefix="/api/v1", route_class=RepeatableRoute)


@router.get("/me/budgets", response_model=BudgetList, dependencies=[rules.FULL_CALLER])
def my_budgets(caller: CallerDep, reading: ReadingDep, platform: PlatformDep) -> BudgetList:
    """What your calls count on: your budgets, your groups', and those of your newest 200 keys."""
    found = operations.mine(reading, user_id=caller.id, now=platform.clock())
    return BudgetList(items=found, currency=platform.settings.currency)


@router.get("/budgets", response_model=BudgetPage, dependencies=[rules.OPERATOR])
def list_budgets(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> BudgetPage:
    """All budgets that administrators set, oldest first."""
    cursors = Cursors(platform.sealing, caller.id, "budgets", {})
    items, following = operations.list_budgets(
        reading, cursors=cursors, after=after, limit=limit, now=platform.clock()
    )
    return BudgetPage(items=items, currency=platform.settings.currency, next=following)


@router.get("/budgets/{subject}", response_model=BudgetList, dependencies=[rules.OPERATOR])
def budgets_of(subject: IdDep, reading: ReadingDep, platform: PlatformDep) -> BudgetList:
    """The budgets of one user, key or group, by its id."""
    found = operations.of_subject(reading, subject, now=platform.clock())
    return BudgetList(items=found, currency=platform.settings.currency)


@router.put(
    "/budgets/{subject}/{period}",
    response_model=BudgetRead,
    responses={201: {"model": BudgetRead}},
    dependencies=[rules.ADMINISTRATOR],
)
def put_budget(
    subject: IdDep,
    period: IdDep,
    body: BudgetWrite,
    session: SessionDep,
    actor: ActorDep,
    platform: PlatformDep,
    response: Response,
) -> BudgetRead:
    """Set a budget (201) per day, month or in total, or change all of it."""
    found, new = operations.put(
        session,
        subject_id=subject,
        period=period,
        wanted=body,
        actor=actor,
        now=platform.clock(),
    )
    response.status_code = 201 if new else 200
    return found


@router.delete("/budgets/{subject}/{period}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def delete_budget(
    subject: IdDep, period: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Take a budget away."""
    operations.remove(session, subject_id=subject, period=period, actor=actor, now=platform.clock())
