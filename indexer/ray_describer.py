"""`RayDescriber`: one network for `indexer build` that is many, on the GPUs and CPUs of a Ray cluster.

The build itself (walking, decoding, committing) stays in the process that was started: describing takes most of the
time, and a commit less than a tenth of it. Each worker has the weights' bytes from here, so that all are the same.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcln.errors import CheckpointError
from indexer.errors import ClusterError
from indexer.lazy_predictor import LazyPredictor

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from fcln.predictor import Regions

logger = logging.getLogger(__name__)

_WORKER_BYTES = 2**30  # of memory that a worker on a CPU takes: torch, the network, a batch

_Chunk = list[Any]  # photographs of one call, (height, width, 3) uint8


class _Worker:
    """A network in a process of its own, wherever Ray has put it."""

    def __init__(self, weights: bytes | None, device: str):
        """weights: the content of the file; None: those that come with the program."""
        from fcln.predictor import Predictor

        if weights is None:
            self._predictor = Predictor.load(None, device=device)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "weights.safetensors"
                path.write_bytes(weights)
                self._predictor = Predictor.load(path, device=device)

    def digest(self) -> str:
        return self._predictor.digest

    def precisions(self) -> list[str]:
        return self._predictor.precisions

    def describe(self, pixels: _Chunk, max_regions: int) -> "list[Regions]":
        from PIL import Image

        return self._predictor.describe([Image.fromarray(each) for each in pixels], max_regions=max_regions)

    def describe_boxes(self, pixels: Any, boxes: "np.ndarray") -> "Regions":
        from PIL import Image

        return self._predictor.describe_boxes(Image.fromarray(pixels), boxes)


class RayDescriber:
    """Describes photographs on all workers at once."""

    def __init__(self, address: str, weights: Path | None = None, *, batch_size: int):
        """Connect, and have a worker started for every GPU, and for every processor of the machines without.

        Args:
            address: of a cluster ("ray://head:10001", "head:6379", "auto"); "local": start one of this computer.
            weights: None for those that come with the program.
            batch_size: photographs in one call of one worker.

        Raises:
            ClusterError: Ray is not installed, or there is no cluster.
            CheckpointError: the weights file is missing, cut short or not ours.
        """
        self.model = LazyPredictor(weights).model
        self.precisions: list[str] = []  # of all workers, from the first batch on
        self._batch_size = batch_size
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ClusterError("--ray needs the package ray: run `pip install ray`.") from error
        self._ray: Any = ray
        try:
            self._ray.init(
                address=address,
                ignore_reinit_error=True,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({"include_dashboard": False} if address == "local" else {}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterError(
                f"No Ray cluster answers at {address} ({str(error).strip().splitlines()[0]}): `ray start --head` on "
                "one computer starts one, `--ray local` uses this one alone."
            ) from error
        worker: Any = self._ray.remote(_Worker)
        content = None if weights is None else ray.put(weights.read_bytes())
        places = _places(ray)
        self._workers: list[Any] = [worker.options(**resources).remote(content, device) for device, resources in places]
        if not self._workers:
            raise ClusterError(f"The Ray cluster {address} has neither a GPU nor a processor with a GiB of memory.")
        self._checked = False

    def __len__(self) -> int:
        return len(self._workers)

    def load(self) -> None:
        """Wait for all workers to have the network.

        Raises:
            CheckpointError: the program on another computer has other weights than here.
        """
        if not self._checked:
            digests = set(self._ray.get([worker.digest.remote() for worker in self._workers]))
            if digests != {self.model.digest}:
                raise CheckpointError(
                    "Computers of the Ray cluster have other weights than this one: install the same version of "
                    "densecap-search there, or name a file with --weights."
                )
            self.precisions = sorted({p for w in self._workers for p in self._ray.get(w.precisions.remote())})
            self._checked = True

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int = 50) -> "list[Regions]":
        """As `Predictor.describe`; the first free worker takes the next of the batches that the images are cut into."""
        import numpy as np

        self.load()
        pixels = [np.asarray(image) for image in images]
        # No worker is to wait while another one has a whole batch.
        size = max(1, min(self._batch_size, -(-len(pixels) // len(self._workers))))
        chunks = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return [regions for chunk in self._shared(chunks, max_regions) for regions in chunk]

    def _shared(self, chunks: list[_Chunk], max_regions: int) -> "list[list[Regions]]":
        """What the workers say of each chunk. What a worker had that is lost, another one gets."""
        described: dict[int, list[Regions]] = {}
        waiting = list(enumerate(chunks))
        running: dict[Any, tuple[int, _Chunk, Any]] = {}
        idle = list(self._workers)
        while waiting or running:
            while waiting and idle:
                (index, chunk), worker = waiting.pop(0), idle.pop(0)
                running[worker.describe.remote(chunk, max_regions)] = index, chunk, worker
            (ready, *_), _ = self._ray.wait(list(running))
            index, chunk, worker = running.pop(ready)
            try:
                described[index] = self._ray.get(ready)
                idle.append(worker)
            except self._ray.exceptions.RayActorError as error:
                self._workers.remove(worker)
                logger.warning("A worker of the Ray cluster is lost, %d are left.", len(self._workers))
                if not self._workers:
                    raise ClusterError("All workers of the Ray cluster are lost: run the command again.") from error
                waiting.append((index, chunk))
        return [described[index] for index in range(len(chunks))]

    def describe_boxes(self, image: "Image.Image", boxes: "np.ndarray") -> "Regions":
        import numpy as np

        self.load()
        regions: Regions = self._ray.get(self._workers[0].describe_boxes.remote(np.asarray(image), boxes))
        return regions

    def close(self) -> None:
        """Give the cluster back."""
        self._ray.shutdown()


def _places(ray: Any) -> list[tuple[str, dict[str, Any]]]:
    """For each worker its device, and what it takes of a machine."""
    places: list[tuple[str, dict[str, Any]]] = []
    for node in ray.nodes():
        there = node["Resources"] if node["Alive"] else {}
        gpus = int(there.get("GPU", 0))
        places += [("cuda", {"num_gpus": 1, "num_cpus": 1})] * gpus
        if not gpus:
            fit = int(min(there.get("CPU", 0), there.get("memory", 0) // _WORKER_BYTES))
            places += [("cpu", {"num_cpus": 1, "memory": _WORKER_BYTES})] * fit
    return places
