"""An answer that is kept for as long as the very same values are asked about.

A pass asks much of all nodes and of all workers that was asked before, by another rule or by the pass before.
Values never change, so identity proves that the answer still holds, at no cost for each of them. Where an
equal value was made anew, the answer is, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import is_
from typing import TypeVar, TypeVarTuple

Asked = TypeVarTuple("Asked")
Answer = TypeVar("Answer")


def remembered(function: Callable[[*Asked], Answer]) -> Callable[[*Asked], Answer]:
    """Keep the last answer of a function of values; the answer is a value as well, and never changed."""
    # what was asked about is kept beside the answer, so that nothing else can take its identity
    kept: tuple[tuple[*Asked], Answer] | None = None

    @wraps(function)
    def answer(*asked: *Asked) -> Answer:
        nonlocal kept
        known = kept
        if known is None or not all(map(is_, asked, known[0])):
            known = kept = asked, function(*asked)
        return known[1]

    return answer
