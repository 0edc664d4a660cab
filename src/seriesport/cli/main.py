"""`seriesport`: the same calls that the workflow makes, from a shell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from seriesport.errors import REASONS, SeriesportError
from seriesport.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.config.settings import Settings


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fetch, convert and upload imaging series, each proven complete.",
)

AddressArgument = Annotated[
    str, typer.Argument(help="A path, file://, zip://, dicom:// or xnat:// address.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="config.yaml with servers: and limits.")
]
_STATUS = {
    "missing-here": 3,
    "missing-there": 4,
    "missing-both": 5,
    "internal": 70,
}
"""Exit codes of failures that a script may want to tell apart; all others are 1."""
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seriesport {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def ls(address: AddressArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the series below an address, with their identifiers."""
    from seriesport.cli import ls as listing

    listing.ls(address, _settings(config), as_json=as_json)


@app.command()
def cp(
    source: AddressArgument,
    destination: AddressArgument,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy every series below SOURCE to DESTINATION, proven complete at both ends."""
    from seriesport.cli import cp as copying

    copying.cp(source, destination, _settings(config), as_json=as_json)


@app.command()
def verify(
    address: AddressArgument,
    against: Annotated[
        str | None, typer.Option(help="An address that must have the same series and instances.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that every instance below ADDRESS is whole, and bundles against their manifests.

    With --against, both sides are compared. Exit code 3: ADDRESS lacks what the other has;
    4: the other lacks what ADDRESS has; 5: both lack something; 1: any other failure.
    """
    from seriesport.cli import verify as verifying

    verifying.verify(address, against, _settings(config), as_json=as_json)


@app.command()
def echo(
    address: AddressArgument, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Try what will be needed of an archive or an XNAT, and say what works and what does not."""
    from seriesport.cli import ls as listing

    listing.echo(address, _settings(config), as_json=as_json)


@app.command()
def plan(
    config: ConfigOption = None,
    refresh: Annotated[
        bool, typer.Option(help="Ask the sources again for what is planned already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan the cohort that config.yaml names, as the workflow would, and show what it means."""
    from seriesport.cli import plan as planning
    from seriesport.config.config_yaml import CONFIG

    planning.plan(config or CONFIG, refresh=refresh, as_json=as_json)


@app.command()
def prune(
    config: ConfigOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove results, staging and records.")
    ] = False,
    delivered: Annotated[
        bool,
        typer.Option(
            "--delivered",
            help="With --yes: remove what was delivered as well, where we alone wrote it and it"
            " is unchanged.",
        ),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="With --yes: forget deliveries that stay.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what belongs to no row of the cohort any more, by its label; remove it with --yes."""
    from seriesport.cli import prune as pruning
    from seriesport.config.config_yaml import CONFIG
    from seriesport.workflow.prune import Asked

    asked = Asked(remove=yes, delivered=delivered, forget=forget)
    pruning.prune_cohort(config or CONFIG, asked, as_json=as_json)


@app.command(context_settings={"ignore_unknown_options": True})
def serve(
    folder: Annotated[Path, typer.Argument(help="Folder with DICOM files.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Command to run while the archive is up.")
    ] = None,
    aet: Annotated[str, typer.Option(help="AE title.")] = "SERIESPORT",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on loopback; 0 for a free one.")
    ] = 0,
    name: Annotated[
        str, typer.Option(help="Server of the config that this stands for while COMMAND runs.")
    ] = "demo",
) -> None:
    """Serve a folder as a DICOM archive on loopback, while COMMAND runs or until Ctrl-C."""
    from seriesport.cli import serve as serving

    raise typer.Exit(serving.serve(folder, command or [], aet=aet, port=port, name=name))


@app.command()
def explain(code: Annotated[str, typer.Argument(help="A reason code, or nothing.")] = "") -> None:
    """Say what a reason code means and what to do; without one, list them all."""
    if not code:
        for name, reason in REASONS.items():
            typer.echo(f"{name}: {reason.summary}")
        return
    if code not in REASONS:
        _fail(f"there is no reason code {code!r}; 'seriesport explain' lists them", 2)
    reason = REASONS[code]
    again = "A later run may succeed.\n" if reason.transient else ""
    typer.echo(f"{code}\n{reason.summary}\n{reason.advice}\n{again}", nl=False)


def _settings(path: Path | None) -> Settings:
    from seriesport.access import share_with
    from seriesport.config.config_yaml import CONFIG, load_config
    from seriesport.config.settings import Settings

    if path is None and not CONFIG.exists():
        return Settings()
    config = load_config(path or CONFIG)
    share_with(config.readable_by)
    return config.settings


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"seriesport: {message}", err=True)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a failure that a user can cause is one line and exit code 1."""
    from seriesport.privacy import silence_libraries
    from seriesport.shutdown import leave, stop_as_by_ctrl_c

    try:
        stop_as_by_ctrl_c()
        silence_libraries()
        _run(arguments)
    except KeyboardInterrupt as stop:
        what = str(stop) or "stopped"
        typer.echo(f"seriesport: {what} [interrupted] {REASONS['interrupted'].advice}", err=True)
        leave(130)


def _run(arguments: Sequence[str] | None) -> None:
    from seriesport.privacy import where, with_matches

    try:
        app(arguments)
    except SeriesportError as error:
        status = _STATUS.get(error.code, 1)
        _fail(with_matches(error, f"{error} {error.reason.advice}"), status)
    except SystemExit as end:
        stop = getattr(end.__context__, "__cause__", None)
        if isinstance(stop, KeyboardInterrupt):  # typer makes a wordless exit of it
            raise stop from None
        raise
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:  # noqa: BLE001 - a traceback may quote identifiers
        _fail(f"{where(error)} [internal] {REASONS['internal'].advice}", _STATUS["internal"])
