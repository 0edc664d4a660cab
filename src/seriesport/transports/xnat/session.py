"""The session with an XNAT: one log-in per process and server, shared by all of its threads."""

from __future__ import annotations

import base64
import re
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, RequestException
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError
from xnat.exceptions import XNATError

from seriesport.config.credentials import Credentials, NoCredentialsError, find_credentials
from seriesport.errors import SeriesportError
from seriesport.http.answer import PAGE, Answer, Reply, parsed, retry_after, told, unexpected, wait
from seriesport.http.link import Watchdog, open_link
from seriesport.http.request import Request
from seriesport.store.lease import confirm
from seriesport.transports.xnat.connection import Connection, cookie_header, cookies_of
from seriesport.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from urllib3 import BaseHTTPResponse

    from seriesport.http.link import Watch
    from seriesport.model.instance import Payload
    from seriesport.transports.xnat.server import XnatServer

MOST_JSON = 128 * 1024 * 1024
"""Longest listing, in bytes."""
_MOST_REPLY = 1024 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_MOST_WAITS = 5
_CLOSING_TIME, _OVERDUE_TIME = 5.0, 0.5
"""Seconds to log out, and where the server was too slow before."""
_SESSION = "/data/JSESSION"
_SESSION_ID = re.compile(r"[0-9A-Za-z._!-]{8,128}")


class Session:
    """Requests to one XNAT. Safe to use from several threads.

    No more than `server.connections` requests are under way at one time. Each ends by its
    deadline, whatever the server does, and none is silent for longer than `server.timeout`. A
    request is repeated here only where the server did not take it: after a new log-in, and after
    the wait that it asks for with 429 or 503. Everything else is told as a reason code.

    Raises:
        SeriesportError: what `find_credentials` raises, when it is made; without any
            credentials, requests that a guest may not make raise credentials-missing.
    """

    def __init__(self, server: XnatServer, credentials: Credentials | None = None) -> None:
        self.server = server
        self.user: Credentials | None = credentials
        self._nobody = ""
        """Why there is no account: then only what a guest may read is asked for."""
        if credentials is None and server.session is None:
            try:
                self.user = find_credentials(server)
            except NoCredentialsError as error:
                self._nobody = error.message
        self._link = open_link(server)
        self._link.headers["User-Agent"] = f"seriesport/{__version__}"
        self._link.headers["Accept-Encoding"] = "identity"
        if server.session is not None:
            self._link.headers["Cookie"] = cookies_of(server.session, server)
        self._connection: Connection | None = None
        """xnatpy's session over the link, while we are logged in."""
        self._watchdog = Watchdog()
        self._places = threading.BoundedSemaphore(server.connections)
        self._login = threading.Lock()
        self._round = 0
        """How many log-ins there were."""
        self._overdue = False
        """Whether a request was over its deadline."""
        self._not_before = 0.0
        """When the server wants to hear from us again."""

    def deadline(self) -> float:
        """When something that begins now must be over, on the monotonic clock."""
        return time.monotonic() + self.server.wall_clock

    @property
    def is_guest(self) -> bool:
        """True without an account: then only what is public may be read."""
        return self.user is None and self.server.session is None

    def log_in(self) -> None:
        """Log in now instead of with the first request.

        Raises:
            SeriesportError: credentials-missing without an account, and see `open`.
        """
        if self.is_guest:
            raise self._no_account()
        self._log_in(None, self.deadline())

    def get_json(
        self, path: str, params: Mapping[str, str] | None = None, *, deadline: float | None = None
    ) -> object:
        """What a GET answers as JSON.

        Raises:
            StatusError: any other status than 200.
            SeriesportError: answer-invalid where it is no JSON, and see `open`.
        """
        asked = {"format": "json", **(params or {})}
        request = Request("GET", self._url(path), asked)
        reply = self._whole(request, (200,), deadline, MOST_JSON)
        return parsed(reply.body)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Payload | None = None,
        accept: Collection[int] = (200, 201, 204),
        deadline: float | None = None,
    ) -> Reply:
        """A request whose whole answer is wanted, as for a listing or an upload.

        A web page instead of an answer is taken for a log-in page: see `open`.

        Args:
            method: Of HTTP.
            path: From `paths`, already encoded.
            params: Of the query, not encoded yet.
            headers: Beside our own.
            body: Sent with its length; a payload is opened anew for each try.
            accept: Statuses that are no error.
            deadline: On the monotonic clock; by default the server's `wall_clock` from now.

        Raises:
            StatusError: any other status.
            SeriesportError: see `open`; shard-busy where another has taken over our turn.
        """
        confirm()
        reason = self.server.event_reason
        if reason and method != "GET":
            params = {**(params or {}), "event_reason": reason}
        asked = Request(method, self._url(path), params, headers, body)
        return self._whole(asked, accept, deadline, _MOST_REPLY)

    def _whole(
        self, asked: Request, accept: Collection[int], deadline: float | None, most: int
    ) -> Reply:
        ends = self.deadline() if deadline is None else deadline
        for again in (False, True):
            with ExitStack() as stack:
                answer = self._answered(stack, asked, accept, ends, page=True)
                logged_in = self._round
                reply = Reply(answer.status, answer.headers, answer.read(most))
            if not PAGE.match(reply.body):
                return reply
            if not again:
                self._log_in(logged_in, ends)
        raise _page()

    @contextmanager
    def open(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (200,),
        deadline: float | None = None,
        page: bool = True,
    ) -> Generator[Answer]:
        """A GET whose answer is read as it comes. Arguments as for `send`.

        Args:
            path: As for `send`.
            headers: As for `send`.
            accept: As for `send`.
            deadline: As for `send`.
            page: Whether an answer may call itself HTML. Where not, it is taken for a log-in
                page: after one new log-in the request is repeated, and then it is an error.

        Raises:
            StatusError: a status that is not accepted.
            SeriesportError: credentials-refused, server-unreachable, connection-lost, timeout,
                server-busy, answer-invalid, redirect-refused, tls-untrusted, tls-failed.
        """
        ends = self.deadline() if deadline is None else deadline
        asked = Request("GET", self._url(path), headers=headers)
        with ExitStack() as stack:
            yield self._answered(stack, asked, accept, ends, page=page)

    def _answered(
        self,
        stack: ExitStack,
        asked: Request,
        accept: Collection[int],
        deadline: float,
        *,
        page: bool,
    ) -> Answer:
        if self.is_guest and asked.method != "GET":
            raise self._no_account()
        waits = redirects = 0
        renewed = False
        while True:
            logged_in = self._log_in(None, deadline)
            self._respect(deadline)
            trial = stack.enter_context(ExitStack())
            answer = self._try(trial, asked, deadline)
            if answer.status in accept and (page or not answer.is_page):
                self._be_guest(answer)
                return answer
            trial.close()
            if answer.status in _REDIRECTS:
                redirects += 1
                asked = self._redirected(asked, answer, redirects)
            elif self._is_logged_out(answer, accept):
                if renewed:
                    raise _page() if answer.status in accept else unexpected(answer.status)
                renewed = True
                self._log_in(logged_in, deadline)
            elif not self._must_wait(answer, waits, deadline):
                raise unexpected(answer.status)
            else:
                waits += 1

    def _be_guest(self, answer: Answer) -> None:
        """Keep the session that a guest is given, so that it is not a new one each time."""
        if self.is_guest and "JSESSIONID" in answer.cookies:
            self._connect({"JSESSIONID": answer.cookies["JSESSIONID"]})

    def _connect(self, cookies: Mapping[str, str]) -> None:
        self._link.headers["Cookie"] = cookie_header(cookies)
        self._connection = Connection.over(self._link, self.server.url, cookies["JSESSIONID"])

    def _no_account(self) -> SeriesportError:
        if self.server.session is not None:
            what = "the session of xnatpy that was given has ended; connect again"
            return SeriesportError("credentials-refused", what)
        what = f"the server does not give this to guests, and {self._nobody}"
        return SeriesportError("credentials-missing", what)

    def _is_logged_out(self, answer: Answer, accept: Collection[int]) -> bool:
        # Where guests may look around, an ended session shows by the new one that is offered.
        offered = "JSESSIONID" in answer.cookies
        return (
            answer.status == 401
            or answer.status in accept
            or (answer.status in (403, 404) and offered)
        )

    def _must_wait(self, answer: Answer, waits: int, deadline: float) -> bool:
        seconds = retry_after(answer.headers) if answer.status in (429, 503) else None
        if seconds is None or waits >= _MOST_WAITS or time.monotonic() + seconds >= deadline:
            return False
        self._not_before = max(self._not_before, time.monotonic() + seconds)
        return True

    def _respect(self, deadline: float) -> None:
        seconds = self._not_before - time.monotonic()
        if seconds > 0 and not wait(seconds, deadline):
            raise SeriesportError("server-busy", "the server asks for a longer wait than allowed")

    def _redirected(self, asked: Request, answer: Answer, count: int) -> Request:
        url = urljoin(asked.url, answer.headers.get("Location", ""))
        if urlsplit(url)[:2] != urlsplit(self.server.url)[:2]:
            what = f"the server redirects to another one (status {answer.status})"
            raise SeriesportError("redirect-refused", what)
        if asked.method != "GET" or count > _MOST_REDIRECTS:
            what = f"the server redirects a request that cannot be (status {answer.status})"
            raise SeriesportError("redirect-refused", what)
        return Request(asked.method, url, None, asked.headers, None)

    def _try(self, stack: ExitStack, asked: Request, deadline: float) -> Answer:
        watch = stack.enter_context(self._turn(deadline))
        response = self._sent(asked, watch)
        stack.callback(response.release_conn)
        stack.callback(response.close)
        return Answer(response, watch)

    @contextmanager
    def _turn(self, deadline: float) -> Generator[Watch]:
        """Have one of the connections, until the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not self._places.acquire(timeout=left):
            raise SeriesportError("timeout", "it took longer than wall_clock allows")
        try:
            with self._watchdog.watching(deadline) as watch:
                yield watch
        finally:
            self._overdue |= time.monotonic() >= deadline
            self._places.release()

    def _sent(self, asked: Request, watch: Watch) -> BaseHTTPResponse:
        left = max(watch.deadline - time.monotonic(), 0.001)
        clocks = min(self.server.connect_timeout, left), min(self.server.timeout, left)
        with ExitStack() as stack:
            # Not prepared by requests, which writes paths anew.
            request = PreparedRequest()
            request.method, request.url = asked.method, asked.target
            request.headers = CaseInsensitiveDict({**self._link.headers, **(asked.headers or {})})
            if asked.body is not None:
                size = len(asked.body) if isinstance(asked.body, bytes) else asked.body.size
                request.headers["Content-Length"] = str(size)  # XNAT takes no chunked uploads
                request.body = asked.opened(stack)
            adapter = self._link.get_adapter(self.server.url + "/")
            try:
                return adapter.send(request, stream=True, timeout=clocks).raw
            except (RequestException, HTTPError, OSError) as error:
                raise told(error, watch) from None

    def _url(self, path: str) -> str:
        return self.server.url + path

    def _log_in(self, known: int | None, deadline: float) -> int:
        """Log in, unless that was done since log-in number `known`; the number of the log-in.

        A guest cannot.
        """
        if self.user is None:
            if known is not None:
                raise self._no_account()
            return 0
        if known is None and self._round:
            return self._round
        with self._login:
            if self._round == (known or 0):
                if self._connection is not None:  # what showed a log-in page may not have ended
                    self._end(self._connection, lambda old: old.delete(_SESSION))
                self._link.headers.pop("Cookie", None)
                cookies = self._new_session(self.user, deadline)
                self._connect(cookies)
                self._round += 1
            return self._round

    def _new_session(self, user: Credentials, deadline: float) -> dict[str, str]:
        key = (self.server.url, user)
        if key in _refused:  # asking again and again would lock the account
            raise _refusal()
        pair = f"{user.user}:{user.password}".encode()
        headers = {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}
        asked = Request("POST", self._url(_SESSION), None, headers)
        waits = 0
        while True:
            self._respect(deadline)
            with ExitStack() as stack:
                answer = self._try(stack, asked, deadline)
                status, body = answer.status, answer.read(_MOST_REPLY)
            if status in (401, 403):
                _refused.add(key)
                raise _refusal()
            if status == 200:
                return _cookies(answer, body)
            if status in _REDIRECTS:
                self._redirected(asked, answer, 1)
            if not self._must_wait(answer, waits, deadline):
                raise unexpected(status)
            waits += 1

    def close(self) -> None:
        """End the session at the server. Never raises; safe to call twice."""
        with self._login:
            if self._connection is not None:
                self._end(self._connection, lambda mine: mine.disconnect())
                self._link.headers.pop("Cookie", None)
            self._connection = None
            self._round = 0
        self._link.close()

    def _end(self, connection: Connection, how: Callable[[Connection], object]) -> None:
        seconds = _OVERDUE_TIME if self._overdue else _CLOSING_TIME
        connection.request_timeout = seconds
        with (
            suppress(SeriesportError, XNATError, RequestException, OSError),
            self._turn(time.monotonic() + seconds),
        ):
            how(connection)


def _page() -> SeriesportError:
    return SeriesportError("answer-invalid", "the server answered with a web page, as for a log-in")


def _refusal() -> SeriesportError:
    return SeriesportError("credentials-refused", "the server refuses this user name and password")


def _cookies(answer: Answer, body: bytes) -> dict[str, str]:
    """Return what a log-in gave; the session's ID among it."""
    cookies = answer.cookies
    told_id = body.decode("latin-1").strip()
    if _SESSION_ID.fullmatch(told_id):
        cookies.setdefault("JSESSIONID", told_id)
    if "JSESSIONID" not in cookies or PAGE.match(body):
        raise SeriesportError(
            "answer-invalid", "the server does not answer a log-in as an XNAT does"
        )
    return cookies


_refused: set[tuple[str, Credentials]] = set()
