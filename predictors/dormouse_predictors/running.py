"""One call inside the engine: what it has come to, how it ends, what it may cost."""

from dataclasses import dataclass, field

import structlog

from dormouse.events import Outcome
from dormouse_predictors.base import Computation, GenerateRequest, Generation, Piece
from dormouse_predictors.errors import CallError, Cancelled, internal, timeout
from dormouse_predictors.jobs import Job
from dormouse_predictors.outbox import Done, Failed, Item

_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Running:
    """`pieces` are kept for an answer that is given whole. `refused`
    is what it is answered with whatever the engine makes of it."""

    job: Job
    call: Computation
    pieces: list[Piece] = field(default_factory=list)
    streaming: bool = False
    refused: CallError | None = None

    def end(self) -> tuple[Item, Outcome]:
        job, call = self.job, self.call
        if self.refused is not None:
            return Failed(self.refused), "failed"
        if call.error is None:
            if job.stream:
                return Done(None), "completed"
            return Done(call.embedded or Generation.of(self.pieces)), "completed"
        if isinstance(call.error, Cancelled):
            return cancelled(job)
        if isinstance(call.error, CallError):
            return Failed(call.error), "failed"
        _log.error("engine failed", request_id=job.request_id, model=job.model, exc_info=call.error)
        return Failed(internal()), "failed"

    def most_tokens(self, context: int) -> int:
        """Completion tokens that it may come to; `context` is the model's."""
        request = self.job.request
        if not isinstance(request, GenerateRequest):
            return 0
        asked = request.default_tokens if request.max_tokens is None else request.max_tokens
        each = context if asked is None else min(asked, context)
        return len(request.prompts) * request.n * each


def cancelled(job: Job) -> tuple[Failed, Outcome]:
    """Nobody waits any more, or time ran out, or the right to call did."""
    error = job.cut or timeout()
    return Failed(error), "revoked" if error.status == 403 else "cancelled"
