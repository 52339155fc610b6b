"""Entry point of ``napari-scsam``: exit code 0, or one clear line and exit code 2."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import platformdirs
from cyclopts import CycloptsError
from rich.console import Console

from napari_scsam.cli.app import build_app
from napari_scsam.cli.report import Report, printable
from napari_scsam.cli.signals import interrupted_by_sigterm
from napari_scsam.core.errors import Cancelled, ScsamError

# As in POSIX for wrong usage.
EXIT_USER = 2
# As Python's own for an unhandled error.
EXIT_BUG = 1
# 128 plus SIGINT.
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default ``sys.argv[1:]``.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # advice of libraries to developers
    try:
        with interrupted_by_sigterm():
            result = build_app()(list(sys.argv[1:] if argv is None else argv))
    except (KeyboardInterrupt, Cancelled):
        return _fail("Cancelled.", EXIT_INTERRUPTED)
    except CycloptsError as exc:
        return _fail(f"{exc} See --help.", EXIT_USER)
    except ScsamError as exc:
        return _fail(str(exc), EXIT_USER)
    except OSError as exc:  # such as a name that is too long, or a folder that may not be entered
        return _fail(f"{exc.filename or 'A file'} can't be used: {exc.strerror or exc}.", EXIT_USER)
    except Exception:  # noqa: BLE001 - last resort: the user gets a line, the log the traceback
        return _fail(f"Something unexpected went wrong. The log has it: {_log()}", EXIT_BUG)
    if isinstance(result, Report):
        result.show()
    return 0


def _fail(line: str, code: int) -> int:
    one_line = " ".join(line.split())
    Console(stderr=True, soft_wrap=True).out(
        f"napari-scsam: {printable(one_line)}", highlight=False
    )
    return code


def _log() -> Path:
    folder = platformdirs.user_log_path("napari-scsam", ensure_exists=True)
    path = folder / "napari-scsam.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    logger = logging.getLogger("napari_scsam")
    logger.addHandler(handler)
    logger.exception("command line: %s", sys.argv[1:])
    handler.close()
    logger.removeHandler(handler)
    return path


if __name__ == "__main__":
    sys.exit(main())
