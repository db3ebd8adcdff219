"""Finding out about a model: from a hub over real HTTP, and from what was kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from fake_api import FakeApi

from inferfleet.cluster.client import ApiServer
from inferfleet.cluster.events import Subject
from inferfleet.cluster.fence import FencedApi
from inferfleet.cluster.hub import ModelFiles, ModelProblem, read_from_hub
from inferfleet.cluster.model import Kept, ModelStore, fingerprint, read_report
from inferfleet.values import ModelSpec

MODEL = ModelSpec("org/tiny")
CONFIG = {"model_type": "llama", "hidden_size": 128}
LLAMA = Subject("ns", "llama", "uid-of-llama")


class Holder:
    holds = True


@dataclass
class Hub:
    """A model hub with the files that it is given."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 404
    tokens: list[str | None] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        body = self.files.get(request.path)
        return web.Response(status=self.status) if body is None else web.Response(body=body)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    found = Hub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def ask(hub: Hub, model: ModelSpec = MODEL, token: str | None = None) -> ModelFiles:
    async with aiohttp.ClientSession() as session:
        return await read_from_hub(session, hub.url, model, token)


async def problem(hub: Hub) -> ModelProblem:
    with pytest.raises(ModelProblem) as caught:
        await ask(hub)
    return caught.value


async def test_a_sharded_model_is_sized_by_its_index(hub: Hub):
    hub.files = {
        "/org/tiny/resolve/main/config.json": json.dumps(CONFIG).encode(),
        "/org/tiny/resolve/main/model.safetensors.index.json": b'{"metadata":{"total_size":1234}}',
    }
    assert await ask(hub) == ModelFiles(CONFIG, 1234)


async def test_a_single_file_is_sized_by_its_length(hub: Hub):
    hub.files = {
        "/org/tiny/resolve/main/config.json": json.dumps(CONFIG).encode(),
        "/org/tiny/resolve/main/model.safetensors": b"x" * 77,
    }
    assert await ask(hub) == ModelFiles(CONFIG, 77)


async def test_without_safetensors_the_size_is_unknown(hub: Hub):
    hub.files = {"/org/tiny/resolve/main/config.json": json.dumps(CONFIG).encode()}
    assert await ask(hub) == ModelFiles(CONFIG, None)


async def test_the_revision_and_the_token_are_used(hub: Hub):
    hub.files = {"/org/tiny/resolve/v2/config.json": json.dumps(CONFIG).encode()}
    await ask(hub, ModelSpec("org/tiny", revision="v2"), "secret")
    assert set(hub.tokens) == {"Bearer secret"}


@pytest.mark.parametrize(
    ("status", "code", "passing", "advice"),
    [
        (404, "ModelNotFound", False, "check spec.model.id"),
        (401, "ModelAccessDenied", False, "tokenSecret"),
        (403, "ModelAccessDenied", False, "licence"),
        (429, "ModelUnreachable", True, "429"),
    ],
)
async def test_a_refusal_says_what_to_change(hub: Hub, status: int, code: str, passing: bool, advice: str):
    hub.status = status
    found = await problem(hub)
    assert (found.reason.code, found.passing) == (code, passing)
    assert advice in found.reason.message


async def test_a_config_that_is_not_json_is_refused(hub: Hub):
    hub.files = {"/org/tiny/resolve/main/config.json": b"<html>"}
    assert (await problem(hub)).reason.code == "ModelConfigInvalid"


async def test_a_hub_that_cannot_be_reached_is_a_passing_problem(hub: Hub):
    hub.url = "http://127.0.0.1:1"
    found = await problem(hub)
    assert (found.reason.code, found.passing) == ("ModelUnreachable", True)
    assert "HF_ENDPOINT" in found.reason.message


async def test_what_was_read_is_kept_beside_its_deployment(api: ApiServer, fake: FakeApi):
    store = ModelStore(FencedApi(api, Holder()))
    assert await store.load(LLAMA) == Kept()
    kept = Kept(fingerprint(MODEL), ModelFiles(CONFIG, 5, {"w": ("BF16", (2, 3))}), {"model": {"id": "x"}})
    await store.save(LLAMA, kept)
    assert await store.load(LLAMA) == kept
    (raw,) = fake.objects.values()
    assert raw["metadata"]["ownerReferences"][0]["uid"] == "uid-of-llama"


async def test_what_an_earlier_deployment_of_that_name_kept_is_not_used(api: ApiServer):
    store = ModelStore(FencedApi(api, Holder()))
    await store.save(LLAMA, Kept("x", ModelFiles(CONFIG, 5)))
    assert await store.load(Subject("ns", "llama", "another")) == Kept()


def test_an_inspection_report_is_its_last_line():
    report = {"config": CONFIG, "weights_bytes": 6, "tensors": {"w": ["BF16", [1, 3], 6]}}
    files = read_report("starting\n" + json.dumps(report) + "\n")
    assert files == ModelFiles(CONFIG, 6, {"w": ("BF16", (1, 3))})


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ('{"error": "no config.json in /models"}', "ModelNotFound"),
        ("Traceback", "ModelInspectionFailed"),
        ("", "ModelInspectionFailed"),
        ('{"weights_bytes": 1}', "ModelInspectionFailed"),
    ],
)
def test_an_inspection_without_a_report_says_so(log: str, code: str):
    with pytest.raises(ModelProblem) as caught:
        read_report(log)
    assert caught.value.reason.code == code
