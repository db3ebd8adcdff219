"""The strategic merge of a user's template."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.manifests.merge import merge

CASES: dict[str, tuple[Any, Any, Any]] = {
    "maps merge and the overlay wins": (
        {"a": 1, "b": {"c": 1}},
        {"b": {"c": 2, "d": 3}},
        {"a": 1, "b": {"c": 2, "d": 3}},
    ),
    "null removes": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "null of what is not there is nothing": ({"a": 1}, {"b": None}, {"a": 1}),
    "plain lists are replaced": ({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}),
    "tolerations add up": (
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "a"}, {"key": "b"}]},
        {"tolerations": [{"key": "a"}, {"key": "b"}]},
    ),
    "containers merge by name": (
        {"containers": [{"name": "a", "image": "x", "tty": True}]},
        {"containers": [{"name": "b"}, {"name": "a", "image": "y"}]},
        {"containers": [{"name": "a", "image": "y", "tty": True}, {"name": "b"}]},
    ),
    "an entry of env is replaced whole": (
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]},
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "value": "1"}]},
    ),
    "mounts go by their path": (
        {"volumeMounts": [{"name": "a", "mountPath": "/x"}]},
        {"volumeMounts": [{"name": "b", "mountPath": "/x"}]},
        {"volumeMounts": [{"name": "b", "mountPath": "/x"}]},
    ),
    "nonsense is kept for the API server to refuse": (
        {"containers": [{"name": "a"}]},
        {"containers": "b"},
        {"containers": "b"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_merging(case: str) -> None:
    base, overlay, merged = CASES[case]
    assert merge(base, overlay) == merged


NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.integers() | st.text(max_size=3)
ENTRIES = st.lists(
    st.builds(lambda name, value: {"name": name, "value": value}, NAMES, LEAVES),
    unique_by=lambda entry: entry["name"],
)
PODS = st.fixed_dictionaries(
    {}, optional={"env": ENTRIES, "volumes": ENTRIES, "x": LEAVES, "y": st.dictionaries(NAMES, LEAVES)}
)


@given(PODS, PODS)
def test_merging_twice_is_merging_once(base: dict[str, Any], overlay: dict[str, Any]) -> None:
    once = merge(base, overlay)
    assert merge(once, overlay) == once


@given(PODS)
def test_nothing_merged_changes_nothing(pod: dict[str, Any]) -> None:
    assert merge(pod, {}) == pod
    assert merge({}, pod) == pod
