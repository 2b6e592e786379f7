"""A supervised process comes back whenever it ends, and ends when it is told."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest

from dormouse_control.supervisor.child import Child
from dormouse_control.supervisor.processes import PROCESSES, ProcessSpec

LIVES = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
)


def child(script, changes=None):
    return Child(
        ProcessSpec("it", (sys.executable, "-S", "-c", script), 1234),
        environment=dict(os.environ),
        output=None,
        changed=lambda: changes.append(1) if changes is not None else None,
        told=lambda _: None,
    )


@contextlib.asynccontextmanager
async def alive(found):
    life = asyncio.create_task(found.keep_alive())
    while found.pid is None:
        await asyncio.sleep(0.005)
    yield
    await found.stop(0.3)
    await asyncio.wait_for(life, 5)


def test_a_killed_process_is_back_at_once_with_a_new_pid():
    async def scene():
        changes = []
        found = child(LIVES, changes)
        async with alive(found):
            seen = [found.pid]
            for _ in range(3):
                os.kill(found.pid, signal.SIGKILL)
                async with asyncio.timeout(3):
                    while found.pid in (None, seen[-1]):
                        await asyncio.sleep(0.005)
                seen.append(found.pid)
            return seen, found.restarts, len(changes)

    seen, restarts, changes = asyncio.run(scene())
    assert len(set(seen)) == 4
    assert restarts == 3
    assert changes >= 7  # every start and every end is told


def test_one_that_ends_at_once_is_not_started_in_a_tight_loop():
    async def scene():
        found = child("")
        life = asyncio.create_task(found.keep_alive())
        await asyncio.sleep(2)
        restarts = found.restarts
        await found.stop(1)
        await asyncio.wait_for(life, 5)
        return restarts

    assert 2 <= asyncio.run(scene()) <= 10


def test_stopping_ends_it_for_good():
    async def scene():
        found = child(LIVES)
        async with alive(found):
            pid = found.pid
        return pid, found.pid, found.restarts

    pid, after, restarts = asyncio.run(scene())
    assert (after, restarts) == (None, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_does_not_stop_is_killed():
    async def scene():
        found = child(STUBBORN)
        async with alive(found):
            await asyncio.sleep(0.2)
        return found.pid

    assert asyncio.run(scene()) is None


def test_it_is_told_its_metrics_port():
    async def scene():
        read, write = os.pipe()
        script = (
            f"import os; os.write({write}, os.environ['DORMOUSE_PROCESS_METRICS_PORT'].encode())"
        )
        spec = ProcessSpec(
            "it", (sys.executable, "-S", "-c", script.replace(str(write), "1")), 1234
        )
        with os.fdopen(write, "wb", buffering=0) as output:
            found = Child(
                spec,
                environment=dict(os.environ),
                output=output,
                changed=lambda: None,
                told=lambda _: None,
            )
            life = asyncio.create_task(found.keep_alive())
            text = await asyncio.to_thread(os.read, read, 4)
            await found.stop(1)
            await life
        os.close(read)
        return text

    assert asyncio.run(scene()) == b"1234"


def test_ports_for_metrics_are_in_the_order_of_the_documentation():
    assert PROCESSES == ("control-plane", "authorizer", "nest", "gateway", "supervisor")


@pytest.mark.parametrize("turns", range(4))
def test_one_that_is_stopped_while_it_is_being_started_ends_too(turns):
    async def scene():
        found = child(LIVES)
        life = asyncio.create_task(found.keep_alive())
        for _ in range(turns):
            await asyncio.sleep(0)
        await found.stop(1)
        await asyncio.wait_for(life, 5)
        return found.pid

    assert asyncio.run(scene()) is None


def test_it_starts_children_also_as_the_first_process_of_a_container():
    script = (
        "import asyncio, os, sys\n"
        "from dormouse_control.supervisor.child import Child\n"
        "from dormouse_control.supervisor.processes import ProcessSpec\n"
        "async def scene():\n"
        "    assert os.getpid() == 1\n"
        "    spec = ProcessSpec('it', (sys.executable, '-S', '-c', 'import time; time.sleep(9)'),\n"
        "                       1)\n"
        "    child = Child(spec, environment={}, output=None, changed=lambda: None,\n"
        "                  told=lambda text: None)\n"
        "    life = asyncio.create_task(child.keep_alive())\n"
        "    await asyncio.sleep(0.5)\n"
        "    assert child.restarts == 0, child.restarts\n"
        "    await child.stop(1)\n"
        "    await life\n"
        "asyncio.run(scene())\n"
    )
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no process namespaces")
    ran = subprocess.run([*unshare, sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
