"""Dataclasses that the type checker holds frozen, and that are made as fast as others.

A frozen one sets each of its fields through `object.__setattr__`, and takes three times as long to be made:
a pass over a hundred replicas makes some hundreds. That nobody assigns to a value is for mypy to see.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """As `dataclasses.dataclass`; equal values have equal hashes, as frozen ones do."""

        def make(cls: type) -> type:
            hashes = frozen and "__hash__" not in vars(cls)
            return dataclasses.dataclass(cls, slots=slots, unsafe_hash=hashes)

        return make


__all__ = ["dataclass"]
