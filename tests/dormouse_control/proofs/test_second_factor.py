"""The second factor: switched on, asked for, used once, and switched off."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyotp
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dormouse_control.app import public_app
from dormouse_control.audit.models import AuditEntry
from dormouse_control.identity.models import Role, User
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.proofs.attempts import FREE
from dormouse_control.proofs.models import RecoveryCode
from dormouse_control.wiring import Platform
from fixtures.accounts import Place
from fixtures.control_plane import PASSWORD

NEW = "violet tram eats moss"


@dataclass
class App:
    """An authenticator app, on a phone whose clock goes `off` seconds wrong."""

    account: Any
    clock: Any
    secret: str
    recovery_codes: list[str]

    def code(self, off: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(self.clock().timestamp() + off)

    def sign_in(self, code: str | None = None, password: str = PASSWORD) -> Any:
        body = {"email": self.account.email, "password": password}
        if code is not None:
            body["code"] = code
        return self.account.client.post("/api/v1/sessions", json=body)


def switch_on(account: Any, clock: Any) -> App:
    begun = account.post("/api/v1/me/second-factor", {"password": PASSWORD})
    assert begun.status_code == 201, begun.text
    app = App(account, clock, begun.json()["secret"], [])
    done = account.post("/api/v1/me/second-factor/confirm", {"code": app.code()})
    assert done.status_code == 200, done.text
    app.recovery_codes = done.json()["recovery_codes"]
    clock.advance(seconds=30)
    return app


@pytest.fixture
def app(ada: Any, clock: Any) -> App:
    return switch_on(ada, clock)


def _code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_secret_is_one_that_an_app_understands(ada: Any) -> None:
    begun = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()

    assert len(begun["secret"]) == 32
    found = pyotp.parse_uri(begun["uri"])
    assert (found.secret, found.name, found.issuer) == (begun["secret"], ada.email, "Dormouse")


def test_it_needs_the_password_and_counts_only_once_confirmed(ada: Any, clock: Any) -> None:
    wrong = ada.post("/api/v1/me/second-factor", {"password": "wrong horse battery"})
    assert _code(wrong) == (401, "invalid_credentials")
    begun = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()
    app = App(ada, clock, begun["secret"], [])
    assert app.sign_in().status_code == 201

    for bad in ("000000", "12345", "abcdef", ""):
        refused = ada.post("/api/v1/me/second-factor/confirm", {"code": bad})
        assert refused.status_code == 422
    assert app.sign_in().status_code == 201


def test_beginning_again_replaces_a_secret_that_was_never_confirmed(ada: Any, clock: Any) -> None:
    first = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()["secret"]
    second = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()["secret"]
    old = App(ada, clock, first, []).code()
    assert ada.post("/api/v1/me/second-factor/confirm", {"code": old}).status_code == 422
    new = App(ada, clock, second, []).code()
    assert ada.post("/api/v1/me/second-factor/confirm", {"code": new}).status_code == 200


def test_there_is_one_second_factor(app: App) -> None:
    again = app.account.post("/api/v1/me/second-factor", {"password": PASSWORD})
    assert _code(again) == (409, "already_exists")
    confirmed = app.account.post("/api/v1/me/second-factor/confirm", {"code": app.code()})
    assert confirmed.status_code == 422


def test_confirming_ends_the_other_sessions_and_lifts_this_one(
    client: TestClient, ada: Any, clock: Any
) -> None:
    other = client.post("/api/v1/sessions", json={"email": ada.email, "password": PASSWORD}).json()
    switch_on(ada, clock)

    headers = {"authorization": f"Bearer {other['access_token']}"}
    assert client.get("/api/v1/me", headers=headers).status_code == 401
    (mine,) = ada.get("/api/v1/sessions").json()["items"]
    assert (mine["current"], mine["second_factor"]) == (True, True)


def test_signing_in_asks_for_the_code_only_who_knows_the_password(app: App) -> None:
    assert _code(app.sign_in()) == (401, "second_factor_required")
    assert _code(app.sign_in("000000")) == (401, "second_factor_required")
    assert _code(app.sign_in(password="wrong horse battery")) == (401, "invalid_credentials")
    wrong = app.sign_in(app.code(), password="wrong horse battery")
    assert _code(wrong) == (401, "invalid_credentials")
    right = app.sign_in(app.code())
    assert right.status_code == 201
    headers = {"authorization": f"Bearer {right.json()['access_token']}"}
    listed = app.account.client.get("/api/v1/sessions", headers=headers).json()["items"]
    assert {each["second_factor"] for each in listed} == {True}


@pytest.mark.parametrize(
    ("off", "status"), [(-61, 401), (-30, 201), (0, 201), (30, 201), (61, 401)]
)
def test_a_phones_clock_may_be_one_step_wrong(app: App, clock: Any, off: int, status: int) -> None:
    clock.advance(seconds=120)
    assert app.sign_in(app.code(off)).status_code == status


def test_a_code_is_good_for_once_and_so_are_older_ones(app: App, clock: Any) -> None:
    clock.advance(seconds=60)
    older, now = app.code(-30), app.code()
    assert app.sign_in(now).status_code == 201
    assert _code(app.sign_in(now)) == (401, "second_factor_required")
    assert _code(app.sign_in(older)) == (401, "second_factor_required")
    clock.advance(seconds=30)
    assert app.sign_in(app.code()).status_code == 201


def test_the_code_that_confirmed_does_not_sign_in(ada: Any, clock: Any) -> None:
    app = switch_on(ada, clock)
    assert app.sign_in(app.code(-30)).status_code == 401


def test_a_code_used_by_many_at_once_lets_one_in(
    installation: Any, clock: Any, at_once: Callable[..., list[Any]]
) -> None:
    app = switch_on(installation.sign_up(), clock)
    code = app.code()
    statuses = Counter(answer.status_code for answer in at_once(8, lambda: app.sign_in(code)))
    assert statuses[201] == 1
    assert set(statuses) <= {201, 401, 503}


def test_codes_that_are_guessed_are_counted_like_passwords(app: App) -> None:
    statuses = Counter(app.sign_in(f"{number:06}").status_code for number in range(3 * FREE))
    assert statuses == {401: FREE, 429: 2 * FREE}


def test_codes_to_confirm_are_counted_too(ada: Any) -> None:
    ada.post("/api/v1/me/second-factor", {"password": PASSWORD})
    path = "/api/v1/me/second-factor/confirm"
    statuses = Counter(
        ada.post(path, {"code": f"{number:06}"}).status_code for number in range(2 * FREE)
    )
    assert statuses == {422: FREE, 429: FREE}


def test_a_recovery_code_stands_in_once_however_it_is_written(app: App) -> None:
    assert len(set(app.recovery_codes)) == 10
    written = (str.upper, lambda code: code.replace("-", ""), lambda code: f" {code} ")
    for code, write in zip(app.recovery_codes, written, strict=False):
        assert app.sign_in(write(code)).status_code == 201
        assert _code(app.sign_in(code)) == (401, "second_factor_required")


def test_a_recovery_code_used_by_many_at_once_lets_one_in(
    installation: Any, clock: Any, at_once: Callable[..., list[Any]]
) -> None:
    app = switch_on(installation.sign_up(), clock)
    answers = at_once(8, lambda: app.sign_in(app.recovery_codes[0]))
    assert Counter(answer.status_code for answer in answers)[201] == 1


def test_a_recovery_code_is_its_owners_only(
    sign_up: Callable[..., Any], clock: Any, app: App
) -> None:
    other = switch_on(sign_up("bob@example.org"), clock)
    assert other.sign_in(app.recovery_codes[0]).status_code == 401
    assert app.sign_in(app.recovery_codes[0]).status_code == 201


def test_nothing_of_it_is_stored_in_the_clear(app: App, platform: Platform) -> None:
    with platform.database.reads() as reading:
        sealed = str(reading.scalar(select(User.totp_sealed)))
        digests = reading.scalars(select(RecoveryCode.digest)).all()
        audited = "".join(reading.scalars(select(AuditEntry.details)))
    assert app.secret not in sealed
    for code in app.recovery_codes:
        assert all(code.replace("-", "") not in text for text in (*digests, audited))


def test_switching_off_needs_password_and_code(app: App, clock: Any) -> None:
    path = "/api/v1/me/second-factor/remove"
    account = app.account
    wrong = account.post(path, {"password": "wrong horse battery", "code": app.code()})
    assert _code(wrong) == (401, "invalid_credentials")
    no_code = account.post(path, {"password": PASSWORD, "code": "000000"})
    assert _code(no_code) == (401, "second_factor_required")
    clock.advance(seconds=30)
    assert account.post(path, {"password": PASSWORD, "code": app.code()}).status_code == 204

    assert app.sign_in().status_code == 201
    assert account.get("/api/v1/sessions").json()["items"][-1]["second_factor"] is False
    again = account.post(path, {"password": PASSWORD, "code": app.code()})
    assert again.status_code == 422
    switch_on(account, clock)


def test_a_password_too_short_to_be_alone_keeps_the_second_factor(app: App, clock: Any) -> None:
    short = "kX9$mQv2"
    changed = app.account.put("/api/v1/me/password", {"current": PASSWORD, "new": short})
    assert changed.status_code == 200
    account = replace(app.account, access_token=changed.json()["access_token"])
    clock.advance(seconds=30)
    body = {"password": short, "code": app.code()}
    refused = account.post("/api/v1/me/second-factor/remove", body)
    assert refused.status_code == 422
    assert "15 characters" in refused.json()["error"]["message"]
    app.account = account
    assert app.sign_in(app.code(), password=short).status_code == 201, "the code was not used up"


def test_without_a_second_factor_a_short_password_is_refused(ada: Any) -> None:
    changed = ada.put("/api/v1/me/password", {"current": PASSWORD, "new": "kX9$mQv2"})
    assert (changed.status_code, changed.json()["error"]["param"]) == (422, "password")


def test_switching_on_and_off_is_audited_and_told_by_mail(
    app: App, platform: Platform, clock: Any
) -> None:
    clock.advance(seconds=30)
    body = {"password": PASSWORD, "code": app.code()}
    app.account.post("/api/v1/me/second-factor/remove", body)
    with platform.database.reads() as reading:
        actions = reading.scalars(select(AuditEntry.action)).all()
        mail = reading.scalars(select(Mail.about).where(Mail.kind == MailKind.CHANGED)).all()
    assert {"second_factor.add", "second_factor.remove"} <= set(actions)
    assert mail == ["second_factor", "second_factor"]


def test_an_administrator_may_need_one(
    platform: Platform, with_role: Callable[..., Any], clock: Any
) -> None:
    root = with_role(Role.ADMINISTRATOR)
    settings = platform.settings.model_copy(update={"administrators_need_second_factor": True})
    root.client = TestClient(public_app(replace(platform, settings=settings)))
    refused = root.get("/api/v1/users")
    assert _code(refused) == (403, "second_factor_required")
    assert root.get("/api/v1/me").status_code == 200, "what every user may do goes on"

    app = switch_on(root, clock)
    assert root.get("/api/v1/users").status_code == 200
    signed_in = app.sign_in(app.code()).json()
    assert replace(root, access_token=signed_in["access_token"]).get("/api/v1/users").is_success

    clock.advance(seconds=30)
    body = {"password": PASSWORD, "code": app.code()}
    assert root.post("/api/v1/me/second-factor/remove", body).status_code == 204
    assert _code(root.get("/api/v1/users")) == (403, "second_factor_required")


def test_a_reset_may_set_a_short_password_beside_a_second_factor(
    place: Callable[..., Place], clock: Any
) -> None:
    here = place()
    app = switch_on(here.administrator(), clock)
    here.mail()
    here.post("resets", email=app.account.email)
    token = here.mailed_token()

    assert here.post("resets/confirm", token=token, password="kX9$mQv2").status_code == 204
    assert app.sign_in(app.code(), password="kX9$mQv2").status_code == 201


@pytest.mark.parametrize("path", ["change", "reset"])
def test_a_short_password_is_not_set_if_the_second_factor_goes_meanwhile(
    place: Callable[..., Place], clock: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    here, short = place(), "kX9$mQv2"
    account = here.administrator()
    app = switch_on(account, clock)
    here.mail()
    here.post("resets", email=account.email)
    token = here.mailed_token()
    really = here.platform.passwords.hash

    def slowly(password: str) -> str:
        monkeypatch.undo()
        body = {"password": PASSWORD, "code": app.code()}
        assert account.post("/api/v1/me/second-factor/remove", body).status_code == 204
        return really(password)

    monkeypatch.setattr(here.platform.passwords, "hash", slowly)
    answer = (
        account.put("/api/v1/me/password", {"current": PASSWORD, "new": short})
        if path == "change"
        else here.post("resets/confirm", token=token, password=short)
    )

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "password")
    assert app.sign_in().status_code == 201


def test_an_administrator_lets_in_who_lost_the_phone(
    app: App, administrator: Any, platform: Platform
) -> None:
    assert app.sign_in().status_code == 401
    path = f"/api/v1/users/{app.account.id}/second-factor"

    assert administrator.delete(path).status_code == 204

    assert app.account.get("/api/v1/me").status_code == 401
    assert app.sign_in().status_code == 201
    with platform.database.reads() as reading:
        assert reading.scalars(select(RecoveryCode)).all() == []
        mail = reading.scalars(select(Mail).where(Mail.user_id == app.account.id)).all()
        assert mail[-1].kind is MailKind.CHANGED
        assert mail[-1].about == "second_factor"
        noted = select(AuditEntry).where(AuditEntry.action == "second_factor.remove")
        assert reading.scalars(noted).one().actor == administrator.id
    assert administrator.delete(path).status_code == 204
    assert app.sign_in().status_code == 201


def test_administrators_do_not_remove_their_own_without_a_code(
    administrator: Any, clock: Any
) -> None:
    app = switch_on(administrator, clock)
    refused = administrator.delete(f"/api/v1/users/{administrator.id}/second-factor")
    assert refused.status_code == 409
    assert app.sign_in().status_code == 401


def test_an_administrator_lets_in_whom_guesses_keep_out(ada: Any, administrator: Any) -> None:
    wrong = {"email": ada.email, "password": "wrong horse battery"}
    while ada.client.post("/api/v1/sessions", json=wrong).status_code == 401:
        pass
    right = wrong | {"password": PASSWORD}
    assert ada.client.post("/api/v1/sessions", json=right).status_code == 429

    assert administrator.delete(f"/api/v1/users/{ada.id}/attempts").status_code == 204

    assert ada.client.post("/api/v1/sessions", json=right).status_code == 201
