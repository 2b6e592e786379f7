"""A platform that makes its own certificate, called by clients that were told to believe it."""

import os
import subprocess
import sys

import httpx
import openai
import pytest


@pytest.fixture(scope="module")
def secure(start_platform):
    return start_platform(tls="self-signed")


@pytest.fixture(scope="module")
def owner(secure):
    return secure.sign_up("chat")


def test_openais_client_calls_a_model_over_tls(secure, owner):
    with httpx.Client(verify=secure.trust()) as trusting:
        client = openai.OpenAI(
            base_url=f"{secure.url}/v1", api_key=owner.key, http_client=trusting, max_retries=0
        )
        asked = [{"role": "user", "content": "What is Dormouse?"}]
        parts = client.chat.completions.create(
            model="dormouse-chat", messages=asked, stream=True, max_tokens=8
        )
        assert "".join(part.choices[0].delta.content or "" for part in parts)


def dormouse(secure, owner, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", "from dormouse.cli.main import main; main()", *arguments],
        env={
            **os.environ,
            "DORMOUSE_BASE_URL": secure.url,
            "DORMOUSE_API_KEY": owner.key,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_believes_what_it_is_told_to(secure, owner):
    certificate = str(secure.home / "tls" / "tls.crt")
    told = dormouse(secure, owner, "services", SSL_CERT_FILE=certificate)
    assert (told.returncode, told.stderr) == (0, "")
    untold = dormouse(secure, owner, "services")
    assert untold.returncode != 0
    assert "export SSL_CERT_FILE=" in untold.stderr
    wrong = dormouse(secure, owner, "services", SSL_CERT_FILE="/nonexistent")
    assert wrong.returncode != 0
    assert "SSL_CERT_FILE /nonexistent" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_certificate_outlives_a_restart(secure):
    before = (secure.home / "tls" / "tls.crt").read_bytes()
    secure.restart()
    assert (secure.home / "tls" / "tls.crt").read_bytes() == before
