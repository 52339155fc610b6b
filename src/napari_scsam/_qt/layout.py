"""Arrangement of the panels in the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_scsam._qt.annotate_panel import AnnotatePanel
from napari_scsam._qt.font_follower import FontFollower
from napari_scsam._qt.progress_panel import ProgressPanel
from napari_scsam._qt.project_panel import NewProjectForm, ProjectBar, WelcomePanel
from napari_scsam._qt.queue_panel import QueuePanel
from napari_scsam._qt.reading_panel import ReadingPanel
from napari_scsam._qt.style import MARGIN, STYLE
from napari_scsam._qt.training_panel import TrainingPanel
from napari_scsam._qt.tuning_panel import TuningPanel
from napari_scsam._qt.widgets import StatusLine, SteadyLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_scsam.project import Project

# Pixels: with the dock's frame, less than the 320 px that it has to fit.
MINIMUM_WIDTH = 300


class DockLayout:
    """Creates the panels and stacks them, without any behaviour.

    Parameters
    ----------
    dock : QWidget
        Widget that gets the layout.
    """

    def __init__(self, dock: QWidget) -> None:
        self._is_open = False
        self.bar = ProjectBar()
        self.welcome = WelcomePanel()
        self.form = NewProjectForm()
        self.form.hide()
        self.queue = QueuePanel()
        self.annotate = AnnotatePanel()
        self.tuning = TuningPanel()
        self.training = TrainingPanel()
        self.progress = ProgressPanel()
        self.foot = Foot()
        self._of_project = _stacked(
            [
                self.annotate,
                _line(),
                self.queue,
                _line(),
                self.training,
                self.progress,
                self.tuning,
            ]
        )
        parts = (self.welcome, self.form, self._of_project, self.bar)
        layout = QVBoxLayout(dock)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(_scrolled(parts), 1)
        layout.addWidget(self.foot)
        dock.setStyleSheet(STYLE)
        FontFollower(dock, self.foot.machine)

    def show_project(self, project: Project | None) -> None:
        """Show the panels of a project, or the welcome if none is open."""
        is_open = self._is_open = project is not None
        self.welcome.setVisible(not is_open and self.form.isHidden())
        self._of_project.setVisible(is_open)
        if project is None:
            self.bar.show_project(None)
            self.foot.machine.setText("")
            return
        self.form.hide()
        self.bar.show()
        self.bar.show_project(project.name, read_only=project.read_only)
        self.annotate.set_classes(project.classes)

    def show_form(self, shown: bool) -> None:
        """Show the form for a new project instead of the other panels, or hide it."""
        self.form.setVisible(shown)
        self.bar.setVisible(not shown)
        self.welcome.setVisible(not shown and not self._is_open)
        self._of_project.setVisible(not shown and self._is_open)


class Foot(QWidget):
    """What stays visible below the panels.

    Attributes
    ----------
    status : StatusLine
    machine : QLabel
        The model and its device, or what the models do.
    reading : ReadingPanel
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine()
        self.reading = ReadingPanel()
        self.machine = SteadyLabel("machine")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, 2, MARGIN, 4)
        for part in (self.status, self.reading, self.machine):
            layout.addWidget(part)


class Column(QScrollArea):
    """A column that scrolls up and down, and is never narrower than what it holds."""

    def minimumSizeHint(self) -> QSize:
        """Return the width of the content and of the scroll bar."""
        hint = super().minimumSizeHint()
        body, bar = self.widget(), self.verticalScrollBar()
        if body is None or bar is None:
            return hint
        # A style sheet may make the bar wider than its hint says.
        beside = max(bar.sizeHint().width(), self.width() - self.viewport().width())
        width = body.minimumSizeHint().width() + beside
        return QSize(max(width, MINIMUM_WIDTH), hint.height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more width when the content needs it, such as with a larger font."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


def _stacked(parts: Sequence[QWidget]) -> QWidget:
    """Stack the parts, without a margin around them."""
    stack = QWidget()
    column = QVBoxLayout(stack)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(MARGIN)
    for part in parts:
        column.addWidget(part)
    return stack


def _scrolled(parts: Sequence[QWidget]) -> QScrollArea:
    """Stack the parts in a column that scrolls."""
    body = QWidget()
    column = QVBoxLayout(body)
    column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
    column.addWidget(_stacked(parts))
    column.addStretch(1)
    scroll = Column()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(body)
    return scroll


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
