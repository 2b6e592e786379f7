"""What becomes of a request after an attempt, and whose turn is next. Pure."""

import json
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any  # errors are JSON

from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.requests.claims import Candidate, Result
from dormouse_control.requests.models import RequestStatus

MOST_INTERRUPTIONS = 3
"""A request that so many processes did not survive, control planes or predictors, is not given to
another one."""

LAST_CHANCE = MOST_INTERRUPTIONS - 1
"""After so many it runs beside no other of its service that comes as far: it may be the one that
ends them, and the others only happened to be there."""

_LONGEST_PAUSE = 30.0
_BUSY = (429, 503)


@dataclass(frozen=True)
class Answered:
    """`retry_after` is in seconds; `body` is None for one that was too long to keep."""

    status: int
    body: bytes | None
    retry_after: int | None = None


@dataclass(frozen=True)
class Broken:
    """There was no answer, or not all of it. The gateway may be restarting.

    `begun`: the answer had begun, so whoever was giving it has ended.
    """

    reason: str
    begun: bool = False


@dataclass(frozen=True)
class Again:
    until: datetime
    refusal: Mapping[str, Any]


def decide(
    outcome: Answered | Broken, *, attempt: int, now: datetime, deadline: datetime
) -> Result | Again:
    """What an attempt means for its request. `attempt` counts from 1."""
    if isinstance(outcome, Answered) and not _means_later(outcome):
        return _result(outcome)
    refusal = _error(outcome) if isinstance(outcome, Answered) else _problem(_BROKEN)
    until = now + timedelta(seconds=_pause(outcome, attempt))
    if until >= deadline:
        return Result(RequestStatus.EXPIRED, refusal=refusal)
    return Again(until, refusal)


def _pause(outcome: Answered | Broken, attempt: int) -> float:
    """Seconds. A limit says itself when there is room again: who waited longer each time would
    leave places empty that its own calls have given back."""
    asked = outcome.retry_after or 0 if isinstance(outcome, Answered) else 0
    if asked and isinstance(outcome, Answered) and outcome.status == 429:
        return asked
    return max(asked, min(2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE))


def ended_its_predictor(outcome: Answered | Broken) -> bool:
    """The predictor was there, and ended before it had answered."""
    if isinstance(outcome, Broken):
        return outcome.begun
    return outcome.status == 503 and bool(_error(outcome)["code"] == "predictor_died")


def given_up(call_id: str) -> Result:
    """For a request whose attempts are all cut off."""
    message = (
        f"{MOST_INTERRUPTIONS} processes ended while they worked on the call {call_id}."
        " It is not made again."
    )
    return Result(RequestStatus.FAILED, refusal=_problem(Refusal(500, "interrupted", message)))


def broken_here() -> Result:
    """For a request that a defect of ours keeps from being performed, whoever tries."""
    message = "A defect of the platform kept this call from being made. The log has it."
    return Result(RequestStatus.FAILED, refusal=_problem(Refusal(500, "internal_error", message)))


def does_not_fit(result: Result) -> Result:
    """In place of one that is more than its owner may have kept."""
    refusal = result.refusal or _problem(_NO_ROOM)
    return Result(RequestStatus.FAILED, result.status_code, refusal=refusal)


def no_space(result: Result) -> Result:
    """In place of one that the platform cannot store."""
    refusal = result.refusal or _problem(_FULL)
    return Result(RequestStatus.FAILED, result.status_code, refusal=refusal)


def choose(
    candidates: Sequence[Candidate],
    running: Mapping[str, int],
    *,
    free: int,
    most: int,
    suspected: Collection[str] = (),
) -> list[Candidate]:
    """Up to `free`, oldest first, in turns: who has the fewest running is next.

    Nobody gets more than `most` at a time: what one user waits for must not take all places. Of
    those that have their last chance one runs at a time in each service; in `suspected` one does.
    """
    counts, taken = Counter(running), set(suspected)
    queues: dict[str, deque[Candidate]] = {}
    for each in candidates:
        if each.interruptions >= LAST_CHANCE:
            if each.service in taken:
                continue
            taken.add(each.service)
        queues.setdefault(each.user_id, deque()).append(each)
    chosen: list[Candidate] = []
    while len(chosen) < free:
        users = [user for user, queue in queues.items() if queue and counts[user] < most]
        if not users:
            break
        user = min(users, key=lambda name: (counts[name], queues[name][0].id))
        chosen.append(queues[user].popleft())
        counts[user] += 1
    return chosen


_BROKEN = Refusal(503, "interrupted", "The call broke off before its answer was there.")
_NONSENSE = Refusal(502, "bad_gateway", "A process of the platform answered nonsense.")
_TOO_LONG = Refusal(502, "answer_too_large", "The answer is too long to be kept.")
_NO_ROOM = Refusal(
    502,
    "answer_too_large",
    "With this answer your requests and their results would take more than may be kept. DELETE"
    " those that you need no more.",
)
_FULL = Refusal(
    507, "insufficient_storage", "The call was made, but there is no space left to keep its answer."
)


def _means_later(answer: Answered) -> bool:
    return answer.status in _BUSY and answer.retry_after is not None


def _result(answer: Answered) -> Result:
    if answer.body is None:
        return Result(RequestStatus.FAILED, answer.status, refusal=_problem(_TOO_LONG))
    if 200 <= answer.status < 300:
        return Result(RequestStatus.COMPLETED, answer.status, answer.body)
    return Result(RequestStatus.FAILED, answer.status, answer.body, _error(answer))


def _error(answer: Answered) -> Mapping[str, Any]:
    try:
        found = json.loads(answer.body or b"")["error"]
        texts = {name: found[name] for name in ("message", "type", "code")}
        param = found["param"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _problem(_NONSENSE)
    if not all(isinstance(text, str) for text in texts.values()):
        return _problem(_NONSENSE)
    return {**texts, "param": param if isinstance(param, str) else None}


def _problem(refusal: Refusal) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(refusal.body())["error"]
    return found
