"""The proof of completeness: a series is fetched whole and verified, or it is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.store.bundle import Manifest, write_bundle
from seriesport.store.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from seriesport.model.series import Expected, SeriesReference
    from seriesport.transports.contract import Transport


def fetch_series(
    transport: Transport,
    series: SeriesReference,
    bundle: Path,
    staging: Path,
) -> Manifest:
    """Fetch a series into a bundle, complete or not at all.

    The expected SOP Instance UIDs are listed before and after; what was received must equal
    them. Instances that an earlier, killed run left in `staging` are verified and kept; only
    the others are asked for. `series.instances` is a count that the source gave earlier, as in
    the plan: a shorter list is not believed.

    Raises:
        SeriesportError: not-found, incomplete with the missing instances by number,
            changed-during-fetch, instance-truncated, instance-invalid, pixels-mislabelled,
            instance-foreign, instance-conflict, or what the transport raised.
    """
    with Staging(staging, series) as stage:
        expected = transport.persist(_attempt, transport, series, stage)
        items = stage.items(expected)
        manifest = write_bundle(
            bundle,
            items,
            source=series.address.scheme,
            digests=stage.digests,
            expected=len(expected),
            compared=_compared(expected.values()),
            remarks=stage.remarks(items),
        )
        stage.discard()
    return manifest


def _attempt(
    transport: Transport, series: SeriesReference, stage: Staging
) -> Mapping[str, Expected]:
    expected = _listed(transport, series)
    have = stage.held(expected)
    if expected.keys() <= have:
        return expected
    broken: SeriesportError | None = None
    arriving = transport.fetch(series, expected, have, stage.spool)
    try:
        for item in arriving:
            stage.accept(item)
    except SeriesportError as error:
        broken = error
    finally:
        if isinstance(arriving, Generator):
            arriving.close()  # what still was to come is not asked for
    stage.settle()
    after = _listed(transport, series)
    changed = _changed(expected, after)
    if changed:
        stage.doubt()
    have = stage.held(after)
    missing = [after[name] for name in after if name not in have]
    if changed:
        listed = counted(len(expected), "instance")
        raise SeriesportError(
            "changed-during-fetch",
            f"the source listed {listed} before the fetch and {len(after)} after it, of which"
            f" {len(missing)} {'is' if len(missing) == 1 else 'are'} missing",
        )
    if missing:
        raise _why_missing(missing, len(after), stage, broken)
    return after


def _changed(before: Mapping[str, Expected], after: Mapping[str, Expected]) -> bool:
    """Whether two lists of a source differ in names, or in a size or digest that both tell."""
    return before.keys() != after.keys() or any(
        _differ(one.size, after[name].size) or _differ(one.md5, after[name].md5)
        for name, one in before.items()
    )


def _differ(one: int | str | None, other: int | str | None) -> bool:
    return one not in (None, "") and other not in (None, "") and one != other


def _compared(expected: Collection[Expected]) -> str:
    if all(one.md5 for one in expected):
        return "digests"
    return "uids" if all(one.size is None for one in expected) else "sizes"


def _listed(transport: Transport, series: SeriesReference) -> Mapping[str, Expected]:
    expected = transport.expect(series)
    if not expected:
        raise SeriesportError("not-found", "the source lists no instances of this series")
    if len(expected) < (series.instances or 0):
        raise SeriesportError(
            "incomplete",
            f"the source lists {counted(len(expected), 'instance')}, but counted {series.instances}"
            " before; if some were removed there, run: seriesport plan --refresh",
        )
    return expected


def _why_missing(
    missing: list[Expected], total: int, stage: Staging, broken: SeriesportError | None
) -> SeriesportError:
    what = f"{len(missing)} of {counted(total, 'instance')} missing ({numbers(missing)})"
    reasons = Counter(stage.refusals(missing))
    if reasons:
        code, count = reasons.most_common(1)[0]
        return SeriesportError(code, f"{what}; put aside on arrival: {count}")
    if broken is not None:
        return SeriesportError(broken.code, f"{what}; {broken.message}")
    aside = f"; put aside, since not expected: {stage.aside}" if stage.aside else ""
    return SeriesportError("incomplete", what + aside)


def numbers(missing: Iterable[Expected]) -> str:
    """Format missing instances, e.g. `numbers 7, 12-14` or `file 3 of the listing`."""
    known: list[int] = []
    places: list[int] = []
    unnumbered = 0
    for one in missing:
        if one.instance_number is not None:
            known.append(one.instance_number)
        elif one.place is not None:
            places.append(one.place)
        else:
            unnumbered += 1
    parts = [f"{_noun('number', known)} {_ranges(sorted(known))}"] if known else []
    if places:
        parts.append(f"{_noun('file', places)} {_ranges(sorted(places))} of the listing")
    if unnumbered:
        parts.append(f"{unnumbered} without a number")
    return " and ".join(parts)


def _noun(one: str, several: Sequence[int]) -> str:
    return one if len(several) == 1 else f"{one}s"


def _ranges(ordered: list[int]) -> str:
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number - runs[-1][1] <= 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
