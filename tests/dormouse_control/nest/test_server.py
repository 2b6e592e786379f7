"""The nest's socket as the authorizer and the control plane use it."""

import asyncio
import json
import threading

import pytest
from prometheus_client import CollectorRegistry

from dormouse_control.nest import states
from dormouse_control.nest.client import NestClient, NestUnavailable
from dormouse_control.nest.metrics import NestMetrics
from dormouse_control.nest.server import Connection, Connections
from dormouse_control.runtimes.base import NotRun, RuntimeUnavailable
from dormouse_control.runtimes.local import LocalRuntime


async def listening(path, runners, connections=None):
    connections = connections or Connections()

    async def serve(reader, writer):
        await connections.serve(Connection(runners, lambda: None, reader, writer))

    return await asyncio.start_unix_server(serve, path)


def ask(client, request_id="r1", service="chat"):
    return client.acquire(service=service, model="m", priority=1, request_id=request_id, user="ada")


def test_acquire_over_the_socket_many_at_once(make_nest, tmp_path):
    async def scene():
        runner, _ = make_nest("slow", queue_length=100)
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            cold = await asyncio.gather(*(ask(client, f"r{i}") for i in range(50)))
            return cold, await ask(client)

    cold, warm = asyncio.run(scene())
    assert all(answer["ok"] and answer["cold_start_ms"] >= 400 for answer in cold)
    assert warm["cold_start_ms"] is None
    assert {answer["address"] for answer in cold} == {warm["address"]}


def test_what_it_refuses_has_a_code(make_nest, tmp_path):
    async def scene():
        runner, _ = make_nest("fail")
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            return await ask(client), await ask(client, service="nope")

    failed, unknown = asyncio.run(scene())
    assert (failed["ok"], failed["code"], failed["retry_after"] > 0) == (
        False,
        "waking_failed",
        True,
    )
    assert unknown["code"] == "unknown_service"


def test_cancelling_and_disconnecting_leave_the_queue(make_nest, tmp_path, until):
    async def scene():
        runner, _ = make_nest("hang")
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            waiting = asyncio.ensure_future(ask(client))
            await until(lambda: runner.status().queue == 1)
            waiting.cancel()
            await until(lambda: runner.status().queue == 0)
            _, writer = await asyncio.open_unix_connection(tmp_path / "s")
            message = {
                "id": 1,
                "op": "acquire",
                "service": "chat",
                "model": "m",
                "priority": 1,
                "request_id": "r2",
                "user": "ada",
            }
            writer.write(json.dumps(message).encode() + b"\n")
            await until(lambda: runner.status().queue == 1)
            writer.close()
            await until(lambda: runner.status().queue == 0)
            await runner.close(0.1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "line", [b"no json\n", b"[]\n", b'{"op":"what"}\n', b"{}\n", b"x" * 99_999]
)
def test_nonsense_closes_that_connection_only(make_nest, tmp_path, line):
    async def scene():
        runner, _ = make_nest()
        async with await listening(tmp_path / "s", {"chat": runner}):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(line)
            assert await reader.read() == b""
            writer.close()
            return await ask(NestClient(tmp_path / "s"))

    assert asyncio.run(scene())["ok"]


def test_a_nest_that_is_gone_or_goes_is_unavailable_and_may_come_back(make_nest, tmp_path):
    async def scene():
        client = NestClient(tmp_path / "s")
        with pytest.raises(NestUnavailable):
            await ask(client)
        held = []

        async def hold(_, writer):
            held.append(writer)

        async with await asyncio.start_unix_server(hold, tmp_path / "s"):
            waiting = asyncio.ensure_future(ask(client))
            await asyncio.sleep(0.05)
            held[0].close()
            with pytest.raises(NestUnavailable):
                await waiting
        runner, _ = make_nest()
        (tmp_path / "s").unlink(missing_ok=True)
        async with await listening(tmp_path / "s", {"chat": runner}):
            return await ask(client)

    assert asyncio.run(scene())["ok"]


def test_the_local_runtime_reads_the_status(make_nest, tmp_path):
    async def scene():
        runner, _ = make_nest()
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")  # kept: its connection ends with it
            await ask(client)
            return await asyncio.to_thread(LocalRuntime(tmp_path / "s", lambda _: None).status)

    [service] = asyncio.run(scene())
    assert (service.id, service.status, service.models_loaded) == ("chat", "awake", ("m",))
    [predictor] = service.predictors
    assert predictor.pid > 0
    assert predictor.memory_bytes > 0


def test_without_a_nest_the_runtime_is_unavailable(tmp_path):
    with pytest.raises(RuntimeUnavailable):
        LocalRuntime(tmp_path / "s", lambda _: None).status()


def test_whoever_is_connected_hears_of_predictors_that_leave(make_nest, tmp_path, until):
    async def scene():
        connections, left = Connections(), []
        runner, zygote = make_nest("fine", leaving=connections.tell_leaving)
        async with await listening(tmp_path / "s", {"chat": runner}, connections):
            client = NestClient(tmp_path / "s", leaving=left.append)
            slept = (await ask(client))["address"]
            runner.sleep()
            await until(lambda: left == [slept])
            killed = (await ask(client, "r2"))["address"]
            zygote.processes[-1].kill()
            await until(lambda: left == [slept, killed])
            return list(left)

    left = asyncio.run(scene())
    assert len(set(left)) == 2


def test_an_operator_wakes_and_puts_to_sleep_over_the_socket(make_nest, tmp_path, until):
    async def scene():
        connections = Connections()
        runner, _ = make_nest(leaving=connections.tell_leaving)  # sleep tells it before it answers
        async with await listening(tmp_path / "s", {"chat": runner}, connections):
            runtime = LocalRuntime(tmp_path / "s", lambda _: None)
            await asyncio.to_thread(runtime.wake, "chat")
            await until(lambda: runner.status().status == "awake")
            await asyncio.to_thread(runtime.sleep, "chat")
            await until(lambda: runner.status().status == "asleep")
            for verb in (runtime.wake, runtime.sleep):
                with pytest.raises(NotRun):
                    await asyncio.to_thread(verb, "nope")

    asyncio.run(scene())


def test_a_call_is_expected_over_the_socket(make_nest, tmp_path, until):
    async def scene():
        runner, zygote = make_nest()
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            await ask(client, service="nope")  # connects
            client.expect(service="nope", model="m")
            client.expect(service="chat", model="big")
            await until(lambda: runner.status().status == "awake")
            return [config["model"] for config in zygote.configs]

    assert asyncio.run(scene()) == ["big"]


def test_a_waiting_calls_place_is_known(make_nest, tmp_path, until):
    async def scene():
        runner, _ = make_nest("slow")
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            calls = [asyncio.ensure_future(ask(client, f"r{n}")) for n in range(3)]
            await until(lambda: runner.status().queue == 3)
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            found = []
            for service, request in (("chat", "r2"), ("chat", "r9"), ("nope", "r2")):
                asked = {"id": 1, "op": "place", "service": service, "request_id": request}
                writer.write(json.dumps(asked).encode() + b"\n")
                found.append(json.loads(await reader.readline()))
            writer.close()
            await asyncio.gather(*calls)
            return found

    known, *others = asyncio.run(scene())
    assert known == {"id": 1, "ok": True, "ahead": 2, "expected_wait_ms": None}
    assert others == [{"id": 1, "ok": False}] * 2


@pytest.mark.parametrize(
    "changed", [{"priority": 3}, {"priority": "1"}, {"user": ...}, {"model": ...}]
)
def test_a_call_that_says_nonsense_closes_the_connection(make_nest, tmp_path, changed):
    asked = {"id": 1, "op": "acquire", "service": "chat", "model": "m", "priority": 1}
    asked |= {"request_id": "r", "user": "ada"} | changed
    line = {name: value for name, value in asked.items() if value is not ...}

    async def scene():
        runner, _ = make_nest()
        async with await listening(tmp_path / "s", {"chat": runner}):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(json.dumps(line).encode() + b"\n")
            assert await reader.read() == b""
            writer.close()
            return runner.status().status

    assert asyncio.run(scene()) == "asleep"


def test_status_says_what_memory_predictors_take_without_holding_anybody_up(
    make_nest, tmp_path, monkeypatch
):
    """The kernel takes long to count it."""
    counting, go_on = threading.Event(), threading.Event()
    memory_of = states.memory_of

    def slow(pids):
        counting.set()
        assert go_on.wait(20)
        return memory_of(pids)

    monkeypatch.setattr(states, "memory_of", slow)

    async def scene():
        runner, _ = make_nest()
        async with await listening(tmp_path / "s", {"chat": runner}):
            client = NestClient(tmp_path / "s")
            await ask(client)
            runtime = LocalRuntime(tmp_path / "s", lambda _: None)
            asked = asyncio.create_task(asyncio.to_thread(runtime.status))
            await asyncio.to_thread(counting.wait, 20)
            while_counting = await asyncio.wait_for(ask(client, "r2"), 10)
            go_on.set()
            [status] = await asked
            return while_counting, status.predictors[0].memory_bytes, runner.pids()

    monkeypatch.setattr("dormouse_control.runtimes.local.TIMEOUT_SECONDS", 20.0)
    answer, taken, pids = asyncio.run(scene())
    assert answer["ok"]
    assert taken > 100_000
    assert len(pids) == 1


def test_metrics_count_no_memory_of_processes(make_nest, make_shared, acquire, monkeypatch):
    """That takes milliseconds for each GiB."""

    async def scene():
        shared = make_shared()
        awake, _ = make_nest(shared=shared)
        await acquire(awake)
        monkeypatch.setattr(states, "memory_of", None)
        registry = CollectorRegistry()
        NestMetrics({"chat": awake}, shared.memory, registry)
        return registry.get_sample_value("dormouse_service_awake", {"service": "chat"})

    assert asyncio.run(scene()) == 1
