"""Version of the training engine. Every benchmark record belongs to one version."""

from __future__ import annotations

ENGINE_VERSION = 3
"""Raise by one whenever the same inputs, settings and seed give a different round.

This is the case when a recipe changes (losses, steps, schedules, views, networks, optimisers), when
the models get different pixels (windows, canvases, SAM's input), or when a finished round predicts
differently. Records of earlier engines are then out of date and are removed from the repository.
Renaming, moving or speeding up code does not raise the version.
``tests/training/test_training_engine.py`` keeps figures of all three and fails when they change.

1 is the engine of version 0.1.0, whose records carry no engine version.
"""
