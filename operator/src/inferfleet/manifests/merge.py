"""Strategic merge of a user's partial pod into a rendered one, as `kubectl patch` does it for pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# list -> the field that identifies an entry. Entries of the first group merge, of the second replace.
MERGED_LISTS: Final = {"containers": "name", "initContainers": "name"}
REPLACED_ENTRIES: Final = {
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "readinessGates": "conditionType",
    "topologySpreadConstraints": "topologyKey",
}
ADDED_LISTS: Final = {"tolerations"}


def merge(base: Any, overlay: Any, field: str = "") -> Any:
    """Return `base` with `overlay` on it; the overlay wins, null removes."""
    if isinstance(base, Mapping) and isinstance(overlay, Mapping):
        merged = {key: value for key, value in base.items() if overlay.get(key, value) is not None}
        return merged | {
            key: merge(base.get(key), value, key) for key, value in overlay.items() if value is not None
        }
    if isinstance(base, list) and isinstance(overlay, list):
        if field in ADDED_LISTS:
            return [*base, *(entry for entry in overlay if entry not in base)]
        if field in MERGED_LISTS:
            return _by_key(base, overlay, MERGED_LISTS[field], entries_merge=True)
        if field in REPLACED_ENTRIES:
            return _by_key(base, overlay, REPLACED_ENTRIES[field], entries_merge=False)
    return overlay


def _by_key(base: list[Any], overlay: list[Any], key: str, *, entries_merge: bool) -> list[Any]:
    """Return entries of both lists; those with the same key become one, in the place of the first."""
    over = {_identity(entry, key): entry for entry in overlay}
    known = {_identity(entry, key) for entry in base}
    kept = [
        (merge(entry, over[identity]) if entries_merge else over[identity]) if identity in over else entry
        for entry, identity in ((entry, _identity(entry, key)) for entry in base)
    ]
    return [*kept, *(entry for identity, entry in over.items() if identity not in known)]


def _identity(entry: Any, key: str) -> Any:
    """Return what identifies an entry; one that is not even an object is left to the API server to refuse."""
    return entry.get(key) if isinstance(entry, Mapping) else repr(entry)
