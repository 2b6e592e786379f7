import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dormouse.events import UsageEvent
from dormouse.spool import SpoolWriter
from dormouse.unfinished import Begun
from dormouse_predictors import usage
from dormouse_predictors.base import Meter
from dormouse_predictors.sending import Sender, Undelivered
from dormouse_predictors.usage import Reporter


def event(name: str) -> UsageEvent:
    return UsageEvent(
        request_id=name,
        time="2027-01-15T08:00:00.000Z",
        user="usr_1",
        credential="key_1",
        service="chat",
        model="tiny",
        endpoint="chat.completions",
        outcome="completed",
        prompt_tokens=1,
        completion_tokens=2,
        duration_ms=3,
    )


def test_events_are_on_disk_at_once_and_forwarded_soon(tmp_path: Path, internal_api: Any) -> None:
    sender = Sender(str(internal_api.path))
    reporter = Reporter(tmp_path, sender)
    reporter.start()
    reporter.record([event("usage-1")])
    (file,) = tmp_path.glob("*.jsonl")
    assert json.loads(file.read_text())["id"] == "usage-1"
    assert internal_api.of("usage-1")["data"]["completion_tokens"] == 2
    reporter.close(2)
    sender.close()
    assert list(tmp_path.iterdir()) == []


def test_events_are_kept_while_the_control_plane_is_down(tmp_path: Path, internal_api: Any) -> None:
    sender = Sender(str(internal_api.path))
    reporter = Reporter(tmp_path, sender)
    reporter.start()
    internal_api.down = True
    try:
        reporter.record([event("usage-2")])
        time.sleep(0.5)
        assert reporter.pending() == 1
    finally:
        internal_api.down = False
    assert internal_api.of("usage-2")
    reporter.close(2)
    sender.close()


def test_closing_forwards_what_is_left(tmp_path: Path, internal_api: Any) -> None:
    sender = Sender(str(internal_api.path))
    reporter = Reporter(tmp_path, sender)
    reporter.start()
    reporter.record([event("usage-3")])
    reporter.close(2)
    sender.close()
    assert internal_api.of("usage-3", timeout=0.1)


# httpcore drops a Unix socket that does not connect without closing it; Python closes it at once.
@pytest.mark.filterwarnings("ignore:.*socket.*:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(30)
def test_closing_leaves_on_disk_what_cannot_be_forwarded(tmp_path: Path) -> None:
    sender = Sender(str(tmp_path / "nobody.sock"))
    reporter = Reporter(tmp_path / "spool", sender)
    reporter.start()
    reporter.record([event("usage-4")])
    reporter.close(1)
    sender.close()
    (file,) = (tmp_path / "spool").glob("*.jsonl")
    assert "usage-4" in file.read_text()


def test_events_of_a_predictor_that_died_are_adopted(tmp_path: Path, internal_api: Any) -> None:
    dead = SpoolWriter(tmp_path)
    dead.append(event("usage-5"))
    dead.close()
    sender = Sender(str(internal_api.path))
    reporter = Reporter(tmp_path, sender)
    reporter.start()
    assert internal_api.of("usage-5")
    reporter.close(2)
    sender.close()


def test_a_server_that_says_no_is_an_error(internal_api: Any) -> None:
    sender = Sender(str(internal_api.path))
    internal_api.down = True
    try:
        with pytest.raises(Undelivered, match="503"):
            sender([{"id": "x"}])
    finally:
        internal_api.down = False
        sender.close()


def test_progress_is_noted_until_the_end(
    tmp_path: Path, internal_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "PROGRESS_SECONDS", 0.05)
    sender = Sender(str(internal_api.path))
    reporter = Reporter(tmp_path, sender)
    reporter.start()
    job: Any = SimpleNamespace(
        request_id="usage-6", meter=Meter(), compute_seconds=0.1, started=time.monotonic() - 3
    )
    reporter.begin([(job, Begun(event("usage-6")))])
    job.meter.completion_tokens = 7
    (file,) = tmp_path.glob("*.jsonl")
    deadline = time.monotonic() + 5
    while b'"completion_tokens":7' not in file.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert b'"compute_ms":100,"running_ms":3' in file.read_bytes()
    reporter.record([event("usage-6")])
    assert internal_api.of("usage-6")["data"]["estimated"] is False
    time.sleep(0.3)
    assert file.read_bytes() == b""
    reporter.close(2)
    sender.close()
    assert list(tmp_path.iterdir()) == []
