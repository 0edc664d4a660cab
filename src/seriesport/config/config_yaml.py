"""config.yaml: how to run. It holds no identifier and no password."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from seriesport.config.ages import seconds
from seriesport.config.hours import Hours
from seriesport.config.keys import schema_of
from seriesport.config.registration import registration, schemes
from seriesport.config.schema import Problems, explain, load_schema, unknown, validator
from seriesport.config.settings import Server, Settings, Tls, ZipLimits
from seriesport.config.yamltext import line_of, load_yaml
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from jsonschema import ValidationError

CONFIG = Path("config/config.yaml")
"""Where it is looked for, relative to the working directory, if nothing is said."""
_CODE = "config-invalid"
_MAX_BYTES = 1024 * 1024
_PASSWORD = re.compile(
    r"pass(wor[dt]|wd|phrase|code)?$|^pwd$|secret|token|credential|api_?key", re.IGNORECASE
)
_TOO_LARGE = f"is larger than {_MAX_BYTES} bytes; the series belong into the cohort file"

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """What config.yaml says, checked, with the defaults of its schema."""

    cohort: Path
    """The cohort file, relative to the working directory."""
    results: Path
    """The folder of results, relative to the working directory."""
    formats: tuple[str, ...]
    """Formats of the entries that name none."""
    upload: tuple[str, ...]
    """What goes to the destinations: `dicom`, and formats."""
    input_order: str
    """Of the entries that name none, see `images.orders`."""
    postscript: bool
    """True where PostScript and PDF among the sources may be run, in a sandbox."""
    shard_size: int
    """Series per job; 0 for automatic."""
    recheck: str
    """When a run asks destinations whether they still have what was delivered: `never`, `listed`,
    `digest`, or an age such as `7d`."""
    settings: Settings
    readable_by: str = "owner"
    """Who can read what is written: `owner`, or `group` as well."""
    refresh: bool = False
    """Whether open-ended entries are to be asked for again."""
    replan_after: float | None = None
    """Age in seconds from which they are asked for again by themselves; None for never."""

    @property
    def ask_again_after(self) -> float | None:
        """Age in seconds from which open-ended entries are asked for again in this run."""
        return 0.0 if self.refresh else self.replan_after

    @staticmethod
    def from_mapping(
        data: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> Config:
        """Check a mapping such as Snakemake's `config`.

        Args:
            data: The mapping; it is not changed.
            environ: The environment, by default the process's own. `SERIESPORT_SERVER_NAME`,
                as `host:port` or as a URL, stands in for the place of the server of that name.

        Raises:
            SeriesportError: config-invalid, with a line of text for each problem.
        """
        return _checked(_plain(data), Problems("config"), lambda _: None, environ)


def _checked(
    data: object,
    problems: Problems,
    line: Callable[[Where], int | None],
    environ: Mapping[str, str] | None,
) -> Config:
    _refuse_passwords(data, (), problems, line)
    problems.check()
    schema = load_schema("config")
    for error in validator(schema).iter_errors(data):
        _report(error, (), problems, line)
    kinds = _kinds(data, problems, line)
    problems.check()
    values = cast("dict[str, Any]", data)
    properties = schema["properties"]
    servers = _servers(values.get("servers", {}), kinds, problems, line)
    problems.check()
    overridden = _overrides(servers, os.environ if environ is None else environ)
    limits = {key: _number(value) for key, value in values.get("zip_limits", {}).items()}
    return Config(
        cohort=Path(values.get("cohort", properties["cohort"]["default"])),
        results=Path(values.get("results", properties["results"]["default"])),
        formats=tuple(values.get("formats", properties["formats"]["default"])),
        upload=tuple(values.get("upload", properties["upload"]["default"])),
        input_order=values.get("input_order", properties["input_order"]["default"]),
        postscript=values.get("postscript", properties["postscript"]["default"]),
        shard_size=int(values.get("shard_size", properties["shard_size"]["default"])),
        recheck=values.get("recheck", properties["recheck"]["default"]),
        settings=Settings(MappingProxyType(overridden), ZipLimits(**limits)),
        readable_by=values.get("readable_by", properties["readable_by"]["default"]),
        refresh=values.get("refresh", properties["refresh"]["default"]),
        replan_after=seconds(values["replan_after"]) if "replan_after" in values else None,
    )


def load_config(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read config.yaml. See `Config.from_mapping`, whose messages then name the lines as well.

    Raises:
        SeriesportError: config-missing, file-unreadable, or config-invalid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        if path == CONFIG:
            raise missing() from None
        what = f"{path} does not exist; type this in the project's folder, or name it with --config"
        raise SeriesportError("file-unreadable", what) from None
    except OSError as error:
        raise SeriesportError("file-unreadable", f"{path}: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise SeriesportError(_CODE, f"{path} {_TOO_LARGE}")
    loaded = load_yaml(content, str(path), _CODE)
    data: object = {} if loaded is None else loaded
    return _checked(data, Problems(str(path)), lambda where: line_of(data, where), environ)


def missing() -> SeriesportError:
    """Return the error for a working directory without its config file."""
    return SeriesportError("config-missing", f"{CONFIG} does not exist in this folder")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        return {str(key): _plain(item) for key, item in pairs.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    return value


def _refuse_passwords(
    value: object, where: Where, problems: Problems, line: Callable[[Where], int | None]
) -> None:
    if isinstance(value, dict):
        for key, item in cast("dict[str, object]", value).items():
            here = (*where, key)
            server_name = where == ("servers",)
            if not server_name and _PASSWORD.search(key):
                problems.add(
                    _CODE, line(here), f"{_dotted(here)}: config.yaml holds no password; remove it"
                )
            _refuse_passwords(item, here, problems, line)


def _kinds(
    data: object, problems: Problems, line: Callable[[Where], int | None]
) -> dict[str, type[Server]]:
    """Check each server by the schema of its kind, and return the kinds by the servers' names."""
    kinds: dict[str, type[Server]] = {}
    for name, values in _mapping(_mapping(data).get("servers")).items():
        where = ("servers", name)
        kind = _kind(_mapping(values))
        if kind is None:
            known = ", ".join(scheme for scheme in schemes() if _settings_of(scheme))
            text = f"{_dotted(where)}.scheme is of no servers; there are: {known}"
            problems.add(_CODE, line((*where, "scheme")), text)
            continue
        kinds[name] = kind
        rest = {key: value for key, value in _mapping(values).items() if key != "scheme"}
        for error in validator(schema_of(kind)).iter_errors(rest):
            _report(error, where, problems, line, kind)
    return kinds


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _kind(values: dict[str, object]) -> type[Server] | None:
    return _settings_of(str(values.get("scheme") or ("xnat" if "url" in values else "dicom")))


def _settings_of(scheme: str) -> type[Server] | None:
    found = registration(scheme)
    return found.server if found else None


def _report(
    error: ValidationError,
    above: Where,
    problems: Problems,
    line: Callable[[Where], int | None],
    kind: type[Server] | None = None,
) -> None:
    """Note an error, which the schema of what stands at `above` found.

    Args:
        error: What jsonschema says.
        above: Where the part that was checked stands.
        problems: Takes it.
        line: Finds the line of a key.
        kind: Of the server that was checked, if it is one.
    """
    where = (*above, *error.absolute_path)
    if error.validator == "additionalProperties":
        known = cast("dict[str, Any]", error.schema)["properties"].keys()
        for key in _mapping(error.instance).keys() - known:
            here = (*where, key)
            inside = f"{_dotted(where)}: " if where else ""
            text = f"{inside}{unknown(key, known)}"
            if where == above and kind and _is_of_another(key, kind):
                text = f"{_dotted(here)} is no key of {kind.scheme}:// servers"
            problems.add(_CODE, line(here), text)
        return
    subject = _dotted(where) or "the file"
    if "propertyNames" in error.schema_path:
        subject = "a server's name"
        where = (*where, cast("str", error.instance))
    problems.add(_CODE, line(where), f"{subject} {explain(error)}")


def _is_of_another(key: str, kind: type[Server]) -> bool:
    """Return True for a key that servers of another kind have."""
    others = {_settings_of(scheme) for scheme in schemes()} - {kind, None}
    return any(key in schema_of(other)["properties"] for other in others if other is not None)


def _dotted(where: Where) -> str:
    return ".".join(step for step in where if isinstance(step, str))


def _servers(
    described: dict[str, dict[str, Any]],
    kinds: Mapping[str, type[Server]],
    problems: Problems,
    line: Callable[[Where], int | None],
) -> dict[str, Server]:
    servers: dict[str, Server] = {}
    for name, values in described.items():
        kind = kinds[name]
        rest = {key: _number(value) for key, value in values.items() if key != "scheme"}
        if "tls" in rest:
            rest["tls"] = _tls(rest["tls"])
            if rest["tls"].key is not None and rest["tls"].certificate is None:
                where = ("servers", name, "tls", "key")
                problems.add(_CODE, line(where), f"{_dotted(where)} has no certificate beside it")
        problem = kind.problem(rest)
        if problem:
            where = ("servers", name, problem[0])
            problems.add(_CODE, line(where), f"{_dotted(where)} {problem[1]}")
            continue
        if "window" in rest:
            try:
                rest["window"] = Hours.parse(rest["window"])
            except ValueError:
                where = ("servers", name, "window")
                problems.add(_CODE, line(where), f"{_dotted(where)} opens and closes at one time")
                continue
        servers[name] = kind(name, **rest)
    return servers


def _tls(values: dict[str, str]) -> Tls:
    files = {key: Path(values[key]) for key in ("ca", "certificate", "key") if key in values}
    return Tls(**files, server_name=values.get("server_name"))


def _number(value: Any) -> Any:
    """A whole number that YAML gave as a float, as in 4.0, is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _overrides(servers: dict[str, Server], environ: Mapping[str, str]) -> dict[str, Server]:
    changed = dict(servers)
    seen: dict[str, str] = {}
    for name, server in servers.items():
        variable = environment_name(name)
        if variable not in environ:
            continue
        if variable in seen:
            raise SeriesportError(_CODE, f"{variable} stands for both {seen[variable]} and {name}")
        seen[variable] = name
        try:
            changed[name] = server.moved(environ[variable])
        except ValueError as error:
            raise SeriesportError(_CODE, f"the environment's {variable} {error}") from None
    return changed


def environment_name(server: str, what: str = "SERVER") -> str:
    """A variable of a server's own, as `SERIESPORT_SERVER_DEMO`, which stands in for its place."""
    return f"SERIESPORT_{what}_" + re.sub("[^A-Z0-9]", "_", server.upper())
