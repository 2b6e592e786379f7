"""The order of calls that wait for the engine: by priority, and within one first come, first served
for each user. Users take turns, so that nobody waits for all that one other user asked for. Pure.
"""

from collections import deque
from collections.abc import Collection

from dormouse_predictors.jobs import Job


class Waiting:
    """Calls of priority 0 go first, then those of 1, then those of 2."""

    def __init__(self) -> None:
        self._lines = (Turns(), Turns(), Turns())

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    def of(self, user: str) -> int:
        return sum(line.of(user) for line in self._lines)

    def users(self) -> int:
        return sum(line.users() for line in self._lines)

    def ahead_of_next(self, user: str, priority: int) -> int:
        """How many calls run before one that this user would add now, if nobody else adds any."""
        before = sum(map(len, self._lines[:priority]))
        return before + self._lines[priority].ahead_of_next(user)

    def add(self, job: Job) -> None:
        self._lines[job.claims.priority].add(job)

    def take(self) -> Job:
        """The next to run. Raises `IndexError` if none waits."""
        return next((line for line in self._lines if len(line)), self._lines[0]).take()

    def remove(self, job: Job) -> bool:
        """Whether it waited."""
        return self._lines[job.claims.priority].remove(job)

    def last_of_greediest(self) -> Job:
        """The youngest and least urgent call of whoever has most of them waiting.

        Raises `ValueError` if none waits.
        """
        users = {user for line in self._lines for user in line.waiting_users()}
        greediest = max(users, key=self.of)
        return next(line for line in reversed(self._lines) if line.of(greediest)).last_of(greediest)

    def clear(self) -> None:
        for line in self._lines:
            line.clear()


class Turns:
    """Calls of one priority."""

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

    def waiting_users(self) -> Collection[str]:
        return self._lines.keys()

    def last_of(self, user: str) -> Job:
        return self._lines[user][-1]

    def clear(self) -> None:
        self._lines.clear()
        self._turns.clear()
        self._count = 0
