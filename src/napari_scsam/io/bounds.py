"""How much a file may ask for: what its bytes can hold, and what this machine can."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import psutil

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Deflate, inside gzip, PNG and some TIFFs, packs 258 bytes into two bits at best (RFC 1951);
# zlib's own documentation gives the ratio.
MOST_PER_DEFLATED_BYTE = 1032
# Of the machine's memory, for one file (arbitrary: the other half is for the models).
SHARE = 0.5

# What readers of other people raise on files that are cut off or scrambled.
DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    EOFError,
    RuntimeError,
    AssertionError,
    SyntaxError,  # a broken PNG; broken OME-XML
    struct.error,
    zlib.error,
)


def damaged(path: Path, why: str) -> InputError:
    """The one line about a file that is broken."""
    return InputError(f"{path} is damaged: {why}. Copy or export it again.")


def refuse_too_large(path: Path, needed: int) -> None:
    """Refuse a file that needs more than a share of this machine's memory.

    Parameters
    ----------
    path : Path
        The file.
    needed : int
        Bytes of memory that reading it takes at the most.

    Raises
    ------
    InputError
        Says how much is needed, and how much there is.
    """
    total = psutil.virtual_memory().total
    if needed > SHARE * total:
        raise InputError(
            f"{path} takes {_gib(needed)} of memory to read, more than {SHARE:.0%} of this "
            f"machine's {_gib(total)}. Crop or split it, or use a machine with more memory."
        )


def out_of_memory(path: Path) -> InputError:
    """The one line about a file for which no memory was left."""
    free = psutil.virtual_memory().available
    return InputError(
        f"{path} does not fit into the memory that is left ({_gib(free)} are free on this "
        "machine). Close other programs, or crop or split it."
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
