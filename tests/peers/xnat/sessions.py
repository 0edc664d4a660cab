"""Who asks: cookies, basic authentication, alias tokens and the sessions that are open."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peers.xnat.http import (
    AnswerError,
    Request,
    Response,
    as_json,
    fail,
    form,
    restlet,
    text,
    tomcat,
)

if TYPE_CHECKING:
    from peers.xnat.state import State

REALM = ("WWW-Authenticate", 'Basic realm="XNAT Protected Area"')


@dataclass
class Session:
    """A login that is open."""

    user: str
    used: float


class Sessions:
    """The open sessions and the logins."""

    def __init__(self, state: State, profile: str, limit: int | None, seconds: float) -> None:
        self._state = state
        self._profile = profile
        self._limit = limit
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self) -> dict[str, str]:
        """Session ID to user, of those that are neither closed nor expired."""
        with self._lock:
            self._forget()
            return {name: session.user for name, session in self._open.items()}

    def end(self, name: str) -> None:
        """Close a session, if it is open."""
        with self._lock:
            self._open.pop(name, None)

    def identify(self, request: Request) -> None:
        """Find out who asks; a login without a session's cookie opens one.

        Raises:
            AnswerError: 401 for a login that fails, or one session too many.
        """
        with self._lock:
            self._forget()
            session = self._open.get(request.cookie)
            if session is not None:
                session.used = time.monotonic()
                request.user, request.session = session.user, request.cookie
                return
        given = request.basic
        if given is None:
            if not request.cookie:
                request.new_session = _name()
            return
        user = self.check(*given)
        if user is None:
            request.new_session = _name()
            raise AnswerError(tomcat(401, "Login attempt failed. Please try again."))
        self.start(request, user)

    def check(self, user: str, password: str) -> str | None:
        """The user of a name and password, or of an alias and its secret."""
        with self._state.lock:
            known = self._state.users.get(user)
            if known is not None and secrets.compare_digest(
                known["password"].encode(), password.encode()
            ):
                return user
            token = self._state.tokens.get(user)
            if token is not None and secrets.compare_digest(
                token["secret"].encode(), password.encode()
            ):
                return token["user"]
        return None

    def start(self, request: Request, user: str) -> None:
        """Open a session.

        Raises:
            AnswerError: 401, the user has as many as are allowed.
        """
        with self._lock:
            mine = [session for session in self._open.values() if session.user == user]
            if self._limit is not None and len(mine) >= self._limit:
                words = f"Maximum sessions of {self._limit} for this principal exceeded"
                raise AnswerError(tomcat(401, words))
            request.user, request.session = user, _name()
            request.new_session = request.session
            self._open[request.session] = Session(user, time.monotonic())

    def answer(self, request: Request, parts: list[str]) -> Response | None:
        """The answer where the request is about sessions, else None."""
        if parts[:1] == ["JSESSION"]:
            return self._jsession(request)
        if parts == ["services", "auth"] and request.method in ("PUT", "POST"):
            return self._auth(request)
        if parts == ["auth"] and request.user:
            return text(f"User '{request.user}' is logged in")
        if parts[:2] == ["services", "tokens"] and request.user:
            return self._tokens(request, parts[2:])
        return None

    def _jsession(self, request: Request) -> Response:
        if not request.user:
            refused = restlet(401)
            refused.headers.append(REALM)
            return refused
        if request.method == "DELETE":
            self.end(request.session)
            return text("")
        return text(request.session)

    def _auth(self, request: Request) -> Response:
        given = {**request.query, **form(request)}
        user = self.check(given.get("username", ""), given.get("password", ""))
        if user is None:
            if self._profile != "1.8":
                return restlet(500, "Bad credentials")
            return restlet(401, "Bad credentials")
        if self._profile != "1.8":
            # The cookie that it sets is of no use: the next request is a stranger's.
            request.new_session = _name()
            return Response()
        self.start(request, user)
        return text(request.session)

    def _tokens(self, request: Request, rest: list[str]) -> Response:
        with self._state.lock:
            if rest[:1] == ["issue"]:
                alias, secret = str(uuid.uuid4()), secrets.token_hex(32)
                self._state.tokens[alias] = {"secret": secret, "user": request.user}
                self._state.save()
                return as_json({
                    "alias": alias, "secret": secret, "singleUse": False,
                    "xdatUserId": request.user,
                    "estimatedExpirationTime": int((time.time() + 172800) * 1000),
                })  # fmt: skip
            token = self._state.tokens.get(rest[1]) if len(rest) == 3 else None
            if token is None or token["secret"] != rest[2]:
                raise fail(404)
            if rest[0] == "validate":
                return as_json({"valid": token["user"]})
            del self._state.tokens[rest[1]]
            self._state.save()
            return Response()

    def _forget(self) -> None:
        oldest = time.monotonic() - self._seconds
        for name in [key for key, session in self._open.items() if session.used < oldest]:
            del self._open[name]


def _name() -> str:
    return secrets.token_hex(16).upper()
