"""Measurement of this machine's speed with a very small round, to estimate the first real one."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import tifffile

from napari_scsam.core.errors import Cancelled, ModelError, ScsamError
from napari_scsam.core.geometry import Plane
from napari_scsam.core.jobs import CancelToken, Job
from napari_scsam.core.settings import TrainSettings
from napari_scsam.project import Project
from napari_scsam.rounds.assumed_costs import Past, Planes
from napari_scsam.rounds.background_jobs import BackgroundJob, JobQueue
from napari_scsam.rounds.measured_costs import recall, remember
from napari_scsam.rounds.running_round import POLL_S, RunningRound, TrainingController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_scsam.core.job_runner import JobRunner

# The minimum that includes one step of SAM, which is every eighth or, beside a pretrained U-Net,
# every third.
STEPS = 8
# While other programs use more than this share of the processors, in percent, a measurement would
# say too much. It waits in steps of so many seconds, and no longer than the last number. Arbitrary.
BUSY_PERCENT = 40.0
STEP_S, LONGEST_S = 1.0, 600.0  # arbitrary
# The phantom: number of slices, their side, and the position of its block. Arbitrary, but for the
# side, which is the default `image_size` of a round.
SLICES, SIDE = 3, 192
BLOCK = (slice(48, 120), slice(60, 140))


def small_round(settings: TrainSettings | None = None) -> TrainSettings:
    """Return settings of a minimal round that takes each kind of step."""
    given = (settings or TrainSettings()).to_dict()
    small = {"steps": STEPS, "minutes": None, "pictures": None, "unlabelled_planes": 1}
    return TrainSettings.from_dict({**given, **small, "holdout": 0.0})


def measure(settings: TrainSettings | None = None, cancel: CancelToken | None = None) -> Past:
    """Train a small round on a phantom in a child process, and store its rates; blocks.

    It uses the real training step and the real embedding. ``doctor``, which does little else, took
    24 s on two idle cores with AVX2 only, mostly for loading and a few embeddings.

    Parameters
    ----------
    settings : TrainSettings, optional
        Recipe, networks and sizes to measure.
    cancel : CancelToken, optional
        Kills the child at once.

    Raises
    ------
    ModelError
        If the small round fails, with the child's message.
    Cancelled
    """
    settings = small_round(settings)
    with tempfile.TemporaryDirectory(prefix="scsam-") as folder, _phantom(Path(folder)) as project:
        running = TrainingController(project).start(settings)
        try:
            _wait(running, cancel or CancelToken())
            record = running.finish()
        except Cancelled:
            raise
        except ScsamError as exc:
            raise ModelError(f"This machine could not be measured. {exc}") from exc
        finally:
            running.kill()
    if record is None:
        raise Cancelled("Cancelled.")
    metrics = record.metrics
    planes = Planes(int(metrics["labelled_planes"]), 0, int(metrics["unlabelled_planes"]), 1)
    past = Past(None, settings, planes, metrics["rates"])
    remember(past)
    return past


def _wait(running: RunningRound, cancel: CancelToken) -> None:
    while running.alive:
        cancel.check()
        time.sleep(POLL_S)


@contextmanager
def _phantom(folder: Path) -> Iterator[Project]:
    """Yield a project with one small volume: a bright block on noise, labelled on one slice."""
    pixels = np.random.default_rng(0).integers(0, 60, (SLICES, SIDE, SIDE), np.uint8)
    pixels[:, *BLOCK] += 120
    tifffile.imwrite(folder / "phantom.tif", pixels, photometric="minisblack")
    with Project.create(folder / "project", ["block"]) as project:
        (image,) = project.add_images([folder / "phantom.tif"])
        label = np.zeros((SIDE, SIDE), np.uint8)
        label[BLOCK] = 1
        project.commit(image, label, plane=Plane(0, 1))
        yield project


def is_busy() -> bool:
    """Whether the processors have been used a lot since the last call."""
    return psutil.cpu_percent() > BUSY_PERCENT


def wait_until_idle(cancel: CancelToken) -> bool:
    """Wait until nothing else uses the processors; returns False if that takes too long.

    Raises
    ------
    Cancelled
    """
    is_busy()  # the first call has nothing to compare with
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        _sleep(STEP_S, cancel)
        if not is_busy():
            return True
    return False


def _sleep(seconds: float, cancel: CancelToken) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cancel.check()
        time.sleep(min(POLL_S, seconds))


class SpeedController:
    """Measures this machine once, when no other background job is running.

    Parameters
    ----------
    runner : JobRunner
        Not shared with others, because measuring takes as long as a small round.
    jobs : JobQueue
        Queue shared by all background jobs of the project.
    on_measured : callable
        Called when estimates can be updated.
    """

    def __init__(self, runner: JobRunner, jobs: JobQueue, on_measured: Callable[[], None]) -> None:
        self._runner, self._jobs, self._on_measured = runner, jobs, on_measured
        self._requested = False
        self._cancel = CancelToken()

    def wanted(self) -> None:
        """Request the measurement; only the first request counts."""
        if not self._requested:
            self._requested = True
            self._jobs.ask(BackgroundJob("measuring", self._begin, self._stop))

    def close(self) -> None:
        """End the small round with the window."""
        self._cancel.cancel()

    def _begin(self) -> None:
        def work(_progress: Any, cancel: CancelToken) -> None:
            # Another window may have measured meanwhile.
            if recall() is None and wait_until_idle(cancel):
                measure(cancel=cancel)

        job = Job("Measuring this machine", work)
        self._cancel = self._runner.run(job, self._measured, self._failed)

    def _stop(self) -> None:
        self._cancel.cancel()

    def _measured(self, _: Any) -> None:
        self._jobs.ended("measuring")
        self._on_measured()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            self._jobs.stopped("measuring")
            return
        self._jobs.ended("measuring")
        if not isinstance(error, ScsamError):
            raise error
