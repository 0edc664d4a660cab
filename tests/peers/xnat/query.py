"""Columns and filters that a query asks of a list."""

from __future__ import annotations

from fnmatch import fnmatchcase

from peers.xnat.http import Request, Response
from peers.xnat.listing import Table

NOT_COLUMNS = {"format", "columns"}
"""Parameters that are no filters."""
BASE_TYPES = ("xnat:experimentData", "xnat:subjectAssessorData", "xnat:imageSessionData")
ALIASES = {"xnat:subjectassessordata/subject_id": "subject_ID"}
"""Columns that come back under another name."""


def table(
    request: Request, rows: list[dict[str, str]], columns: list[str], always: tuple[str, ...]
) -> Response:
    """A list with the columns asked for, of the rows that fit the query's filters."""
    asked = [name for name in request.query.get("columns", "").split(",") if name]
    rows = [row for row in rows if _fits(row, request.query)]
    if asked:
        asked = [ALIASES.get(name.lower(), name) for name in asked]
        plain = [name for name in asked if ":" not in name]
        columns = [name for name in columns if name in {*asked, *always, "URI"}]
        columns += [name for name in plain if name not in columns]
        columns += [name.lower() for name in asked if ":" in name and name.lower() not in columns]
    full = [{name: value(row, name) for name in columns} for row in rows]
    kind = request.query.get("format", "json")
    return Response(table=Table(columns, full, format=kind))


def value(row: dict[str, str], name: str) -> str:
    """A column's value; `xnat:mrScanData/ID` is the ID of a scan of that type, else nothing."""
    if name in row:
        return row[name]
    kind, _, rest = name.lower().partition("/")
    short = rest if ":" in name else name.lower()
    xsi = row.get("xsiType", "").lower()
    if kind.endswith("scandata") and kind not in ("xnat:imagescandata", xsi):
        return ""
    return next((text for key, text in row.items() if key.lower() == short), "")


def _in_range(have: str, wanted: str) -> bool:
    """Whether a day lies between two, given as MM/DD/YYYY-MM/DD/YYYY."""
    first, _, last = wanted.partition("-")
    days = [f"{day[6:]}-{day[:2]}-{day[3:5]}" for day in (first, last or first)]
    return days[0] <= have[:10] <= days[1]


def _fits(row: dict[str, str], query: dict[str, str]) -> bool:
    lower = {key.lower() for key in row}
    for key, wanted in query.items():
        short = (key.partition("/")[2] if ":" in key else key).lower()
        if key in NOT_COLUMNS or short not in lower or not wanted:
            continue
        have = value(row, key)
        if short in ("date", "insert_date") and "/" in wanted:
            if not _in_range(have, wanted):
                return False
            continue
        if short == "xsitype" and wanted in BASE_TYPES:
            continue
        patterns = [part.strip().replace("%", "*") for part in wanted.split(",")]
        if not any(fnmatchcase(have.lower(), part.lower()) for part in patterns):
            return False
    return True
