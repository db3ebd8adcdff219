"""The contract survives the trip, and says what it cannot understand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet_wire import (
    DrainRequest,
    DrainStatus,
    InFlight,
    Known,
    LaunchPlan,
    MetadataProvider,
    MetadataSource,
    Notice,
    NoticeKind,
    Phase,
    State,
    WireError,
)
from inferfleet_wire.state import LONGEST_WAIT_SECONDS

instants = st.floats(0, 4e9)
counts = st.integers(0, 2**53)
totals = st.dictionaries(st.text(max_size=9), counts, max_size=3)
notices = st.builds(Notice, st.sampled_from(NoticeKind), st.none() | instants, st.text(), st.text(), instants)
drains = st.builds(DrainStatus, st.text(), instants, instants, st.none() | instants)
states = st.builds(
    State,
    instance=st.text(),
    pid=counts,
    phase=st.sampled_from(Phase),
    time=instants,
    engine_ready=st.booleans(),
    in_flight=st.builds(InFlight, counts, counts),
    accepted_total=counts,
    refused_total=totals,
    lost_total=totals,
    drain=st.none() | drains,
    notices=st.lists(notices, max_size=3).map(tuple),
)
plans = st.builds(
    LaunchPlan,
    command=st.lists(st.text(), min_size=1).map(tuple),
    env=st.dictionaries(st.text(), st.text()),
    metadata=st.lists(
        st.builds(
            MetadataSource, st.sampled_from(MetadataProvider), st.text(min_size=1), st.none() | instants
        )
    ).map(tuple),
)


@given(states)
def test_a_state_arrives_as_it_was_sent(state: State) -> None:
    assert State.from_json(state.to_json()) == state


@given(plans)
def test_a_launch_plan_arrives_as_it_was_sent(plan: LaunchPlan) -> None:
    assert LaunchPlan.from_json(plan.to_json()) == plan


@given(st.builds(DrainRequest, st.text(min_size=1), st.none() | instants, instants))
def test_a_drain_request_arrives_as_it_was_sent(request: DrainRequest) -> None:
    assert DrainRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("", "not JSON"),
        pytest.param("[" * 200_000, "not JSON", id="nested without end"),
        (b"\xff", "not JSON"),
        ("[]", "must be an object"),
        ('{"cause": "x"}', "version None, this side understands 1"),
        ('{"version": 2, "cause": "x"}', "version 2, this side understands 1"),
        ('{"version": true, "cause": "x"}', "version True"),
        ('{"version": 1}', "cause must be a string"),
        ('{"version": 1, "cause": ""}', "cause must say why"),
        (
            '{"version": 1, "cause": "x", "settle_seconds": -1}',
            "settle_seconds must be a number of zero or more",
        ),
        ('{"version": 1, "cause": "x", "settle_seconds": null}', "settle_seconds must be a number"),
        ('{"version": 1, "cause": "x", "deadline_epoch_seconds": NaN}', "deadline_epoch_seconds"),
        ('{"version": 1, "cause": "x", "deadline_epoch_seconds": "soon"}', "deadline_epoch_seconds"),
    ],
)
def test_a_drain_request_that_cannot_be_understood_is_refused_with_the_field(
    body: str | bytes, complaint: str
) -> None:
    with pytest.raises(WireError, match=complaint):
        DrainRequest.from_json(body)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"command": []}, "at least one word"),
        ({"command": "vllm serve"}, "command must be a list"),
        ({"command": ["vllm"], "env": {"A": 1}}, "strings only"),
        (
            {"command": ["vllm"], "metadata": [{"provider": "ibm"}]},
            "provider must be one of aws, gcp, azure, url",
        ),
        ({"command": ["vllm"], "metadata": [{"provider": "url"}]}, "needs its url"),
        ({"command": ["vllm"], "engine_port": 1.5}, "engine_port must be a whole number"),
    ],
)
def test_a_launch_plan_that_cannot_be_understood_is_refused_with_the_field(
    fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(WireError, match=complaint):
        LaunchPlan.from_json(json.dumps({"version": 1, **fields}))


@given(st.builds(Known, st.integers(0), st.floats(0, LONGEST_WAIT_SECONDS)))
def test_what_an_asker_knows_arrives_as_it_was_sent(known: Known) -> None:
    assert Known.from_query(known.to_query()) == known
    assert Known.from_query({}) is None


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"wait_seconds": "1"}, "must be numbers"),
        ({"in_flight": "two", "wait_seconds": "1"}, "must be numbers"),
        ({"in_flight": "2", "wait_seconds": "long"}, "must be numbers"),
        ({"in_flight": "2", "wait_seconds": "3600"}, "from 0 to 30"),
        ({"in_flight": "2", "wait_seconds": "nan"}, "from 0 to 30"),
        ({"in_flight": "2", "wait_seconds": "-1"}, "from 0 to 30"),
    ],
)
def test_an_asker_who_cannot_be_understood_is_told_why(query: dict[str, str], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        Known.from_query(query)


def test_fields_of_a_later_release_are_skipped() -> None:
    state = State(instance="i", pid=1, phase=Phase.SERVING, time=1.0, engine_ready=True)
    later = json.loads(state.to_json()) | {"gpu_temperature": 61}
    assert State.from_json(json.dumps(later)) == state


@pytest.mark.parametrize(
    ("phase", "requests", "drained"),
    [
        (Phase.SERVING, 0, False),
        (Phase.CLOSING, 0, False),
        (Phase.REFUSING, 1, False),
        (Phase.REFUSING, 0, True),
        (Phase.STOPPED, 0, True),
    ],
)
def test_a_worker_is_drained_once_it_refuses_and_nothing_runs(
    phase: Phase, requests: int, drained: bool
) -> None:
    state = State("i", 1, phase, 1.0, engine_ready=True, in_flight=InFlight(requests))
    assert state.drained is drained
