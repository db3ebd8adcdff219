"""Answers that are kept for as long as the same values are asked about.

A pass asks much of all nodes and of all workers that was asked in the pass before, when they were the very
same. Values never change, so identity proves that the answer still holds, at no cost for each of them: where
an equal value was made anew, the answer is, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

MOST: Final = 16
"""Answers that each function keeps, and with them what was asked about: a few views of the fleet."""

Asked = TypeVar("Asked", bound=Callable[..., Any])


def remembered(function: Asked) -> Asked:
    """Keep the last answers of a function of values; the answers are values as well."""
    # what was asked about is kept beside the answer, so that its identity remains its own
    kept: dict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = {}

    @wraps(function)
    def answer(*asked: Any) -> Any:
        key = tuple(map(id, asked))
        if key not in kept:
            if len(kept) >= MOST:
                del kept[next(iter(kept))]
            kept[key] = asked, function(*asked)
        return kept[key][1]

    return answer  # type: ignore[return-value] # takes what the function takes, by position
