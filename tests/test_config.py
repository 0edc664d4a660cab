from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from jsonschema import Draft202012Validator

import config_tables
from seriesport.config.config_yaml import Config, environment_name, load_config
from seriesport.config.keys import schema_of
from seriesport.config.schema import load_schema
from seriesport.config.settings import Settings, Tls, ZipLimits
from seriesport.errors import SeriesportError
from seriesport.images.orders import NAMES
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.registry import parse
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.xnat.server import XnatServer

ROOT = Path(__file__).parents[1]
HOST = "a host name or an IP address, without scheme, port or user name"


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, environ or {})


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SeriesportError) as caught:
        read(tmp_path, text)
    assert caught.value.code == "config-invalid"
    return [
        line.removeprefix(str(tmp_path / "config.yaml"))
        for line in caught.value.message.split("\n")
    ]


def test_an_empty_file_gives_the_defaults(tmp_path: Path):
    config = read(tmp_path, "")
    assert config.cohort == Path("config/cohort.yaml")
    assert config.results == Path("results")
    assert config.formats == ("nifti", "preview")
    assert config.shard_size == 0
    assert config.input_order == "auto"
    assert config.settings.zip_limits == ZipLimits()
    assert not config.settings.servers


@pytest.mark.parametrize("folder", ["", ".", "./", "..", "a/..", "/", "{patient}", "<logs>/a"])
def test_results_have_a_folder_of_their_own(tmp_path: Path, folder: str):
    (problem,) = problems(tmp_path, f"results: '{folder}'")
    assert problem.startswith(", line 1: results must be a folder's name without '{', '}',")


def test_every_key_reaches_the_settings(tmp_path: Path):
    config = read(
        tmp_path,
        """
        cohort: my/list.tsv
        results: ./my//results/
        formats: []
        shard_size: 7
        input_order: time,EchoTime
        servers:
          pacs:
            host: pacs.example.org
            port: 2762
            calling_aet: ME
            tls: {ca: ca.pem, certificate: me.pem, key: me.key, server_name: other}
            associations: 2
            connect_timeout: 1.5
            timeout: 2
            wall_clock: 3
            instances_per_second: 4
            attempts: 5
            backoff: 0
          plain: {host: 10.0.0.1, port: 104}
          system: {host: h, port: 104, tls: {}}
        zip_limits: {members: 1, bytes: 2, member_bytes: 3, ratio: 4}
        """,
    )
    assert (config.cohort, config.formats, config.shard_size) == (Path("my/list.tsv"), (), 7)
    assert str(config.results) == "my/results"
    assert config.input_order == "time,EchoTime"
    servers = config.settings.servers
    pacs = servers["pacs"]
    assert pacs.tls is not None
    assert (pacs.tls.ca, pacs.tls.certificate) == (Path("ca.pem"), Path("me.pem"))
    assert (pacs.tls.key, pacs.tls.server_name) == (Path("me.key"), "other")
    assert (pacs.name, pacs.host, pacs.port, pacs.calling_aet) == (
        "pacs",
        "pacs.example.org",
        2762,
        "ME",
    )
    assert (pacs.associations, pacs.connect_timeout, pacs.timeout, pacs.wall_clock) == (
        2,
        1.5,
        2,
        3,
    )
    assert (pacs.instances_per_second, pacs.attempts, pacs.backoff) == (4, 5, 0)
    assert servers["plain"] == DicomServer("plain", "10.0.0.1", 104)
    assert servers["system"].tls is not None
    assert config.settings.zip_limits == ZipLimits(1, 2, 3, 4)


def test_the_schema_names_the_defaults_of_the_settings():
    for plain in (DicomServer("x", "h", 1), XnatServer("x", "https://h")):
        for key, described in schema_of(type(plain))["properties"].items():
            if "default" in described:
                assert getattr(plain, key) == described["default"], key
    limits = load_schema("config")["properties"]["zip_limits"]["properties"]
    assert {k: v["default"] for k, v in limits.items()} == {
        k: getattr(ZipLimits(), k) for k in limits
    }


def test_a_mistake_is_shown_with_its_line_and_what_was_expected(tmp_path: Path):
    server = "servers:\n  pacs:\n    host: dicom://pacs\n    port: '104'\n    asociations: 2\n"
    text = server + "shard_size: -1\nformats: [nfti]\n"
    assert problems(tmp_path, text) == [
        f", line 3: servers.pacs.host must be {HOST}",
        ", line 4: servers.pacs.port must be a whole number, not text; leave out the quotes",
        ", line 5: servers.pacs: the key 'asociations' is unknown; did you mean 'associations'?",
        ", line 6: shard_size must be at least 0",
        ", line 7: formats must be one of: dicom, nifti, metaimage, npz, mat, preview",
    ]


def test_a_server_may_say_by_which_scheme_it_is_reached(tmp_path: Path):
    text = "servers:\n  p: {scheme: dicom, host: h, port: 1}\n"
    assert read(tmp_path, text).settings.servers["p"] == DicomServer("p", "h", 1)
    for scheme in ("file", "CANARY"):
        assert problems(tmp_path, text.replace("dicom", scheme)) == [
            ", line 2: servers.p.scheme is of no servers; there are: dicom, xnat"
        ]


def test_a_server_needs_host_and_port(tmp_path: Path):
    assert problems(tmp_path, "servers:\n  pacs:\n    calling_aet: A\n") == [
        ", line 2: servers.pacs lacks host, port"
    ]


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "a:1"])
def test_a_server_name_must_fit_into_an_address(tmp_path: Path, name: str):
    [line] = problems(tmp_path, f"servers:\n  '{name}': {{host: h, port: 1}}\n")
    assert line.startswith(", line 2: a server's name must be a name of letters")


@pytest.mark.parametrize(
    "key", ["password", "passwd", "passphrase", "xnat_password", "token", "api_key", "secret"]
)
def test_a_password_is_refused_and_not_repeated(tmp_path: Path, key: str):
    lines = problems(tmp_path, f"servers:\n  pacs:\n    host: h\n    port: 1\n    {key}: CANARY\n")
    assert lines == [f", line 5: servers.pacs.{key}: config.yaml holds no password; remove it"]
    with pytest.raises(SeriesportError) as caught:
        Config.from_mapping({key: "CANARY"}, {})
    assert "CANARY" not in str(caught.value)


def test_a_host_with_a_password_in_it_is_refused_and_not_repeated(tmp_path: Path):
    lines = problems(tmp_path, "servers: {pacs: {host: 'me:CANARY@h', port: 1}}")
    assert "CANARY" not in "".join(lines)


def test_a_client_key_needs_its_certificate(tmp_path: Path):
    text = "servers:\n  pacs:\n    host: h\n    port: 1\n    tls:\n      key: me.key\n"
    assert problems(tmp_path, text) == [
        ", line 6: servers.pacs.tls.key has no certificate beside it"
    ]


@pytest.mark.parametrize("text", ["just text", "[1]", "a: [", "cohort: 1\ncohort: 2"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str):
    assert problems(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SeriesportError) as caught:
        load_config(tmp_path / "none.yaml")
    assert caught.value.code == "file-unreadable"
    assert "none.yaml" in caught.value.message


def test_a_mapping_gives_the_same_as_the_file_and_is_not_changed():
    data: dict[str, Any] = yaml.safe_load((ROOT / "config/config.example.yaml").read_text())
    before = yaml.safe_dump(data)
    assert Config.from_mapping(data, {}) == load_config(ROOT / "config/config.example.yaml", {})
    assert yaml.safe_dump(data) == before


def test_the_environment_stands_in_for_host_and_port(tmp_path: Path):
    text = "servers: {my-pacs: {host: h, port: 1, calling_aet: ME}}"
    assert environment_name("my-pacs") == "SERIESPORT_SERVER_MY_PACS"
    config = read(tmp_path, text, {"SERIESPORT_SERVER_MY_PACS": "127.0.0.1:40123"})
    server = config.settings.servers["my-pacs"]
    assert (server.host, server.port, server.calling_aet) == ("127.0.0.1", 40123, "ME")
    six = read(tmp_path, text, {"SERIESPORT_SERVER_MY_PACS": "[::1]:104"})
    assert six.settings.servers["my-pacs"].host == "::1"


def test_the_environment_gives_the_calling_title_that_nothing_else_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SERIESPORT_CALLING_AET", "RESEARCH1")
    text = "servers: {one: {host: h, port: 1}, two: {host: h, port: 1, calling_aet: ME}}"
    settings = read(tmp_path, text).settings
    addresses = "dicom://one/A dicom://two/A dicom://h:1/A dicom://h:1/A?calling=OWN"
    read_back = [cast("DicomAddress", parse(url)) for url in addresses.split()]
    titles = [settings.server(address, DicomServer).calling_aet for address in read_back]
    assert titles == ["RESEARCH1", "ME", "RESEARCH1", "OWN"]
    monkeypatch.setenv("SERIESPORT_CALLING_AET", "A\\B")
    with pytest.raises(SeriesportError, match="SERIESPORT_CALLING_AET"):
        settings.server(read_back[2], DicomServer)


@pytest.mark.parametrize("value", ["", "host", "host:", ":104", "host:0", "host:99999", "host:x"])
def test_a_wrong_environment_variable_is_named(tmp_path: Path, value: str):
    with pytest.raises(SeriesportError) as caught:
        read(tmp_path, "servers: {p: {host: h, port: 1}}", {"SERIESPORT_SERVER_P": value})
    assert "SERIESPORT_SERVER_P" in caught.value.message


def test_one_environment_variable_cannot_mean_two_servers(tmp_path: Path):
    text = "servers: {a-b: {host: h, port: 1}, a_b: {host: h, port: 1}}"
    with pytest.raises(SeriesportError, match="both"):
        read(tmp_path, text, {"SERIESPORT_SERVER_A_B": "h:1"})


@pytest.mark.parametrize(
    "schema",
    [
        load_schema("config"),
        load_schema("cohort"),
        schema_of(DicomServer),
        schema_of(XnatServer),
    ],
)
def test_the_schemas_are_schemas_with_a_description_and_an_example_on_every_key(
    schema: dict[str, Any],
):
    Draft202012Validator.check_schema(schema)
    for path, key in keys(schema):
        assert key["description"], path
        for example in key["examples"]:
            whole = Draft202012Validator({**key, "$defs": schema.get("$defs", {})})
            assert whole.is_valid(example), path


def keys(schema: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for key, below in schema.get("properties", {}).items():
        if "$ref" not in below:
            found += [(f"{prefix}{key}", below), *keys(below, f"{prefix}{key}.")]
    for below in (schema.get("additionalProperties"), schema.get("$defs", {}).get("entry")):
        if isinstance(below, dict):
            found += keys(below, f"{prefix}*.")
    return found


def test_both_schemas_offer_the_same_formats():
    config = load_schema("config")["properties"]["formats"]["items"]["enum"]
    cohort = load_schema("cohort")["$defs"]["entry"]["properties"]["formats"]["items"]["enum"]
    assert config == cohort


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_take_every_input_order_that_has_a_name(name: str):
    entry = load_schema("cohort")["$defs"]["entry"]["properties"]["input_order"]
    config = load_schema("config")["properties"]["input_order"]
    assert entry["pattern"] == config["pattern"]
    assert re.fullmatch(config["pattern"], f"InversionTime,{name}")


def test_the_readme_describes_every_key_as_the_schemas_do():
    text = config_tables.README.read_text(encoding="utf-8")
    assert config_tables.with_tables(text) == text, "run: python tests/config_tables.py"
    for name in ("config", "cohort"):
        for path, _ in keys(load_schema(name)):
            assert f"`{path.replace('*', 'NAME').removeprefix('NAME.')}`" in text


def test_the_examples_of_the_readme_are_valid(tmp_path: Path):
    text = config_tables.README.read_text(encoding="utf-8")
    cohort, config = (block.split("```")[0] for block in text.split("```yaml\n")[1:])
    assert read(tmp_path, config).settings.servers["pacs"].tls is not None
    Draft202012Validator(load_schema("cohort")).validate(yaml.safe_load(cohort))


@pytest.mark.slow
def test_an_installed_wheel_carries_the_schemas(tmp_path: Path):
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, timeout=60)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import seriesport.config.schema as s; from seriesport.cohort.check import Checker;"
        "print(s.__file__, s.load_schema('config')['title'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [
        str(tmp_path / "site/seriesport/config/schema.py"),
        "config/config.yaml",
    ]


XNAT = "servers: {x: {url: 'https://h:8443/xnat/'}}"


def test_an_entry_with_a_url_is_an_xnat(tmp_path: Path):
    text = """
        servers:
          x:
            url: https://xnat.example.org:8443/xnat
            tls: {ca: ca.pem}
            connections: 2
            create: false
            refresh_catalogs: true
            event_reason: import
            timeout: 2
        """
    server = read(tmp_path, text).settings.servers["x"]
    assert server == XnatServer(
        "x",
        "https://xnat.example.org:8443/xnat",
        tls=Tls(Path("ca.pem")),
        connections=2,
        create=False,
        refresh_catalogs=True,
        event_reason="import",
        timeout=2,
    )
    assert read(tmp_path, XNAT).settings.servers["x"].place == "https://h:8443/xnat"


def test_the_keys_of_an_archive_and_of_an_xnat_do_not_mix(tmp_path: Path):
    text = "servers:\n  x:\n    url: https://h\n    port: 1\n  p:\n    host: h\n    create: true\n"
    assert problems(tmp_path, text) == [
        ", line 4: servers.x.port is no key of xnat:// servers",
        ", line 5: servers.p lacks port",
        ", line 7: servers.p.create is no key of dicom:// servers",
    ]


@pytest.mark.parametrize(
    "url", ["http://h/xnat", "http://10.0.0.1", "ftp://h", "https://", "h:8443", "https://h:0"]
)
def test_an_xnat_url_is_https_or_on_this_machine(tmp_path: Path, url: str):
    [line] = problems(tmp_path, f"servers:\n  x:\n    url: {url}\n")
    assert line.startswith(", line 3: servers.x.url ")


@pytest.mark.parametrize("url", ["https://me:CANARY@h/xnat", "https://h?password=CANARY"])
def test_an_xnat_url_with_a_password_is_refused_and_not_repeated(tmp_path: Path, url: str):
    lines = problems(tmp_path, f"servers: {{x: {{url: '{url}'}}}}")
    assert "CANARY" not in "".join(lines)


def test_the_environment_stands_in_for_the_url_of_an_xnat(tmp_path: Path):
    server = read(tmp_path, XNAT, {"SERIESPORT_SERVER_X": "http://127.0.0.1:40123/xnat"})
    moved = server.settings.server(XnatAddress("x", None, "P"), XnatServer)
    assert moved.url == "http://127.0.0.1:40123/xnat"
    assert moved.place == "https://h:8443/xnat"
    for value in ("http://other/xnat", "127.0.0.1:40123", ""):
        with pytest.raises(SeriesportError, match="SERIESPORT_SERVER_X"):
            read(tmp_path, XNAT, {"SERIESPORT_SERVER_X": value})


def test_an_address_of_the_wrong_kind_is_told(tmp_path: Path):
    settings = read(tmp_path, XNAT.replace("}}", "}, p: {host: h, port: 1}}")).settings
    with pytest.raises(SeriesportError, match="reached by xnat://") as caught:
        settings.server(DicomAddress("x", None, "AE"), DicomServer)
    assert caught.value.code == "server-unknown"
    with pytest.raises(SeriesportError, match="reached by dicom://"):
        settings.server(XnatAddress("p", None, "P"), XnatServer)


def test_an_xnat_needs_no_entry_in_the_config():
    assert (
        Settings().server(XnatAddress("h.example", None, "P"), XnatServer).url
        == "https://h.example"
    )
    assert Settings().server(XnatAddress("h", 8443, "P"), XnatServer).url == "https://h:8443"
