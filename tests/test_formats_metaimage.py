from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK

import arrays
from seriesport.errors import SeriesportError
from seriesport.formats import read, write

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def text_file(path: Path, data: bytes = b"", **fields: Any) -> Path:
    """A .mha with a header of our own wording, the given fields replacing the usual ones."""
    usual = {
        "ObjectType": "Image",
        "NDims": 2,
        "BinaryData": True,
        "DimSize": "2 2",
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    last = fields.pop("ElementDataFile", usual["ElementDataFile"])
    fields = {**usual, **fields}
    del fields["ElementDataFile"]
    lines = [f"{k} = {v}\n" for k, v in (*fields.items(), ("ElementDataFile", last))]
    path.write_bytes("".join(lines).encode() + data)
    return path


def refusal(path: Path) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        read(path)
    return caught.value


@pytest.mark.parametrize("name", ["x.mha", "x.mhd"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_itk_finds_every_voxel_at_its_place(
    tmp_path: Path, name: str, compress: bool, mirrored: bool
) -> None:
    made = arrays.image(VALUES, None, arrays.affine(mirrored=mirrored))
    write(made, tmp_path / name, opts={"compress": compress})
    found = SimpleITK.ReadImage(str(tmp_path / name))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), VALUES)
    for k, j, i in np.ndindex(3, 3, 3):
        point = found.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(point, (made.affine_lps @ [k, j, i, 1])[:3], atol=1e-9)


@pytest.mark.parametrize("name", ["x.mha", "x.mhd"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", arrays.DTYPES)
def test_a_file_of_itk_is_found_at_its_place(
    tmp_path: Path, name: str, compress: bool, dtype: str
) -> None:
    made = SimpleITK.GetImageFromArray(VALUES.astype(dtype))
    made.SetDirection(arrays.rotation((0.1, 0.7, -0.4)).reshape(-1).tolist())
    made.SetSpacing((1.25, 1.5, 3))
    made.SetOrigin((-90, 20, 33))
    SimpleITK.WriteImage(made, str(tmp_path / name), useCompression=compress)
    found = read(tmp_path / name)
    np.testing.assert_array_equal(found.array, VALUES.astype(dtype))
    assert found.array.dtype == dtype
    assert found.affine_lps is not None
    for k, j, i in np.ndindex(3, 3, 3):
        point = made.TransformIndexToPhysicalPoint((i, j, k))
        np.testing.assert_allclose(point, (found.affine_lps @ [k, j, i, 1])[:3], atol=1e-9)


def test_itk_reads_what_stands_behind_a_long_list_of_tags(tmp_path: Path) -> None:
    values = np.arange(2000 * 2 * 2, dtype=np.int16).reshape(2000, 2, 2)
    made = arrays.image(values, {"time": tuple(1 / (i + 1) for i in range(2000))})
    write(made, tmp_path / "x.mha")
    found = SimpleITK.ReadImage(str(tmp_path / "x.mha"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found).reshape(values.shape), values)


def test_colours_are_colours_for_itk(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    write(arrays.image(values, colour=True), tmp_path / "x.mha")
    found = SimpleITK.ReadImage(str(tmp_path / "x.mha"))
    assert found.GetNumberOfComponentsPerPixel() == 3
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(found), values)


def test_big_endian_voxels_at_the_end_of_a_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"anything" + np.arange(4, dtype=">u2").tobytes())
    path = text_file(
        tmp_path / "x.mhd",
        ElementType="MET_USHORT",
        ElementByteOrderMSB=True,
        HeaderSize=-1,
        ElementDataFile="x.raw",
    )
    assert read(path).array.tolist() == [[0, 1], [2, 3]]
    assert read(path).affine_lps is None


@pytest.mark.parametrize("name", ["../x.raw", "/etc/passwd", "..", "sub/x.raw", "a\\b"])
def test_voxels_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    assert refusal(text_file(tmp_path / "x.mhd", ElementDataFile=name)).code == "name-unsafe"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"DimSize": "2 -2"}, "image-invalid"),
        ({"DimSize": "2 2 2"}, "image-invalid"),
        ({"DimSize": "2 1e30"}, "image-invalid"),
        ({"DimSize": "nan 2"}, "image-invalid"),
        ({"NDims": 99}, "image-invalid"),
        ({"NDims": "x"}, "image-invalid"),
        ({"ElementType": "MET_STRING"}, "image-unsupported"),
        ({"BinaryData": False}, "image-unsupported"),
        ({"ElementNumberOfChannels": 7}, "image-unsupported"),
        ({"ObjectType": "Tube"}, "image-unsupported"),
        ({"ElementDataFile": "LIST"}, "image-unsupported"),
        ({"ElementDataFile": "none.raw"}, "file-unreadable"),
        ({"CompressedData": True}, "image-invalid"),
        ({"NDims": 3, "DimSize": "2 2 1", "Offset": "0 nan 0"}, "geometry-irregular"),
        ({"NDims": 3, "DimSize": "2 2 1", "TransformMatrix": "0 " * 9}, "geometry-irregular"),
        ({"SeriesportAxes1": "{}"}, "image-invalid"),
        ({"SeriesportAxes1": '{"axes":["row","row"],"tags":{}}'}, "image-invalid"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    tmp_path: Path, fields: dict[str, Any], code: str
) -> None:
    assert refusal(text_file(tmp_path / "x.mha", b"1234", **fields)).code == code


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, compress: bool) -> None:
    (path,) = write(arrays.image(VALUES), tmp_path / "x.mha", opts={"compress": compress})
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert refusal(path).code == "image-invalid"
