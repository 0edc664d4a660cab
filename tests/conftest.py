"""Fixtures for all tests: real servers, started when first asked for, one set per xdist worker."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from peers import (
    Authority,
    Certificate,
    Dcmqrscp,
    Orthanc,
    Peer,
    PeerMissingError,
    Storescp,
    loopback,
)
from peers.xnat import Xnat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PeerT = TypeVar("PeerT", bound=Peer)
loopback.enter()
XNAT_PROFILES = ("1.8", "1.6.4")

# How long an example takes says how busy the machine is; what hangs ends by pytest's own timeout.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure() -> None:
    """Let processes of the tests meet signals as a user's do, also below `nohup` and in a script.

    What is ignored here would be ignored there; what is handled here has its default there.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _serve(start: Callable[[], PeerT]) -> Iterator[PeerT]:
    """Keep a server up while tests use it. A missing one is a failure everywhere, never a skip."""
    try:
        peer = start()
    except PeerMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with peer:
        yield peer


def _suffix(worker_id: str) -> str:
    return "" if worker_id == "master" else worker_id.upper()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Orthanc]:
    """An Orthanc that all tests of a worker share: use UIDs of your own."""
    yield from _serve(
        lambda: Orthanc(tmp_path_factory.mktemp("orthanc"), "ORTHANC" + _suffix(worker_id))
    )


@pytest.fixture(scope="session")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Dcmqrscp]:
    """A dcmqrscp that all tests of a worker share; `another_ae()` gives an empty AE."""
    yield from _serve(
        lambda: Dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), "DCMQRSCP" + _suffix(worker_id))
    )


@pytest.fixture
def storescp(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Storescp]:
    """A storescp of the test's own."""
    yield from _serve(
        lambda: Storescp(tmp_path_factory.mktemp("storescp"), "STORESCP" + _suffix(worker_id))
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of the tests' own."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def client_certificate(authority: Authority) -> Certificate:
    """A requestor's certificate."""
    return authority.certificate("client")


@pytest.fixture(scope="session")
def orthanc_tls(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, authority: Authority
) -> Iterator[Orthanc]:
    """An Orthanc that speaks TLS, and asks for a client certificate."""
    certificate = authority.certificate("orthanc", hosts=("127.0.0.1", "localhost"))
    yield from _serve(
        lambda: Orthanc(
            tmp_path_factory.mktemp("orthanc-tls"),
            "ORTHANCTLS" + _suffix(worker_id),
            certificate=certificate,
            require_client_certificate=True,
        )
    )


@pytest.fixture(scope="session", params=XNAT_PROFILES)
def xnat(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Xnat]:
    """An XNAT of each profile that all tests of a worker share: use a project of your own."""
    with Xnat(tmp_path_factory.mktemp("xnat"), request.param) as server:
        yield server


@pytest.fixture
def xnat_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator's, for a server that the config names `xnat`, and no netrc file."""
    monkeypatch.setenv("SERIESPORT_USER_XNAT", "admin")
    monkeypatch.setenv("SERIESPORT_PASSWORD_XNAT", "admin")
    monkeypatch.setenv("NETRC", "/nonexistent")
