"""Series: an array with the geometry and header of an imaging series, from and to any address."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Self

from seriesport.cohort.resolve import word
from seriesport.images.orders import OPTIONS
from seriesport.series.arraylike import ArrayLike
from seriesport.series.loading import DICOM, Loaded, headed, load, placed
from seriesport.series.othernames import OtherNames
from seriesport.series.saving import save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.images.image import Array, Image
    from seriesport.images.orders import InputOrder
    from seriesport.images.template import Header
    from seriesport.model.address import Address
    from seriesport.model.series import Receipt, SeriesReference


class Series(ArrayLike, OtherNames):
    """An imaging series: values in axes (tags..., slice, row, column, and rgb for colour).

        >>> from seriesport import Series
        >>> mr = Series("images/2", "time")
        >>> mr.axes, mr.shape
        (('time', 'slice', 'row', 'column'), (2, 3, 64, 64))
        >>> mr.spacing  # mm, between slices, rows and columns
        (3.0, 3.4375, 3.4375)
        >>> mr.timeline.tolist()  # s, from the first
        [0.0, 0.3]
        >>> mr.affine_lps[:3, 3].tolist()  # first voxel, mm in DICOM's patient coordinates (LPS)
        [-108.28125, -108.28125, 0.0]
        >>> (mr[:, 1:] * 2).mean("time")  # geometry and header go along
        <Series MR, slice 2 x row 64 x column 64, float64, 3 x 3.438 x 3.438 mm>

    It is read whole or not at all. It behaves as a NumPy array; slicing and arithmetic keep
    geometry and header where they hold, else the result is a plain array (see `indexing` and
    `arithmetic`). A single slice is 2-D.

    Args:
        source: An address or path (see README.md), a reference that `find` returned, a list of
            files, an array, or another Series, which is copied.
        input_order: What tells the images at one position apart: "auto", "none", "time", "te",
            "b", "dti", a DICOM keyword, a function, several with commas; see `orders`. What
            was taken is `input_order` of the Series.
        opts: Options of sorting (see `orders`) and of the source's format (see its module in
            `formats`); "series" chooses by number or UID where there are several.
        template: Patient, study and more for a source that is no DICOM: another Series, or its
            address or files.
        geometry: The place in the patient for such a source: an affine to LPS, a Series, or its
            address or files.
        formats: Formats that the source may have, such as ["nifti"]; without it any, by content,
            DICOM first.
        settings: Servers and limits; without it config/config.yaml in the working directory.
        options: Options of sorting by keyword: `accept_...`, or what a name of the input order
            stands for, as in Series(folder, "ti", ti="InversionTime").

    A PostScript, EPS or PDF file is run, in a sandbox, where it is named itself; in folders, ZIPs
    and on servers only with opts={"postscript": True}.

    Raises:
        SeriesportError: where the series is not found, ambiguous, incomplete, damaged or no
            regular grid; where template or geometry do not fit.
    """

    def __init__(
        self,
        source: str | Path | Address | SeriesReference | Sequence[str | Path] | Array | Series,
        input_order: InputOrder = "auto",
        opts: Mapping[str, Any] | None = None,
        *,
        template: Series | str | Path | Sequence[str | Path] | None = None,
        geometry: Any = None,
        formats: str | Sequence[str] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        self.settings: Settings | None = settings
        """Servers and limits, where they were given."""
        options = {**(opts or {}), **_known(options, input_order)}
        names = (formats,) if isinstance(formats, str) else tuple(formats or ())
        if isinstance(source, Series):
            loaded = _loaded(source.copy())
        else:
            loaded = load(source, input_order, options, names, settings)
        if template is not None:
            loaded = headed(loaded, _loaded(template), settings, options)
        if geometry is not None:
            loaded = placed(loaded, _loaded(geometry), settings, options)
        self.image: Image = loaded.image
        """The values with their geometry, as the formats take them."""
        self.header: Header = loaded.header
        """The DICOM header of each slice."""
        self.source_format = loaded.format
        """What it was read from: "dicom", another format's name, or "array"."""

    def write(
        self,
        url: str | Path,
        opts: Mapping[str, Any] | None = None,
        formats: str | Sequence[str] | None = None,
        *,
        keep_uid: bool = False,
    ) -> Receipt:
        """Write to an address, whole and proven.

        DICOM goes to archives, XNATs, ZIPs and folders, as new instances: the same series at the
        same target has the same UIDs, so that a second write sends nothing. Other formats go to
        files and folders, and to XNAT as a resource of the scan. New files and folders are
        readable by their owner alone, whatever the umask.

            >>> from seriesport import Series
            >>> si = Series("images/1")
            >>> receipt = si[1:].write("cropped")
            >>> receipt.complete, len(receipt.entries)
            (True, 4)
            >>> si.write("ct.nii.gz").complete
            True

        Args:
            url: Address or path; in a path `%p` stands for the name of the format.
            opts: Options of the format, see its module; "resource" names the one of XNAT.
            formats: One or several; without it the path's suffix decides, else it is DICOM.
            keep_uid: Keep Series and SOP Instance UIDs, for a copy of what was read. A changed
                series is not sent to an archive that has them already.

        Returns:
            The receipt: an entry per DICOM instance and per file at an XNAT. It is empty where
            nothing but files of this machine was written.

        Raises:
            SeriesportError: what the destination refused; destination-conflict where it has
                something else under a kept UID, or may have; format-unknown, format-unfit;
                files-unsupported where an archive is to take other formats than DICOM.
        """
        return save(
            self.image,
            self.header,
            url,
            formats=(formats,) if isinstance(formats, str) else tuple(formats or ()),
            opts=dict(opts or {}),
            keep_uid=keep_uid,
            given=self.settings,
        )

    def __repr__(self) -> str:
        # Neither names nor numbers of the patient: it ends up in notebooks and logs.
        lengths = zip(self.image.axes, self.shape, strict=True)
        parts = [
            word(self.modality) if self.modality else "",
            " x ".join(f"{axis} {length}" for axis, length in lengths),
            str(self.dtype),
        ]
        if self.spacing is not None:
            parts.append(" x ".join(f"{mm:.4g}" for mm in self.spacing) + " mm")
        return f"<Series {', '.join(part for part in parts if part)}>"

    def remade(self, image: Image, header: Header) -> Self:
        """Another Series of the same origin."""
        made = copy(self)
        made.image, made.header = image, header
        return made

    def __getstate__(self) -> dict[str, Any]:
        # Where servers are is looked up again where it is unpickled.
        return {**self.__dict__, "settings": None}


def _known(options: Mapping[str, Any], input_order: InputOrder) -> Mapping[str, Any]:
    """Options given by keyword. Raises TypeError for what is none, as Python does."""
    names = input_order.split(",") if isinstance(input_order, str) else []
    for name in options:
        if name not in OPTIONS and name not in map(str.strip, names):
            raise TypeError(f"Series() got an unexpected keyword argument {name!r}")
    return options


def _loaded(source: Any) -> Any:
    """What a Series holds; anything else as it is."""
    if not isinstance(source, Series):
        return source
    return Loaded(source.image, source.header, source.source_format)


__all__ = ["DICOM", "Series"]
