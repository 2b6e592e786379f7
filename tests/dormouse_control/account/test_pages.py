"""The pages to which links in mail lead."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import dormouse_control.account

FOLDER = Path(dormouse_control.account.__file__).parent


@pytest.mark.parametrize("name", ["verify", "reset", "register", "page.js", "page.css"])
def test_everything_is_served_with_strict_headers(client: TestClient, name: str) -> None:
    answer = client.get(f"/account/{name}")

    assert answer.status_code == 200
    headers = answer.headers
    parts = headers["content-security-policy"].split("; ")
    policy = dict(part.split(" ", 1) for part in parts)
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-type"].endswith("charset=utf-8")


@pytest.mark.parametrize("name", ["verify", "reset", "register"])
def test_pages_obey_their_own_policy(client: TestClient, name: str) -> None:
    html = client.get(f"/account/{name}").text

    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|https?:", html)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) == {"page.js", "page.css"}
    # Without a name a field goes nowhere, whatever happens to the script.
    assert not re.search(r"<input[^>]*\sname=", html)
    for action in re.findall(r'data-action="([^"]*)"', html):
        answer = client.post(f"/api/v1/{action}", json={})
        assert answer.json()["error"]["code"] == "missing_required_parameter"
    labels = set(re.findall(r'<label for="([^"]*)"', html))
    assert set(re.findall(r'<input id="([^"]*)"', html)) == labels


@pytest.mark.parametrize("name", ["", "api.py", "..%2fapi.py", "verify.html", "__init__.py"])
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/account/{name}").status_code == 404


PAGE = """
{{
const asked = [];
const line = {{ textContent: "" }};
const button = {{ disabled: false }};
const field = {{ id: "password", value: "correct horse battery" }};
const again = {{ id: "again", value: {again!r} }};
const form = {{
  hidden: false, dataset: {{ action: "resets/confirm", done: "Done." }},
  addEventListener: (_, submitted) => (form.submit = submitted),
  querySelector: (wanted) => (wanted === "button" ? button : again),
  querySelectorAll: () => [field, again],
}};
globalThis.location = {{ hash: "#token=ott_1.x", pathname: "/account/reset" }};
globalThis.history = {{ replaceState: (...args) => asked.push(args[2]) }};
globalThis.document = {{
  forms: [form],
  querySelector: (wanted) => (wanted === "[role=status]" ? line : null),
}};
globalThis.fetch = async (url, options) => {{
  asked.push([url, options.method, JSON.parse(options.body)]);
  return {answer};
}};
require("vm").runInThisContext(require("fs").readFileSync({script!r}, "utf8"));
form.submit({{ preventDefault: () => undefined }});
setTimeout(() => console.log(JSON.stringify([asked, line.textContent, form.hidden])), 50);
}}
"""
REQUEST = (
    '["../api/v1/resets/confirm","POST",{"token":"ott_1.x","password":"correct horse battery"}]'
)


@pytest.mark.node
@pytest.mark.parametrize(
    ("again", "answer", "said"),
    [
        (
            "correct horse battery",
            "{ok: true, status: 204}",
            f'[["/account/reset",{REQUEST}],"Done.",true]',
        ),
        (
            "correct horse battery",
            '{ok: false, status: 400, json: async () => ({error: {message: "Wrong."}})}',
            f'[["/account/reset",{REQUEST}],"Wrong.",false]',
        ),
        ("other", "null", '[["/account/reset"],"The two passwords differ.",false]'),
    ],
    ids=["done", "refused", "differ"],
)
def test_the_script_sends_the_token_of_the_fragment(again: str, answer: str, said: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js")
    program = PAGE.format(again=again, answer=answer, script=str(FOLDER / "page.js"))
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=20)

    assert (done.stdout.strip(), done.stderr) == (said, "")
