"""Whose NodePool it is, and what has to be done about it."""

from __future__ import annotations

from typing import Any

import pytest

from inferfleet.shell.kinds import NodePoolRecord, PoolRecord
from inferfleet.shell.provision import Due, due
from inferfleet.values import NodePool, PoolSpec

ASKED = {"metadata": {"annotations": {"inferfleet.dev/hash": "new"}}}


def there(owner: str, digest: str) -> NodePoolRecord:
    return NodePoolRecord("l4", owner, digest, NodePool("l4"))


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        (ASKED, None, Due.WRITE),
        (ASKED, there("mine", "old"), Due.WRITE),
        (ASKED, there("mine", "new"), Due.NOTHING),
        (ASKED, there("", ""), Due.NAME_TAKEN),
        (ASKED, there("another", "new"), Due.NAME_TAKEN),
        (None, None, Due.NOTHING),
        (None, there("another", "new"), Due.NOTHING),
        (None, there("mine", "new"), Due.TAKE_BACK),
    ],
    ids=[
        "not there yet",
        "as an earlier spec asked",
        "as asked",
        "written by hand",
        "of another GPUPool",
        "nothing asked, nothing there",
        "nothing asked of what is another's",
        "no longer asked for",
    ],
)
def test_only_what_is_this_gpupools_is_written_or_taken_back(
    asked: dict[str, Any] | None, found: NodePoolRecord | None, expected: Due
) -> None:
    pool = PoolRecord("l4", "mine", 1, deleting=False, spec=PoolSpec("l4"), node_pool=asked, status={})
    assert due(pool, found) is expected
