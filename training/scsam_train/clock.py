"""How much of a round is done, by steps or by time, and what it says of that."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_scsam.core.round_contract import JUDGING_SHARE, EventKind, Phase

if TYPE_CHECKING:
    from scsam_train.recipe_context import StepReport
    from scsam_train.session import Session

EVENT_EVERY_S = 0.5
# Seconds for saving, and for clicking on a few objects; then so many times as long as the latest
# look at the held-out planes took: the pair is marked up to five times, two of them with more to
# ask, and its parent once.
SAVING_S, LOOKS = 5.0, 28

# After so many pictures, and so many seconds of steps, a round says what it will take: the first
# step alone takes several times as long as others.
MEASURED_PICTURES, MEASURED_S = 96, 3.0
# Of the budget in pictures: what is left for a round that has learned, in which its learning rates
# fall to their end. Arbitrary.
COOL_DOWN = 0.15


@dataclass(frozen=True)
class Ending:
    """The rest of a schedule, in fewer pictures.

    Attributes
    ----------
    pictures : int
        When it was decided.
    since : float
        The fraction of the round that was done then.
    last : int
        Pictures after which the round ends.
    """

    pictures: int
    since: float
    last: int

    def fraction(self, pictures: int) -> float:
        """How much of the round is done, 0..1."""
        share = (pictures - self.pictures) / max(1, self.last - self.pictures)
        return self.since + (1 - self.since) * share


class Clock:
    """Fraction of the training that is done, and its events.

    Parameters
    ----------
    session : Session
    trained_s : float
        What was trained before the round was resumed.
    ending : Ending, optional
        How a resumed round was ending early.
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
        """How much of the round is done after these steps and pictures, 0..1.

        The same in all processes.
        """
        by_steps = step / self._session.settings.max_steps
        if self._budget is not None:
            by_steps = max(by_steps, pictures / self._budget)
        if self._ending is not None:
            by_steps = max(by_steps, self._ending.fraction(pictures))
        end = self._session.deadline(1.0) - self._judging_s()
        if math.isinf(end):
            return by_steps
        total = max(end - self._began - self._session.control.paused_s, 1e-3)
        return self._session.world.agreed(max(by_steps, self.trained_s() / total))

    def end_early(self, pictures: int, fraction: float) -> Ending | None:
        """Let the rest of the schedule pass in `COOL_DOWN` of the budget, if that is sooner.

        Returns how the round will end, or None where nothing changes.
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
        """How the round is ending early; None while it is not."""
        return self._ending

    def trained_s(self) -> float:
        """Seconds of training, pauses not counted."""
        return time.monotonic() - self._began - self._session.control.paused_s

    def _judging_s(self) -> float:
        """Seconds to leave for judging and saving."""
        most = JUDGING_SHARE * 60 * (self._session.settings.minutes or 0.0)
        if not self._session.split.held_out:
            return min(SAVING_S, most)
        look = self._session.meter.latest("looking")
        return most if look is None else min(SAVING_S + LOOKS * look, most)

    def estimate(self, pictures: int, fraction: float, seconds: float) -> None:
        """Say once, after the first steps, how long the training still takes on this machine.

        `seconds` is what the steps so far took.
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
        """Write an event, but not too many."""
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
