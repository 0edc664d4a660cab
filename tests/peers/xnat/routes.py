"""From a request to its answer: prefixes, who asks, and the table of handlers."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from peers.xnat import assessors, files, imports, rest, services, uploads
from peers.xnat.catalogs import Change
from peers.xnat.http import AnswerError, Request, Response, fail, restlet, text, tomcat
from peers.xnat.sessions import Sessions
from peers.xnat.target import locate

if TYPE_CHECKING:
    from peers.xnat.state import State

VERSIONS = {"1.6.4": "1.6.4", "1.6.5": "1.6.5", "1.8": "1.8.10"}
SCHEMA = Path(__file__).with_name("schemas") / "xnat.xsd"
START = b"<html><head><title>XNAT</title></head></html>"
NO_TYPES = (
    b'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" '
    b'targetNamespace="http://nrg.wustl.edu/security"/>'
)
PREFIXES = (("data", "archive"), ("data",), ("REST", "archive"), ("REST",))
HANDLERS = {
    ("resources", False, "GET"): files.list_resources,
    ("resources", True, "GET"): files.get_resource,
    ("resources", True, "PUT"): files.put_resource,
    ("resources", True, "DELETE"): files.delete_resource,
    ("files", False, "GET"): files.list_files,
    ("files", False, "POST"): uploads.put_file,
    ("files", False, "PUT"): uploads.put_file,
    ("files", True, "GET"): files.get_file,
    ("files", True, "PUT"): uploads.put_file,
    ("files", True, "POST"): uploads.put_file,
    ("files", True, "DELETE"): uploads.delete_file,
    ("projects", False, "GET"): rest.list_projects,
    ("subjects", False, "GET"): rest.list_subjects,
    ("experiments", False, "GET"): rest.list_experiments,
    ("scans", False, "GET"): rest.list_scans,
    **{
        (name, True, method): handler
        for name in ("projects", "subjects", "experiments", "scans")
        for method, handler in (("GET", rest.get_item), ("DELETE", rest.delete_item))
    },
    ("projects", True, "PUT"): rest.put_project,
    ("subjects", True, "PUT"): rest.put_subject,
    ("experiments", True, "PUT"): rest.put_experiment,
    ("scans", True, "PUT"): rest.put_scan,
    ("assessors", False, "GET"): assessors.list_assessors,
    ("assessors", False, "POST"): assessors.post_assessor,
    ("assessors", True, "GET"): rest.get_item,
    ("assessors", True, "PUT"): assessors.put_assessor,
    ("assessors", True, "DELETE"): rest.delete_item,
    ("users", False, "GET"): services.project_users,
    ("users", True, "PUT"): services.project_users,
    ("users", True, "DELETE"): services.project_users,
}


class Service:
    """An XNAT without its network side."""

    def __init__(
        self, state: State, *, profile: str, digests: str, context: str, sessions: Sessions
    ) -> None:
        self.state = state
        self.profile = profile
        self.old = state.old
        self.digests = digests
        self.context = context
        self.sessions = sessions
        self.naming = threading.Lock()
        """Held from the look at a file's name until the file is there."""
        self._puts: dict[str, list[Request]] = {}
        self._unlucky: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.busiest_puts: Counter[str] = Counter()

    def begin(self, request: Request) -> None:
        """Note that an upload is under way, and which others it overlaps with."""
        if request.method not in ("PUT", "POST") or "/files" not in request.path:
            return
        with self._lock:
            others = self._puts.setdefault(_folder(request), [])
            others.append(request)
            count = len(others)
            if count > 1:
                for each in others:
                    each.overlapped = True
            name = _folder(request).removeprefix(self.context)
            self.busiest_puts[name] = max(self.busiest_puts[name], count)

    def end(self, request: Request) -> None:
        """Note that a PUT is over. Safe to call twice."""
        with self._lock:
            others = self._puts.get(_folder(request), [])
            if request in others:
                others.remove(request)

    def luck(self, request: Request) -> str:
        """What becomes of a file: of PUTs at the same time into one resource, some are lost."""
        if not request.overlapped:
            return ""
        with self._lock:
            self._unlucky[_folder(request)] += 1
            number = self._unlucky[_folder(request)]
        return "error" if number % 5 == 4 else "lost" if number % 9 == 7 else ""

    def change(self, request: Request) -> Change:
        """A change that a request makes, under the next number."""
        with self.state.lock:
            return Change(request.user, self.state.next("event"), time.time())

    def answer(self, request: Request) -> Response:
        """The answer to a request."""
        try:
            return self._answer(request)
        except AnswerError as ended:
            return ended.response

    def dropped(self, request: Request) -> None:
        """Do what a PUT does whose client went away."""
        try:
            parts = self._below(request)
            self.sessions.identify(request)
            with self.state.lock:
                uploads.dropped(self, request, locate(self.state, request, parts))
        except AnswerError:
            return

    def _below(self, request: Request) -> list[str]:
        """The path's parts below /data, or below the context where it has none."""
        path = request.target.partition("?")[0].lower()
        for refused, why in (("%2f", "Invalid URI: noSlash"), ("%5c", "Invalid URI")):
            if refused in path:
                raise AnswerError(tomcat(400, why))
        parts = request.segments
        inside = [part for part in self.context.split("/") if part]
        if parts[: len(inside)] != inside:
            raise AnswerError(tomcat(404))
        parts = parts[len(inside) :]
        for prefix in PREFIXES:
            if tuple(parts[: len(prefix)]) == prefix:
                return parts[len(prefix) :]
        return ["", *parts]

    def _answer(self, request: Request) -> Response:
        parts = self._below(request)
        self.sessions.identify(request)
        early = self.sessions.answer(request, parts)
        if early is not None:
            return early
        if not request.user:
            raise AnswerError(tomcat(401))
        if parts[:1] == [""]:
            return self._outside("/".join(parts[1:]))
        return self._special(request, parts) or self._rest(request, parts)

    def _special(self, request: Request, parts: list[str]) -> Response | None:
        """The answer where the request is not about an item of the archive."""
        if parts == ["services", "refresh", "catalog"] and request.method == "POST":
            return services.refresh(self, request)
        if parts[:2] == ["search", "elements"] and request.method == "GET":
            return services.search_elements(request, parts[2:])
        if parts == ["version"] and self.old:
            return text(VERSIONS[self.profile])
        return imports.answer(self, request, parts)

    def _rest(self, request: Request, parts: list[str]) -> Response:
        if "chunked" in request.headers.get("transfer-encoding", ""):
            raise fail(500, uploads.NO_BODY)
        with self.state.lock:
            target = locate(self.state, request, parts)
        method = "GET" if request.method == "HEAD" else request.method
        if self.old and target.strays:
            # Such a path ends at the experiment, whatever follows.
            target.last, target.single = "experiments", True
        handler = HANDLERS.get((target.last, target.single, method))
        if handler is None:
            answer = restlet(405)
            answer.headers.append(("Allow", "DELETE, PUT, GET, HEAD, OPTIONS"))
            raise AnswerError(answer)
        if target.last == "files" and method != "GET":
            # Files are written outside of the lock, so that uploads run side by side.
            return handler(self, request, target)
        with self.state.lock:
            return handler(self, request, target)

    def _outside(self, path: str) -> Response:
        """What is not below /data: the start page, the schemas, and what newer servers tell."""
        old = {"": START, "schemas/xnat/xnat.xsd": SCHEMA.read_bytes()}
        version = {"version": VERSIONS[self.profile], "buildNumber": "1"}
        new = {
            "": START,
            "xapi/schemas": b'["xnat"]',
            "xapi/schemas/xnat": SCHEMA.read_bytes(),
            "xapi/schemas/xdat": NO_TYPES,
            "xapi/siteConfig/buildInfo": json.dumps(version).encode(),
        }
        body = (old if self.old else new).get(path)
        if body is None:
            raise AnswerError(tomcat(404))
        kinds = {b"{": "application/json", b"[": "application/json"}
        kind = "text/html;charset=UTF-8" if not path else "application/xml"
        return Response(200, body, kinds.get(body[:1], kind))


def _folder(request: Request) -> str:
    return request.path.rpartition("/files")[0] or request.path
