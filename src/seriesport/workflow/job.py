"""The frame of a workflow job: its log file, its config, and one line instead of a traceback."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.access import adopt, file_mode, set_mode, share_with
from seriesport.config.config_yaml import Config
from seriesport.errors import SeriesportError
from seriesport.privacy import quiet_log, where
from seriesport.shutdown import leave, stop_as_by_ctrl_c
from seriesport.workflow.growth import noting
from seriesport.workflow.rules import granted
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager

_log = logging.getLogger("seriesport")


@contextmanager
def job(
    log: str,
    config: Mapping[str, object],
    resources: Mapping[str, object] | None = None,
    *,
    results: str | None = None,
) -> Generator[tuple[Results, Config]]:
    """Run a job's work: what it raises becomes one line in its log, which `Closing` shows.

    `resources` are what Snakemake granted: they limit the connections to each server. By their
    run time a job that is stopped knows what it ran out of, for its next attempt.
    `results` is the folder as Snakemake has it, with the prefix of a module; by default, as config
    has it.

    Ctrl-C and SIGTERM end it at once, once temporary folders are gone. Nothing partial is left
    under a final name.
    """
    quiet_log(Path(log))
    stop_as_by_ctrl_c()
    try:
        read = Config.from_mapping(config)
        folder = Results(read.results if results is None else Path(results))
        share_with(read.readable_by)
        adopt(Path(log).parent, folder.folder)
        set_mode(Path(log), file_mode())
        if resources is not None:
            read = replace(read, settings=granted(read.settings, dict(resources.items())))
        with _noting(log, resources):
            yield folder, read
    except KeyboardInterrupt:
        _log.error("stopped from outside [interrupted]")
        leave(130)
    except SeriesportError as error:
        _log.error(error)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a traceback may quote identifiers
        _log.error("%s [internal]", where(error))
        sys.exit(1)


def _noting(log: str, resources: Mapping[str, object] | None) -> AbstractContextManager[None]:
    minutes = resources.get("runtime") if resources else None
    return noting(Path(log), minutes) if isinstance(minutes, int | float) else nullcontext()
