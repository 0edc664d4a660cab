"""The cohort as TSV or CSV: cells as a spreadsheet leaves them, turned into an entry's values."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from seriesport.config.schema import unknown
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from seriesport.config.schema import Problems

CODE = "cohort-invalid"
_LISTS = ("modality", "quality", "destinations", "formats", "upload")
_WORDS = ("modality", "formats", "upload")
"""Lists whose items have no comma or semicolon in them, as paths may."""
_NUMBERS = ("min_instances", "max_series")
_ITEM_END = re.compile(r"\s*\|\s*")
_ZIPPED = b"PK\x03\x04"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FORMULA = re.compile('="(.*)"')
_ROUNDED = re.compile(r"-?[0-9]+([.,][0-9]+)?E\+[0-9]+")
_FAILED = re.compile(r"#(REF!|N/A|NAME\?|VALUE!|DIV/0!|NUM!|NULL!|#+)")


def read_table(
    content: bytes,
    name: str,
    known: Collection[str],
    identifiers: Collection[str],
    problems: Problems,
) -> Iterator[tuple[int, dict[str, object]]]:
    """Give the line number and the values of each row that has any.

    The header line names the columns, in any order; tab, semicolon or comma separates, whichever
    the header has. `|` separates the items of a list, and `none` is the empty one. Blank lines
    and lines that begin with `# ` are passed over.

    Raises:
        SeriesportError: cohort-invalid, where the file is not a table at all.
    """
    lines = io.StringIO(_decode(content, name), newline=None)
    header, separator, start = _header(lines, name, known, problems)
    rows = csv.reader(_without_comments(lines, start, problems), delimiter=separator, strict=True)
    line = start
    try:
        for cells in rows:
            line = start + rows.line_num
            values = _row(line, header, cells, identifiers, problems) if cells else None
            if values:
                yield line, values
    except csv.Error:
        text = "the quotes of a cell do not end where the cell does"
        raise SeriesportError(CODE, f"{name}, line {line + 1}: {text}") from None


def _decode(content: bytes, name: str) -> str:
    if content.startswith(_ZIPPED):
        what = "this is a spreadsheet program's own file; save the table as 'CSV UTF-8'"
        raise SeriesportError(CODE, f"{name}: {what}")
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        text = "this is not UTF-8 text; save the table as 'CSV UTF-8'"
        raise SeriesportError(CODE, f"{name}, line {line}: {text}") from None


def _is_comment(line: str) -> bool:
    return line.startswith("#") and (len(line) == 1 or line[1].isspace())


def _header(
    lines: io.StringIO, name: str, known: Collection[str], problems: Problems
) -> tuple[list[str], str, int]:
    wanted = (pair for pair in enumerate(lines, 1) if pair[1].strip() and not _is_comment(pair[1]))
    number, line = next(wanted, (0, ""))
    if not line:
        raise SeriesportError(CODE, f"{name}: the table has no header line")
    separator = next((mark for mark in "\t;," if mark in line), "\t")
    cells = [
        re.sub(r"[\s-]+", "_", cell.strip().strip('"').lower()) for cell in line.split(separator)
    ]
    if not any(cell in known for cell in cells):
        text = f"the first line must name the columns, such as: {', '.join(known)}"
        raise SeriesportError(CODE, f"{name}, line {number}: {text}")
    for position, cell in enumerate(cells, 1):
        if cell and cell not in known:
            problems.add(CODE, number, f"column {position}: {unknown(cell, known, 'column')}")
        elif cell and cell in cells[: position - 1]:
            problems.add(CODE, number, f"column {position}: {cell} is there twice")
    problems.check()
    return cells, separator, number


def _without_comments(lines: io.StringIO, start: int, problems: Problems) -> Iterator[str]:
    for number, line in enumerate(lines, start + 1):
        if not line.startswith("#"):
            yield line
            continue
        yield "\n"
        if not _is_comment(line):
            text = (
                "write '# ' for a comment, or put quotes round an identifier that begins with '#'"
            )
            problems.add(CODE, number, text)


def _row(
    line: int, header: list[str], cells: list[str], identifiers: Collection[str], problems: Problems
) -> dict[str, object]:
    values: dict[str, object] = {}
    if len(cells) == 1 < len(header) and re.search("[\t;,]", cells[0]):
        problems.add(CODE, line, "the cells are separated in another way than in the first line")
        return values
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        problems.add(CODE, line, "the row has more cells than the header has columns")
    for column, raw in zip(header, cells, strict=False):
        cell = raw.strip()
        if not cell:
            continue
        if column in identifiers:
            suspect = cell[0] in "='#" or "E+" in cell
            values[column] = _identifier(line, column, cell, problems) if suspect else cell
        elif column in _WORDS and re.search("[,;]", cell):
            problems.add(CODE, line, f"{column}: put '|' between items, as in CT|MR")
        elif column in _LISTS:
            values[column] = [] if cell == "none" else _ITEM_END.split(cell)
        elif column in _NUMBERS:
            values[column] = int(cell) if re.fullmatch("[0-9]{1,9}", cell) else cell
        elif column:
            values[column] = cell
        else:
            problems.add(CODE, line, "a cell stands in a column without a name")
    return values


def _identifier(line: int, column: str, cell: str, problems: Problems) -> str:
    if formula := _FORMULA.fullmatch(cell):
        return formula[1]
    problem = None
    if cell[0] == "'":
        problem = "begins with an apostrophe, a spreadsheet's mark for text; remove it"
    elif _ROUNDED.fullmatch(cell):
        problem = "was rounded by a spreadsheet; format the column as text and enter it again"
    elif _FAILED.fullmatch(cell):
        problem = "is an error of a spreadsheet's formula"
    if problem is not None:
        problems.add("identifier-not-text", line, f"{column} {problem}")
    return cell
