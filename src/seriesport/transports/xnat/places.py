"""Where an upload goes: the experiment of an address, found or made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.transports.xnat.fields import is_scan_id, query
from seriesport.transports.xnat.locks import turn
from seriesport.transports.xnat.paths import data_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from seriesport.transports.xnat.address import XnatAddress
    from seriesport.transports.xnat.catalog import Catalog, Experiment

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LABELS = (
    "the label of a new subject or experiment at an XNAT has letters A to Z, digits, '-' and '_'"
)
_LOST = (400, 404, 409, 417, 422, 500)
"""Statuses of a creation after which another look tells whether somebody else was faster."""


def check_place(address: XnatAddress) -> None:
    """Refuse an address that names no experiment, before anything is asked.

    Raises:
        SeriesportError: address-invalid.
    """
    if not address.subject or not address.experiment:
        lacking = "experiment" if address.subject else "subject and the experiment"
        what = f"an upload needs the {lacking}: xnat://server/project/subject/experiment"
        raise SeriesportError("address-invalid", what)
    if any(mark in part for part in (address.subject, address.experiment) for mark in "/\\"):
        raise SeriesportError("address-invalid", f"{_LABELS}: no slash is among them")


def check_scan_id(name: str) -> None:
    """Refuse a new scan's ID that XNAT would not take, or would read as several scans.

    Raises:
        SeriesportError: address-invalid.
    """
    if not is_scan_id(name):
        what = "a new scan's ID has up to 64 letters A to Z, digits, '-' and '_', and is not ALL"
        raise SeriesportError("address-invalid", what)


def experiment_of(
    catalog: Catalog,
    address: XnatAddress,
    types: Sequence[str],
    fields: Callable[[], Mapping[str, str]],
) -> Experiment:
    """The experiment of an address; it and its subject are made where they are missing.

    Args:
        catalog: The server.
        address: With project, subject and experiment.
        types: Data types for a new experiment, best first: an old server lacks some.
        fields: Gives those of a new experiment; asked only where it is made.

    Raises:
        SeriesportError: not-found, where it is missing and the config does not allow to make it;
            experiment-elsewhere; access-denied; address-invalid, for a label that XNAT cannot
            take; store-unverified, where it was made and is not there; ambiguous, where it was
            made twice at the same time.
    """
    project, subject, name = address.project, address.subject, address.experiment
    found = _find(catalog, project, subject, name)
    if found is not None:
        return found
    missing = [subject, name] if not _has_subject(catalog, project, subject) else [name]
    _check_new(catalog, missing, subject)
    if address.scan:
        check_scan_id(address.scan)
    with turn(catalog.session.server.url, project, deadline=catalog.deadline):
        if not _has_subject(catalog, project, subject):
            _make_subject(catalog, project, subject)
        # XNAT moves an experiment of another subject here without a word: look until the end.
        found = _find(catalog, project, subject, name)
        return found or _make_experiment(catalog, address, types, fields())


def _find(catalog: Catalog, project: str, subject: str, name: str) -> Experiment | None:
    if _has_subject(catalog, project, subject):
        return catalog.find_experiment(project, subject, name)
    if catalog.exists(data_path("projects", project, "experiments", name)):
        what = "the experiment belongs to another subject of the project"
        raise SeriesportError("experiment-elsewhere", what)
    return None


def _has_subject(catalog: Catalog, project: str, subject: str) -> bool:
    if catalog.exists(data_path("projects", project, "subjects", subject)):
        return True
    if not catalog.exists(data_path("projects", project)):
        what = "the project of the address is not there, or this user may not see it"
        raise SeriesportError("not-found", what)
    return False


def _check_new(catalog: Catalog, missing: Sequence[str], subject: str) -> None:
    if not catalog.session.server.create:
        level = "subject" if subject in missing[:1] and len(missing) > 1 else "experiment"
        what = f"the {level} of the address is not there, and create: is false for this server"
        raise SeriesportError("not-found", what)
    if not all(_LABEL.fullmatch(label) for label in missing):
        raise SeriesportError("address-invalid", f"{_LABELS}, at most 64 of them")


def _make_subject(catalog: Catalog, project: str, label: str) -> None:
    path = data_path("projects", project, "subjects", label)
    params = query("xnat:subjectData", [("label", label)])
    _put(catalog, path, params, "subject")
    made = [s for s in catalog.subjects(project) if label in (s.label, s.id)]
    _check_made(len(made), "subject")


def _make_experiment(
    catalog: Catalog, address: XnatAddress, types: Sequence[str], fields: Mapping[str, str]
) -> Experiment:
    project, subject, label = address.project, address.subject, address.experiment
    path = data_path("projects", project, "subjects", subject, "experiments", label)
    for rest, xsi_type in enumerate(types, 1 - len(types)):
        try:
            _put(catalog, path, query(xsi_type, fields.items()), "experiment")
        except StatusError as error:
            if rest == 0 or error.status != 400:
                raise
            continue
        break
    every = catalog.experiments(project, subject)
    made = [experiment for experiment in every if experiment.label == label]
    _check_made(len(made), "experiment")
    return made[0]


def _put(catalog: Catalog, path: str, params: Mapping[str, str], level: str) -> None:
    try:
        catalog.session.send("PUT", path, params=params, deadline=catalog.deadline)
    except StatusError as error:
        if error.status == 403:
            what = f"this user may not create the {level}: it needs a member's or owner's role"
            raise SeriesportError("access-denied", what) from None
        if error.status not in _LOST or not catalog.exists(path):
            raise


def _check_made(count: int, level: str) -> None:
    if count == 0:
        what = f"the {level} was created, and the server does not list it"
        raise SeriesportError("store-unverified", what)
    if count > 1:
        what = f"the {level} is there {count} times: it was created by others at the same time"
        raise SeriesportError("ambiguous", what)
