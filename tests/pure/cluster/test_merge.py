"""Merge patches: whatever two objects are, the patch leads from one to the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet.cluster.merge import merge_patch

leaves = st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
objects = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
    ),
    max_size=3,
)


def merged(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(objects, objects)
def test_the_patch_leads_from_one_object_to_the_other(before: dict[str, Any], after: dict[str, Any]):
    assert merged(before, merge_patch(before, after)) == after


@given(objects)
def test_between_equal_objects_there_is_nothing_to_send(same: dict[str, Any]):
    assert merge_patch(same, same) == {}


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 3}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": None}}),
    ],
)
def test_only_what_differs_is_sent(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]):
    assert merge_patch(before, after) == patch
