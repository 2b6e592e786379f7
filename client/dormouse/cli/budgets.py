"""`dormouse budgets list | set | remove`: how much money calls may cost, and what follows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.key_limits import money
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import amount, emit, local_time, table

if TYPE_CHECKING:
    from dormouse.accounts import Budget, BudgetPage
    from dormouse.client import Dormouse

app = typer.Typer(
    help="How much money calls may cost.", no_args_is_help=True, rich_markup_mode=None
)

Whose = Annotated[
    str,
    typer.Argument(metavar="WHOSE", help="A user (id or e-mail address), or id of a key or group."),
]


def _at(option: str, what: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        option, metavar="PERCENT", min=1, max=1000, help=f"From how much on: {what}."
    )
    return found


@app.command("list", epilog="Example: dormouse budgets list")
def list_(
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="WHOSE", help="Of a user, key or group; for operators."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that are set; for operators.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """List your budgets, how much of them is spent, and when they begin anew."""
    if of is not None and all_:
        raise typer.BadParameter("give --of or --all, not both", param_hint="--all")
    with open_client(base_url, session=all_ or of is not None) as client:
        page = _asked(client, of=of, all_=all_)
        found = list(page)
    if json:
        emit({"items": [each.to_dict() for each in found], "currency": page.currency})
        return
    table(
        ("For", "Id", ">Limit", ">Spent", ">Left", "Begins anew", "Then"),
        (_row(each, page.currency) for each in found),
    )


@app.command("set", epilog="Example: dormouse budgets set ada@example.org 20/month --refuse 100")
def set_(
    whose: Whose,
    limit: Annotated[
        str, typer.Argument(metavar="20/month", help="Money per day, month or total.")
    ],
    notify: Annotated[list[int] | None, _at("--notify", "mail is sent")] = None,
    lower_priority: Annotated[
        int | None, _at("--lower-priority", "calls have the lowest priority")
    ] = None,
    refuse_gpu: Annotated[int | None, _at("--refuse-gpu", "services on GPUs refuse (402)")] = None,
    refuse: Annotated[int | None, _at("--refuse", "every call is refused (402)")] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Set a budget, or change all of it. Without options: mail at 80 percent, refused from 100."""
    wanted = money(limit, hint="20/month")
    thresholds = [(percent, "notify") for percent in notify or ()]
    for percent, action in (
        (lower_priority, "lower_priority"),
        (refuse_gpu, "refuse_gpu"),
        (refuse, "refuse"),
    ):
        thresholds += [(percent, action)] if percent is not None else []
    with open_client(base_url, session=True) as client:
        made = client.admin.budgets.set(
            _id(client, whose),
            wanted["period"],
            wanted["amount"],
            thresholds=thresholds or None,
        )
    if json:
        emit(made.to_dict())
    else:
        typer.echo(f"{whose} may spend {made.limit:g} ({made.period}). {_then(made)}.")


@app.command(epilog="Example: dormouse budgets remove ada@example.org month")
def remove(
    whose: Whose,
    period: Annotated[str, typer.Argument(help="day, month or total.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Take a budget away."""
    with open_client(base_url, session=True) as client:
        client.admin.budgets.remove(_id(client, whose), period)
    if json:
        emit({"removed": whose, "period": period})
    else:
        typer.echo(f"{whose} has no budget of an administrator's any more ({period}).")


def _asked(client: "Dormouse", *, of: str | None, all_: bool) -> "BudgetPage":
    if of is not None:
        return client.admin.budgets.of(_id(client, of))
    return client.admin.budgets.list() if all_ else client.budgets.list()


def _id(client: "Dormouse", whose: str) -> str:
    return client.admin.users.find(whose).id if "@" in whose else whose


def _row(budget: "Budget", currency: str) -> Sequence[str]:
    return (
        budget.subject if budget.name is None else f"{budget.subject} {budget.name}",
        budget.subject_id,
        f"{budget.limit:g}/{budget.period}",
        amount(budget.spent, currency),
        amount(budget.left, currency),
        local_time(budget.renews_at) or "never",
        _then(budget),
    )


def _then(budget: "Budget") -> str:
    """What follows at which part of it; what has been reached already is marked."""
    return ", ".join(
        f"{each.at_percent} %: {each.action.replace('_', ' ')}{' (now)' if each.reached else ''}"
        for each in budget.thresholds
    )
