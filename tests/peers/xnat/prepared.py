"""What was done on the real XNAT 1.6.5 between the recorded requests, so that they find it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

SUBJECTS = "/data/projects/PR1/subjects"
RANGES = f"{SUBJECTS}/RNG/experiments/RNG1"
NAMES = f"{SUBJECTS}/U1/experiments/U1_MR"
TYPES = f"{SUBJECTS}/U2/experiments/U2_MR"
DIGESTS = f"{SUBJECTS}/U3/experiments/U3_MR"
RIGHTS = f"{SUBJECTS}/W1/experiments/W1_MR"
WAVE = bytes((7 * at + (at >> 8)) % 256 for at in range(200000))
BOUNDARY = "boundary"
NO_BYTES = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="zero2.dcm"\r\n\r\n'
    f"\r\n--{BOUNDARY}--\r\n"
).encode()


@dataclass
class Before:
    """The requests that come before a recorded one."""

    puts: list[tuple[str, bytes]] = field(default_factory=list)
    """Path and body."""
    counters: dict[str, int] = field(default_factory=dict)
    """The numbers that the server had given away by then."""


def session(path: str) -> tuple[str, bytes]:
    return f"{path}?xsiType=xnat:mrSessionData", b""


def scan(path: str, name: str, **words: str) -> tuple[str, bytes]:
    query = "".join(f"&xnat:mrScanData/{key}={quote(value)}" for key, value in words.items())
    return f"{path}/scans/{name}?xsiType=xnat:mrScanData{query}", b""


def file(path: str, name: str, content: bytes) -> tuple[str, bytes]:
    """A file of the scan and resource `1/RAW`, say."""
    number, _, label = name.partition("/")
    return f"{path}/scans/{number}/resources/{label}?inbody=true&overwrite=true", content


STEPS = {
    "range: none, 1024 bytes": Before(
        [
            session(RANGES),
            scan(RANGES, "1", type="T1w"),
            file(RANGES, "1/RAW/files/small.bin", bytes(range(256)) * 4),
            file(RANGES, "1/RAW/files/big.bin", WAVE),
            file(RANGES, "1/RAW/files/mid.bin", WAVE[:65536]),
            file(RANGES, "1/RAW/files/one.bin", b"x"),
        ],
        {"subject": 28, "experiment": 33, "resource": 36},
    ),
    "scan create id '3 a' type 'type 3 a'": Before(
        [
            session(NAMES),
            scan(NAMES, "1", type="T1w"),
            scan(NAMES, "T1w", type="type T1w"),
            scan(NAMES, "50", type="type 50"),
        ]
    ),
    "file: PUT into scan 60, after scan 61 got the type 60": Before(
        [
            session(TYPES),
            scan(TYPES, "60", type="T1w", series_description="x"),
            (f"{TYPES}/scans/60/resources/DICOM?content=RAW", b""),
            file(TYPES, "60/DICOM/files/0001.dcm", bytes(3094)),
            file(TYPES, "60/DICOM/files/0002.dcm", bytes(3094)),
            scan(TYPES, "61", type="60", series_description="y"),
            (f"{TYPES}/scans/61/resources/DICOM?content=RAW", b""),
            file(TYPES, "61/DICOM/files/0001.dcm", bytes(3092)),
            file(TYPES, "61/DICOM/files/0002.dcm", bytes(3092)),
        ],
        {"subject": 48, "experiment": 54, "resource": 70, "pk-scan": 67},
    ),
    "file: GET of zero bytes with Range 0-65535": Before(
        [
            scan(TYPES, "80"),
            (f"{TYPES}/scans/80/resources/DICOM/files/zero2.dcm", NO_BYTES),
        ]
    ),
    "member: delete file": Before(
        [
            session(RIGHTS),
            scan(RIGHTS, "4"),
            file(RIGHTS, "4/DICOM/files/h_mem.txt", b"x"),
            (f"{SUBJECTS}/H_mem", b""),
        ]
    ),
    "digest: files list before refresh": Before(
        [
            session(DIGESTS),
            scan(DIGESTS, "1", type="T1w"),
            (f"{DIGESTS}/scans/1/resources/RAW?content=RAW", b""),
            file(DIGESTS, "1/RAW/files/a.txt", b"a" * 11),
            file(DIGESTS, "1/RAW/files/b.txt", b"b" * 11),
        ],
        {"subject": 86, "experiment": 93, "resource": 125, "pk-scan": 115},
    ),
    "scan field: note with &": Before([scan(DIGESTS, "1", startTime="12:00:00")]),
    "files: GET label with blank": Before([file(DIGESTS, "1/A%20B/files/x.txt", b"xxx")]),
    "digest: catalog (GET of the resource) right after PUT": Before(
        [file(DIGESTS, "1/DIG/files/d.txt", b"first")]
    ),
    "digest: catalog after an overwrite": Before([file(DIGESTS, "1/DIG/files/d.txt", b"second")]),
    "digest: catalog after an overwrite that follows a refresh": Before(
        [file(DIGESTS, "1/DIG/files/d.txt", b"third")]
    ),
    "digest: catalog after another PUT": Before([file(DIGESTS, "1/DIG/files/e%20f.txt", b"e f")]),
}
"""By the label of the recorded request."""
