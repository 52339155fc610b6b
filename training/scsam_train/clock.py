"""Progress of a round, by steps, pictures or time, and the events that report it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.round_contract import VALIDATION_SHARE, EventKind, Phase

if TYPE_CHECKING:
    from scsam_train.recipe_context import StepReport
    from scsam_train.session import Session

# Minimum seconds between two progress events. Arbitrary.
EVENT_EVERY_S = 0.5
# Seconds for saving and for the click test on a few objects, then multiples of the latest
# evaluation on held-out planes: the pair is evaluated up to five times, two of them with more to
# decode, and its parent once.
SAVING_S, EVALUATIONS = 5.0, 28

# Pictures and seconds of training after which the duration is estimated: the first step alone
# takes several times as long as the others.
MEASURED_PICTURES, MEASURED_S = 96, 3.0
# Share of the budget in pictures over which an early stopped round lowers its learning rates to
# their final value. Arbitrary.
COOL_DOWN = 0.15


@dataclass(frozen=True)
class Ending:
    """The rest of a schedule, shortened by early stopping.

    Attributes
    ----------
    pictures : int
        Pictures seen when it was decided.
    since : float
        Completed fraction of the round at that time.
    last : int
        Pictures after which the round ends.
    """

    pictures: int
    since: float
    last: int

    def fraction(self, pictures: int) -> float:
        """Return the completed fraction of the round, 0..1."""
        share = (pictures - self.pictures) / max(1, self.last - self.pictures)
        return self.since + (1 - self.since) * share


class Clock:
    """Completed fraction of the training, and its progress events.

    Parameters
    ----------
    session : Session
    trained_s : float
        Seconds of training before the round was resumed.
    ending : Ending, optional
        Shortened schedule of a resumed round.
    """

    def __init__(
        self, session: Session, trained_s: float = 0.0, ending: Ending | None = None
    ) -> None:
        self._session = session
        self._began = time.monotonic() - session.control.paused_s - trained_s
        self._last_event = 0.0
        self._budget, self._ending = session.budget, ending
        self._estimated = trained_s > 0

    def fraction(self, step: int, pictures: int) -> float:
        """Return the completed fraction of the round after these steps and pictures, 0..1.

        All processes get the same value.
        """
        by_steps = step / self._session.settings.max_steps
        if self._budget is not None:
            by_steps = max(by_steps, pictures / self._budget)
        if self._ending is not None:
            by_steps = max(by_steps, self._ending.fraction(pictures))
        end = self._session.deadline(1.0) - self._validation_s()
        if math.isinf(end):
            return by_steps
        total = max(end - self._began - self._session.control.paused_s, 1e-3)
        return self._session.world.broadcast(max(by_steps, self.trained_s() / total))

    def end_early(self, pictures: int, fraction: float) -> Ending | None:
        """Shorten the rest of the schedule to `COOL_DOWN` of the budget, if that ends it sooner.

        Returns the shortened schedule, or None if nothing changes.
        """
        if self._budget is None or self._ending is not None:
            return None
        last = pictures + round(COOL_DOWN * self._budget)
        if last >= self._budget:
            return None
        self._ending = Ending(pictures, fraction, last)
        return self._ending

    @property
    def ending(self) -> Ending | None:
        """The shortened schedule; None without early stopping."""
        return self._ending

    def trained_s(self) -> float:
        """Return the seconds of training, pauses excluded."""
        return time.monotonic() - self._began - self._session.control.paused_s

    def _validation_s(self) -> float:
        """Return the seconds reserved for validation and saving."""
        most = VALIDATION_SHARE * 60 * (self._session.settings.minutes or 0.0)
        if not self._session.split.held_out:
            return min(SAVING_S, most)
        evaluation_s = self._session.meter.latest("interim evaluation")
        return most if evaluation_s is None else min(SAVING_S + EVALUATIONS * evaluation_s, most)

    def estimate(self, pictures: int, fraction: float, seconds: float) -> None:
        """Log once, after the first steps, the remaining training time on this machine.

        `seconds` is the duration of the steps so far.
        """
        if self._estimated or pictures < MEASURED_PICTURES or seconds < MEASURED_S:
            return
        self._estimated = True
        each = seconds / pictures
        rest = self.trained_s() * (1 - fraction) / max(fraction, 1e-6)
        self._session.log.write(
            EventKind.ESTIMATE,
            seconds=round(rest, 1),
            pictures=self._budget or 0,
            seconds_per_picture=round(each, 4),
        )

    def report(self, step: int, pictures: int, fraction: float, report: StepReport) -> None:
        """Log the progress, at most every `EVENT_EVERY_S` seconds."""
        now = time.monotonic()
        last = step == self._session.settings.max_steps
        if now - self._last_event < EVENT_EVERY_S and not last:
            return
        self._last_event = now
        spent = self.trained_s()
        self._session.log.write(
            EventKind.PROGRESS,
            phase=Phase.TRAINING,
            step=step,
            steps=self._session.settings.steps or max(step, round(step / max(fraction, 1e-6))),
            pictures=pictures,
            fraction=min(fraction, 1.0),
            loss_unet=report.loss_unet,
            loss_sam=report.loss_sam,
            agreement=report.agreement,
            eta_s=round(spent * (1 - fraction) / fraction, 1) if 0 < fraction < 1 else 0.0,
        )
