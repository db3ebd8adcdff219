"""Flavour nodes (written next)."""
from typing import Any
def up(*a: Any) -> Any: raise NotImplementedError
def down(*a: Any) -> Any: raise NotImplementedError
def describe(*a: Any) -> Any: return []
images = act_on_node = up
