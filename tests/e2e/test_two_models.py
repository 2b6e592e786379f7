"""Two models of one service, which has room for one: calls change it, in the queue's order."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[2] / "services"
SMALL, LARGE = "dormouse-chat-mini", "dormouse-chat"
ARRIVALS = [  # design §4: name, priority, model; LARGE is loaded
    ("a", 2, SMALL),
    ("b", 1, SMALL),
    ("c", 0, SMALL),
    ("d", 1, LARGE),
    ("e", 2, LARGE),
    ("f", 0, LARGE),
]
END_TOKEN = "1"  # <|end|>


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """One call at a time, or there would be no queue."""
    folder = tmp_path_factory.mktemp("catalogue")
    folder.chmod(0o755)
    copy = shutil.copytree(SERVICES, folder / "services")
    for model in (SMALL, LARGE):
        ini = copy / "chat" / model / f"{model}.ini"
        ini.write_text(ini.read_text() + "parallel = 1\n")
    return copy


@pytest.fixture(scope="module")
def one_at_a_time(start_platform, services):
    return start_platform(services=services, ageing_seconds=600)


def test_calls_to_both_models_are_all_answered_by_the_right_one(platform, account):
    def call(number):
        model = (SMALL, LARGE)[number % 2]
        answer = platform.chat(account.key, model=model)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-dormouse-model"] == answer.json()["model"] == model
        return answer.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(call, range(24)))
    assert all("platform" in text.lower() for text in said)
    assert len(set(said[::2])) == len(set(said[1::2])) == 1
    assert len(platform.predictors(account.key, "chat")) == 1


def test_changing_the_model_follows_algorithm_1(one_at_a_time):
    platform, ended, threads = one_at_a_time, [], []
    user = platform.sign_up("chat")
    assert platform.chat(user.key, max_tokens=1).status_code == 200

    def call(name, priority, model):
        answer = platform.chat(user.key, model=model, max_tokens=1, priority=priority)
        assert answer.status_code == 200, answer.text
        ended.append((name, answer.headers["x-request-id"]))

    def block():
        platform.chat(user.key, max_tokens=1900, n=8, logit_bias={END_TOKEN: -100})

    threads.append(threading.Thread(target=block))
    threads[0].start()
    platform.until(lambda: in_flight(platform, user) == 1)
    for number, arrival in enumerate(ARRIVALS):
        threads.append(threading.Thread(target=call, args=arrival))
        threads[-1].start()
        platform.until(lambda number=number: in_flight(platform, user) == number + 2)
    for thread in threads:
        thread.join(60)
    began = {name: platform.usage(user.key, request)["time"] for name, request in ended}
    assert sorted(began, key=began.__getitem__) == list("cfdbae")


def in_flight(platform, user):
    [predictor] = platform.predictors(user.key, "chat")
    return predictor["in_flight"]
