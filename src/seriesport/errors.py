"""Every reason code, and the one exception that reaches a user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason code means and what to do about it."""

    summary: str
    advice: str
    transient: bool = False
    """True where the same request may succeed later, so that it is worth a retry."""


REASONS: dict[str, Reason] = {
    # What the user wrote
    "address-invalid": Reason(
        "An address cannot be read.",
        "Correct the marked part. README.md lists the forms; percent-encode '/', '?', '#' and '%'.",
    ),
    "config-missing": Reason(
        "There is no config.yaml.",
        "Run: cp -n config/config.example.yaml config/config.yaml && cp -n"
        " config/cohort.example.yaml config/cohort.yaml && chmod 0600 config/cohort.yaml,"
        " then name your servers in the first and list your series in the second.",
    ),
    "config-invalid": Reason(
        "config.yaml does not fit its schema.",
        "Correct the named key; config/README.md describes each one.",
    ),
    "cohort-invalid": Reason(
        "The cohort file does not fit its schema.",
        "Correct the named line; config/README.md shows every form of an entry.",
    ),
    "cohort-not-private": Reason(
        "The cohort file, or another file with identifiers or secrets, can be read by others.",
        "It holds identifiers or secrets, which its owner alone may read.",
    ),
    "cohort-tracked": Reason(
        "git tracks the cohort file, so that a commit publishes the identifiers in it.",
        "Run: git rm --cached FILE, and add it to .gitignore.",
    ),
    "identifier-not-text": Reason(
        "An identifier is no text any more: YAML without quotes, or a spreadsheet, made a number, date or truth value of it.",
        'In YAML put identifiers in quotes, as in patient: "0012345"; in a spreadsheet format their'
        " columns as text.",
    ),
    "identifier-wildcard": Reason(
        "An identifier contains '*', '?' or '\\', which an archive would read as a pattern.",
        "Add the study UID or another identifier without these characters, so that it need not be sent.",
    ),
    "server-unknown": Reason(
        "The address names a server that config.yaml does not describe.",
        "Add it under servers:, or write host:port in the address.",
    ),
    "scheme-unsupported": Reason(
        "This kind of address does not go here.",
        "README.md lists the kinds of addresses: a path, file://, zip://, dicom:// and xnat://.",
    ),
    # What the source or the destination has
    "not-found": Reason(
        "Nothing at the source matches.",
        "List what is there with: seriesport ls ADDRESS, one level up, and correct the entry.",
    ),
    "ambiguous": Reason(
        "More than one study or series matches.",
        "Choose one of the listed matches, or add a study UID or a filter.",
    ),
    "too-few-instances": Reason(
        "The series has fewer instances than the entry asks for.",
        "Check the series at the source, or lower min_instances.",
    ),
    "incomplete": Reason(
        "Not every expected instance arrived.",
        "Run again: only what is missing is asked for. If it fails again, the archive cannot deliver them.",
        transient=True,
    ),
    "missing-here": Reason(
        "The checked address lacks instances that the other one has.",
        "Copy them: seriesport cp OTHER ADDRESS; cp sends only what is missing.",
    ),
    "missing-there": Reason(
        "The other address lacks instances that the checked one has.",
        "Copy them: seriesport cp ADDRESS OTHER; cp sends only what is missing.",
    ),
    "missing-both": Reason(
        "Each of two compared addresses lacks instances that the other one has.",
        "Look at the table for what is missing where; seriesport cp sends only what is missing.",
    ),
    "changed-during-fetch": Reason(
        "The source's list of instances changed while the series was fetched.",
        "The study may still be arriving. Run again when it is complete at the source.",
        transient=True,
    ),
    "instance-truncated": Reason(
        "An instance ends before its data set does.",
        "It was put aside and is asked for again on the next run. If it stays, the source's copy is damaged.",
        transient=True,
    ),
    "instance-invalid": Reason(
        "A DICOM file or data set breaks the encoding rules of PS3.5 or PS3.10.",
        "Look at the file with a DICOM dump tool, and report it to whoever runs the source.",
    ),
    "pixels-mislabelled": Reason(
        "An instance's pixel data are compressed and its transfer syntax says that they are not, or the reverse.",
        "It was put aside, for no reader can decode it. Report it to whoever runs the source.",
    ),
    "listing-doubtful": Reason(
        "The archive's list of what it has contradicts itself, so that nothing can be taken for complete.",
        "Run again. If it stays, name the study or series by its UID, and report it to whoever runs the archive.",
        transient=True,
    ),
    "instance-foreign": Reason(
        "An instance belongs to another patient, study or series than the one asked for.",
        "It was put aside. Report it to whoever runs the archive.",
    ),
    "instance-conflict": Reason(
        "One SOP Instance UID came with two different contents.",
        "Both stay where they are. Find out which is right before you go on.",
    ),
    "source-changed": Reason(
        "A source file changed while it was read.",
        "Run again when nothing writes to the source.",
        transient=True,
    ),
    # The ways there
    "archive-unreachable": Reason(
        "No connection to the archive.",
        "Check host, port and firewall; try: seriesport echo ADDRESS",
        transient=True,
    ),
    "port-taken": Reason(
        "The port to serve at cannot be used.",
        "Choose another one, or 0 for any that is free.",
    ),
    "association-rejected": Reason(
        "The archive refused the association.",
        "Ask the archive's administrator to register the calling AE title; check the called one.",
    ),
    "association-busy": Reason(
        "The archive refused the association for now.",
        "Run again later, or lower associations: for this server.",
        transient=True,
    ),
    "association-denied": Reason(
        "The archive ended the association instead of answering a request for the first time.",
        "Ask its administrator to register the calling AE title and to allow it C-FIND and C-GET, and C-STORE at a destination; seriesport echo ADDRESS shows what works.",
        transient=True,
    ),
    "association-aborted": Reason(
        "The archive ended the association in the middle.",
        "Run again: only what is missing is asked for.",
        transient=True,
    ),
    "context-refused": Reason(
        "The archive accepts no presentation context that this needs.",
        "Ask the archive's administrator to allow the named SOP class or service for the calling AE title.",
    ),
    "dimse-failure": Reason(
        "The archive answered a request with a failure status.",
        "The status stands in the message; PS3.4 and the archive's conformance statement explain it.",
    ),
    "dimse-refused": Reason(
        "The archive is out of resources for this request.",
        "Run again later.",
        transient=True,
    ),
    "protocol-error": Reason(
        "The peer broke the DICOM network protocol (PS3.7, PS3.8).",
        "Check that the port is a DICOM port, and whether it wants TLS.",
    ),
    "timeout": Reason(
        "The peer was silent, or the whole retrieval took longer than allowed.",
        "Run again: only what is missing is asked for. If it stays: raise timeout: where the server was silent, wall_clock: where it took too long.",
        transient=True,
    ),
    "tls-untrusted": Reason(
        "The server's TLS certificate was not accepted.",
        "Set tls.ca for this server to the authority that signed it; verification cannot be turned off.",
    ),
    "tls-failed": Reason(
        "No TLS connection could be made.",
        "Check that the port speaks TLS, and tls.certificate and tls.key if the server wants a client certificate.",
    ),
    # XNAT
    "credentials-missing": Reason(
        "No user name and password for the XNAT server.",
        "Set SERIESPORT_USER_NAME and SERIESPORT_PASSWORD_NAME, or add a machine entry to ~/.netrc; see config/README.md.",
    ),
    "credentials-exposed": Reason(
        "The netrc file can be read by others.",
        "Run: chmod 0600 FILE, and change the password if others had access.",
    ),
    "credentials-refused": Reason(
        "The server refuses the user name and password.",
        "Correct them; an alias token may have expired.",
    ),
    "access-denied": Reason(
        "The server does not let this user do that.",
        "Ask the project's owner for access; a change needs the role of a member or an owner.",
    ),
    "server-unreachable": Reason(
        "No connection to the server.",
        "Check the url and the firewall.",
        transient=True,
    ),
    "connection-lost": Reason(
        "The server ended the connection in the middle of an answer.",
        "Run again: only what is missing is asked for.",
        transient=True,
    ),
    "server-busy": Reason(
        "The server asks to come back later.",
        "Run again later, or lower connections: for this server.",
        transient=True,
    ),
    "server-failure": Reason(
        "The server failed at a request.",
        "Run again. If it stays, the status in the message is for the server's administrator.",
        transient=True,
    ),
    "request-refused": Reason(
        "The server refused a request.",
        "The status stands in the message; ask the server's administrator.",
    ),
    "answer-invalid": Reason(
        "The server answered with something other than what was asked for, such as a web page.",
        "Check the url of the server, with its path. If it is right, run again: a log-in or maintenance page may be in the way.",
        transient=True,
    ),
    "redirect-refused": Reason(
        "The server sends to another address, where user name and password must not go.",
        "Give the url that it redirects to, if you trust it.",
    ),
    "experiment-elsewhere": Reason(
        "An experiment of this label belongs to another subject.",
        "Correct the subject or the experiment in the address; nothing was moved.",
    ),
    "scan-ambiguous": Reason(
        "The ID of the scan is the type of another scan, and the XNAT cannot tell them apart.",
        "Give the other scan another type at the XNAT, or name another scan in the address.",
    ),
    "file-mismatch": Reason(
        "A file's bytes are not those that its source lists.",
        "Run again: it is fetched anew. If it stays, the source's copy or its catalogue is damaged.",
        transient=True,
    ),
    # Files and ZIP files
    "file-unreadable": Reason(
        "A file or folder cannot be read.",
        "Check the path and its permissions.",
    ),
    "file-unwritable": Reason(
        "A file or folder cannot be written.",
        "Check permissions and free space.",
    ),
    "files-unsupported": Reason(
        "The destination takes DICOM instances alone.",
        "Deliver NIfTI and other files to an XNAT or a folder; see 'upload' in config/README.md.",
    ),
    "window-closed": Reason(
        "The server may be asked in certain hours only, and the job would end before they begin.",
        "Run again when the window in config.yaml opens; what is fetched already stays.",
    ),
    "file-empty": Reason(
        "The destination cannot take a file of no bytes.",
        "Leave the file out.",
    ),
    "destination-conflict": Reason(
        "The destination already has something else under this name or UID; it was not replaced.",
        "Choose another destination, or find out which content is right.",
    ),
    "zip-invalid": Reason(
        "The ZIP file is damaged.",
        "Get it again from where it came from.",
    ),
    "zip-unsupported": Reason(
        "A ZIP member is encrypted, or compressed by a method other than deflate.",
        "Unpack it with the tool that made it, and give the folder.",
    ),
    "zip-unsafe-name": Reason(
        "A ZIP member's name is absolute, climbs out of the archive, or cannot be a file name.",
        "Do not trust this ZIP; repack the images.",
    ),
    "name-unsafe": Reason(
        "A file's name at its source is absolute, climbs out of its folder, or cannot be one.",
        "Do not trust this source; have the file renamed there.",
    ),
    "zip-symlink": Reason(
        "A ZIP member is a symbolic link or another special file.",
        "Repack the images as plain files.",
    ),
    "zip-duplicate": Reason(
        "Two members of the ZIP have one name.",
        "Repack the images under different names.",
    ),
    "zip-overlap": Reason(
        "Members of the ZIP overlap.",
        "Do not trust this ZIP; repack the images.",
    ),
    "zip-bomb": Reason(
        "The ZIP exceeds a limit on members, size or compression ratio.",
        "If it is genuine, raise zip_limits: in config.yaml.",
    ),
    "bundle-damaged": Reason(
        "A fetched series on disk does not match its manifest.",
        "It is fetched again on the next run.",
        transient=True,
    ),
    "file-damaged": Reason(
        "A file that Seriesport keeps in the results folder is not as it was written.",
        "Run snakemake again: the file is put aside as *.damaged, and made anew from the cohort, the sources and the destinations.",
    ),
    "secret-lost": Reason(
        "The results folder's file `secret` is gone or damaged, and every key there was made with it.",
        "Restore it from a backup. Without one, move the results folder away and begin anew: keys and file names become others.",
    ),
    "output-lost": Reason(
        "A file that a step made is gone, or has another size.",
        "Run again: it is made anew. Nothing else is fetched, converted or sent again.",
        transient=True,
    ),
    # Upload
    "store-failed": Reason(
        "The destination refused an instance.",
        "The status stands in the message; ask the destination's administrator.",
    ),
    "store-unverified": Reason(
        "The destination does not list an instance that it accepted.",
        "Run again: only what the destination does not list is sent.",
        transient=True,
    ),
    "delivery-lost": Reason(
        "What was delivered is not at its destination any more.",
        "Run again: what is missing there is delivered anew. If it was removed on purpose, take the destination out of the cohort.",
        transient=True,
    ),
    "removal-unsupported": Reason(
        "The destination cannot be told to delete.",
        "Have it deleted there; then forget it here with: seriesport prune --yes --forget",
    ),
    "delivery-left": Reason(
        "Something that was delivered could not be removed from its destination.",
        "The table says what and why. Remove it there, then: seriesport prune --yes --forget",
    ),
    "still-wanted": Reason(
        "An entry of the cohort that has no answer yet may mean this series.",
        "Let the entry be planned, or take it out: then run seriesport prune again.",
    ),
    # Convert
    "conversion-failed": Reason(
        "The converter failed.",
        "Read its messages in the job's log; choose other formats: for this entry if it cannot be converted.",
    ),
    "conversion-incomplete": Reason(
        "The converter reports missing slices or volumes.",
        "Compare the series with the scanner or the archive; the source itself may lack images.",
    ),
    "not-an-image": Reason(
        "The series holds no images, so this format cannot be made from it.",
        "Leave image formats out for this entry (formats: []).",
    ),
    "order-unknown": Reason(
        "The input order is none that is known.",
        "Name one of auto, none, time, triggertime, te, fa, ti, b, bvector, dti, a DICOM keyword, or several with commas.",
    ),
    "order-ambiguous": Reason(
        "The header explains the images at one position in two ways, whose orders differ.",
        "Say which one holds: input_order in the cohort's entry or in config.yaml, or in Python"
        ' Series(..., input_order="time").',
    ),
    "geometry-irregular": Reason(
        "The slices do not form a regular grid.",
        "Look at the series for missing, doubled or tilted slices. In Python, opts may accept_gantry_tilt,"
        " accept_uneven_spacing or accept_duplicate_tag.",
    ),
    "format-unknown": Reason(
        "No format is known that these files have, or that this name means.",
        "State the format with formats=, or give a file of a format that README.md lists.",
    ),
    "format-unfit": Reason(
        "The format cannot hold this image.",
        "Choose another format, or another type of values.",
    ),
    "image-invalid": Reason(
        "An image file is damaged, or breaks the rules of its format.",
        "Get it again from where it came from.",
    ),
    "image-unsupported": Reason(
        "An image file uses a variant of its format that is not read.",
        "Save it again with the variant that the message names.",
    ),
    "image-too-large": Reason(
        "An image file states a size that its bytes do not justify, or that memory does not hold.",
        "If it is genuine, raise max_bytes in opts.",
    ),
    "postscript-off": Reason(
        "PostScript, EPS and PDF are programs and are read only when they are allowed to be.",
        "If you trust where it comes from, say postscript: true in config.yaml, or in Python"
        ' opts={"postscript": True}; it runs in a sandbox.',
    ),
    "sandbox-missing": Reason(
        "The file is a program, and on this system no sandbox can confine it.",
        "Read it on Linux, or make a picture of it with a program that you trust it to.",
    ),
    "tool-missing": Reason(
        "A program that this format needs is not installed.",
        "Install the package that the message names.",
    ),
    "geometry-mismatch": Reason(
        "Data, geometry and header do not fit each other.",
        "Give a geometry of the same slice count, matrix and handedness, or none.",
    ),
    "header-invalid": Reason(
        "A DICOM attribute cannot be set to this.",
        "Use a keyword of PS3.6 and a value that its VR allows; geometry and bits follow from the image.",
    ),
    "pixels-unsupported": Reason(
        "The values cannot be stored as DICOM pixels.",
        "Replace NaN and infinite values (or state nan=), and convert complex numbers and records.",
    ),
    "cohort-failed": Reason(
        "At least one series of the cohort failed.",
        "The table says which and why. Run snakemake again: it retries just those.",
    ),
    "shard-busy": Reason(
        "Another process is at work on the same shard or file.",
        "Let it end. It may be a job of an earlier run on another node: cancel that, or run again later.",
        transient=True,
    ),
    "not-granted": Reason(
        "Snakemake granted a job no connection to a server that the job would talk to, so that no limit would hold.",
        "Take resources: out of 'use rule ... with', and set memory and time by set-resources: in a profile, or repeat the named line there.",
    ),
    "interrupted": Reason(
        "The run was stopped from outside.",
        "Run again: what is complete is kept.",
        transient=True,
    ),
    "not-attempted": Reason(
        "The step did not run because an earlier one failed for this series.",
        "See the earlier step's reason.",
    ),
    "internal": Reason(
        "A fault of Seriesport itself.",
        "Report it with the log file; logs carry no identifiers.",
    ),
}


class SeriesportError(Exception):
    """A failure with a stable reason code and one line for the person at the terminal.

    The message names a series by its key or number, never by the patient.

        >>> from seriesport import Series, SeriesportError
        >>> try:
        ...     Series("images")
        ... except SeriesportError as error:
        ...     print(error.code)
        ...     print(error.reason.summary)
        ...     print(error.transient)  # True where the same request may succeed later
        ambiguous
        More than one study or series matches.
        False

    `REASONS` has all codes with what to do about each; so has `seriesport explain`.

    Args:
        code: One of `REASONS`.
        message: What happened, in one line.
        matches: Lines with identifiers, of what was found instead: for a file that its owner alone
            can read and for the user's own terminal, never for a log.
    """

    def __init__(self, code: str, message: str, matches: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = REASONS[code]
        self.matches = tuple(matches)

    @property
    def message(self) -> str:
        """What happened, in one line."""
        return str(self.args[0])

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.reason.transient

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


def unwritable(error: OSError) -> SeriesportError:
    """The error for a file that cannot be written; it names the cause and not the file."""
    return SeriesportError("file-unwritable", f"cannot write: {os.strerror(error.errno or 0)}")


def unreadable(error: OSError, what: str = "the file") -> SeriesportError:
    """The error for a file that cannot be read; it names the cause and not the file."""
    return SeriesportError(
        "file-unreadable", f"cannot read {what}: {os.strerror(error.errno or 0)}"
    )
