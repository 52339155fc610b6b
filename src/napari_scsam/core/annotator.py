"""The name of the person who labels, which the journal keeps with each commit."""

from __future__ import annotations

import getpass
import os

# Environment variable for the name, where several people share a login.
VARIABLE = "NAPARI_SCSAM_ANNOTATOR"
# Longest name that is kept. Arbitrary.
MOST_CHARACTERS = 80


def annotator_name(given: str | None = None) -> str:
    """Return the name of the present annotator, in one line; empty if there is none.

    Parameters
    ----------
    given : str, optional
        What the person chose; otherwise the environment variable counts, then the login name.
    """
    name = given if given is not None else os.environ.get(VARIABLE) or _login()
    return " ".join(name.split())[:MOST_CHARACTERS]


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in a container
        return ""
