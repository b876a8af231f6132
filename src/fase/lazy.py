"""A property that is computed once for each object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - used like `property`
    """`functools.cached_property` without the lock it has in Python 3.11, which a fork would leave held in the child when another thread computes."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, _: type | None = None) -> T:
        # Not asked again: what lies in the object's dictionary comes first.
        found = owner.__dict__[self._compute.__name__] = self._compute(owner)
        return found
