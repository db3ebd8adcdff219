"""Dataclasses that the type checker holds frozen, and that are made, and made anew, as fast as can be.

A frozen one sets each of its fields through `object.__setattr__`, and takes three times as long to be made:
a pass over a hundred replicas makes some hundreds. That nobody assigns to a value is for mypy to see.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, replace
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """As `dataclasses.dataclass`; equal values have equal hashes, as frozen ones do."""

        def make(cls: type) -> type:
            hashes = frozen and "__hash__" not in vars(cls)
            return dataclasses.dataclass(cls, slots=slots, unsafe_hash=hashes)

        return make

    @cache
    def shape_of(cls: type) -> tuple[attrgetter, dict[str, int]]:
        """What reads a value's class and all that it is made from, and where each field is among those."""
        names = [field.name for field in dataclasses.fields(cls) if field.init]
        return attrgetter("__class__", *names), {name: at for at, name in enumerate(names)}

    def replace(value: object, **changes: object) -> object:
        """As `dataclasses.replace`, which looks up each field anew every time."""
        read, places = shape_of(type(value))
        cls, *held = read(value)
        for name, new in changes.items():
            held[places[name]] = new
        return cls(*held)


__all__ = ["dataclass", "replace"]
