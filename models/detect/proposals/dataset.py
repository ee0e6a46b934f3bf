"""Proposals that are found once for each picture, and read from files ever after."""

import copy

import numpy as np

from minidl.data import DataLoader, DetectionDataset
from minidl.data.box_transforms import Compose
from minidl.io import Cache, fingerprint
from minidl.models.detect.proposals.selective_search import selective_search
from minidl.tensor import astensor
from minidl.train.progress import tracked

VERSION = 1  # of what Selective Search finds: another number where its boxes change, and those that are kept are left aside


class CachedSearch:
    """Selective Search of pictures, each of which is searched once: see ``WithProposals`` for the arguments.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     search = CachedSearch(folder, min_side=8)
    ...     (search(np.zeros((3, 60, 80), np.uint8)) == selective_search(np.zeros((3, 60, 80), np.uint8), min_side=8)).all()
    np.True_
    """

    def __init__(self, folder, mode: str = "fast", seed: int = 0, min_side: float = 20):
        self.cache, self.settings = Cache(folder), {"mode": mode, "seed": seed, "min_side": min_side}

    def __call__(self, image) -> np.ndarray:
        """The boxes (P, 4) of a picture (3, H, W)."""
        pixels = astensor(image).detach().cpu().numpy()
        name = fingerprint("selective search", VERSION, *self.settings.values(), pixels)
        return self.cache(name, lambda: {"proposals": selective_search(pixels, **self.settings)})["proposals"]


class WithProposals(DetectionDataset):
    """A data set for detection, with the boxes of Selective Search in its targets, as ``proposals`` (P, 4) float32.

    They are kept in a folder, one small file for each picture, under a name that depends on its pixels and on the settings: data
    sets that share pictures may share a folder, and a changed picture gets other boxes. See ``minidl.io.Cache`` for what
    happens to interrupted runs and damaged files.

    Args:
        dataset: the pictures; its transform, which moves the proposals along, is applied after.
        folder: where the boxes are kept.
        mode, seed, min_side: of ``selective_search``.

    >>> import tempfile
    >>> from minidl.data import Scenes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scenes = WithProposals(Scenes(length=2), folder, min_side=8).compute()
    ...     _, target = scenes[1]
    >>> target["proposals"].dtype, target["proposals"].shape[1]
    (dtype('float32'), 4)
    """

    def __init__(self, dataset: DetectionDataset, folder, mode: str = "fast", seed: int = 0, min_side: float = 20):
        self.dataset, self.search = dataset, CachedSearch(folder, mode, seed, min_side)
        self.classes, self.transform = dataset.classes, dataset.transform

    def __len__(self):
        return len(self.dataset)

    def load(self, index: int) -> tuple[np.ndarray, dict]:
        """A picture and its target with proposals, as they are."""
        image, target = self.dataset.load(index)
        return image, target | {"proposals": self.search(image)}

    def compute(self, workers: int = 0, on_error: str = "raise") -> "WithProposals":
        """Find the proposals of all pictures now, in so many processes, under a progress bar; returns the data set.

        ``on_error``: about pictures that cannot be read, as of ``DataLoader``: "raise" or "skip".
        """
        plain = copy.copy(self)
        plain.transform = Compose([])
        for _ in tracked(DataLoader(plain, num_workers=workers, collate_fn=len, on_error=on_error), "proposals"):
            pass
        return self
