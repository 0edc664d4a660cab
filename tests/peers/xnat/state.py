"""What the server knows, kept on disk as JSON so that it survives a restart and a SIGKILL."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from peers.xnat.catalogs import Catalogs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLES = ("owner", "member", "collaborator")
EDITORS = ("owner", "member")


@dataclass
class Item:
    """A project, subject, experiment, scan or assessor."""

    kind: str
    id: str
    xsi: str
    label: str = ""
    project: str = ""
    parent: str = ""
    """Of an experiment its subject's ID, of a scan or assessor its experiment's ID."""
    fields: dict[str, str] = field(default_factory=dict)
    pk: int = 0
    event: int = 0
    created: float = 0.0
    changed: float = 0.0
    user: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Earlier versions."""

    @property
    def key(self) -> str:
        """Its name in the table of items."""
        return item_key(self.kind, self.id, self.parent)

    def version(self) -> dict[str, Any]:
        """What a change replaces."""
        return {
            "fields": dict(self.fields),
            "parent": self.parent,
            "event": self.event,
            "start": self.changed,
        }


@dataclass
class Resource:
    """A folder of files that belongs to an item."""

    id: int
    owner: str
    """Key of the item."""
    label: str
    format: str = ""
    content: str = ""
    tags: str = ""


@dataclass
class Waiting:
    """A session in the prearchive."""

    project: str
    stamp: str
    name: str
    subject: str
    uid: str
    folder: str
    date: str = ""
    time: str = ""
    status: str = "READY"
    uploaded: float = 0.0
    scans: list[dict[str, str]] = field(default_factory=list)
    session: dict[str, str] = field(default_factory=dict)
    """The fields that the images give."""


def item_key(kind: str, ident: str, parent: str = "") -> str:
    """The name of an item in the table of items."""
    return f"{kind}:{parent}:{ident}" if kind in ("scan", "assessor") else f"{kind}:{ident}"


def moment(seconds: float) -> str:
    """A time as listings write it."""
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return text.rstrip("0") if not text.endswith(".000") else text[:-2]


class State:
    """The tables. Hold `lock` for every look and every change."""

    def __init__(self, folder: Path, *, old: bool = False) -> None:
        self.old = old
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.folder = folder
        self._file = folder / "state.json"
        self.catalogs = Catalogs(folder / "resources")
        self.items: dict[str, Item] = {}
        self.resources: dict[int, Resource] = {}
        self.users: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, dict[str, str]] = {}
        self.waiting: list[Waiting] = []
        self.tokens: dict[str, dict[str, str]] = {}
        self.counters: Counter[str] = Counter()
        if self._file.exists():
            self._load()
        else:
            self.add_user("admin", "admin", admin=True)

    def add_user(self, login: str, password: str, *, admin: bool = False) -> None:
        """Add a user, or give one another password."""
        with self.lock:
            self.users[login] = {
                "password": password,
                "admin": admin,
                "firstname": login.capitalize(),
                "lastname": login.capitalize(),
                "email": f"{login}@example.invalid",
            }
            self.save()

    def next(self, counter: str) -> int:
        """The next number of a kind."""
        self.counters[counter] += 1
        return self.counters[counter]

    def add(self, item: Item, user: str) -> Item:
        """Add an item."""
        item.created = item.changed = time.time()
        item.user, item.event = user, self.next("event")
        item.pk = self.next(f"pk-{item.kind}")
        self.items[item.key] = item
        return item

    def change(self, item: Item, fields: dict[str, str], parent: str | None = None) -> bool:
        """Change an item; False where it is as it was."""
        merged = {**item.fields, **fields}
        moved = parent is not None and parent != item.parent
        if merged == item.fields and not moved:
            return False
        old = item.version()
        item.fields, item.changed, item.event = merged, time.time(), self.next("event")
        if parent is not None:
            item.parent = parent
        item.history.append({**old, "end": item.changed})
        return True

    def find(self, kind: str, name: str, project: str = "") -> Item | None:
        """A subject or experiment by ID, or by label in its project; a project by ID."""
        item = self.items.get(item_key(kind, name))
        if item is not None and project in ("", item.project, item.id):
            return item
        if not project:
            return None
        below = self.below(kind, project)
        return next((entry for entry in below if entry.label == name), None)

    def below(self, kind: str, project: str) -> Iterator[Item]:
        """The subjects or experiments of a project."""
        return (x for x in list(self.items.values()) if x.kind == kind and x.project == project)

    def children(self, kind: str, parent: str) -> list[Item]:
        """The experiments of a subject, or the scans of an experiment."""
        return [x for x in self.items.values() if x.kind == kind and x.parent == parent]

    def resources_of(self, *owners: str) -> list[Resource]:
        """The resources of items."""
        return [entry for entry in self.resources.values() if entry.owner in owners]

    def shown(self, resource: Resource) -> str:
        """A resource's label as lists give it: an older XNAT keeps it as it stood in the path."""
        return quote(resource.label, safe="") if self.old else resource.label

    def resource(self, owner: str, name: str) -> Resource | None:
        """A resource of an item by label or number."""
        mine = self.resources_of(owner)
        return next((entry for entry in mine if name in (entry.label, str(entry.id))), None)

    def add_resource(self, owner: str, label: str, **words: str) -> Resource:
        """Add a resource without files."""
        made = Resource(self.next("resource"), owner, label, **words)
        self.resources[made.id] = made
        self.save()
        return made

    def drop_resource(self, resource: Resource) -> None:
        """Delete a resource with its files."""
        self.resources.pop(resource.id, None)
        self.save()
        self.catalogs.drop(resource.id)

    def drop(self, item: Item) -> None:
        """Delete an item with all below it."""
        if item.kind == "project":
            lower = list(self.below("subject", item.id))
        else:
            kinds = {"subject": ("experiment",), "experiment": ("scan", "assessor")}
            lower = [x for kind in kinds.get(item.kind, ()) for x in self.children(kind, item.id)]
        for child in lower:
            self.drop(child)
        for resource in self.resources_of(item.key):
            self.drop_resource(resource)
        self.items.pop(item.key, None)
        self.save()

    def role(self, user: str, project: str) -> str:
        """owner, member, collaborator, or nothing."""
        if self.users.get(user, {}).get("admin"):
            return "owner"
        return self.roles.get(project, {}).get(user, "")

    def save(self) -> None:
        """Write the tables to disk, whole or not at all."""
        whole = {
            "items": [asdict(item) for item in self.items.values()],
            "resources": [asdict(entry) for entry in self.resources.values()],
            "waiting": [asdict(entry) for entry in self.waiting],
            "users": self.users,
            "roles": self.roles,
            "tokens": self.tokens,
            "counters": self.counters,
        }
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(whole))
        part.replace(self._file)

    def _load(self) -> None:
        whole = json.loads(self._file.read_text())
        self.items = {item.key: item for item in (Item(**row) for row in whole["items"])}
        self.resources = {row["id"]: Resource(**row) for row in whole["resources"]}
        self.waiting = [Waiting(**row) for row in whole["waiting"]]
        self.users, self.roles, self.tokens = whole["users"], whole["roles"], whole["tokens"]
        self.counters = Counter(whole["counters"])
