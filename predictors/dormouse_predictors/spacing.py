"""How fast calls follow each other: what waiting times are reckoned by."""

_SMOOTHING = 0.2


class Spacing:
    """How long it takes from one call's end to the next's while there are calls, smoothed.

    `seconds` is 0 as long as nobody knows.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def resume(self, now: float) -> None:
        """There are calls again."""
        self._since = now

    def note(self, ended: int, now: float) -> None:
        """So many calls have ended."""
        for _ in range(ended):
            found = (now - self._since) / ended
            self.seconds += _SMOOTHING * (found - self.seconds) if self.seconds else found
        if ended:
            self._since = now
