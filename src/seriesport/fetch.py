"""The proof of completeness: a series is fetched whole and verified, or it is not there."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from seriesport.address import scheme
from seriesport.bundle import Manifest, write_bundle
from seriesport.errors import SeriesportError
from seriesport.flow import Flow, Patience
from seriesport.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from seriesport.transports.protocol import Expected, SeriesReference, Transport


def fetch_series(
    transport: Transport,
    series: SeriesReference,
    bundle: Path,
    staging: Path,
    *,
    patience: Patience | None = None,
    flow: Flow | None = None,
) -> Manifest:
    """Fetch a series into a bundle, complete or not at all.

    The expected SOP Instance UIDs are listed before and after; what was received must equal
    them. Instances that an earlier, killed run left in `staging` are verified and kept; only
    the others are asked for. `series.instances` is a count that the source gave earlier, as in
    the plan: a shorter list is not believed. The instances pass through `flow`, for
    progress and a rate limit.

    Raises:
        SeriesportError: not-found, incomplete with the missing instances by number,
            changed-during-fetch, instance-truncated, instance-invalid, instance-foreign,
            instance-conflict, or what the transport raised.
    """
    with Staging(staging, series) as stage:
        retrying = (patience or Patience()).retrying()
        expected = retrying(_attempt, transport, series, stage, flow or Flow())
        manifest = write_bundle(
            bundle,
            [stage.instances[uid] for uid in expected],
            source=scheme(series.address),
            digests=stage.digests,
        )
        stage.discard()
    return manifest


def _attempt(
    transport: Transport, series: SeriesReference, stage: Staging, flow: Flow
) -> Mapping[str, Expected]:
    expected = _listed(transport, series)
    if expected.keys() <= stage.instances.keys():
        return expected
    broken: SeriesportError | None = None
    arriving = transport.fetch(series, expected, frozenset(stage.instances), stage.spool)
    try:
        with closing(flow.receive(arriving)) as passing:
            for instance in passing:
                stage.accept(instance)
    except SeriesportError as error:
        broken = error
    stage.settle()
    after = _listed(transport, series)
    missing = [after[uid] for uid in after if uid not in stage.instances]
    if after.keys() != expected.keys():
        raise SeriesportError(
            "changed-during-fetch",
            f"the source listed {len(expected)} instances before the fetch and {len(after)} after"
            f" it, of which {len(missing)} are missing",
        )
    if missing:
        raise _why_missing(missing, len(after), stage, broken)
    return after


def _listed(transport: Transport, series: SeriesReference) -> Mapping[str, Expected]:
    expected = transport.expect(series)
    if not expected:
        raise SeriesportError("not-found", "the source lists no instances of this series")
    if len(expected) < (series.instances or 0):
        raise SeriesportError(
            "incomplete",
            f"the source lists {len(expected)} instances, but counted {series.instances} before;"
            " if some were removed there, run: seriesport plan --refresh",
        )
    return expected


def _why_missing(
    missing: list[Expected], total: int, stage: Staging, broken: SeriesportError | None
) -> SeriesportError:
    what = f"{len(missing)} of {total} instances missing ({numbers(missing)})"
    reasons = Counter(stage.refused[e.uid] for e in missing if e.uid in stage.refused)
    if reasons:
        code, count = reasons.most_common(1)[0]
        return SeriesportError(code, f"{what}; put aside on arrival: {count}")
    if broken is not None:
        return SeriesportError(broken.code, f"{what}; {broken.message}")
    aside = f"; put aside, since not expected: {stage.aside}" if stage.aside else ""
    return SeriesportError("incomplete", what + aside)


def numbers(instances: Iterable[Expected]) -> str:
    """Instance numbers as ranges, as in `numbers 7, 12-14`, and how many have none."""
    known: list[int] = []
    unnumbered = 0
    for instance in instances:
        if instance.instance_number is None:
            unnumbered += 1
        else:
            known.append(instance.instance_number)
    parts = [f"numbers {_ranges(sorted(known))}"] if known else []
    if unnumbered:
        parts.append(f"{unnumbered} without a number")
    return " and ".join(parts)


def _ranges(ordered: list[int]) -> str:
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number - runs[-1][1] <= 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
