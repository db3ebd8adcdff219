"""Merge patches (RFC 7396): the least that turns one object into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What to send so that `before` becomes `after`; lists are replaced whole, what went is null.

    Status is written so and not by server-side apply, which refuses the whole object for one field that the
    installed definition does not know yet; here the API server drops that field and keeps the rest.
    """
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            deeper = merge_patch(known, value)
            if deeper:
                patch[name] = deeper
        elif name not in before or value != known:
            patch[name] = value
    return patch
