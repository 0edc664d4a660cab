"""A new step: a module, a row and a rule, and all that goes over the steps takes it in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom
import pytest

import data
from project import ROOT, Project
from seriesport.store.bundle import read_bundle, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]

ONE = "cohort:\n- {label: one, source: other, formats: [preview]}\n"
TWO = ONE + "- {label: two, source: folder, destinations: [delivered], formats: [preview]}\n"
ROW = """
COPY = Step(
    "copy",
    folder="copied",
    done="copied",
    column="copies",
    writes=Files.BUNDLES,
)
STEPS = (FETCH, COPY, CONVERT, UPLOAD)
"""
MODULE = '''
"""The step `copy`: every bundle once more, without its first instance."""

from seriesport.store.bundle import read_bundle, write_bundle
from seriesport.workflow.bundles import Bundles
from seriesport.workflow.ledger import Outcome, Status
from seriesport.workflow.shard import run_shard
from seriesport.workflow.steps import COPY


def run(results, shard, config):
    rows = results.plan.read_shard(shard)
    folder = results.step(COPY, shard)
    bundles = Bundles(results, COPY, shard)

    def work(row):
        bundle = bundles.of(row.key)
        bundle.check()
        made = write_bundle(folder / f"{row.key}.zip", read_bundle(bundle.path)[1:], source="copy")
        return Outcome(
            row.key,
            Status.COMPLETE,
            detail="the first one was left out",
            expected=made.expected,
            done=made.received,
            size=made.size,
            files=f"{row.key}.zip {row.key}.json",
            sha256=made.sha256,
        )

    return run_shard(folder, rows, work)
'''
RULE = """
rule copy:
    input:
        read_by(steps.COPY),
        retry=retry(steps.COPY),
    output:
        ledger(steps.COPY),
    log:
        f"{RESULTS}/logs/copy/{{shard}}.log",
    params:
        results=subpath(output[0], ancestor=3),
    script:
        "../../scripts/step.py"
"""


@dataclass(frozen=True)
class Clone(Project):
    """A clone whose library is its own."""

    def environment(self) -> dict[str, str]:
        """A user's, with the library of the clone in the place of the one that is installed."""
        return super().environment() | {"PYTHONPATH": str(self.folder / "src")}


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone with a step that copies bundles between fetch and convert."""
    made = Clone(Project.clone(tmp_path / "clone").folder)
    shutil.copytree(ROOT / "src", made.folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    library = made.folder / "src" / "seriesport" / "workflow"
    table, rows = (library / "steps.py").read_text(), "STEPS = (FETCH, CONVERT, UPLOAD)\n"
    assert rows in table
    (library / "steps.py").write_text(table.replace(rows, ROW))
    (library / "copy.py").write_text(MODULE)
    (made.folder / "workflow" / "rules" / "copy.smk").write_text(RULE)
    shutil.rmtree(made.folder / "folder", ignore_errors=True)
    data.mr(made.folder / "folder", data.identity("a new step"), times=1, slices=3)
    data.mr(made.folder / "other", data.identity("another"), times=1, slices=2)
    made.write_cohort(TWO)
    return made


def test_a_new_step_gives_its_bundle_to_the_steps_after_it(clone: Clone) -> None:
    done = clone.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetched copied converted uploaded" in done.stdout
    _, row = clone.table()
    assert (row["status"], row["copied"]) == ("complete", "complete")
    assert row["detail"] == ""
    zipped, manifest = (clone.results / name for name in row["copies"].split())
    assert zipped.parts[-3] == "copied"
    copied = {instance.uid for instance in read_bundle(zipped)}
    assert len(copied) == read_manifest(zipped).received == 2
    assert manifest.stem == row["key"]
    assert len(read_bundle(clone.results / row["bundle"].split()[0])) == 3
    delivered = clone.folder.joinpath("delivered").rglob("*.dcm")
    assert {pydicom.dcmread(path).SOPInstanceUID for path in delivered} == copied

    zipped.unlink()  # the verdict misses it, and the next run repeats the step for it
    lost = clone.snakemake()
    assert lost.returncode != 0
    assert "copied: a file that it made is gone or has another size [output-lost]" in lost.stdout
    again = clone.snakemake()
    assert again.returncode == 0, again.stdout + again.stderr
    assert {instance.uid for instance in read_bundle(zipped)} == copied

    assert [*clone.results.glob(f"*/*/{row['key']}*")]
    clone.write_cohort(ONE)
    pruned = clone.run("seriesport", "prune", "--yes", "--delivered")
    assert pruned.returncode == 0, pruned.stdout + pruned.stderr
    assert not [*clone.results.glob(f"*/*/{row['key']}*")]
    assert not [*clone.folder.joinpath("delivered").rglob("*.dcm")]
