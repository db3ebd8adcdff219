"""The same expectations against the fake API server and against a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from fake_api import FakeApi, configuration, fake_api

from inferfleet.cluster.client import ApiServer, load_configuration


@dataclass(frozen=True)
class Server:
    """A connection, and the fake behind it where there is one."""

    api: ApiServer
    fake: FakeApi | None


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as api:
        yield api


@pytest.fixture
async def api(fake: FakeApi) -> AsyncIterator[ApiServer]:
    async with ApiServer(configuration(fake)) as connection:
        yield connection


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.controlplane)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if request.param == "fake":
        async with fake_api() as fake, ApiServer(configuration(fake)) as connection:
            yield Server(connection, fake)
    else:
        cluster = request.getfixturevalue("api_cluster")
        async with ApiServer(await load_configuration(str(cluster.kubeconfig))) as connection:
            yield Server(connection, None)
