"""The plan: what the cohort's entries mean at their sources, frozen as one row per series."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seriesport.access import folder_mode, make_folder, set_mode
from seriesport.cohort.resolve import Answer, Found, ask, fingerprint
from seriesport.errors import SeriesportError
from seriesport.model.series import SeriesReference
from seriesport.store.keys import series_key
from seriesport.store.sealed import parse_json, read_sealed, write_sealed
from seriesport.transports.registry import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from seriesport.cohort import Entry
    from seriesport.config.settings import Settings
    from seriesport.model.address import Address

MOST_SHARDS = 200
"""Shards of a cohort, where its size is left to Seriesport."""
DICOM = "dicom"
"""What `upload` calls the images themselves."""
_LISTS = ("destinations", "lines", "labels", "entries", "formats", "upload")
_REFERENCES = ("reference", "template", "geometry")
_OTHER_ORDER = "an entry above gives one of these series another input_order"
LOCAL = "local"
UNNAMED = "unnamed"


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """One series to fetch, convert and upload."""

    key: str
    shard: str
    reference: SeriesReference
    destinations: tuple[str, ...]
    formats: tuple[str, ...] | None
    """None for the config's."""
    upload: tuple[str, ...] | None
    """None for the config's."""
    lines: tuple[int, ...]
    """Lines of the cohort file that list it."""
    labels: tuple[str, ...]
    entries: tuple[str, ...]
    """Fingerprints of the entries that list it."""
    template: SeriesReference | None = None
    """The series whose header it gets, where it is no DICOM."""
    geometry: SeriesReference | None = None
    """The series that says where it lies."""
    input_order: str = ""
    """Empty for the config's."""
    made_number: str = ""
    """Series number of what is made with the template; empty for one that follows from that's."""
    made_description: str = ""
    """Series description of what is made with the template."""

    @property
    def found(self) -> Found:
        """What the source said to an entry."""
        return Found(self.reference, self.template, self.geometry)


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that the plan could not resolve."""

    line: int
    label: str
    code: str
    message: str
    matches: tuple[str, ...] = ()
    """Lines with identifiers, of what matches instead; see `SeriesportError`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every series of a cohort, and what could not be found."""

    series: tuple[PlannedSeries, ...]
    problems: tuple[Problem, ...]

    def shards(self) -> dict[str, list[PlannedSeries]]:
        """The series of each shard."""
        shards: dict[str, list[PlannedSeries]] = {}
        for row in self.series:
            shards.setdefault(row.shard, []).append(row)
        return shards


@dataclass(frozen=True, slots=True)
class Shard:
    """What the workflow may know of a shard: nothing that identifies."""

    name: str
    series: int
    sources: tuple[str, ...]
    """Server names of the source and of templates, `local` or `unnamed`."""
    destinations: tuple[str, ...]
    """Server names of the destinations."""
    instances: int
    delivers_files: bool | None
    """Whether what is made of its series goes to destinations; None where only the config says."""


def make_plan(
    entries: Sequence[Entry],
    settings: Settings,
    secret: bytes,
    *,
    previous: Plan | None = None,
    again: Collection[str] = (),
    placed: Mapping[str, str] | None = None,
    shard_size: int = 0,
) -> Plan:
    """Ask the sources what the entries mean. What `previous` holds already is not asked again.

    An entry that finds nothing, or more than it may, becomes a Problem; the others go on.
    `again` has the fingerprints of entries to ask for although `previous` holds them; where
    there is no answer, their series stay as they were, beside the Problem.
    `placed` has the shards by key that series ever had; they keep them. `shard_size` 0 stands
    for enough to have at most about 200 shards.
    """
    known = _known(previous)
    names = [fingerprint(entry) for entry in entries]
    asked = {n: e for n, e in zip(names, entries, strict=True) if n not in known or n in again}
    found: dict[str, Answer] = {**known, **ask(list(asked.items()), settings)}
    merged: dict[str, PlannedSeries] = {}
    problems: list[Problem] = []
    for name, entry in zip(names, entries, strict=True):
        answer = found[name]
        if isinstance(answer, SeriesportError):
            kept = known.get(name, [])
            message = f"{answer.message}; what was planned before stays" if kept else answer.message
            problem = Problem(entry.line, entry.label, answer.code, message, answer.matches)
            problems.append(problem)
            answer = kept
        for found_series in answer:
            row = _row(entry, name, found_series, secret)
            if row.key in merged and _contradict(merged[row.key], row):
                problems.append(Problem(entry.line, entry.label, "cohort-invalid", _OTHER_ORDER))
                continue
            merged[row.key] = _merge(merged[row.key], row) if row.key in merged else row
    shards = {**places(previous), **(placed or {})}
    return Plan(tuple(_place(list(merged.values()), shards, shard_size)), tuple(problems))


def left_over(
    former: Iterable[PlannedSeries], previous: Plan | None, plan: Plan
) -> Iterator[PlannedSeries]:
    """Give what belonged to a cohort and does not any more: series, and their destinations.

    A series that stays in the cohort is among them with the destinations that it lost.
    """
    current = {row.key: row.destinations for row in plan.series}
    gone: dict[str, PlannedSeries] = {}
    for row in (*former, *(previous.series if previous else ())):
        earlier = gone[row.key].destinations if row.key in gone else ()
        kept = current.get(row.key, ())
        lost = tuple(d for d in dict.fromkeys(earlier + row.destinations) if d not in kept)
        if lost or row.key not in current:
            gone[row.key] = replace(row, destinations=lost)
    yield from gone.values()


def places(plan: Plan | None) -> dict[str, str]:
    """The shards of a plan's series by key."""
    return {row.key: row.shard for row in plan.series} if plan else {}


def server_name(address: Address) -> str:
    """The server of an address as the workflow may name it."""
    if address.is_local:
        return LOCAL
    return safe_name(address.server_name) or UNNAMED


def resource_name(server: str) -> str:
    """The Snakemake resource that counts the associations with a server."""
    return f"archive_{safe_name(server)}"


def safe_name(server: str) -> str:
    """A server's name as shards and Snakemake resources have it."""
    return re.sub("[^A-Za-z0-9]", "_", server)


def _known(previous: Plan | None) -> dict[str, list[Found]]:
    known: dict[str, list[Found]] = {}
    for row in previous.series if previous else ():
        for name in row.entries:
            known.setdefault(name, []).append(row.found)
    return known


def _row(entry: Entry, name: str, found: Found, secret: bytes) -> PlannedSeries:
    made_with = [_key(secret, series) for series in (found.template, found.geometry) if series]
    if entry.made_number or entry.made_description:
        made_with += [entry.made_number, entry.made_description]
    return PlannedSeries(
        key=_key(secret, found.series, *made_with),
        shard="",
        reference=found.series,
        destinations=tuple(d.url for d in entry.destinations),
        formats=entry.formats,
        upload=entry.upload,
        lines=(entry.line,),
        labels=(entry.label,) if entry.label else (),
        entries=(name,),
        template=found.template,
        geometry=found.geometry,
        input_order=entry.input_order,
        made_number=entry.made_number,
        made_description=entry.made_description,
    )


def _key(secret: bytes, series: SeriesReference, *made_with: str) -> str:
    place = series.address if series.plain else series.address.root
    # A project that is moved with its sources keeps its keys.
    return series_key(secret, place.identity_in(Path.cwd()), series, *made_with)


def _merge(one: PlannedSeries, other: PlannedSeries) -> PlannedSeries:
    return replace(
        one,
        destinations=tuple(dict.fromkeys(one.destinations + other.destinations)),
        formats=_both(one.formats, other.formats),
        upload=_both(one.upload, other.upload),
        lines=one.lines + other.lines,
        labels=one.labels + other.labels,
        entries=tuple(dict.fromkeys(one.entries + other.entries)),
        input_order=one.input_order or other.input_order,
    )


def _contradict(one: PlannedSeries, other: PlannedSeries) -> bool:
    orders = {one.input_order, other.input_order} - {""}
    return len(orders) > 1


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return None
    return tuple(dict.fromkeys(one + other))


def _place(
    rows: list[PlannedSeries], placed: Mapping[str, str], shard_size: int
) -> Iterator[PlannedSeries]:
    size = shard_size or max(1, math.ceil(len(rows) / MOST_SHARDS))
    used: dict[str, int] = {}
    for shard in placed.values():
        server, _, number = shard.rpartition("-")
        used[server] = max(used.get(server, 0), int(number))
    filled: dict[str, int] = {}
    for row in rows:
        shard = placed.get(row.key)
        if shard is None:
            server = server_name(row.reference.address)
            if filled.get(server, size) >= size:
                used[server] = used.get(server, 0) + 1
                filled[server] = 0
            filled[server] += 1
            shard = f"{server}-{used[server]:04d}"
        yield replace(row, shard=shard)


class PlanFolder:
    """Where a plan is kept: `series.jsonl`, `problems.jsonl`, `shards.tsv` and a file per shard.

    `former.jsonl` has what left the plan and was not pruned yet, so that its label and its
    destinations are still known; `asked.tsv` has when each entry was asked for. `places.tsv` has
    the shard of every series that was ever planned, so that one which is taken out and put back
    finds its files; `secret.tsv` tells one secret from another. They and `shards.tsv` hold no
    identifier; the others do, and are readable by their owner alone. Each is sealed: one that is
    not as it was written is refused (file-damaged).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, plan: Plan, previous: Plan | None = None) -> None:
        """Write what changed; the file of an unchanged shard is not touched.

        What `previous` has and `plan` has not is kept in `former.jsonl`, first of all.
        """
        make_folder(self.folder / "shards", private=True)
        set_mode(self.folder, folder_mode(private=True))  # Snakemake may have made it
        self.write_former(list(left_over(self.former(), previous, plan)))
        self._write_places(self.places() | places(plan))
        shards = plan.shards()
        for name in shards:
            write_sealed(
                self.shard_file(name), lambda name=name: map(_line, shards[name]), private=True
            )
        for path in (self.folder / "shards").iterdir():
            if path.stem not in shards:
                path.unlink()
        problems = [_encoded(asdict(problem)) for problem in plan.problems]
        write_sealed(self.folder / "problems.jsonl", lambda: problems, private=True)
        write_sealed(self.folder / "series.jsonl", lambda: map(_line, plan.series), private=True)
        # Last, since it says that the plan is there.
        index = [_index_line(name, rows).encode() for name, rows in shards.items()]
        write_sealed(self.index, lambda: index, private=True)

    def read(self) -> Plan | None:
        """The plan, or None where there is none yet."""
        paths = self.folder / "series.jsonl", self.folder / "problems.jsonl"
        if not all(path.exists() for path in paths):
            return None
        series = _load(paths[0], _from_json)
        problems = _load(paths[1], _problem)
        return Plan(tuple(series), tuple(problems))

    def places(self) -> dict[str, str]:
        """The shard of every series that was ever planned, by key.

        Raises:
            SeriesportError: file-damaged.
        """
        path = self.folder / "places.tsv"
        return read_sealed(path, _places) if path.exists() else {}

    @property
    def beside(self) -> list[Path]:
        """The other files of the plan as a whole."""
        return [self.folder / name for name in ("series.jsonl", "problems.jsonl", "places.tsv")]

    @property
    def secret_check(self) -> Path:
        """A hash of the secret that the plan's keys are made with."""
        return self.folder / "secret.tsv"

    @property
    def former_file(self) -> Path:
        """What left the plan, which cannot be made again."""
        return self.folder / "former.jsonl"

    def former(self) -> list[PlannedSeries]:
        """What left the plan and was not pruned yet; of what is in it still, lost destinations."""
        return _load(self.former_file, _from_json) if self.former_file.exists() else []

    def write_former(self, rows: Sequence[PlannedSeries]) -> None:
        """Write what left the plan."""
        if rows:
            write_sealed(self.former_file, lambda: map(_line, rows), private=True)
        else:
            self.former_file.unlink(missing_ok=True)

    def forget(self, keys: Collection[str]) -> None:
        """Forget the shards of series that were pruned."""
        kept = {key: shard for key, shard in self.places().items() if key not in keys}
        self._write_places(kept)

    def _write_places(self, known: Mapping[str, str]) -> None:
        rows = [f"{key}\t{shard}\n".encode() for key, shard in known.items()]
        write_sealed(self.folder / "places.tsv", lambda: rows, private=True)

    @property
    def asked(self) -> Path:
        """When each entry was asked for; see seriesport.cohort.asked."""
        return self.folder / "asked.tsv"

    @property
    def lease(self) -> Path:
        """The lease that a process holds while it changes the plan."""
        return self.folder / "lease"

    @property
    def again(self) -> Path:
        """A file that makes the workflow plan again, after entries that found nothing."""
        return self.folder / "again"

    def retry(self, step: str, shard: str) -> Path:
        """A file that makes the workflow repeat a step for a shard, after a series failed in it."""
        return self.folder / "retry" / step / shard

    @property
    def index(self) -> Path:
        """The list of shards, which is all that the workflow reads."""
        return self.folder / "shards.tsv"

    def shard_file(self, shard: str) -> Path:
        """The file with the rows of one shard."""
        return self.folder / "shards" / f"{shard}.jsonl"

    def read_shard(self, shard: str) -> list[PlannedSeries]:
        """The rows of one shard."""
        return _load(self.shard_file(shard), _from_json)


def _places(lines: Iterable[str]) -> dict[str, str]:
    rows = (line.rstrip("\n").split("\t") for line in lines)
    return {key: _numbered(shard) for key, shard in rows}


def _numbered(shard: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_]+-[0-9]{1,9}", shard):
        raise ValueError
    return shard


def read_index(path: Path) -> list[Shard]:
    """The shards that `shards.tsv` lists.

    Raises:
        SeriesportError: file-damaged, or file-unreadable where there is none.
    """
    return read_sealed(path, _index)


def _index(lines: Iterable[str]) -> list[Shard]:
    shards: list[Shard] = []
    for line in lines:
        name, series, sources, destinations, instances, files = line.rstrip("\n").split("\t")
        servers = tuple(destinations.split(",")) if destinations else ()
        delivers = {"yes": True, "no": False}.get(files)
        shards.append(
            Shard(name, int(series), tuple(sources.split(",")), servers, int(instances), delivers)
        )
    return shards


def _index_line(name: str, rows: list[PlannedSeries]) -> str:
    servers = {server_name(parse(url)) for row in rows for url in row.destinations}
    used = [s for row in rows for s in (row.reference, row.template, row.geometry) if s]
    sources = sorted({server_name(series.address) for series in used})
    instances = sum(row.reference.instances or 0 for row in rows)
    files = {_needs_convert(row) for row in rows if row.destinations}
    said = "yes" if True in files else "config" if None in files else "no"
    columns = (name, len(rows), ",".join(sources), ",".join(sorted(servers)), instances, said)
    return "\t".join(map(str, columns)) + "\n"


def _needs_convert(row: PlannedSeries) -> bool | None:
    return True if row.template else delivers_files(row.upload)


def delivers_files(upload: Sequence[str] | None) -> bool | None:
    """Whether files other than DICOM are among what goes to the destinations."""
    return None if upload is None else bool(set(upload) - {DICOM})


def _encoded(row: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(row)}\n".encode()


def _line(row: PlannedSeries) -> bytes:
    return _encoded(_to_json(row))


_Row = TypeVar("_Row")


def _load(path: Path, read: Callable[[dict[str, Any]], _Row]) -> list[_Row]:
    """The rows of a file.

    Raises:
        SeriesportError: file-damaged, or file-unreadable where there is none.
    """
    return read_sealed(path, lambda lines: [read(parse_json(line)) for line in lines])


def _problem(row: dict[str, Any]) -> Problem:
    matches = tuple(row.pop("matches", ()))
    return Problem(**row, matches=matches)


def _to_json(row: PlannedSeries) -> dict[str, Any]:
    data = {name: getattr(row, name) for name in PlannedSeries.__dataclass_fields__}
    return data | {name: _reference_to_json(data[name]) for name in _REFERENCES}


def _reference_to_json(series: SeriesReference | None) -> dict[str, Any] | None:
    if series is None:
        return None
    data = {name: getattr(series, name) for name in SeriesReference.__dataclass_fields__}
    return data | {"address": series.address.url}


def _from_json(data: dict[str, Any]) -> PlannedSeries:
    fields: dict[str, Any] = {
        **data,
        **{name: None if data[name] is None else tuple(data[name]) for name in _LISTS},
        **{name: _reference_from_json(data[name]) for name in _REFERENCES},
    }
    return PlannedSeries(**fields)


def _reference_from_json(data: dict[str, Any] | None) -> SeriesReference | None:
    if data is None:
        return None
    fields: dict[str, Any] = {**data, "address": parse(data["address"])}
    return SeriesReference(**fields)
