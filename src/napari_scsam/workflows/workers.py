"""One function over many items: in this process, on worker processes, or on a dask cluster."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from napari_scsam.core.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from napari_scsam.core.jobs import CancelToken

Item = TypeVar("Item")
Result = TypeVar("Result")

LOST = "The dask scheduler was lost. What was measured is kept: run it again."
# Time to reach a scheduler, in seconds. Arbitrary.
CONNECT_S = 20
# Time between looks at what has completed, and that workers have to end, in seconds. Arbitrary.
POLL_S, CLOSE_S = 0.05, 5
# Items that are given to a worker at a time, at most, and batches for each worker, at least. dask
# itself takes about 5 ms a batch, and a picture 30 ms. Arbitrary.
LARGEST_BATCH, BATCHES = 8, 8
# dask makes its workers give memory back at once, and each picture then asks the system for it
# again. None: as in any other process.
MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}


@dataclass(frozen=True)
class Workers:
    """Where the work is done.

    Attributes
    ----------
    count : int
        Worker processes on this machine, each with one thread; 1: this process.
    address : str or None
        Of a running dask scheduler, such as ``tcp://10.0.0.1:8786``, in place of them. Its workers
        see the same files under the same paths and have this package installed.
    """

    count: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"The number of workers is 1 or more; got {self.count}.")
        if self.address is not None and self.count > 1:
            raise InputError("Give --workers or --dask, not both: a scheduler has its own workers.")


class Pool:
    """Does work in this process, or on workers that stay until the end of a ``with`` block.

    Workers are started, or the scheduler is reached, by the first work or `check`. They keep the
    models that they loaded for it.

    Parameters
    ----------
    workers : Workers

    Attributes
    ----------
    workers : Workers
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self._open = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client = None
        self._open.close()

    def check(self) -> None:
        """Reach a named scheduler, so that it is known before anything begins that there is one.

        Raises
        ------
        MissingDependencyError
            If dask is needed and not installed.
        InputError
            If the scheduler can't be reached.
        """
        if self.workers.address is not None:
            self._reach()

    def _reach(self) -> None:
        if self._client is None:
            self._client = self._open.enter_context(_client(self.workers))

    def results(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        cancel: CancelToken,
        lost: Callable[[Item], Result],
    ) -> Generator[Result, None, None]:
        """Return an iterator over the result for each item, in any order.

        An item whose worker dies is given to another one.

        Parameters
        ----------
        function : callable
            Can be pickled. An error that it raises is raised here.
        items : sequence
        cancel : CancelToken
            Checked after each result.
        lost : callable
            Gives the result for an item on which one worker after the other died.

        Raises
        ------
        Cancelled
            If `cancel` was called.
        MissingDependencyError
            If dask is needed and not installed.
        InputError
            If the scheduler can't be reached.
        """
        if self.workers == Workers():
            return _from_here(function, items, cancel)
        self._reach()
        return _from_cluster(self._client, function, items, cancel, lost)


def _from_here(
    function: Callable[[Item], Result], items: Sequence[Item], cancel: CancelToken
) -> Generator[Result, None, None]:
    for item in items:
        cancel.check()
        yield function(item)
    cancel.check()


def _from_cluster(
    client: Any,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    cancel: CancelToken,
    lost: Callable[[Item], Result],
) -> Generator[Result, None, None]:
    suspects: list[Item] = []
    batches = _batches(items, _count(client))
    yield from _completed(client, function, batches, cancel, suspects)
    # dask suspects whatever its dead workers had in hand: one at a time, only the culprit is lost.
    for item in suspects:
        hopeless: list[Item] = []
        yield from _completed(client, function, [[item]], cancel, hopeless)
        yield from map(lost, hopeless)


def _completed(
    client: Any,
    function: Callable[[Item], Result],
    batches: Sequence[Sequence[Item]],
    cancel: CancelToken,
    suspects: list[Item],
) -> Generator[Result, None, None]:
    """Give the results of batches as they come; the items on which workers died are appended."""
    import distributed

    futures = client.map(partial(_each, function), batches, pure=False)
    of_future = dict(zip(futures, batches, strict=True))
    completed = distributed.as_completed(futures)
    try:
        while not completed.is_empty():
            cancel.check()
            if not completed.has_ready():
                time.sleep(POLL_S)
                continue
            for future in completed.next_batch(block=False):
                try:
                    yield from future.result()
                except distributed.KilledWorker:
                    suspects.extend(of_future[future])
                except distributed.CancelledError as exc:
                    raise InputError(LOST) from exc
                future.release()
        cancel.check()
    finally:
        client.cancel(futures)


def _count(client: Any) -> int:
    try:
        return sum(client.ncores().values())
    except OSError as exc:
        raise InputError(LOST) from exc


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _batches(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """Split items so that dask's own time hardly counts, and the last batch is not waited for."""
    size = max(1, min(LARGEST_BATCH, len(items) // (BATCHES * max(1, workers))))
    return [items[at : at + size] for at in range(0, len(items), size)]


@contextmanager
def _client(workers: Workers) -> Iterator[Any]:
    """Give a client of the named scheduler, or of new processes on this machine."""
    try:
        import dask
        import distributed
    except ImportError as exc:
        raise MissingDependencyError(
            f"Several workers need dask ({exc.name!r} is missing). "
            'Install it with: pip install "napari-scsam[cluster]"',
            name=exc.name,
        ) from exc
    _silence()
    if workers.address is not None:
        with _connected(distributed, workers.address) as client:
            yield client
        return
    with dask.config.set(MEMORY):
        cluster = distributed.LocalCluster(
            n_workers=workers.count,
            threads_per_worker=1,
            memory_limit=0,  # the system's own limit is enough
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    try:
        with distributed.Client(cluster) as client:
            yield client
    finally:
        with suppress(
            TimeoutError
        ):  # a worker in the middle of an image; it ends with this process
            cluster.close(timeout=CLOSE_S)


def _silence() -> None:
    """Keep dask's log off the command's lines: what matters is raised."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as exc:
        raise InputError(
            f"No dask scheduler answers at {address}: start one (dask scheduler), or leave out "
            "--dask."
        ) from exc
    with client:
        yield client
