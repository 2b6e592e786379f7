"""`Dormouse`: the one object that a program makes. Calls hang off it as in OpenAI's client."""

import os
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dormouse.accounts import Account, TokenAnswer
from dormouse.answers import build
from dormouse.auth import Anonymous, ApiKey, Credential, Session
from dormouse.calls import Call
from dormouse.credentials import CredentialsFile, TokenPair, default_path
from dormouse.errors import AuthenticationError
from dormouse.types import Status

if TYPE_CHECKING:
    import httpx

DEFAULT_BASE_URL = "http://127.0.0.1:5000"


class Dormouse:
    """A client of one server; safe to use from several threads.

    Who calls is, in this order: `api_key`; `email` with `password`; the environment variable
    `DORMOUSE_API_KEY`; the session that `dormouse login` left in the credentials file.
    Where to: `base_url`, with or without `/v1`; `DORMOUSE_BASE_URL`; this machine's port 5000.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        email: str | None = None,
        password: str | None = None,
        credentials: Path | None = None,
        timeout: float = 600,
        max_retries: int = 2,
        http_client: "httpx.Client | None" = None,
    ) -> None:
        # Here, because they bring httpx and with it rich; `import dormouse` stays cheap.
        from dormouse import resources
        from dormouse.transport import Transport, root_of

        root = root_of(base_url or os.environ.get("DORMOUSE_BASE_URL") or DEFAULT_BASE_URL)
        self._transport = Transport(
            root, timeout=timeout, max_retries=max_retries, http_client=http_client
        )
        self._email, self._password = email, password
        self._file = CredentialsFile(credentials or default_path(), server=root)
        self._transport.credential = self._chosen_credential(api_key)

        self.chat = resources.Chat(self._transport)
        self.completions = resources.Completions(self._transport)
        self.embeddings = resources.Embeddings(self._transport)
        self.models = resources.Models(self._transport)
        self.providers = resources.Providers(self._transport)
        self.second_factor = resources.SecondFactor(self._transport)
        self.services = resources.Services(self._transport)
        self.requests = resources.AsyncRequests(self._transport)
        self.sessions = resources.Sessions(self._transport)
        self.entitlements = resources.Entitlements(self._transport)
        self.keys = resources.Keys(self._transport)
        self.budgets = resources.Budgets(self._transport)
        self.usage = resources.Usage(self._transport)
        self.workspace = resources.Workspace(self._transport)
        self.admin = resources.Admin(self._transport)
        self.audit = resources.Audit(self._transport)
        self.ledger = resources.Ledger(self._transport)
        self.verifications = resources.Verifications(self._transport)
        self.resets = resources.Resets(self._transport)
        self.administrators = resources.Administrators(self._transport)
        self.invitations = resources.Invitations(self._transport)

    @property
    def base_url(self) -> str:
        """The server's address, without `/v1`."""
        return self._transport.root

    def register(self, email: str, password: str, *, invitation: str | None = None) -> Account:
        """Open an account. It does not sign in."""
        account = {"email": email, "password": password}
        if invitation is not None:
            account["invitation"] = invitation
        call = Call("POST", "/api/v1/registrations", body=account, signed=False, repeatable=True)
        return build(Account, self._transport.send(call).data)

    def login(
        self,
        email: str | None = None,
        password: str | None = None,
        *,
        code: str | None = None,
        remember: bool = False,
    ) -> None:
        """Call as this user from now on; `remember` keeps the session in the credentials file.

        `code` is one of the second factor, or a recovery code; an account that has one answers
        without it with the error `second_factor_required`.
        """
        self._email, self._password = email or self._email, password or self._password
        self._call_as(self._sign_in(code), remember=remember)

    def change_password(self, current: str, new: str) -> None:
        """Every session of yours ends; this client goes on with a new one."""
        body = {"current": current, "new": new}
        data = self._transport.send(Call("PUT", "/api/v1/me/password", body=body)).data
        session = self._transport.credential
        if isinstance(session, Session):
            session.replace(_token_pair(data, email=session.email))
        if self._password is not None:
            self._password = new

    def login_with_code(
        self, code: str, verifier: str, *, second_factor: str | None = None, remember: bool = False
    ) -> Account:
        """The end of a sign-in with a provider, which `dormouse.browser` begins; who it is."""
        proof = {"code": code, "verifier": verifier}
        if second_factor is not None:
            proof["second_factor"] = second_factor
        self._email = self._password = None
        tokens = _token_pair(self._post("/api/v1/sessions/code", proof), email="")
        self._call_as(tokens, remember=False)
        account = self.me()
        self._call_as(replace(tokens, email=account.email), remember=remember)
        return account

    def logout(self) -> None:
        """End the session, here and at the server. The file forgets it even if the server fails.

        An API key has no session: then nothing happens.
        """
        session = self._transport.credential
        if not isinstance(session, Session):
            return
        try:
            self._transport.send(Call("DELETE", "/api/v1/sessions/current"))
        except AuthenticationError:
            pass  # it had ended already
        finally:
            session.forget()
            self._transport.credential = Anonymous()

    def me(self) -> Account:
        """Who is calling."""
        return build(Account, self._get("/api/v1/me"))

    def status(self) -> Status:
        """What runs, what is awake, and how much memory it takes."""
        return build(Status, self._get("/api/v1/status"))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> "Dormouse":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chosen_credential(self, api_key: str | None) -> Credential:
        if api_key is not None and self._email is not None:
            raise ValueError("give api_key, or email and password, not both")
        if (self._email is None) != (self._password is None):
            raise ValueError("email and password go together")
        if self._email is not None:
            return self._session(None, file=None)
        key = (api_key or os.environ.get("DORMOUSE_API_KEY") or "").strip()
        if key:
            if not (key.isascii() and key.isprintable()):
                raise ValueError("api_key holds characters that no key has")
            return ApiKey(key)
        stored = self._file.load()
        return self._session(stored, file=self._file) if stored else Anonymous()

    def _session(self, tokens: TokenPair | None, *, file: CredentialsFile | None) -> Session:
        return Session(
            tokens,
            refresh=self._refresh,
            sign_in=self._sign_in if self._password is not None else None,
            file=file,
        )

    def _call_as(self, tokens: TokenPair, *, remember: bool) -> None:
        file = self._file if remember else None
        if file is not None:
            with file.lock():
                file.save(tokens)
        self._transport.credential = self._session(tokens, file=file)

    def _sign_in(self, code: str | None = None) -> TokenPair:
        if self._email is None or self._password is None:
            raise ValueError("login needs email and password")
        account = {"email": self._email, "password": self._password}
        if code is not None:
            account["code"] = code
        data = self._post("/api/v1/sessions", account)
        return _token_pair(data, email=self._email)

    def _refresh(self, tokens: TokenPair) -> TokenPair:
        body = {"refresh_token": tokens.refresh_token}
        data = self._post("/api/v1/sessions/refresh", body)
        return _token_pair(data, email=tokens.email)

    def _get(self, path: str) -> object:
        return self._transport.send(Call("GET", path)).data

    def _post(self, path: str, body: dict[str, str]) -> object:
        """For the calls that come before there is a session."""
        return self._transport.send(Call("POST", path, body=body, signed=False)).data


def _token_pair(data: object, *, email: str) -> TokenPair:
    answer = build(TokenAnswer, data)
    return TokenPair(
        access_token=answer.access_token,
        refresh_token=answer.refresh_token,
        expires_at=time.time() + answer.expires_in,
        email=email,
    )
