"""The cohort file: which series the user asks for, and where they go.

It is read by the library alone, since it holds identifiers; no message repeats one.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seriesport.cohort.check import IDENTIFIERS, Checker, Row
from seriesport.cohort.source import Places, same_number
from seriesport.cohort.table import CODE, read_table
from seriesport.config.schema import Problems, unknown
from seriesport.config.yamltext import Mapping, Sequence, load_yaml
from seriesport.errors import SeriesportError
from seriesport.model.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seriesport.model.series import SeriesReference

_MAX_BYTES = 256 * 1024 * 1024
_YAML = (".yaml", ".yml")
_TABLES = (".tsv", ".csv", ".txt")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the cohort. Empty text means that the entry does not say."""

    line: int
    """Where the entry begins in the cohort file, from 1."""
    source: Address
    """For an archive with the identifiers in it; for a folder or a ZIP as it was written."""
    label: str = ""
    patient: str = ""
    study: str = ""
    accession: str = ""
    series: str = ""
    series_number: str = ""
    modalities: tuple[str, ...] = ()
    """Empty for any."""
    description: re.Pattern[str] | None = None
    """Found anywhere in a series description that the entry wants; a glob is anchored."""
    scan_type: re.Pattern[str] | None = None
    """Of an XNAT scan's type, as `description`."""
    qualities: tuple[str, ...] = ()
    """Qualities of XNAT scans; empty for any."""
    min_instances: int | None = None
    max_series: int | None = None
    destinations: tuple[Address, ...] = ()
    formats: tuple[str, ...] | None = None
    """None for the config's."""
    upload: tuple[str, ...] | None = None
    """None for the config's."""
    template: Address | None = None
    """Of the series whose header the files of the source get, where these are no DICOM."""
    geometry: Address | None = None
    """Of the series that says where they lie, where they do not."""
    input_order: str = ""
    """Empty for the config's."""
    made_number: str = ""
    """Series number of what is made with a template; empty for one that follows from that's."""
    made_description: str = ""
    """Series description of what is made with a template."""

    @property
    def names_series(self) -> bool:
        """Whether the entry asks for one series, not for those of a study that pass its filters."""
        return bool(self.series or self.series_number)

    def accepts(self, reference: SeriesReference) -> bool:
        """Whether a series that the source has is one that the entry asks for.

        Identifiers are compared exactly, series numbers by value. Not judged here is the number
        of instances, which many sources do not tell: see `too_small`.
        """
        return self._identified(reference) and self._filtered(reference)

    def _identified(self, reference: SeriesReference) -> bool:
        return (
            (not self.patient or reference.patient_id == self.patient)
            and (not self.study or reference.study_instance_uid == self.study)
            and (not self.accession or reference.accession_number == self.accession)
            and (not self.series or reference.series_instance_uid == self.series)
            and (not self.series_number or same_number(reference.series_number, self.series_number))
        )

    def _filtered(self, reference: SeriesReference) -> bool:
        if self.modalities and reference.modality not in self.modalities:
            return False
        if self.qualities and reference.quality not in self.qualities:
            return False
        return _fits(self.description, reference.series_description) and _fits(
            self.scan_type, reference.scan_type
        )

    def too_small(self, instances: int | None) -> bool:
        """Whether a series with so many instances has fewer than the entry asks for."""
        return instances is not None and instances < (self.min_instances or 0)


def _fits(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is None or pattern.search(text) is not None


def read_cohort(path: Path, *, demo: bool = False, may_be_empty: bool = False) -> list[Entry]:
    """Read the cohort file: YAML, or TSV or CSV, by the suffix of its name.

    Args:
        path: The file. Paths in it are relative to the working directory.
        demo: Accept that others can read the file, as `demo: true` in it does.
        may_be_empty: Accept a list without any entry.

    Raises:
        SeriesportError: file-unreadable, cohort-not-private, identifier-not-text,
            address-invalid or cohort-invalid. The message has a line for each problem, up to
            20, with the file's line and without identifiers.
    """
    content, private = _read(path)
    problems = Problems(str(path))
    checker = Checker(problems)
    places = Places(problems)
    suffix = path.suffix.lower()
    if suffix in _YAML:
        root = load_yaml(content, str(path), CODE)
        demo = demo or (isinstance(root, Mapping) and root.get("demo") is True)
        rows = _yaml_rows(root, checker, places, problems)
    elif suffix in _TABLES:
        table = read_table(content, str(path), checker.keys, IDENTIFIERS, problems)
        rows = (Row(line, values) for line, values in table)
    else:
        known = ", ".join(_YAML + _TABLES)
        what = "save a spreadsheet as 'CSV UTF-8'"
        raise SeriesportError(CODE, f"{path}: a cohort file's name ends in one of {known}; {what}")
    if not private and not demo:
        raise SeriesportError(
            "cohort-not-private", f"{path} is open to others; run: chmod 0600 {path}"
        )
    entries = _entries(rows, checker, places, problems)
    if not entries and not problems and not may_be_empty:
        raise SeriesportError(CODE, f"{path} lists no series")
    problems.check()
    return entries


def _read(path: Path) -> tuple[bytes, bool]:
    """The content, and whether the owner alone can read and write it."""
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise SeriesportError("file-unreadable", f"{path} {problem}")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SeriesportError("file-unreadable", f"{path}: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise SeriesportError(CODE, f"{path} is larger than {_MAX_BYTES // 1024**2} MiB; split it")
    return content, not mode & (stat.S_IRWXG | stat.S_IRWXO)


def _yaml_rows(root: object, checker: Checker, places: Places, problems: Problems) -> Iterator[Row]:
    if not isinstance(root, Mapping):
        problems.add(CODE, 1, "the file must have the key 'cohort' with a list below it")
        return
    for key in root.keys() - {"cohort", "defaults", "demo"}:
        problems.add(CODE, root.key_lines[key], unknown(key, ("cohort", "defaults", "demo")))
    if not isinstance(root.get("demo", False), bool):
        problems.add(CODE, root.key_lines["demo"], "demo must be true or false")
    defaults = root.get("defaults")
    if defaults is not None:
        checker.set_defaults(defaults, root.key_lines["defaults"])
        places.set_defaults(checker.defaults)
    listed = root.get("cohort")
    if listed is None and "cohort" in root:  # what is left where the last entry was taken out
        return
    if not isinstance(listed, Sequence):
        line = root.key_lines.get("cohort", 1)
        text = "the file must have the key 'cohort' with a list below it"
        if "cohort" in root:
            text = "below 'cohort' stands a list: each entry begins with '- '"
        problems.add(CODE, line, text)
        return
    for line, item in zip(listed.item_lines, listed, strict=True):
        if isinstance(item, Mapping):
            yield Row(line, item, item)
        else:
            problems.add(CODE, line, "an entry must be keys with values, such as: source: …")


def _entries(
    rows: Iterator[Row], checker: Checker, places: Places, problems: Problems
) -> list[Entry]:
    labels: dict[object, int] = {}
    entries: list[Entry] = []
    for row in rows:
        values = checker.check(row)
        if values is None:
            continue
        label = values.get("label")
        if label is not None and labels.setdefault(label, row.line) != row.line:
            problems.add(
                CODE, row.line_of("label"), f"the label is that of line {labels[label]} too"
            )
        entry = _entry(row, values, places)
        if entry is not None:
            entries.append(entry)
    return entries


def _entry(row: Row, values: dict[str, Any], places: Places) -> Entry | None:
    placed = places.source(row, values)
    destinations = places.destinations(row, values)
    description = places.description(row, values)
    scan_type = places.scan_type(row, values)
    template = places.beside(row, values, "template")
    geometry = places.beside(row, values, "geometry")
    if placed is None or destinations is None:
        return None
    source, identifiers = placed
    formats, upload = values.get("formats"), values.get("upload")
    return Entry(
        line=row.line,
        source=source,
        label=values.get("label", ""),
        patient=identifiers.patient,
        study=identifiers.study,
        accession=identifiers.accession,
        series=identifiers.series,
        series_number=identifiers.series_number,
        modalities=places.shared(values.get("modality", ())),
        description=description,
        scan_type=scan_type,
        qualities=places.shared(values.get("quality", ())),
        min_instances=values.get("min_instances"),
        max_series=values.get("max_series"),
        destinations=destinations,
        formats=None if formats is None else places.shared(formats),
        upload=None if upload is None else places.shared(upload),
        template=template,
        geometry=geometry,
        input_order=values.get("input_order", ""),
        made_number=values.get("series_number", "") if template else "",
        made_description=values.get("series_description", ""),
    )
