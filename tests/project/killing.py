"""Kill a process at a random moment of a change to a project, and check what is left.

Run as ``python killing.py FOLDER SEED COUNT``: each of the trials forks a process that changes the
project, kills it after a random time, and checks that nothing acknowledged is lost, that nothing is
half done, and that the project can be opened and used. The last line counts the trials of each kind
that were killed, and that ended before.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from killed_fork import killed

from napari_scsam.cli.__main__ import main as command_line
from napari_scsam.core.errors import ProjectError
from napari_scsam.core.geometry import Plane
from napari_scsam.io import read_labels
from napari_scsam.project import Project, labels

# Called when a change has returned, and is durable.
Acknowledge = Callable[[], object]
Change = Callable[[Acknowledge], object]
SHAPE = (6, 40, 50)
# Every trial is killed between its start and so many seconds later (arbitrary: about the time that
# the longest of them takes).
LONGEST_S = 0.12


class Trials:
    """A project, what is known to be in it, and the changes that are killed.

    Parameters
    ----------
    folder : Path
        Empty.
    seed : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.root = folder / "project", folder
        self.rng = np.random.default_rng(seed)
        self.number = 0
        scan = folder / "scan.nii.gz"
        pixels = self.rng.integers(0, 900, SHAPE[::-1]).astype(np.int16)
        nib.save(nib.Nifti1Image(pixels, np.diag([0.5, 0.6, 2, 1])), scan)
        with Project.create(self.folder, ["a", "b"]) as project:
            (self.image,) = project.add_images([scan])
            project.commit(self.image, np.zeros(SHAPE, np.uint8))
        self.label = np.zeros(SHAPE, np.uint8)
        self.images = [self.image]

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """The changes: each returns whether it was killed."""
        return {
            "commit a slice": self.commit_slice,
            "commit a volume": self.commit_volume,
            "label": self.label_by_command,
            "undo": self.undo,
            "add": self.add,
            "add by command": self.add_by_command,
            "create": self.create,
            "new by command": self.new_by_command,
            "export by command": self.export,
        }

    def run(self, count: int) -> Counter[str]:
        """Run trials in a random order of kinds, each kind about as often."""
        kinds = self.kinds()
        order = [*kinds] * (count // len(kinds) + 1)
        counts: Counter[str] = Counter()
        for kind in self.rng.permutation(order[:count]):
            self.number += 1
            killed = kinds[str(kind)]()
            counts[f"{kind}: {'killed' if killed else 'done'}"] += 1
        return counts

    def killed(self, change: Change) -> tuple[bool, bool]:
        """Fork, run a change and kill it; whether it was killed, and whether it had acknowledged.

        The change is called with a function that acknowledges it.
        """
        return killed(change, float(self.rng.uniform(0, LONGEST_S)))

    def commit_slice(self) -> bool:
        plane = int(self.rng.integers(SHAPE[0]))
        after = self.label.copy()
        after[plane, :20, self.number % 50] = 1 + self.number % 2
        after[plane, 30, 30] = self.number % 3

        def change(acknowledge: Acknowledge) -> None:
            with Project.open(self.folder) as project:
                source = ("prompts", {"points": [self.number]})
                project.commit(self.image, after[plane], plane=Plane(0, plane), source=source)
                acknowledge()

        return self._commit(change, after)

    def commit_volume(self) -> bool:
        after = np.roll(self.label, 1, axis=2)
        after[0, 0, :] = self.number % 3

        def change(acknowledge: Acknowledge) -> None:
            with Project.open(self.folder) as project:
                project.commit(self.image, after)
                acknowledge()

        return self._commit(change, after)

    def label_by_command(self) -> bool:
        after = np.roll(self.label, 1, axis=1)
        after[1, 1, :] = self.number % 3
        mask = self.root / "mask.nii.gz"
        nib.save(nib.Nifti1Image(after.T, np.diag([0.5, 0.6, 2, 1])), mask)
        words = ["label", str(self.folder), "--image", self.image, "--mask", str(mask)]
        return self._commit(_command(words), after)

    def undo(self) -> bool:
        with Project.open(self.folder) as project:
            version = project.label_version(self.image) or 1
            before = project.commits(self.image)[-2:][0].version
            project.revert(self.image, before)
            after = project.label(self.image)
            project.revert(self.image, version)
        assert after is not None

        def change(acknowledge: Acknowledge) -> None:
            with Project.open(self.folder) as project:
                project.revert(self.image, before)
                acknowledge()

        return self._commit(change, after)

    def _commit(self, change: Change, after: np.ndarray) -> bool:
        """Kill a change of the label, which is then that before or that after."""
        before = self.label
        killed, acknowledged = self.killed(change)
        with Project.open(self.folder) as project:
            assert project.notes == []
            found = project.label(self.image)
            assert found is not None
            is_after = np.array_equal(found, after)
            assert is_after or np.array_equal(found, before)
            assert is_after or not acknowledged, "an acknowledged label is lost"
            commits = project.commits(self.image)
            versions = [commit.version for commit in commits]
            assert len(set(versions)) == len(versions)
            assert {path.name for commit in commits for path in [commit.path]} <= {
                path.name for path in commits[0].path.parent.iterdir()
            }
            prompts = [event.payload["version"] for event in project.events("prompts")]
            assert set(prompts) <= set(versions)
            self.label = found
        return killed

    def add(self) -> bool:
        paths = self._pictures()

        def change(acknowledge: Acknowledge) -> None:
            with Project.open(self.folder) as project:
                project.add_images(paths)
                acknowledge()

        return self._added(change, len(paths))

    def add_by_command(self) -> bool:
        paths = self._pictures()
        return self._added(_command(["add", str(self.folder), *map(str, paths)]), len(paths))

    def _pictures(self) -> list[Path]:
        folder = self.root / f"pictures-{self.number}"
        folder.mkdir()
        paths = [folder / f"{index}.png" for index in range(4)]
        for path in paths:
            iio.imwrite(path, self.rng.integers(0, 255, (40, 50)).astype(np.uint8))
        return paths

    def _added(self, change: Change, count: int) -> bool:
        """Kill an addition of images: all of them are there, or none."""
        killed, acknowledged = self.killed(change)
        with Project.open(self.folder) as project:
            found = [record.id for record in project.images()]
            assert found[: len(self.images)] == self.images
            assert len(found) - len(self.images) in ((count,) if acknowledged else (0, count))
            self.images = found
        return killed

    def create(self) -> bool:
        folder = self.root / f"created-{self.number}"

        def change(acknowledge: Acknowledge) -> None:
            Project.create(folder, ["organ"]).close()
            acknowledge()

        return self._created(change, folder)

    def new_by_command(self) -> bool:
        folder = self.root / f"created-{self.number}"
        return self._created(_command(["new", str(folder), "--classes", "organ"]), folder)

    def _created(self, change: Change, folder: Path) -> bool:
        """Kill the creation of a project, which is then there, or can be made."""
        killed, acknowledged = self.killed(change)
        try:
            Project.create(folder, ["organ"]).close()
            assert not acknowledged, "an acknowledged project is lost"
        except ProjectError:
            Project.open(folder).close()
        with Project.open(folder) as project:
            assert [one.name for one in project.classes] == ["organ"]
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        shutil.rmtree(folder)
        return killed

    def export(self) -> bool:
        out = self.root / f"out-{self.number}"
        words = ["export", str(self.folder), "--format", "nifti", "--out", str(out)]
        killed, acknowledged = self.killed(_command(words))
        target = out / "scan.nii.gz"
        assert target.is_file() or not acknowledged
        if target.is_file():
            np.testing.assert_array_equal(read_labels(target), self.label)
        assert command_line([*words, "--overwrite"]) == 0
        np.testing.assert_array_equal(read_labels(target), self.label)
        return killed


def _command(words: list[str]) -> Change:
    def change(acknowledge: Acknowledge) -> None:
        assert command_line(words) == 0
        acknowledge()

    return change


def main() -> None:
    """Run the trials and print their counts."""
    labels.SLICE_FILES_FROM = 1  # as for a large volume
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    counts = Trials(folder, seed).run(count)
    sys.stdout.write("; ".join(f"{kind} {number}" for kind, number in sorted(counts.items())))


if __name__ == "__main__":
    main()
