"""The frame of a workflow job: its log file, its config, and one line instead of a traceback."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.config.config_yaml import Config
from seriesport.errors import SeriesportError
from seriesport.privacy import quiet_log, where
from seriesport.shutdown import leave, stop_as_by_ctrl_c
from seriesport.workflow.rules import granted
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_log = logging.getLogger("seriesport")


@contextmanager
def job(
    log: str, config: Mapping[str, object], resources: Mapping[str, object] | None = None
) -> Generator[tuple[Results, Config]]:
    """Run a job's work: what it raises becomes one line in its log, which `Closing` shows.

    `resources` are what Snakemake granted: they limit the associations with each archive.

    Ctrl-C and SIGTERM end it at once, once temporary folders are gone. Nothing partial is left
    under a final name.
    """
    quiet_log(Path(log))
    stop_as_by_ctrl_c()
    try:
        read = Config.from_mapping(config)
        settings = granted(read.settings, dict(resources.items()) if resources else {})
        yield Results(Path("results")), replace(read, settings=settings)
    except KeyboardInterrupt:
        _log.error("stopped from outside [interrupted]")
        leave(130)
    except SeriesportError as error:
        _log.error(error)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - a traceback may quote identifiers
        _log.error("%s [internal]", where(error))
        sys.exit(1)
