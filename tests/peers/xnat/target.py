"""What a path names: the items along it, and what stands at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peers.xnat.http import Request, fail
from peers.xnat.state import Item, item_key

if TYPE_CHECKING:
    from peers.xnat.state import State

KINDS = {
    "projects": "project", "subjects": "subject", "experiments": "experiment", "scans": "scan",
    "assessors": "assessor",
}  # fmt: skip
COLLECTIONS = {*KINDS, "resources", "files", "users"}


@dataclass
class Target:
    """A path's items. What is missing, or not to be seen by the user, is None."""

    names: dict[str, str] = field(default_factory=dict)
    """Collection to the name given in it."""
    last: str = ""
    """The last collection."""
    single: bool = False
    """Whether the path names one of that collection, rather than all."""
    project: Item | None = None
    subject: Item | None = None
    experiment: Item | None = None
    scans: list[Item] = field(default_factory=list)
    """The scans that the selector names: an ID, IDs with commas, a type, or ALL."""

    assessor: Item | None = None

    @property
    def kind(self) -> str:
        """The kind of item at the end."""
        return KINDS.get(self.last, self.last)

    @property
    def item(self) -> Item | None:
        """The item at the end."""
        if self.last == "scans":
            return next((x for x in self.scans if x.id == self.names["scans"]), None)
        return {
            "projects": self.project,
            "subjects": self.subject,
            "experiments": self.experiment,
            "assessors": self.assessor,
        }.get(self.last)

    @property
    def strays(self) -> bool:
        """Whether the path goes to a scan past the experiment's subject."""
        return "scans" in self.names and "projects" in self.names and "subjects" not in self.names

    @property
    def owner_level(self) -> str:
        """The collection of the item that resources in this path belong to."""
        for name in ("assessors", "scans", "experiments", "subjects", "projects"):
            if name in self.names:
                return name
        return ""

    @property
    def owners(self) -> list[Item]:
        """The items that resources in this path belong to."""
        if self.owner_level == "scans":
            return self.scans
        found = {
            "assessors": self.assessor,
            "experiments": self.experiment,
            "subjects": self.subject,
            "projects": self.project,
        }.get(self.owner_level)
        return [found] if found is not None else []


def locate(state: State, request: Request, parts: list[str]) -> Target:
    """Read a path below /data.

    Raises:
        AnswerError: 404, it is none that the server has.
    """
    target = Target()
    at = 0
    while at < len(parts):
        name = parts[at]
        if name not in COLLECTIONS or name in target.names:
            raise fail(404)
        target.last, target.single = name, at + 1 < len(parts)
        if not target.single:
            break
        if name in ("files", "users"):
            target.names[name] = "/".join(parts[at + 1 :])
            break
        target.names[name] = parts[at + 1]
        at += 2
    if target.last == "":
        raise fail(404)
    _resolve(state, request, target)
    return target


def _resolve(state: State, request: Request, target: Target) -> None:
    names = target.names
    project = names.get("projects", "")
    if project and state.role(request.user, project):
        target.project = state.find("project", project)
    inside = target.project.id if target.project is not None else ""
    if project and not inside:
        return
    if "subjects" in names:
        target.subject = _seen(state, request, state.find("subject", names["subjects"], inside))
    if "experiments" in names:
        # As in XNAT, the subject in the path is not compared with the experiment's.
        found = state.find("experiment", names["experiments"], inside)
        target.experiment = _seen(state, request, found)
    if "scans" in names and target.experiment is not None:
        target.scans = select(state, target.experiment, names["scans"])
    if "assessors" in names and target.experiment is not None:
        key = item_key("assessor", names["assessors"], target.experiment.id)
        target.assessor = state.items.get(key)


def _seen(state: State, request: Request, item: Item | None) -> Item | None:
    if item is None or not state.role(request.user, item.project):
        return None
    return item


def select(state: State, session: Item, selector: str) -> list[Item]:
    """The scans that a path's part names, by their ID or by their type."""
    everything = state.children("scan", session.id)
    if selector in ("ALL", "*"):
        return everything
    wanted = selector.split(",")
    return [x for x in everything if x.id in wanted or x.fields.get("type") in wanted]
