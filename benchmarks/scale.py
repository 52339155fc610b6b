"""Measure how a project scales with its images, its events, and the slices of a volume.

Prints a table of times in milliseconds and rates, for

* ``images``: a project of 10,000 images: the first list after opening, a step to the next slice
  (J/K), and memory;
* ``slices``: 100 commits of one slice of a volume of 512 x 512 x 300;
* ``add``: adding 1,000 JPEGs of 352 x 352;
* ``events``: opening a project with 1,000,000 events, its first list, a commit, and the
  verification of all events with the next backup.

Run it on an idle machine, for example ``python benchmarks/scale.py images slices``. The events
of the projects are written through the journal itself; only ``add`` reads images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from scipy import ndimage

from napari_scsam.core.geometry import Plane
from napari_scsam.project import Project, image_queue
from napari_scsam.project.files import place_of
from napari_scsam.project.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGES = 10_000
EVENTS = 1_000_000
SLICES = (300, 512, 512)
JPEGS = 1_000
# Events of one transaction while a project is generated.
BATCH = 50_000

Event = tuple[str, dict[str, Any], str | None]


def image_events(number: int, shape: tuple[int, ...], folder: Path, scans: Path) -> list[Event]:
    """Events that add one image, as `Images.add` writes them."""
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    image = sha256[:12]
    path = scans / f"{number:06d}.jpg"
    path.touch()
    payload = {
        "id": image,
        "case": image,
        "name": path.stem,
        "shape": list(shape),
        "rgb": False,
        "spacing": [1.0] * len(shape),
        "spacing_known": False,
        "sha256": sha256,
        "affine": np.eye(4).tolist(),
        "header": {},
    }
    return [("image", payload, image), ("located", place_of(path, folder), image)]


def commit_event(image: str, version: int, planes: list[int], plane: int | None = None) -> Event:
    """An event of a commit as `Labels.commit` writes it; there is no label file."""
    sha256 = hashlib.sha256(f"{image}{version}".encode()).hexdigest()
    judged = {"classes": [1, 2], "planes": {}}
    payload = {"version": version, "sha256": sha256, "plane": plane, "planes": planes}
    return "commit", {**payload, "judged": judged}, image


def make_images(folder: Path, scans: Path) -> list[str]:
    """A project of many images, half of them done; their IDs."""
    Project.create(folder, ["a", "b"]).close()
    journal = Journal(folder / "journal.sqlite")
    events: list[Event] = []
    for number in range(IMAGES):
        events += image_events(number, (352, 352), folder, scans)
        if number < IMAGES // 2:
            events.append(commit_event(str(events[-1][2]), 1, [0]))
    journal.append_all(events)
    journal.close()
    return [str(image) for kind, _, image in events if kind == "image"]


def make_events(folder: Path, scans: Path) -> None:
    """A project of many events: volumes with prompts and commits, slice by slice."""
    images = make_images(folder, scans)
    journal = Journal(folder / "journal.sqlite")
    left = EVENTS - len(journal.events())
    for start in range(0, left, BATCH):
        journal.append_all(_work(images, start, min(BATCH, left - start)))
    journal.close()


def _work(images: list[str], start: int, count: int) -> Iterator[Event]:
    for number in range(start, start + count, 2):
        image, version = images[number // 2 % len(images)], 2 + number // 2 // len(images)
        points = {"points": [[10.5, 20.25, 1]] * 4, "version": version}
        yield "prompts", points, image
        yield commit_event(image, version, [0], plane=0)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def peak_gb() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_images(folder: Path) -> dict[str, float]:
    """Opening, the list, and steps in a project of many images."""
    images = make_images(folder / "p", folder)
    Project.open(folder / "p").close()  # makes the first backup
    with Project.open(folder / "p") as project:
        opened = timed(lambda: image_queue.rows(project))
        again = timed(lambda: image_queue.rows(project))
        middle = (images[IMAGES // 2], Plane(0, 0))
        steps = [timed(lambda: image_queue.neighbour(project, middle)) for _ in range(20)]
        first = (images[0], Plane(0, 0))
        far = [timed(lambda: image_queue.neighbour(project, first)) for _ in range(20)]
        noted = timed(lambda: project.record("x", {"image": images[0]}))
        after = timed(lambda: image_queue.neighbour(project, middle))
    again_opened = timed(lambda: Project.open(folder / "p").close())
    return {
        "open": again_opened,
        "first list": opened,
        "list again": again,
        "J/K, median": statistics.median(steps),
        "J/K over 5,000 done images, median": statistics.median(far),
        "an event": noted,
        "J/K after an event": after,
        "peak memory, GB": peak_gb(),
    }


def measure_slices(folder: Path) -> dict[str, float]:
    """Commits of single slices of a large volume."""
    import nibabel as nib

    path = folder / "scan.nii.gz"
    pixels = np.zeros(SLICES, np.int16)
    pixels[:, ::7] = 9
    nib.save(nib.Nifti1Image(pixels.T, np.diag([0.8, 0.8, 1.5, 1])), path)
    with Project.create(folder / "p", ["a", "b"]) as project:
        (image,) = project.add_images([path])
        rows, cols = np.ogrid[:512, :512]
        times = []
        for number in range(100):
            inside = (rows - 256) ** 2 + (cols - 200 - number) ** 2 < 90**2
            label = inside.astype(np.uint8) * (1 + number % 2)
            plane = Plane(0, number * 3)
            times.append(timed(lambda p=plane, m=label: project.commit(image, m, plane=p)))
        read = timed(lambda: project.label(image))
    with Project.open(folder / "p") as project:
        first = timed(lambda: project.label(image))
    size = sum(f.stat().st_size for f in (folder / "p" / "labels").rglob("*.gz"))
    return {
        "first commit": times[0],
        "commit, median": statistics.median(times),
        "commit, median of the last 10": statistics.median(times[-10:]),
        "read the label": read,
        "read it after opening": first,
        "size of the labels, MB": size / 1e6,
    }


def measure_add(folder: Path) -> dict[str, float]:
    """Adding small pictures."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(352, 352, 3)), (2, 2, 0))
    base = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    for number in range(JPEGS):
        moved = np.roll(base, (number % 352, number // 352), (0, 1))
        iio.imwrite(folder / f"{number:05d}.jpg", moved, quality=90)
    with Project.create(folder / "p", ["a"]) as project:
        spent = timed(lambda: project.add_images(folder))
    return {"images a second": JPEGS / spent * 1000}


def measure_events(folder: Path) -> dict[str, float]:
    """Opening a project of many events."""
    make_events(folder / "p", folder)
    first = timed(lambda: Project.open(folder / "p").close())
    project = Project.open(folder / "p")
    wait = getattr(project, "wait_for_backup", lambda: None)
    verified = timed(wait)
    project.close()
    found: dict[str, float] = {"open without a backup": first, "backup and verification": verified}
    start = time.perf_counter()
    with Project.open(folder / "p") as project:
        found["open"] = 1000 * (time.perf_counter() - start)
        found["first list"] = timed(lambda: image_queue.rows(project))
        found["commit_count"] = timed(project.commit_count)
        found["commit_count again"] = timed(project.commit_count)
        image = project.images()[0].id
        label = np.ones((352, 352), np.uint8)
        found["commit"] = timed(lambda: project.commit(image, label))
        found["commits of an image"] = timed(lambda: project.commits(image))
    found["peak memory, GB"] = peak_gb()
    return found


MEASURES = {
    "images": measure_images,
    "slices": measure_slices,
    "add": measure_add,
    "events": measure_events,
}


def main() -> None:
    """Run the chosen measurements and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[[], *MEASURES], default=list(MEASURES))
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = parser.parse_args()
    table = {}
    for name in options.measures:
        with tempfile.TemporaryDirectory() as folder:
            table[name] = MEASURES[name](Path(folder))
        _say(name)
        for what, value in table[name].items():
            _say(f"  {what:40} {value:10.4g}")
    if options.json:
        _say(json.dumps(table))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
