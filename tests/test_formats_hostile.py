"""Headers that promise too much, in a child whose memory is limited and measured."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import arrays
from seriesport.errors import SeriesportError
from seriesport.formats import read, write

GIB = 1 << 30
MEMORY = 400 << 20
"""What the child may have beyond what its imports take."""

CHILD = """
import json, resource, sys, time
from pathlib import Path
from seriesport.errors import SeriesportError
from seriesport.formats import FORMATS, read
for known in FORMATS.values():
    known.read()
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + int(sys.argv[1]),) * 2)
for path in map(Path, sys.argv[2:]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        read(path)
        code = "read"
    except SeriesportError as error:
        code = error.code
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([code, peak * 1024, time.process_time() - start]))
"""

Measured = tuple[str, int, float]
"""The reason, the memory and the CPU seconds that a file costs."""


def measured(*paths: Path) -> list[Measured]:
    """Read files one after the other in one child."""
    command = [sys.executable, "-c", CHILD, str(MEMORY), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def zeros(mebibytes: int) -> bytes:
    """A gzip file of zeros, of many members, which is quickly made."""
    return gzip.compress(bytes(1 << 20), 9) * mebibytes


def nifti_header(shape: tuple[int, ...], **fields: Any) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    for name, value in fields.items():
        header[name] = value
    header["vox_offset"] = fields.get("vox_offset", 352)
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


def nifti(folder: Path) -> Path:
    path = folder / "x.nii"
    path.write_bytes(nifti_header((32767, 32767, 32767, 32767)) + bytes(100))
    return path


def nifti_sparse(folder: Path) -> Path:
    path = folder / "x.nii"
    with path.open("wb") as stream:
        stream.write(nifti_header((2000, 2000, 2000)))
        stream.truncate(1000)
    return path


def nifti_bomb(folder: Path) -> Path:
    path = folder / "x.nii.gz"
    path.write_bytes(gzip.compress(nifti_header((264, 1024, 128))) + zeros(264))
    return path


def nifti_offset(folder: Path) -> Path:
    path = folder / "x.nii.gz"
    path.write_bytes(gzip.compress(nifti_header((2, 2, 2), vox_offset=3e9) + bytes(1 << 20)))
    return path


def nifti_extension(folder: Path) -> Path:
    extension = b"\1\0\0\0" + struct.pack("<II", 0xFFFFFFF0, 6) + b"seriesport "
    path = folder / "x.nii"
    path.write_bytes(nifti_header((2000, 2000, 2000))[:348] + extension + bytes(100))
    return path


def metaimage_header(size: str, data: bytes, **more: Any) -> bytes:
    lines = ["ObjectType = Image", "NDims = 3", f"DimSize = {size}"]
    lines += [f"{k} = {v}" for k, v in more.items()]
    lines += ["ElementType = MET_DOUBLE", "ElementDataFile = LOCAL"]
    return "\n".join(lines).encode() + b"\n" + data


def metaimage(folder: Path) -> Path:
    path = folder / "x.mha"
    path.write_bytes(metaimage_header("100000 100000 100000", bytes(100)))
    return path


def metaimage_bomb(folder: Path) -> Path:
    path = folder / "x.mha"
    data = zlib.compress(bytes(8 << 20), 9)
    path.write_bytes(metaimage_header("1024 1024 1000", data, CompressedData=True))
    return path


def metaimage_endless_header(folder: Path) -> Path:
    path = folder / "x.mha"
    path.write_bytes(b"ObjectType = Image\nComment = " + b"x" * (64 << 20))
    return path


def npz(folder: Path, shape: str, method: int, body: int) -> Path:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"
    path = folder / "x.npz"
    with (
        zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
        archive.open("array.npy", "w") as member,
    ):
        member.write(head)
        for _ in range(body >> 20):
            member.write(bytes(1 << 20))
    return path


def npz_header(folder: Path) -> Path:
    return npz(folder, "(100000, 100000, 100)", zipfile.ZIP_STORED, 0)


def npz_bomb(folder: Path) -> Path:
    return npz(folder, "(264, 1024, 128)", zipfile.ZIP_DEFLATED, 264 << 20)


def npz_pickle(folder: Path) -> Path:
    np.savez(folder / "x.npz", array=np.array([{"a": 1}], object))
    return folder / "x.npz"


def npz_nested(folder: Path) -> Path:
    return npz(folder, "(" * 5000, zipfile.ZIP_STORED, 0)


def mat_variable(shape: tuple[int, int], data: bytes, compress: bool) -> bytes:
    body = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, *shape)
    body += struct.pack("<II8s", 1, 5, b"array") + struct.pack("<II", 9, len(data)) + data
    element = struct.pack("<II", 14, len(body)) + body
    if compress:
        element = zlib.compress(element, 9)
        element = struct.pack("<II", 15, len(element)) + element
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element


def mat(folder: Path) -> Path:
    path = folder / "x.mat"
    path.write_bytes(mat_variable((2**31 - 1, 2**31 - 1), bytes(64), compress=False))
    return path


def mat_bomb(folder: Path) -> Path:
    path = folder / "x.mat"
    path.write_bytes(mat_variable((8192, 8192), bytes(8 << 20), compress=True))
    return path


def png_of(width: int, height: int, data: bytes, colour: int = 2) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def png(folder: Path) -> Path:
    (folder / "x.png").write_bytes(png_of(2**31 - 1, 2**31 - 1, b""))
    return folder / "x.png"


def png_bomb(folder: Path) -> Path:
    row = zlib.compress(bytes(12001 * 3 * 12000 // 8), 9)
    (folder / "x.png").write_bytes(png_of(12000, 12000, row))
    return folder / "x.png"


def jpeg(folder: Path) -> Path:
    stream = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(stream, "JPEG")
    raw = bytearray(stream.getvalue())
    at = raw.index(b"\xff\xc0") + 5
    raw[at : at + 4] = struct.pack(">HH", 65500, 65500)
    (folder / "x.jpg").write_bytes(raw)
    return folder / "x.jpg"


def tiff_of(entries: dict[int, tuple[int, int]], following: int) -> bytes:
    body = struct.pack("<H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        body += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", following)


def tiff(folder: Path) -> Path:
    entries = {256: (4, 2**31 - 1), 257: (4, 2**31 - 1), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    entries |= {273: (4, 8), 277: (3, 1), 278: (4, 2**31 - 1), 279: (4, 100)}
    (folder / "x.tif").write_bytes(tiff_of(entries, 0) + bytes(200))
    return folder / "x.tif"


def tiff_circle(folder: Path) -> Path:
    entries = {256: (4, 2000), 257: (4, 2000), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    entries |= {273: (4, 8), 277: (3, 1), 278: (4, 2000), 279: (4, 4000000)}
    (folder / "x.tif").write_bytes(tiff_of(entries, 8) + bytes(200))
    return folder / "x.tif"


HOSTILE = [
    (nifti, "image-invalid"),
    (nifti_sparse, "image-invalid"),
    (nifti_bomb, "image-too-large"),
    (nifti_offset, "image-invalid"),
    (nifti_extension, "image-invalid"),
    (metaimage, "image-invalid"),
    (metaimage_bomb, "image-too-large"),
    (metaimage_endless_header, "image-invalid"),
    (npz_header, "image-invalid"),
    (npz_bomb, "image-too-large"),
    (npz_pickle, "image-unsupported"),
    (npz_nested, "image-invalid"),
    (mat, "image-too-large"),
    (mat_bomb, "image-too-large"),
    (png, "image-too-large"),
    (png_bomb, "image-too-large"),
    (jpeg, "image-too-large"),
    (tiff, "image-too-large"),
    (tiff_circle, "image-invalid"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """What became of each file."""
    files = [make(tmp_path_factory.mktemp(make.__name__)) for make, _ in HOSTILE]
    names = [make.__name__ for make, _ in HOSTILE]
    return dict(zip(names, measured(*files), strict=True))


@pytest.mark.xdist_group("hostile formats")
@pytest.mark.parametrize(("make", "code"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_a_file_that_promises_too_much_is_refused_in_little_time_and_memory(
    outcomes: dict[str, Measured], make: Any, code: str
) -> None:
    found, peak, seconds = outcomes[make.__name__]
    assert found == code
    assert peak < 150 << 20
    assert seconds < 3


def test_a_genuine_file_that_compresses_well_is_read_when_allowed(tmp_path: Path) -> None:
    path = nifti_bomb(tmp_path)
    with pytest.raises(SeriesportError, match="image-too-large"):
        read(path)
    assert read(path, opts={"max_bytes": GIB}).array.shape == (128, 1024, 264)


def test_a_bomb_that_lies_about_its_size_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(nifti_header((2, 2, 2))) + zeros(600))
    ((found, peak, seconds),) = measured(path)
    assert (found, peak < 50 << 20, seconds < 1) == ("read", True, True)


# Damage of any kind


def samples() -> dict[str, tuple[str, bytes]]:
    """A small file of each kind, and the name of its format."""
    volumes = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    made = arrays.image(volumes, {"time": (0.0, 1.0)}, arrays.affine())
    pictures = arrays.image(volumes[0].astype(np.uint8))
    picture = arrays.image(volumes[0, 0].astype(np.uint8))
    kinds = {
        "x.nii": (made, "nifti"),
        "x.nii.gz": (made, "nifti"),
        "x.mha": (made, "metaimage"),
        "x.npz": (made, "npz"),
        "x.mat": (made, "mat"),
        "x.tif": (pictures, "tiff"),
        "x.png": (picture, "png"),
        "x.jpg": (picture, "jpeg"),
    }
    found: dict[str, tuple[str, bytes]] = {}
    with TemporaryDirectory() as folder:
        for name, (image, known) in kinds.items():
            (path,) = write(image, Path(folder) / name)
            found[name] = (known, path.read_bytes())
        packed = Path(folder, "packed.mat")
        scipy.io.savemat(packed, {"array": volumes}, do_compression=True)
        found[packed.name] = ("mat", packed.read_bytes())
    return found


SAMPLES = samples()
BYTES = st.one_of(
    st.sampled_from([bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\xc0\x7f"]),
    st.binary(max_size=8),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), BYTES), min_size=1, max_size=6)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(share=st.sampled_from([0.1, 0.4, 1.0]), changes=CHANGES)
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_read_or_refused_with_a_reason(
    name: str, share: float, changes: list[tuple[float, int, bytes]]
) -> None:
    known, data = SAMPLES[name]
    raw = bytearray(data)
    for at, gone, new in changes:
        place = int(at * share * len(raw))
        raw[place : place + gone] = new
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        with suppress(SeriesportError):
            read(path, known)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.mha", "x.npz", "packed.mat"])
def test_a_changed_voxel_is_noticed_by_the_checksum(tmp_path: Path, name: str) -> None:
    known, data = SAMPLES[name]
    stored = data.find(np.arange(9, dtype=np.int16).tobytes())
    for at in (-2, -4) if stored < 0 else (stored, stored + 40):
        raw = bytearray(data)
        raw[at] ^= 0x10
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(SeriesportError, match="invalid"):
            read(tmp_path / name, known)
