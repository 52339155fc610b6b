"""What the keys of the window do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Keys that press a button, by its object name.
PRESSED = {
    "J": "accept_next",
    "K": "skip",
    "G": "suggest",
    "U": "undo",
    "Shift+U": "redo",
    "A": "new_object",
    "Shift+G": "propagate",
    "?": "keys",
}
TOOLS = {"D": "brush", "R": "eraser", "I": "inside", "Y": "smooth"}


def key_actions(
    press: Callable[[str], None], annotate: Callable[[Callable[[Any], Any]], None]
) -> dict[str, Callable[[], Any]]:
    """Return what each key does.

    Parameters
    ----------
    press : callable
        Does what the button with an object name does.
    annotate : callable
        Calls a function with the annotation controller of the open project, if there is one.
    """
    buttons = {key: partial(press, name) for key, name in PRESSED.items()}
    tools = {key: partial(annotate, _picking(tool)) for key, tool in TOOLS.items()}
    others: dict[str, Callable[[Any], Any]] = {
        "H": lambda a: a.navigation.previous(),
        "N": lambda a: a.next_to_check(),
        "Q": lambda a: a.editor.answer(True),
        "W": lambda a: a.editor.answer(False),
        "Shift+J": lambda a: a.accept_and_next(others_open=True),
        "T": lambda a: a.editor.switch_over(),
        "O": lambda a: a.painting.clean_up(),
    }
    return {**buttons, **tools, **{key: partial(annotate, do) for key, do in others.items()}}


def _picking(tool: str) -> Callable[[Any], Any]:
    return lambda annotation: annotation.pick_tool(tool)
