"""The staging folder of one series: what has arrived and is verified, until the bundle is whole."""

from __future__ import annotations

import filecmp
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from seriesport.digest import Digest, digest_member
from seriesport.errors import SeriesportError
from seriesport.part10 import load_instance
from seriesport.whole import check_whole

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from seriesport.instance import Instance
    from seriesport.transports.protocol import SeriesReference

_CHECKS_UNDER_WAY = 8


class Staging:
    """Instances of one series on their way into a bundle. A context manager.

    Only verified instances are kept: of the right patient, study and series, whole to the last
    element, and with one content for each SOP Instance UID. What fails is put aside in
    `quarantine/`, under a number, and never enters the bundle. Checks and digests run in a
    second thread while the next instance arrives.
    """

    def __init__(self, folder: Path, series: SeriesReference) -> None:
        self.spool = folder / "incoming"
        self.instances: dict[str, Instance] = {}
        self.digests: dict[str, Digest] = {}
        self.refused: dict[str, str] = {}
        """Reason code by SOP Instance UID of what was put aside."""
        self.aside = 0
        """How many instances were put aside."""
        self._folder = folder
        self._series = series
        self._checks: list[tuple[Instance, Future[Digest]]] = []
        self._checker = ThreadPoolExecutor(1, "check")
        self._number = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir(mode=0o700)
        for path in sorted(self._folder.glob("*.dcm")):
            self._number = max(self._number, int(path.stem))
            self._recover(path)
        self.settle()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._checker.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self.spool, ignore_errors=True)

    def accept(self, instance: Instance) -> None:
        """Take over an instance; it is checked in the background, at the latest by `settle`."""
        if not belongs(instance, self._series):
            self._put_aside(instance, "instance-foreign")
            return
        while len(self._checks) >= _CHECKS_UNDER_WAY:
            self._finish(*self._checks.pop(0))
        self._checks.append((instance, self._checker.submit(_check, instance)))

    def settle(self) -> None:
        """Wait until all that was accepted is checked."""
        while self._checks:
            self._finish(*self._checks.pop(0))

    def discard(self) -> None:
        """Remove the folder, once the bundle is in its place; what was ever put aside stays."""
        self._checker.shutdown(wait=True)
        discard_staging(self._folder)

    def _recover(self, path: Path) -> None:
        try:
            instance = replace(load_instance(path), location=path)
        except SeriesportError:
            path.unlink()
            return
        self.accept(instance)

    def _finish(self, instance: Instance, check: Future[Digest]) -> None:
        try:
            digest = check.result()
        except SeriesportError as error:
            self._put_aside(instance, error.code)
            return
        known = self.digests.get(instance.uid)
        if known is None and self.refused.get(instance.uid) != "instance-conflict":
            self.refused.pop(instance.uid, None)
            self.digests[instance.uid] = digest
            self.instances[instance.uid] = self._keep(instance)
        elif known == digest:
            self._drop(instance)
        else:
            self._put_aside(instance, "instance-conflict")
            if known is not None:
                del self.digests[instance.uid]
                self._put_aside(self.instances.pop(instance.uid), "instance-conflict")

    def _keep(self, instance: Instance) -> Instance:
        if instance.location is None or instance.location.parent == self._folder:
            return instance
        self._number += 1
        path = self._folder / f"{self._number:06d}.dcm"
        instance.location.rename(path)
        return replace(load_instance(path), location=path)

    def _drop(self, instance: Instance) -> None:
        if instance.location is not None:
            instance.location.unlink()

    def _put_aside(self, instance: Instance, code: str) -> None:
        self.aside += 1
        self.refused[instance.uid] = code
        if instance.location is not None:
            quarantine = self._folder / "quarantine"
            quarantine.mkdir(mode=0o700, exist_ok=True)
            # What a source sends again at every attempt is kept once.
            for other in quarantine.glob(f"*-{code}.dcm"):
                if filecmp.cmp(other, instance.location, shallow=False):
                    instance.location.unlink()
                    return
            number = max((int(p.name[:6]) for p in quarantine.glob("[0-9]*-*.dcm")), default=0)
            instance.location.rename(quarantine / f"{number + 1:06d}-{code}.dcm")


def belongs(instance: Instance, series: SeriesReference) -> bool:
    """Whether an instance is of a series: by patient, study and series."""
    header = instance.header
    return (
        header.series_instance_uid == series.series_instance_uid
        and header.study_instance_uid == series.study_instance_uid
        # spaces before and behind an LO are padding (PS3.5 section 6.2)
        and header.patient_id.strip(" ") == series.patient_id.strip(" ")
    )


def discard_staging(folder: Path) -> None:
    """Remove a staging folder; what was ever put aside stays."""
    if not (folder / "quarantine").exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(folder / "incoming", ignore_errors=True)
    for path in folder.glob("*.dcm"):
        path.unlink()


def _check(instance: Instance) -> Digest:
    with instance.payload.open() as stream:
        check_whole(stream, instance.payload.size, instance.transfer_syntax_uid)
    return digest_member(instance)
