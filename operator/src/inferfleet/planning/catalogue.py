"""Facts of well-known models, recorded, for clusters that reach no hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from inferfleet.planning.facts import model_facts
from inferfleet.values import ModelFacts


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    text = files("inferfleet.planning").joinpath("catalogue.json").read_text(encoding="utf-8")
    return MappingProxyType({str(name).lower(): entry for name, entry in json.loads(text)["models"].items()})


@cache
def catalogue_facts(model_id: str) -> ModelFacts | None:
    """Return the recorded facts of a hub id, whatever its case; None for one that is not recorded."""
    entry = _entries().get(model_id.lower())
    if entry is None:
        return None
    return model_facts(entry["config"], entry.get("weight_bytes"), model_id=model_id)


def catalogue_ids() -> tuple[str, ...]:
    """Return the hub ids that are recorded, in lower case, sorted."""
    return tuple(sorted(_entries()))
