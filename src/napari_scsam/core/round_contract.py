"""What passes between a round, or a tuning, and the process that started it.

The child (`scsam_train`) is told what to learn from by files in its folder, and tells how it goes
by events in another; what it leaves there is what the models are loaded from. Both sides, and who
only estimates what a round will take, read the names and numbers here. The names are part of the
project's format: with another one, what lies in older folders is not found.
"""

from __future__ import annotations

from enum import StrEnum

# Modules that a child process runs, with its folder as their one argument.
ROUND_MODULE = "scsam_train"
TUNING_MODULE = "scsam_train.tuning"

# A folder's name is its number, with the first of these while its child is at work, or the second
# once that ended without success.
PARTIAL = ".partial"
FAILED = ".failed"

# From the parent: what to learn from, written before the child starts, and control words.
INPUTS_FILE = "inputs.json"
INPUTS_SCHEMA = 1
TUNE_SCHEMA = 1
CONTROL_FILE = "control.json"
# From the child, while it works: events, one JSON object to a line, and a round's state, from which
# it is gone on with after it was killed.
EVENTS_FILE = "events.jsonl"
RESUME_FILE = "resume.pt"
# From the child, in the end: what a round was made with, what it was split into, its figures and
# the hashes of all these, which the models are loaded by.
CONFIG_FILE = "config.json"
SPLIT_FILE = "split.json"
METRICS_FILE = "metrics.json"
MANIFEST_FILE = "manifest.json"
UNET_FILE = "unet.safetensors"
# Of a round and of a tuning.
ADAPTER_FOLDER = "sam_adapter"
# Of a tuning, in place of config, metrics and manifest.
REPORT_FILE = "report.json"


class Command(StrEnum):
    """What ``control.json`` asks of a round, by its key ``command``."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class EventKind(StrEnum):
    """What a line of ``events.jsonl`` tells of, by its key ``event``."""

    STARTED = "started"
    MESSAGE = "message"
    PROGRESS = "progress"
    ESTIMATE = "estimate"
    VALIDATION = "validation"
    KEPT = "kept"
    EARLY_STOP = "early_stop"
    # The last one is one of these.
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Phase(StrEnum):
    """What a round is at, by the key ``phase`` of its progress."""

    EMBEDDING = "embedding"
    TRAINING = "training"
    VALIDATING = "validating"


# What follows decides how long a round takes, and is what an estimate counts with.

# Embeddings are the dear part of a round on a CPU. Few labels get more views of each.
MAX_VIEWS = 2
LABELLED_EMBEDDINGS = 160
# Of the time budget: at most so much for embedding, and in the end for judging and saving.
EMBEDDING_SHARE = 0.35
VALIDATION_SHARE = 0.12
# From so many labelled planes on, some of a single case are held out.
MIN_PLANES_TO_HOLD_OUT = 5
# Held-out planes that are looked at, evenly spaced: embedding them takes time. Objects on them that
# are clicked on.
MAX_EVALUATED = 40
MAX_CLICKED = 12
# A U-Net from scratch lives on how many images it has seen (docs/results/probes.md): until this
# fraction of the round it sees them at half the side, some three times as many in the same time,
# and then at the whole (progressive resizing).
GROWN = 0.35
# A side that is halved no further, and what every side is a multiple of: five times the pretrained
# encoder halves it; four poolings halve what is left of it by the scratch network's folding.
SMALLEST_SIDE = 64
SIDE_MULTIPLE = 32
