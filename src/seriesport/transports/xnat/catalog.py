"""What an XNAT has: subjects, experiments, scans and files, as typed listings."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.transports.xnat.fields import unescaped
from seriesport.transports.xnat.paths import data_path, file_path, split_file_uri

if TYPE_CHECKING:
    from seriesport.transports.xnat.session import Session

_log = logging.getLogger("seriesport")
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_OTHERS = (".txt", ".xml", ".json", ".csv", ".gif", ".png", ".jpg", ".pdf", ".nii", ".gz", ".zip")
_MISSING = (403, 404, 422, 500)
"""How XNAT answers for what is not there or not visible; 1.6.4 says 500 for an experiment."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of a project."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment of a subject."""

    id: str
    label: str
    xsi_type: str
    subject: str
    """Its subject's label, or ID, by which it was found."""

    @property
    def is_session(self) -> bool:
        """Whether it can have scans."""
        return self.xsi_type.endswith("SessionData")


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of an experiment."""

    id: str
    type: str
    series_description: str
    quality: str
    xsi_type: str


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """A file of a scan's resource, as the server lists it."""

    scan: str
    """ID of its scan."""
    resource: str
    """Label of its resource, unquoted: it is stored as it stood in a URL."""
    resource_id: str
    name: str
    """Its path within the resource, decoded: what follows `/files/` in its URI."""
    size: int | None
    """In bytes, where the server tells."""
    md5: str
    """In hexadecimal, where the server tells."""

    @property
    def is_page(self) -> bool:
        """Whether the file itself is a web page, by its name."""
        return self.name.lower().endswith((".html", ".htm"))

    @property
    def is_other(self) -> bool:
        """Whether the file is none of DICOM, by its name."""
        return self.name.lower().endswith(_OTHERS)

    def path(self, experiment: str) -> str:
        """Where it is, below an experiment given by ID."""
        folder = scan_path(experiment, self.scan, "resources", self.resource_id)
        return file_path(folder, self.name)


class Catalog:
    """Listings of one XNAT. Every call asks the server anew.

    Raises, from each method, SeriesportError: not-found or access-denied with the level of the
    path that is missing or not visible, and what `Session` raises.
    """

    def __init__(self, session: Session, deadline: float) -> None:
        self.session = session
        self.deadline = deadline

    def subjects(self, project: str) -> list[Subject]:
        """The subjects of a project."""
        path = data_path("projects", project, "subjects")
        columns = {"columns": "ID,label,project"}
        rows = self._rows(path, columns, _levels(project))
        return [Subject(row["ID"], row.get("label", "")) for row in rows if row.get("ID")]

    def experiments(self, project: str, subject: str) -> list[Experiment]:
        """The experiments of a subject, by its label or ID."""
        path = data_path("projects", project, "subjects", subject, "experiments")
        columns = {"columns": "ID,label,xsiType,project"}
        rows = self._rows(path, columns, _levels(project, subject))
        return [
            Experiment(row["ID"], row.get("label", ""), row.get("xsiType", ""), subject)
            for row in rows
            if row.get("ID")
        ]

    def experiments_of(self, project: str, subject: str) -> list[Experiment]:
        """Like `experiments`; that the subject is there is made sure of where it has none."""
        found = self.experiments(project, subject)
        if not found:
            self._check(_levels(project, subject))
        return found

    def experiment(self, project: str, subject: str, name: str) -> Experiment:
        """The experiment of a subject that has a label, or else an ID.

        Raises:
            SeriesportError: not-found; experiment-elsewhere, where another subject has it.
        """
        found = self.find_experiment(project, subject, name)
        if found is None:
            raise _missing("experiment")
        return found

    def find_experiment(self, project: str, subject: str, name: str) -> Experiment | None:
        """Like `experiment`, but None where nobody in the project has it.

        Raises:
            SeriesportError: experiment-elsewhere, where another subject has it.
        """
        found = self._experiment_named(project, subject, name)
        if found is None and self.exists(data_path("projects", project, "experiments", name)):
            # Another upload may have made it since the subject was asked.
            found = self._experiment_named(project, subject, name)
            if found is None:
                what = "the experiment belongs to another subject of the project"
                raise SeriesportError("experiment-elsewhere", what)
        return found

    def _experiment_named(self, project: str, subject: str, name: str) -> Experiment | None:
        every = self.experiments_of(project, subject)
        labelled = (experiment for experiment in every if name == experiment.label)
        known = (experiment for experiment in every if name == experiment.id)
        return next(labelled, None) or next(known, None)

    def scans(self, experiment: Experiment) -> list[Scan]:
        """The scans of an experiment, of any quality."""
        path = data_path("experiments", experiment.id, "scans")
        rows = self._rows(path, {}, {"experiment": data_path("experiments", experiment.id)})
        return [
            Scan(
                row["ID"],
                unescaped(row.get("type", "")),
                unescaped(row.get("series_description", "")),
                row.get("quality", ""),
                row.get("xsiType", ""),
            )
            for row in rows
            if row.get("ID")
        ]

    def files(self, experiment: Experiment, scan: str = "ALL") -> list[ResourceFile]:
        """The files of all resources of a scan, or of all scans.

        A scan that does not exist has none: XNAT does not tell one from the other.
        """
        path = scan_path(experiment.id, scan, "files")
        levels = {"experiment": data_path("experiments", experiment.id)}
        if scan != "ALL":
            levels["scan"] = scan_path(experiment.id, scan)
        rows = self._rows(path, {}, levels)
        listed = (_file(row) for row in rows)
        # XNAT also takes a scan's type, and several IDs, where an ID stands.
        return [file for file in listed if file and scan in ("ALL", file.scan)]

    def compute_digests(self, experiment: Experiment, scan: str) -> bool:
        """Have the server write the digests that it lacks into its catalogue; whether it did.

        Where it does not, because this user may not ask for it or because it takes too long,
        nothing is lost but a better proof.
        """
        try:
            self.refresh(experiment, scan, "checksum")
        except SeriesportError as error:
            _log.warning("the server computes no digests: %s", error)
            return False
        return True

    def refresh(self, experiment: Experiment, scan: str, options: str) -> None:
        """Have the server bring the catalogues of a scan up to date."""
        resource = f"/archive/experiments/{experiment.id}/scans/{scan}"
        params = {"resource": resource, "options": options}
        path = data_path("services", "refresh", "catalog")
        self.session.send("POST", path, params=params, deadline=self.deadline)

    def exists(self, path: str) -> bool:
        """Whether there is something at a path that this user may see.

        Raises:
            SeriesportError: access-denied, and what `Session` raises.
        """
        try:
            self.session.get_json(path, deadline=self.deadline)
        except StatusError as error:
            if error.status in (404, 422):
                return False
            raise
        return True

    def _check(self, levels: Mapping[str, str]) -> None:
        """Raise what says which of some levels of a path is missing, if one is."""
        for level, path in levels.items():
            try:
                if not self.exists(path):
                    raise _missing(level)
            except StatusError as error:
                raise (_missing(level, 403) if error.status == 403 else error) from None

    def _rows(
        self, path: str, params: Mapping[str, str], levels: Mapping[str, str]
    ) -> list[dict[str, str]]:
        try:
            answer = self.session.get_json(path, params, deadline=self.deadline)
        except StatusError as error:
            if error.status in _MISSING:
                self._check(levels)
            raise
        return _result(answer)


def _levels(project: str, subject: str = "") -> dict[str, str]:
    levels = {"project": data_path("projects", project)}
    if subject:
        levels["subject"] = data_path("projects", project, "subjects", subject)
    return levels


def scan_path(experiment: str, scan: str, *below: str) -> str:
    """The path of a scan of an experiment, which is given by its ID, or of what is below it."""
    return data_path("experiments", experiment, "scans", scan, *below)


def _result(answer: object) -> list[dict[str, str]]:
    """The rows of a listing, with text for every value."""
    if isinstance(answer, Mapping):
        outer = cast("Mapping[str, object]", answer).get("ResultSet")
        if isinstance(outer, Mapping):
            rows = cast("Mapping[str, object]", outer).get("Result")
            if isinstance(rows, list):
                every = cast("list[object]", rows)
                if all(isinstance(row, Mapping) for row in every):
                    return [_texts(cast("Mapping[str, object]", row)) for row in every]
    raise SeriesportError(
        "answer-invalid", "the server answered with something else than a listing"
    )


def _texts(row: Mapping[str, object]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else _number(value) for key, value in row.items()}


def _number(value: object) -> str:
    return str(value) if isinstance(value, int | float) else ""


def _file(row: Mapping[str, str]) -> ResourceFile | None:
    place = split_file_uri(row.get("URI", ""))
    if place is None:
        return None
    scan, resource_id, name = place
    size, digest = row.get("Size", ""), row.get("digest", "")
    return ResourceFile(
        scan,
        unquote(row.get("collection", "")) or resource_id,
        resource_id,
        name,
        int(size) if size.isascii() and size.isdigit() and len(size) < 16 else None,
        digest.lower() if _MD5.fullmatch(digest) else "",
    )


def _missing(level: str, status: int = 404) -> SeriesportError:
    if status == 403:
        return SeriesportError("access-denied", f"this user may not see the {level} of the address")
    what = f"the {level} of the address is not there, or this user may not see it"
    return SeriesportError("not-found", what)
