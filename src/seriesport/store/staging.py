"""The staging folder of one series: what has arrived and is verified, until the bundle is whole."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from seriesport.access import make_folder
from seriesport.dicom.part10 import load_instance
from seriesport.dicom.whole import check_elements
from seriesport.errors import SeriesportError, unreadable
from seriesport.model.instance import FileSlice, PlainFile
from seriesport.store.digest import Digest, digest_member
from seriesport.store.files import PART_SUFFIX, move
from seriesport.store.remarks import remarks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from seriesport.model.instance import Item
    from seriesport.model.series import Expected, SeriesReference

_CHECKS_UNDER_WAY = 8
_Checked = tuple[Digest, bool | None]
"""The digest of an item that is whole, and whether it has pixels; None where they are missing."""


class Staging:
    """Instances of one series on their way into a bundle. A context manager.

    Only verified instances are kept: of the right patient, study and series, whole to the last
    element, and with one content for each SOP Instance UID. What fails is put aside in
    `quarantine/`, under a number, and never enters the bundle. Checks and digests run in a
    second thread while the next instance arrives.

    A file is staged under a hash of what the source lists it as, so that a later run knows what
    it has. Partial files (`*.part`) in the spool are the transport's, and stay for that run too.
    """

    def __init__(self, folder: Path, series: SeriesReference) -> None:
        self.spool = folder / "incoming"
        self.digests: dict[str, Digest] = {}
        """By SOP Instance UID, or by name of a plain file."""
        self.aside = 0
        """How many instances were put aside."""
        self._folder = folder
        self._series = series
        self._items: dict[str, Item] = {}
        self._listed: dict[str, str] = {}
        """Which item arrived under a token; none, where it is passed over."""
        self._refused: dict[str, str] = {}
        """Reason code by token of what was put aside."""
        self._unsure: set[str] = set()
        """Tokens of what is not known yet to be what the source has now."""
        self._pixels: dict[str, bool | None] = {}
        """By SOP Instance UID, whether it has pixels; None where it should have and has not."""
        self._checks: list[tuple[Item, str, Future[_Checked]]] = []
        self._checker = ThreadPoolExecutor(1, "check")

    def __enter__(self) -> Self:
        make_folder(self.spool, private=True)
        for path in self.spool.iterdir():
            if path.suffix != PART_SUFFIX:
                path.unlink()
        for path in sorted(self._folder.glob("*.dcm")):
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

    def accept(self, item: Item) -> None:
        """Take over an item; it is checked in the background, at the latest by `settle`."""
        self._accept(item, _token(item.listed))

    def settle(self) -> None:
        """Wait until all that was accepted is checked.

        Where a source keeps the headers of images alone, it does so for all of a series; an image
        without pixels among others that have them was cut.
        """
        while self._checks:
            self._finish(*self._checks.pop(0))
        if any(self._pixels.get(key) for key in self._items):
            for key in [key for key in self._items if self._pixels.get(key, False) is None]:
                self._withdraw(key, "instance-truncated")

    def held(self, expected: Mapping[str, Expected]) -> set[str]:
        """Which of the expected are there, by what the source lists them as.

        What an earlier run left, or what came before the source's list changed, is compared with
        the size and digest that the source tells now.
        """
        return {name for name, one in expected.items() if self._holds(_token(name), one)}

    def doubt(self) -> None:
        """The source's list has changed: compare all that is there with it anew."""
        self._unsure.update(self._listed)

    def items(self, expected: Iterable[str]) -> list[Item]:
        """What is to be bundled of the expected, each once."""
        found: dict[str, Item] = {}
        for name in expected:
            key = self._listed.get(_token(name))
            if key:
                item = self._items[key]
                found.setdefault(key, replace(item, name=name) if self._series.plain else item)
        return list(found.values())

    def remarks(self, items: Sequence[Item]) -> tuple[str, ...]:
        """Return what is odd about a series that is complete, see `remarks`."""
        return tuple(remarks(items, {uid for uid, has in self._pixels.items() if not has}))

    def refusals(self, missing: Iterable[Expected]) -> list[str]:
        """Reason codes of those of the missing that arrived and were put aside."""
        tokens = (_token(one.listed) for one in missing)
        return [self._refused[token] for token in tokens if token in self._refused]

    def discard(self) -> None:
        """Remove the folder, once the bundle is in its place; what was ever put aside stays."""
        self._checker.shutdown(wait=True)
        discard_staging(self._folder)

    def _recover(self, path: Path) -> None:
        try:
            item = self._load(path, path.stem)
        except SeriesportError:
            path.unlink()
            return
        self._unsure.add(path.stem)
        self._accept(item, path.stem)

    def _load(self, path: Path, name: str) -> Item:
        if self._series.plain:
            return PlainFile(name, FileSlice(path, 0, path.stat().st_size), path)
        return replace(load_instance(path), location=path)

    def _accept(self, item: Item, token: str) -> None:
        if isinstance(item, PlainFile) and not self._series.plain:
            self._listed[token] = ""
            self._drop(item)
            return
        if not belongs(item, self._series):
            self._put_aside(item, token, "instance-foreign")
            return
        # What is checked has its name before the next, so that a kill loses no more than it must.
        while self._checks and (
            len(self._checks) >= _CHECKS_UNDER_WAY or self._checks[0][2].done()
        ):
            self._finish(*self._checks.pop(0))
        self._checks.append((item, token, self._checker.submit(_check, item)))

    def _holds(self, token: str, expected: Expected) -> bool:
        key = self._listed.get(token)
        if key is None or (key and key not in self._items):
            return False
        if token not in self._unsure or not key:
            return True
        if self._is_same(self._items[key], expected):
            self._unsure.discard(token)
            return True
        self._forget(key)
        return False

    def _is_same(self, item: Item, expected: Expected) -> bool:
        if item.location is None or (expected.size is None and not expected.md5):
            return True
        try:
            return expected.size in (None, item.location.stat().st_size) and expected.md5 in (
                "",
                _md5(item.location),
            )
        except OSError as error:
            raise unreadable(error, "a staged file") from error

    def _finish(self, item: Item, token: str, check: Future[_Checked]) -> None:
        try:
            digest, pixels = check.result()
        except SeriesportError as error:
            self._put_aside(item, token, error.code)
            return
        key = token if self._series.plain else item.uid
        known = self.digests.get(key)
        if known is None and self._refused.get(token) != "instance-conflict":
            self._refused.pop(token, None)
            self.digests[key], self._pixels[key] = digest, pixels
            self._items[key] = self._keep(item, token)
            self._listed[token] = key
        elif known == digest:
            self._listed[token] = key
            self._drop(item)
        else:
            self._put_aside(item, token, "instance-conflict")
            if known is not None:
                self._withdraw(key, "instance-conflict")

    def _keep(self, item: Item, token: str) -> Item:
        if item.location is None or item.location.parent == self._folder:
            return item
        path = self._folder / f"{token}.dcm"
        move(item.location, path)
        if isinstance(item.payload, FileSlice) and item.payload.path == item.location:
            return replace(item, payload=replace(item.payload, path=path), location=path)
        return self._load(path, token)

    def _forget(self, key: str) -> None:
        self._drop(self._items.pop(key))
        self.digests.pop(key, None)

    def _drop(self, item: Item) -> None:
        if item.location is not None:
            item.location.unlink()

    def _withdraw(self, key: str, code: str) -> None:
        """Put an instance aside that was taken for whole."""
        item = self._items.pop(key)
        del self.digests[key]
        for token in [token for token, held in self._listed.items() if held == key]:
            self._put_aside(item, token, code)
            item = replace(item, location=None)

    def _put_aside(self, item: Item, token: str, code: str) -> None:
        self.aside += 1
        self._refused[token] = code
        if item.location is not None:
            quarantine = self._folder / "quarantine"
            make_folder(quarantine, private=True)
            # What a source sends again at every attempt is kept once.
            for other in quarantine.glob(f"*-{code}.dcm"):
                if filecmp.cmp(other, item.location, shallow=False):
                    item.location.unlink()
                    return
            number = max((int(p.name[:6]) for p in quarantine.glob("[0-9]*-*.dcm")), default=0)
            move(item.location, quarantine / f"{number + 1:06d}-{code}.dcm")


def belongs(item: Item, series: SeriesReference) -> bool:
    """Whether an instance is of a series: by patient, study and series."""
    if isinstance(item, PlainFile):
        return series.plain
    header = item.header
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


def _check(item: Item) -> _Checked:
    if isinstance(item, PlainFile):
        return digest_member(item), False
    with item.payload.open() as stream:
        pixels = check_elements(stream, item.payload.size, item.transfer_syntax_uid)
    return digest_member(item), pixels


def _token(listed: str) -> str:
    """A name on disk for what a source lists; its own may identify, or be hostile."""
    return hashlib.sha256(listed.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
