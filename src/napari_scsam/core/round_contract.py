"""Interface between a round, or a tuning, and the process that started it.

The parent describes the inputs of the child (`scsam_train`) by files in its folder. The child
reports by events in another file, and leaves the files from which the models are loaded. Both
sides, and the cost estimate, use the names and numbers defined here. The names are part of the
project format: after a change, files in older folders would not be found.
"""

from __future__ import annotations

from enum import StrEnum

# Modules run by a child process, with its folder as the only argument.
ROUND_MODULE = "scsam_train"
TUNING_MODULE = "scsam_train.tuning"

# Suffixes of a folder's number: the first while the child is running, the second after it ended
# without success.
PARTIAL = ".partial"
FAILED = ".failed"

# From the parent: the inputs, written before the child starts, and commands.
INPUTS_FILE, CONTROL_FILE = "inputs.json", "control.json"
# Versions of the format of the inputs, of a round and of a tuning; they start with 1.
INPUTS_SCHEMA, TUNE_SCHEMA = 1, 1
# From the child, while it is running: events, one JSON object per line, and the checkpoint from
# which an interrupted round is resumed.
EVENTS_FILE = "events.jsonl"
RESUME_FILE = "resume.pt"
# From the child, at the end: settings, split, metrics, and the hashes of all files, which are
# verified when the models are loaded.
CONFIG_FILE = "config.json"
SPLIT_FILE = "split.json"
METRICS_FILE = "metrics.json"
MANIFEST_FILE = "manifest.json"
UNET_FILE = "unet.safetensors"
# Of rounds and tunings.
ADAPTER_FOLDER = "sam_adapter"
# Of tunings, instead of config, metrics and manifest.
REPORT_FILE = "report.json"


class Command(StrEnum):
    """Command in ``control.json``, under the key ``command``."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class EventKind(StrEnum):
    """Kind of an event in ``events.jsonl``, under the key ``event``."""

    STARTED = "started"
    MESSAGE = "message"
    PROGRESS = "progress"
    ESTIMATE = "estimate"
    VALIDATION = "validation"
    KEPT = "kept"
    EARLY_STOP = "early_stop"
    # The last event is one of these.
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Phase(StrEnum):
    """Phase of a round, under the key ``phase`` of progress events."""

    EMBEDDING = "embedding"
    TRAINING = "training"
    VALIDATING = "validating"


# The following numbers determine the duration of a round, and are used by its estimate.

# Embeddings are the expensive part of a round on a CPU: maximum numbers of embedded views of a
# labelled plane, and of all labelled planes. So fewer labels get more views of each. Arbitrary.
MAX_VIEWS, LABELLED_EMBEDDINGS = 2, 160
# Maximum shares of the time budget: for embedding, and for validation and saving at the end.
# Arbitrary.
EMBEDDING_SHARE, VALIDATION_SHARE = 0.35, 0.12
# With at least this number of labelled planes of a single case, some are held out. Arbitrary.
MIN_PLANES_TO_HOLD_OUT = 5
# Maximum number of held-out planes that are evaluated, evenly spaced, since embedding them takes
# time; and of objects on them for the test of clicks. Arbitrary.
MAX_EVALUATED, MAX_CLICKED = 40, 12
# The result of a U-Net trained from scratch depends on the number of samples seen
# (docs/results/probes.md). Up to this fraction of the round it is trained on half the side, about
# three times as many samples in the same time, and then on the full side (progressive resizing).
GROWN = 0.35
# The smallest side that is not halved (arbitrary), and the common factor of all sides: the
# pretrained encoder halves the side five times; the scratch network has four poolings after
# folding.
SMALLEST_SIDE, SIDE_MULTIPLE = 64, 32
