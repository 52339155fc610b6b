"""The version of what a round learns and answers: a benchmark's record is of one engine."""

from __future__ import annotations

ENGINE_VERSION = 2
"""Raise it by one whenever the same inputs, settings and seed give another round.

That is when a recipe's losses change (its steps, schedules, views, networks, optimisers), when
other pixels are read (windows, canvases, SAM's input), or when a finished round answers another
way. Records of earlier engines are then out of date, and leave the tree. Renaming, moving or
speeding up code raises nothing. ``tests/training/test_training_engine.py`` keeps figures of all
three and says when they have moved.

1 is the engine of version 0.1.0, whose records name none.
"""
