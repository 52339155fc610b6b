"""Undo and redo over immutable states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class History(Generic[T]):
    """A bounded sequence of states with a current position.

    Parameters
    ----------
    state : T
        Initial state; states must be immutable.
    limit : int
        Number of undo steps that are kept.
    """

    def __init__(self, state: T, limit: int = 500) -> None:
        self._past: list[T] = []
        self._future: list[T] = []
        self._present = state
        self._limit = limit

    @property
    def present(self) -> T:
        """The current state."""
        return self._present

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self._future)

    @property
    def before(self) -> T | None:
        """The state before the current one; None at the beginning."""
        return self._past[-1] if self._past else None

    @property
    def after(self) -> T | None:
        """The state after the current one; None at the end."""
        return self._future[-1] if self._future else None

    def push(self, state: T) -> None:
        """Make `state` the current one; undone states are discarded."""
        self._past.append(self._present)
        del self._past[: -self._limit]
        self._future.clear()
        self._present = state

    def amend(self, state: T) -> None:
        """Replace the current state by `state`, without a new step."""
        self._present = state

    def change_all(self, change: Callable[[T], T]) -> None:
        """Change every state, those undone included: for what was there from the beginning."""
        self._past = [change(state) for state in self._past]
        self._future = [change(state) for state in self._future]
        self._present = change(self._present)

    @property
    def first(self) -> T:
        """The oldest state."""
        return self._past[0] if self._past else self._present

    def replace_first(self, states: Sequence[T]) -> None:
        """Replace the oldest state by several, as if the history had begun earlier."""
        if self._past:
            self._past[:1] = states
        else:
            *self._past, self._present = states
        del self._past[: -self._limit]

    def undo(self) -> T:
        """Step back and return the state, or the current one at the beginning."""
        if self._past:
            self._future.append(self._present)
            self._present = self._past.pop()
        return self._present

    def redo(self) -> T:
        """Step forward and return the state, or the current one at the end."""
        if self._future:
            self._past.append(self._present)
            self._present = self._future.pop()
        return self._present
