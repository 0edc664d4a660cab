"""Filling a resource of a scan: what it lacks is sent, and what it then holds is proven.

XNAT answers 200 in many cases in which it stored nothing, or does not list what it stored. So the
listing is asked before and after, and every file is read back and compared: digests in a catalogue
may be those of an earlier content. Proof.LISTED means that the file is listed with its size, but
could not be read back.

Each change of a resource's statistics writes a row of the server's workflow table and its catalogue
anew. So only the last file of a queue lets them be computed, and they are looked at afterwards.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.model.series import Proof, ReceiptEntry, unannounced
from seriesport.transports.xnat.catalog import scan_path
from seriesport.transports.xnat.paths import file_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.series import Announce
    from seriesport.transports.xnat.catalog import ResourceFile
    from seriesport.transports.xnat.contents import Contents
    from seriesport.transports.xnat.outgoing import Outgoing

_log = logging.getLogger("seriesport")
_INTERRUPTIONS = 3
"""After how many broken requests it stops; the caller may begin it again."""
_OWN_FILE = ("file-unreadable", "source-changed", "name-unsafe", "instance-invalid")
_ROUNDS = 2
"""How often what is accepted and not listed is sent."""
_NO_PERMISSION = "the server answers 200 and stores nothing: it needs a member's or owner's role"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the server said of one file, or why it said nothing."""

    accepted: bool
    code: str = ""
    detail: str = ""


class Filling:
    """One filling of a resource. The caller sees to it that there is one at a time."""

    def __init__(
        self, contents: Contents, words: Mapping[str, str], announce: Announce = unannounced
    ) -> None:
        self._contents = contents
        self._session = contents.catalog.session
        self._words = words
        """Format and content, as XNAT records them."""
        self._announce = announce
        self._entries: dict[str, ReceiptEntry] = {}
        self._outcomes: dict[str, _Outcome] = {}
        self._mine: set[str] = set()
        """Files that this filling wrote under names that were free."""
        self._interruptions = 0
        self._proven = False
        """Whether the server was seen to store a file of ours."""

    def run(self, files: Sequence[Outgoing], *, exists: bool) -> list[ReceiptEntry]:
        """List, send what is missing, list again.

        Args:
            files: Under different names.
            exists: Whether the resource is known to do.

        Raises:
            SeriesportError: where nothing can go on from the beginning.
        """
        contents = self._contents
        listed = contents.listed()
        places = contents.places(listed, files) if listed else {}
        for file in files:
            if file.name in places:
                self._entries[file.name] = self._present(places[file.name], file)
        todo = [file for file in files if file.name not in self._entries]
        if todo:
            self._announce([file.item.uid for file in todo])
            if not exists:
                self._create()
            self._send(todo)
            if any(self._entries[file.name].sent for file in todo):
                self._check_statistics()
        return [self._entries[file.name] for file in files]

    def _present(self, listed: ResourceFile, file: Outgoing) -> ReceiptEntry:
        uid = file.item.uid
        try:
            same = self._contents.same(listed, file)
        except SeriesportError as error:
            detail = f"it is there, and cannot be compared: {error.message}"
            return ReceiptEntry(uid, sent=False, proof=None, code=error.code, detail=detail)
        if same:
            return ReceiptEntry(uid, sent=False, proof=Proof.DIGEST)
        what = "the destination has this with other bytes"
        return ReceiptEntry(uid, sent=False, proof=None, code="destination-conflict", detail=what)

    def _create(self) -> None:
        try:
            # 409: it is there by now.
            self._put_resource((200, 201, 409))
        except StatusError as error:
            if error.status == 403:
                what = "this user may not add to the scan: it needs a member's or owner's role"
                raise SeriesportError("access-denied", what) from None
            raise

    def _put_resource(self, accept: tuple[int, ...]) -> None:
        contents = self._contents
        path = scan_path(contents.experiment.id, contents.scan, "resources", contents.label)
        deadline = contents.catalog.deadline
        self._session.send("PUT", path, params=dict(self._words), accept=accept, deadline=deadline)

    def _send(self, files: Sequence[Outgoing]) -> None:
        todo = list(files)
        for _ in range(_ROUNDS):
            self._send_all(deque(todo))
            accepted = [f for f in todo if f.name not in self._entries and self._accepted(f)]
            try:
                listed = self._contents.listed() if accepted else {}
            except SeriesportError as error:
                self._unverified(accepted, f"the listing cannot be read: {error.message}")
                break
            for file in accepted:
                if file.name in listed:
                    self._entries[file.name] = self._verified(listed[file.name], file)
            todo = [file for file in accepted if file.name not in listed]
            if not todo:
                break
        self._unverified(todo, "accepted, but not listed")
        for file in files:
            if file.name not in self._entries:
                outcome = self._outcomes[file.name]
                self._entries[file.name] = ReceiptEntry(
                    file.item.uid, sent=False, proof=None, code=outcome.code, detail=outcome.detail
                )

    def _check_statistics(self) -> None:
        """Have the server count a resource's files where its count is not that of its list."""
        contents = self._contents
        try:
            if contents.counted() == len(contents.listed()):
                return
            contents.catalog.refresh(contents.experiment, contents.scan, "populateStats")
        except SeriesportError as error:
            _log.warning("a resource's number of files was not brought up to date: %s", error)

    def _accepted(self, file: Outgoing) -> bool:
        return self._outcomes[file.name].accepted

    def _unverified(self, files: Sequence[Outgoing], detail: str) -> None:
        for file in files:
            if file.name not in self._entries and self._accepted(file):
                self._entries[file.name] = ReceiptEntry(
                    file.item.uid,
                    sent=True,
                    proof=Proof.SENT,
                    code="store-unverified",
                    detail=detail,
                )

    def _send_all(self, queue: deque[Outgoing]) -> None:
        while queue:
            file = queue[0]
            if not file.size:
                what = "an XNAT cannot take a file of no bytes"
                self._outcomes[file.name] = _Outcome(accepted=False, code="file-empty", detail=what)
                queue.popleft()
                continue
            try:
                self._outcomes[file.name] = self._store(file, last=len(queue) == 1)
                queue.popleft()
                if not self._proven and not self._stores(file):
                    return self._give_up(queue, file)
            except SeriesportError as error:
                if isinstance(error, StatusError) and error.status == 403:
                    return self._give_up(queue, file)
                told = _of_one_file(error)
                if told is not None:
                    self._outcomes[file.name] = told
                    queue.popleft()
                elif not self._recovered(queue, error):
                    return None
        return None

    def _give_up(self, queue: deque[Outgoing], file: Outgoing) -> None:
        """Nothing of it is stored, and nothing of the rest would be."""
        denied = _Outcome(accepted=False, code="access-denied", detail=_NO_PERMISSION)
        for unsent in (file, *queue):
            self._outcomes[unsent.name] = denied

    def _stores(self, file: Outgoing) -> bool:
        """Whether the server lists the first file that it accepted, if it will ever.

        A user without the right to edit a session gets 200 for a file that is thrown away.
        """
        self._proven = True
        try:
            if file.name not in self._contents.listed():
                self._put_resource((200, 201, 409))
        except SeriesportError as error:
            return not isinstance(error, StatusError) or error.status != 403
        return True

    def _recovered(self, queue: deque[Outgoing], error: SeriesportError) -> bool:
        """After a broken request: list before anything is sent again.

        Gives False where it is over; what is still in the queue then has this error's code.
        """
        file = queue[0]
        self._interruptions += 1
        if error.transient and self._interruptions < _INTERRUPTIONS:
            try:
                there = file.name in self._contents.listed()
            except SeriesportError:
                there = False
            if there:
                self._mine.add(file.name)
                answer = "its answer was lost"
                self._outcomes[file.name] = _Outcome(accepted=True, detail=answer)
                queue.popleft()
            return True
        lost = _Outcome(accepted=False, code=error.code, detail=error.message)
        for unsent in queue:
            self._outcomes[unsent.name] = lost
        return False

    def _store(self, file: Outgoing, *, last: bool) -> _Outcome:
        """Send one file, and again over an orphan: a file on the server's disk that no list has."""
        if not self._put(file, count=last):
            self._mine.add(file.name)
            return _Outcome(accepted=True)
        known = self._contents.listed().get(file.name)
        if known is not None and file.name not in self._mine:
            self._entries[file.name] = self._present(known, file)
            return _Outcome(accepted=True)
        self._put(file, overwrite=True)
        self._mine.add(file.name)
        return _Outcome(accepted=True)

    def _put(self, file: Outgoing, *, overwrite: bool = False, count: bool = True) -> bool:
        """Send one file; whether the server says that it has one of this name already.

        `count` has it compute the resource's number of files and bytes.
        """
        contents = self._contents
        folder = scan_path(contents.experiment.id, contents.scan, "resources", contents.label)
        params = {"inbody": "true", **self._words}
        if overwrite:
            params["overwrite"] = "true"
        if not count:
            params["update-stats"] = "false"
        reply = self._session.send(
            "PUT",
            file_path(folder, file.name),
            params=params,
            headers={"Content-Type": "application/octet-stream"},
            body=file,
            accept=(200, 201),
            deadline=contents.catalog.deadline,
        )
        return _duplicates(reply.body)

    def _verified(self, listed: ResourceFile, file: Outgoing) -> ReceiptEntry:
        """Compare what was sent with what is there; what came over wrong is sent once more."""
        uid, detail = file.item.uid, self._outcomes[file.name].detail
        try:
            same = self._contents.same(listed, file)
            if not same and file.name in self._mine:
                self._put(file, overwrite=True)
                same = self._contents.same(self._contents.listed()[file.name], file)
        except (SeriesportError, KeyError) as error:
            return _unread(listed, file, error)
        if same:
            return ReceiptEntry(uid, sent=True, proof=Proof.DIGEST, detail=detail)
        what = "the destination has other bytes than were sent"
        return ReceiptEntry(uid, sent=True, proof=None, code="store-unverified", detail=what)


def _of_one_file(error: SeriesportError) -> _Outcome | None:
    """What an error says of the file that was sent; None where it is not about that alone."""
    if error.code in _OWN_FILE:
        return _Outcome(accepted=False, code=error.code, detail=error.message)
    if isinstance(error, StatusError) and not error.transient and error.status != 401:
        return _Outcome(accepted=False, code="store-failed", detail=error.message)
    return None


def _unread(listed: ResourceFile, file: Outgoing, error: Exception) -> ReceiptEntry:
    """The entry of a file that is listed and cannot be read back."""
    uid = file.item.uid
    why = error.message if isinstance(error, SeriesportError) else "it is not listed any more"
    if listed.size == file.size and isinstance(error, SeriesportError):
        detail = f"listed with its size, but not read back: {why}"
        return ReceiptEntry(uid, sent=True, proof=Proof.LISTED, detail=detail)
    return ReceiptEntry(uid, sent=True, proof=None, code="store-unverified", detail=why)


def _duplicates(body: bytes) -> bool:
    try:
        told: object = json.loads(body) if body.strip() else {}
    except ValueError:
        return False
    return isinstance(told, Mapping) and bool(cast("Mapping[str, object]", told).get("duplicates"))
