"""The shapes of XNAT's answers: tables in JSON, CSV and XML, items with their history."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from peers.xnat.http import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peers.xnat.catalogs import Entry
    from peers.xnat.state import Item, Resource, State

NUMBERS = {
    "yob", "frames", "parameters/fov/x", "parameters/fov/y", "parameters/voxelRes/x",
    "parameters/voxelRes/y", "parameters/voxelRes/z",
}  # fmt: skip
DEMOGRAPHICS = ("gender", "yob", "dob", "age", "handedness", "race", "ethnicity", "education")
KEYS = {"scan": ("xnat_imagescandata_id", "xnat_imageScanData_id")}
NAMESPACES = {
    "cat": "http://nrg.wustl.edu/catalog",
    "prov": "http://www.nbirn.net/prov",
    "xdat": "http://nrg.wustl.edu/security",
    "xnat": "http://nrg.wustl.edu/xnat",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}


@dataclass
class Table:
    """Rows of text under columns; every value is a string."""

    columns: list[str]
    rows: list[dict[str, str]]
    total: bool = True
    title: str = ""
    server_root: str = ""
    format: str = "json"
    extra: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """In the format that was asked for."""
        if self.format == "csv":
            return Response(200, self._csv().encode(), "text/csv", chunked=True)
        if self.format == "html":
            return Response(200, self._html().encode(), "text/html", chunked=True)
        if self.format == "xml":
            return Response(200, self._xml().encode(), "text/xml", chunked=True)
        return Response(200, self._json().encode(), "application/json", chunked=True)

    def _json(self) -> str:
        result: dict[str, Any] = {}
        if self.server_root:
            result["Columns"] = [{"key": "URI", "serverRoot": self.server_root}]
        result["Result"] = [{name: row[name] for name in self.columns} for row in self.rows]
        if self.total:
            result["totalRecords"] = str(len(self.rows))
        if self.title:
            result["title"] = self.title
        return json.dumps({"ResultSet": result}, separators=(",", ":"), ensure_ascii=False)

    def _csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([[row[name] for name in self.columns] for row in self.rows])
        return out.getvalue()

    def _html(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = ""
        for at, row in enumerate(self.rows):
            cells = "".join(f"<td>{self._cell(name, row[name])}</td>" for name in self.columns)
            rows += f'<tr class="x_rs_tr_data {"even" if at % 2 else "odd"}">\n{cells}</tr>'
        return (
            '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en"><body>'
            '<table class="x_rs_t" cellpadding="0" cellspacing="0">\n<thead class="x_rs_thead">\n'
            f'<tr class="x_rs_tr_head">{head}</tr>\n</thead>\n<tbody id="dataRows">\n'
            f"{rows}</tbody>\n</table></body></html>"
        )

    def _cell(self, name: str, value: str) -> str:
        link = f"<a href='{self.server_root}{escape(value)}'>" if name == "URI" else ""
        return f"{link}{escape(value)}{'</a>' if link else ''}"

    def _xml(self) -> str:
        head = f' totalRecords="{len(self.rows)}"' if self.total else ""
        head += f" title={quoteattr(self.title)}" if self.title else ""
        root = f' serverRoot="{self.server_root}"' if self.server_root else ""
        columns = "".join(
            f"<column{root if name == 'URI' else ''}>{escape(name)}</column>"
            for name in self.columns
        )
        rows = "".join(
            "<row>" + "".join(f"<cell>{escape(row[name])}</cell>" for name in self.columns)
            + "</row>\n"
            for row in self.rows
        )  # fmt: skip
        return (
            f"<ResultSet{head}><results><columns>{columns}</columns>\n"
            f"<rows>{rows}</rows></results></ResultSet>"
        )


def java_date(seconds: float) -> str:
    """A time as Java prints it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")


def item_json(state: State, item: Item) -> dict[str, Any]:
    """An item with what is below it and its earlier versions."""
    children = _children(state, item)
    now = {"fields": item.fields, "parent": item.parent, "event": item.event, "start": item.changed}
    versions = [_version(item, now, children)]
    # A scan that has files was seen without its earlier versions.
    if not (item.kind == "scan" and children):
        versions += [_version(item, old, children) for old in item.history]
    return {"items": versions}


def _version(item: Item, version: dict[str, Any], children: list[Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "create_event_id": version["event"],
        "xsi:type": item.xsi,
        "isHistory": "end" in version,
        "start_date": java_date(version["start"]),
    }
    if "end" in version:
        meta["end_date"] = java_date(version["end"])
        meta["modified_event_id"] = int(version["end"] * 1000)
    return {
        "children": children,
        "meta": meta,
        "data_fields": data_fields(item, version["fields"], version["parent"]),
    }


def data_fields(item: Item, fields: dict[str, str], parent: str) -> dict[str, Any]:
    """The fields of one version of an item."""
    own: dict[str, Any] = {
        name: typed(name, value)
        for name, value in fields.items()
        if value and not (item.kind == "subject" and name in DEMOGRAPHICS)
    }
    own["ID"] = item.id
    if item.kind in ("subject", "experiment"):
        own |= {"project": item.project, "label": item.label}
    if item.kind == "experiment":
        own |= {"subject_ID": parent, "id": item.id}
    if item.kind == "scan":
        own |= {"image_session_ID": parent, **dict.fromkeys(KEYS["scan"], item.pk)}
    return own


def typed(name: str, value: str) -> Any:
    """A field's value as JSON has it."""
    if name not in NUMBERS:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def _children(state: State, item: Item) -> list[Any]:
    found: list[Any] = []
    if item.kind == "subject":
        words = {k: v for k, v in item.fields.items() if k in DEMOGRAPHICS and v}
        if words:
            values: dict[str, Any] = {k: typed(k, v) for k, v in words.items()}
            values |= {"xnat_abstractDemographicData_id": item.pk}
            values |= {"xnat_abstractdemographicdata_id": item.pk}
            found.append(_child("demographics", "xnat:demographicData", [(values, [])], item))
        experiments = state.children("experiment", item.id)
        if experiments:
            items = [item_json(state, each)["items"][0] for each in experiments]
            found.append({"field": "experiments/experiment", "items": items})
    if item.kind == "experiment":
        scans = state.children("scan", item.id)
        if scans:
            items = [item_json(state, each)["items"][0] for each in scans]
            found.append({"field": "scans/scan", "items": items})
    resources = state.resources_of(item.key)
    if resources:
        rows = [(_resource_fields(state, each), []) for each in resources]
        name = "file" if item.kind == "scan" else "resources/resource"
        found.append(_child(name, "xnat:resourceCatalog", rows, item))
    return found


def _resource_fields(state: State, resource: Resource) -> dict[str, Any]:
    entries = state.catalogs.entries(resource.id)
    named = {
        "label": state.shown(resource),
        "format": resource.format,
        "content": resource.content,
        "URI": f"/data/xnat/archive/{resource.id}/{state.shown(resource)}_catalog.xml",
    }
    counted: dict[str, Any] = {
        "xnat_abstractresource_id": resource.id,
        "xnat_abstractResource_id": resource.id,
    }
    if entries:
        counted["file_count"] = len(entries)
        counted["file_size"] = sum(entry.size for entry in entries)
    return {**{name: value for name, value in named.items() if value}, **counted}


def _child(name: str, xsi: str, rows: Iterable[tuple[Any, Any]], item: Item) -> dict[str, Any]:
    meta = {
        "create_event_id": item.event,
        "xsi:type": xsi,
        "isHistory": False,
        "start_date": java_date(item.changed),
    }
    items = [{"children": below, "meta": meta, "data_fields": values} for values, below in rows]
    return {"field": name, "items": items}


def _element(xsi: str) -> str:
    """The element that a type's document has as its root, such as MRSession."""
    name = xsi.partition(":")[2].removesuffix("Data")
    short = name.removesuffix("Session") if name.endswith("Session") else name
    return f"{short.upper()}Session" if short != name else name[:1].upper() + name[1:]


def item_xml(state: State, item: Item) -> str:
    """An item as an XML document."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    parts = [f"<xnat:{_element(item.xsi)} ID={quoteattr(item.id)}"]
    if item.kind in ("subject", "experiment"):
        parts.append(f" project={quoteattr(item.project)} label={quoteattr(item.label)}")
    parts.append(f" {spaces}>\n")
    parts += _leaves(item.fields)
    if item.kind == "experiment":
        parts.append(f"<xnat:subject_ID>{escape(item.parent)}</xnat:subject_ID>\n")
        scans = state.children("scan", item.id)
        if scans:
            parts.append("<xnat:scans>\n")
            for scan in scans:
                kind, xsi = quoteattr(scan.fields.get("type", "")), quoteattr(scan.xsi)
                parts.append(f"<xnat:scan ID={quoteattr(scan.id)} type={kind} xsi:type={xsi}>\n")
                parts += _leaves({k: v for k, v in scan.fields.items() if k != "type"})
                parts.append("</xnat:scan>\n")
            parts.append("</xnat:scans>\n")
    parts.append(f"</xnat:{_element(item.xsi)}>\n")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(parts)


def _leaves(fields: dict[str, str]) -> list[str]:
    return [
        f"<xnat:{name}>{escape(value)}</xnat:{name}>\n"
        for name, value in fields.items()
        if "/" not in name and value
    ]


def catalog_xml(label: str, entries: list[Entry]) -> str:
    """A resource's catalog."""
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    rows = "".join(f"<cat:entry {_catalog_entry(label, entry)}/>\n" for entry in entries)
    made = [(entry.created, "Added") for entry in entries if entry.created]
    made += [(entry.modified, "Removed") for entry in entries if entry.modified]
    audit = "|".join(f"{x.event}:{java_date(x.time)}={what}:1" for x, what in reversed(made))
    inner = ""
    if audit:
        field = f'<cat:metaField name="AUDIT">{audit}</cat:metaField>'
        inner = f"<cat:metaFields>\n{field}\n</cat:metaFields>\n"
    inner += f"<cat:entries>\n{rows}</cat:entries>\n" if rows else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<cat:Catalog ID={quoteattr(label)} {spaces}>\n{inner}</cat:Catalog>\n"
    )


def _catalog_entry(label: str, entry: Entry) -> str:
    told = {"ID": f"{label}/{entry.shown}", "URI": entry.shown}
    told |= {"format": entry.format, "content": entry.content}
    told["digest"] = entry.stale or entry.digest
    for word, change in (("created", entry.created), ("modified", entry.modified)):
        if change is not None:
            told[f"{word}By"] = change.user
            told[f"{word}EventId"] = str(change.event)
            told[f"{word}Time"] = datetime.fromtimestamp(change.time, UTC).isoformat()[:23]
    told["name"] = entry.shown.rpartition("/")[2]
    return " ".join(f"{name}={quoteattr(value)}" for name, value in told.items() if value)
