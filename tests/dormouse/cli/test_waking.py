import pytest

from dormouse.cli.waking import progress
from dormouse.types import Service


def service(status: str, stage: str | None = None, problem: str | None = None) -> Service:
    return Service(id="chat", status=status, stage=stage, problem=problem)


@pytest.mark.parametrize(
    ("first", "now", "line"),
    [
        (service("asleep"), service("asleep"), "chat is asleep, waking… 0.4 s"),
        (service("asleep"), service("waking"), "chat is asleep, waking… 0.4 s"),
        (service("asleep"), service("waking", "loading"), "chat is asleep, waking… loading 0.4 s"),
        (service("waking"), service("waking", "loading"), "chat is waking… loading 0.4 s"),
        (service("asleep"), service("awake"), "chat is awake, answering… 0.4 s"),
        (
            service("awake"),
            service("awake", "downloading 18%"),
            "chat is awake, answering… downloading 18% 0.4 s",
        ),
        (
            service("asleep"),
            service("asleep", problem="no such file"),
            "chat failed to wake, trying again… 0.4 s",
        ),
    ],
)
def test_progress_is_one_line(first: Service, now: Service, line: str) -> None:
    assert progress(first, now, seconds=0.42) == line
