"""The server as the tests hold it: started on a free port in this process, filled and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from peers.xnat.catalogs import Entry, md5
from peers.xnat.faults import Faults
from peers.xnat.routes import Service
from peers.xnat.server import Logged, Server
from peers.xnat.sessions import Sessions
from peers.xnat.state import ROLES, Item, Resource, State, item_key

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

PROFILES = ("1.8", "1.6.5", "1.6.4")
DIGESTS = ("on", "off", "absent", "on-refresh")


class Xnat:
    """A running XNAT on loopback over a folder; what is in the folder is there again.

    Its user `admin`, password `admin`, may do everything. A connection on which nothing comes is
    closed after `idle_seconds`.
    """

    host = "127.0.0.1"

    def __init__(  # noqa: PLR0917
        self,
        folder: Path,
        profile: str = "1.8",
        digests: str | None = None,
        context: str = "/xnat",
        tls: ssl.SSLContext | None = None,
        session_limit: int | None = None,
        session_seconds: float = 900.0,
        port: int = 0,
        idle_seconds: float = 60.0,
    ) -> None:
        digests = digests or ("on" if profile == "1.8" else "absent")
        assert profile in PROFILES
        assert digests in DIGESTS
        self.state = State(Path(folder), old=profile != "1.8")
        self.faults = Faults()
        self.sessions = Sessions(self.state, profile, session_limit, session_seconds)
        self._context = context.rstrip("/")
        self._scheme = "https" if tls else "http"
        self._service = Service(
            self.state,
            profile=profile,
            digests=digests,
            context=self._context,
            sessions=self.sessions,
        )
        self._server = Server(self._service, self.faults, tls, port, idle_seconds)
        self.port = self._server.port

    # What the tests look at

    @property
    def url(self) -> str:
        """Its address with the context path, without a trailing slash."""
        return f"{self._scheme}://{self.host}:{self.port}{self._context}"

    @property
    def requests(self) -> list[Logged]:
        """Every request so far, in order; clear it with `requests.clear()`."""
        return self._server.requests

    @property
    def open_sessions(self) -> dict[str, str]:
        """Session ID to user."""
        return self.sessions.open()

    @property
    def busiest(self) -> int:
        """The greatest number of requests that were under way at one time."""
        return self._server.busiest

    @property
    def busiest_puts(self) -> dict[str, int]:
        """Likewise of file PUTs per resource, by the path in front of `/files`."""
        return dict(self._service.busiest_puts)

    @property
    def users(self) -> dict[str, str]:
        """Login to password."""
        with self.state.lock:
            return {login: known["password"] for login, known in self.state.users.items()}

    def count(self, method: str, part: str = "") -> int:
        """How many requests of a method had this in their path."""
        return sum(x.method == method and part in x.path for x in list(self.requests))

    # Filling it, past the network

    def add_user(self, login: str, password: str, **roles: str) -> None:
        """Add a user with a role (owner, member, collaborator) per project."""
        self.state.add_user(login, password)
        for project, role in roles.items():
            self.set_role(project, login, role)

    def set_role(self, project: str, login: str, role: str) -> None:
        """Give a role, or take it away with an empty one."""
        assert role in ("", *ROLES)
        with self.state.lock:
            self.state.roles.setdefault(project, {})[login] = role
            self.state.save()

    def add_project(self, project: str, **roles: str) -> None:
        """Add a project, with a role per user."""
        with self.state.lock:
            if self.state.find("project", project) is None:
                made = self.state.add(Item("project", project, "xnat:projectData"), "admin")
                made.fields = {"secondary_ID": project, "name": project}
            self.state.save()
        for login, role in roles.items():
            self.set_role(project, login, role)

    def add_subject(self, project: str, label: str, **fields: str) -> str:
        """Add a subject where it is missing; its ID."""
        self.add_project(project)
        with self.state.lock:
            item = self.state.find("subject", label, project)
            if item is None:
                ident = f"XNAT_S{self.state.next('subject'):05d}"
                item = Item("subject", ident, "xnat:subjectData", label=label, project=project)
                self.state.add(item, "admin").fields = fields
            self.state.save()
            return item.id

    def add_experiment(
        self, project: str, subject: str, label: str, xsi: str = "xnat:mrSessionData", **fields: str
    ) -> str:
        """Add an experiment where it is missing, with all above it; its ID."""
        owner = self.add_subject(project, subject)
        with self.state.lock:
            item = self.state.find("experiment", label, project)
            if item is None:
                ident = f"XNAT_E{self.state.next('experiment'):05d}"
                item = Item("experiment", ident, xsi, label=label, project=project, parent=owner)
                self.state.add(item, "admin").fields = fields
            self.state.save()
            return item.id

    def add_scan(  # noqa: PLR0917
        self,
        project: str,
        subject: str,
        experiment: str,
        scan: str,
        files: Mapping[str, bytes | Path] | None = None,
        resource: str = "DICOM",
        xsi: str = "xnat:mrScanData",
        session_xsi: str = "xnat:mrSessionData",
        **fields: str,
    ) -> str:
        """Add a scan with files, and all above it; the experiment's ID."""
        ident = self.add_experiment(project, subject, experiment, session_xsi)
        with self.state.lock:
            item = self.state.items.get(item_key("scan", scan, ident))
            if item is None:
                item = Item("scan", scan, xsi, project=project, parent=ident)
                self.state.add(item, "admin").fields = {"quality": "usable", **fields}
            self.state.save()
        if files is not None:
            self._load(item, resource, files)
        return ident

    def _load(self, item: Item, label: str, files: Mapping[str, bytes | Path]) -> None:
        with self.state.lock:
            found = self.state.resource(item.key, label)
            if found is None:
                words = {"format": "DICOM", "content": "RAW"} if label == "DICOM" else {}
                found = self.state.add_resource(item.key, label, **words)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else Path(content).read_bytes()
            self.state.catalogs.write(found.id, name, data)
            digest = md5(data) if self._service.digests == "on" else ""
            entry = Entry(name, len(data), digest, format=found.format)
            self.state.catalogs.list_file(found.id, entry)

    # Looking at what is stored

    def experiment(self, project: str, label: str) -> Item | None:
        """An experiment by label or ID; `parent` is its subject's ID."""
        with self.state.lock:
            return self.state.find("experiment", label, project)

    def subject(self, project: str, label: str) -> Item | None:
        """A subject by label or ID."""
        with self.state.lock:
            return self.state.find("subject", label, project)

    def scan(self, project: str, experiment: str, scan: str) -> Item | None:
        """A scan by ID; `fields` and `xsi` say what it has."""
        session = self.experiment(project, experiment)
        with self.state.lock:
            return self.state.items.get(item_key("scan", scan, session.id)) if session else None

    def scans(self, project: str, experiment: str) -> list[str]:
        """The IDs of an experiment's scans."""
        session = self.experiment(project, experiment)
        with self.state.lock:
            return [x.id for x in self.state.children("scan", session.id)] if session else []

    def resources(self, project: str, experiment: str, scan: str) -> list[str]:
        """The labels of a scan's resources."""
        item = self.scan(project, experiment, scan)
        with self.state.lock:
            return [x.label for x in self.state.resources_of(item.key)] if item else []

    def stored(
        self, project: str, experiment: str, scan: str, resource: str = "DICOM"
    ) -> dict[str, bytes]:
        """Name and content of the files that a resource lists and has."""
        found = self._resource(project, experiment, scan, resource)
        if found is None:
            return {}
        catalogs = self.state.catalogs
        paths = {e.name: catalogs.path(found.id, e.name) for e in catalogs.entries(found.id)}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    def orphans(
        self, project: str, experiment: str, scan: str, resource: str = "DICOM"
    ) -> dict[str, bytes]:
        """Name and content of the files on disk that no list has."""
        found = self._resource(project, experiment, scan, resource)
        if found is None:
            return {}
        catalogs = self.state.catalogs
        listed = {entry.name for entry in catalogs.entries(found.id)}
        names = [name for name in catalogs.on_disk(found.id) if name not in listed]
        return {name: catalogs.path(found.id, name).read_bytes() for name in names}

    def lose(
        self, project: str, experiment: str, scan: str, name: str, resource: str = "DICOM"
    ) -> None:
        """Take a listed file from the server's disk; the list keeps it."""
        found = self._resource(project, experiment, scan, resource)
        assert found is not None
        self.state.catalogs.path(found.id, name).unlink()

    def _resource(self, project: str, experiment: str, scan: str, resource: str) -> Resource | None:
        item = self.scan(project, experiment, scan)
        with self.state.lock:
            return self.state.resource(item.key, resource) if item else None

    def stop(self) -> None:
        """End the server; the folder stays. Safe to call twice."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
