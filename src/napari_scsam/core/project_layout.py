"""Names of what a project itself keeps in its folder."""

from __future__ import annotations

PROJECT_FILE = "project.toml"
JOURNAL_FILE = "journal.sqlite"
LOCK_FILE = "project.lock"
LABELS_FOLDER = "labels"
ROUNDS_FOLDER = "rounds"
TUNED_FOLDER = "tuned"
CACHE_FOLDER = "cache"
EMBEDDINGS_FOLDER = "embeddings"
BACKUPS_FOLDER = "backups"
PENDING_FOLDER = "pending"
SCANS_FOLDER = "scans"

# Nobody else writes there.
OWN_NAMES = frozenset(
    {
        PROJECT_FILE,
        JOURNAL_FILE,
        *(f"{JOURNAL_FILE}-{end}" for end in ("journal", "wal", "shm")),
        LOCK_FILE,
        LABELS_FOLDER,
        ROUNDS_FOLDER,
        TUNED_FOLDER,
        CACHE_FOLDER,
        BACKUPS_FOLDER,
        PENDING_FOLDER,
        SCANS_FOLDER,
    }
)
