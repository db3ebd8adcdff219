"""The control laws of other systems, by the name under which `simulate --policy` knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inferfleet.simulate.policy import Factory

PEERS: Final[Mapping[str, Factory]] = {}
