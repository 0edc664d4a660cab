"""The step `convert`: every bundle of a shard to the formats that the config asks for."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.cohort.plan import DICOM
from seriesport.errors import SeriesportError
from seriesport.formats import dicom
from seriesport.series import Series
from seriesport.store.bundle import unpack, write_bundle
from seriesport.store.files import remove_parts
from seriesport.store.scratch import scratch
from seriesport.workflow.bundles import Bundles
from seriesport.workflow.conversion import convert
from seriesport.workflow.converted import made_of, record_of
from seriesport.workflow.ledger import Outcome, Status, told
from seriesport.workflow.records import Records
from seriesport.workflow.shard import Results, run_shard
from seriesport.workflow.steps import CONVERT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seriesport.cohort.plan import PlannedSeries
    from seriesport.config.config_yaml import Config
    from seriesport.workflow.bundles import Bundle
    from seriesport.workflow.converted import Made, Output

_log = logging.getLogger("seriesport")


def run(results: Results, shard: str, config: Config) -> list[Outcome]:
    """Convert the series of a shard as config.yaml says; see `convert_shard`."""
    return convert_shard(
        results,
        shard,
        config.formats,
        config.upload,
        postscript=config.postscript,
        input_order=config.input_order,
    )


def convert_shard(
    results: Results,
    shard: str,
    formats: Sequence[str],
    upload: Sequence[str],
    *,
    postscript: bool = False,
    input_order: str = "auto",
) -> list[Outcome]:
    """Convert what is not converted yet, and write the shard's ledger.

    `formats` and `upload` hold for the series whose entries do not say; what is to be uploaded
    is made too. `postscript` allows PostScript and PDF among sources that become DICOM.
    `input_order` holds for the series whose entries do not say, too.
    """
    opts = {"postscript": postscript}
    rows = results.plan.read_shard(shard)
    bundles = Bundles(results, CONVERT, shard)
    folder = results.step(CONVERT, shard)
    records = Records(results.records(CONVERT, shard))

    def work(row: PlannedSeries) -> Outcome:
        bundle = bundles.of(row.key)
        wanted = list(formats if row.formats is None else row.formats)
        if row.destinations:
            sent = upload if row.upload is None else row.upload
            wanted += [name for name in sent if name not in (*wanted, DICOM)]
        if row.template and DICOM not in wanted:
            wanted.insert(0, DICOM)
        row = replace(row, input_order=row.input_order or input_order)
        return _convert(row, bundle, folder, records, wanted, opts)

    return run_shard(folder, rows, work, records=(records,))


def _convert(
    row: PlannedSeries,
    bundle: Bundle,
    folder: Path,
    records: Records,
    wanted: Sequence[str],
    opts: Mapping[str, object],
) -> Outcome:
    key, content = row.key, bundle.content
    old = made_of(records.get(key), content, row.input_order)
    made = {name: old[name] for name in wanted if name in old and _intact(folder, old[name])}
    failures: list[SeriesportError] = []
    todo = [name for name in wanted if name not in made]
    if todo:
        bundle.check()
        with scratch() as room:
            files = _instances(row, bundle, room, opts)
            for name in todo:
                try:
                    made[name] = _make(name, key, files, folder, room, row.input_order)
                except SeriesportError as error:
                    failures.append(SeriesportError(error.code, f"{name}: {error.message}"))
    if todo or made != old:
        _remove_stale(folder, key, made)
    if made != old:
        records.put(key, record_of(content, made, row.input_order))
    return _line(key, wanted, made, failures)


def _instances(
    row: PlannedSeries, bundle: Bundle, room: Path, opts: Mapping[str, object]
) -> list[Path]:
    """The DICOM files of a series; none of plain files that no template makes DICOM."""
    files = unpack(bundle.path, room / "fetched")
    if not row.reference.plain:
        return files
    if row.template is None:
        return []
    folders: dict[str, Path] = {}
    for name, path in bundle.beside.items():
        folders[name] = room / name
        unpack(path, folders[name])
    series = Series(
        files,
        row.input_order,
        opts,
        template=folders["template"],
        geometry=folders.get("geometry"),
    )
    if row.made_number:
        series.seriesNumber = int(row.made_number)
    if row.made_description:
        series.seriesDescription = row.made_description
    write_bundle(room / "made.zip", dicom.write(series.image, series.header), source="made")
    return unpack(room / "made.zip", room / "dicom")


def _make(
    name: str, key: str, files: Sequence[Path], folder: Path, scratch: Path, input_order: str
) -> list[Output]:
    if not files:
        return []
    try:
        conversion = convert(files, key, folder, [name], scratch, input_order)
    except SeriesportError as error:
        if error.code == "not-an-image":
            return []
        raise
    for note in conversion.notes:
        _log.info("series %s: %s: %s", key, name, note)
    return list(conversion.outputs)


def _line(
    key: str,
    wanted: Sequence[str],
    made: Mapping[str, list[Output]],
    failures: Sequence[SeriesportError],
) -> Outcome:
    outputs = [output for name in wanted for output in made.get(name, [])]
    shown = [name for name in wanted if made.get(name)]
    status = Status.COMPLETE if outputs else Status.NOTHING
    code, detail = told(failures)
    if failures:
        status = Status.FAILED
    elif len(shown) < len(wanted):
        code = "not-an-image"
        names = ", ".join(name for name in wanted if name not in shown)
        detail = f"{names}: no instance of the series holds an image"
    return Outcome(
        key,
        status,
        code,
        detail,
        expected=len(wanted),
        done=len(shown),
        size=sum(output.size for output in outputs),
        files=" ".join(output.name for output in outputs),
        sha256=outputs[0].sha256 if outputs else "",
    )


def _intact(folder: Path, outputs: Sequence[Output]) -> bool:
    return all(_is(folder / output.name, output) for output in outputs)


def _is(path: Path, output: Output) -> bool:
    if not path.is_file() or path.stat().st_size != output.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == output.sha256


def _remove_stale(folder: Path, key: str, made: Made) -> None:
    """Remove what other formats, another bundle or a killed run left of a series."""
    names = {output.name for outputs in made.values() for output in outputs}
    remove_parts(folder, key)
    for path in folder.glob(f"{key}*"):
        if path.name not in names:
            path.unlink(missing_ok=True)
