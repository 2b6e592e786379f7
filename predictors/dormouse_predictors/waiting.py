"""The order of calls that wait for the engine: first come, first served for each user, and users
take turns, so that nobody waits for all that one other user asked for. Pure.
"""

from collections import deque

from dormouse_predictors.jobs import Job


class Waiting:
    def __init__(self) -> None:
        self._lines: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        # Whose call was taken last: who comes while it runs goes before the next of this user.
        self._served: str | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, user: str) -> int:
        return len(self._lines.get(user, ()))

    def users(self) -> int:
        return len(self._lines)

    def ahead_of_next(self, user: str) -> int:
        """How many calls run before one that this user would add now."""
        turns = list(self._turns)
        if user not in self._lines and user != self._served:
            turns.append(user)
        if self._served is not None and (user == self._served or self._served in self._lines):
            turns.append(self._served)
        own = ahead = self.of(user)
        rounds = own + 1  # that others have had before it, and one less after its own turn
        for other in turns:
            if other == user:
                rounds = own
            else:
                ahead += min(self.of(other), rounds)
        return ahead

    def add(self, job: Job) -> None:
        user = job.claims.user
        line = self._lines.setdefault(user, deque())
        if not line and user != self._served:
            self._turns.append(user)
        line.append(job)
        self._count += 1

    def take(self) -> Job:
        """The next to run. Raises `IndexError` if none waits."""
        if self._served in self._lines:
            self._turns.append(self._served)
        user = self._turns.popleft()
        job = self._lines[user].popleft()
        self._count -= 1
        if not self._lines[user]:
            del self._lines[user]
        self._served = user
        return job

    def remove(self, job: Job) -> bool:
        """Whether it waited."""
        user = job.claims.user
        if job not in self._lines.get(user, ()):
            return False
        line = self._lines[user]
        line.remove(job)
        self._count -= 1
        if not line:
            del self._lines[user]
            if user != self._served:
                self._turns.remove(user)
        return True

    def last_of_greediest(self) -> Job:
        """The youngest call of whoever has most of them waiting. Raises `ValueError` if empty."""
        return max(self._lines.values(), key=len)[-1]

    def clear(self) -> None:
        self._lines.clear()
        self._turns.clear()
        self._count = 0
