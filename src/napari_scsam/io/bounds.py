"""Limits on the memory for reading a file: by its size, and by this machine's memory."""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import TYPE_CHECKING

import psutil

from napari_scsam.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Deflate (gzip, PNG, some TIFFs) encodes at most 258 bytes in two bits (RFC 1951); zlib's
# documentation gives the ratio.
MAX_DEFLATE_RATIO = 1032
# Share of the machine's memory for one file (arbitrary: the other half is for the models).
SHARE = 0.5

# Exceptions of third-party readers for truncated or corrupt files.
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
    lzma.LZMAError,
)


def damaged(path: Path, why: str) -> InputError:
    """The one-line error for a damaged file."""
    return InputError(f"{path} is damaged: {why}. Copy or export it again.")


def refuse_too_large(path: Path, needed: int) -> None:
    """Refuse a file that needs more than `SHARE` of this machine's memory.

    Parameters
    ----------
    path : Path
        The file.
    needed : int
        The largest number of bytes of memory that reading it takes.

    Raises
    ------
    InputError
        It states the memory that is needed and that of this machine.
    """
    total = psutil.virtual_memory().total
    if needed > SHARE * total:
        raise InputError(
            f"{path} takes {_gib(needed)} of memory to read, more than {SHARE:.0%} of this "
            f"machine's {_gib(total)}. Crop or split it, or use a machine with more memory."
        )


def out_of_memory(path: Path) -> InputError:
    """The one-line error for a file that no memory is left for."""
    free = psutil.virtual_memory().available
    return InputError(
        f"{path} does not fit into the memory that is left ({_gib(free)} are free on this "
        "machine). Close other programs, or crop or split it."
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
