"""What a user gives: an address as text, path or value, and settings or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.config.config_yaml import CONFIG, load_config
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.model.address import Address
from seriesport.store.zipfiles.safe import read_directory
from seriesport.transports.registry import parse, path_address

if TYPE_CHECKING:
    from collections.abc import Iterable


def address_of(source: object) -> Address:
    """Return the address that a text or a path means, or the address itself.

    Raises:
        SeriesportError: address-invalid.
    """
    if isinstance(source, Address):
        return source
    if isinstance(source, Path):
        return path_address(source)
    if isinstance(source, str):
        return parse(source)
    kind = type(source).__name__
    problem = f"an address, a path, a list of files, an array or a Series is wanted, not: {kind}"
    raise SeriesportError("address-invalid", problem)


def settings_for(addresses: Iterable[Address], given: Settings | None) -> Settings:
    """Return the settings given, or those of config/config.yaml in the working directory.

    The file is not read where the addresses need nothing of it.

    Raises:
        SeriesportError: config-invalid.
    """
    if given is not None:
        return given
    usual = Settings()
    if all(_needs_none(address, usual) for address in addresses) or not CONFIG.exists():
        return usual
    return load_config(CONFIG).settings


def _needs_none(address: Address, usual: Settings) -> bool:
    """Return True for an address of this machine that keeps to the usual limits."""
    if address.file is not None or address.local is None:
        return address.is_local
    return _within_limits(address.local, usual)


def _within_limits(path: Path, settings: Settings) -> bool:
    """Return True for a ZIP that needs no higher limits: config.yaml takes longer to read."""
    try:
        with path.open("rb") as stream:
            read_directory(stream.fileno(), settings.zip_limits)
    except FileNotFoundError:
        return True
    except (OSError, SeriesportError):
        return False
    return True
