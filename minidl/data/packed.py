"""Packs: many encoded pictures in one ``.npz`` file, which is far quicker to copy and to open than thousands of files.

Keys, for each part such as train: ``train_jpeg`` (uint8), all files one after another; ``train_offsets`` (int64, N + 1): picture
k is ``jpeg[offsets[k]:offsets[k + 1]]``; ``train_labels`` (N,). And ``class_names``.
"""

import numpy as np

from minidl.errors import DataError
from minidl.io.archive import read_npz

LEAST = 30  # bytes that a picture takes


class Pack:
    """One part of a pack: ``pictures[k]`` are the bytes of file k, ``labels`` (N,), ``classes`` are names.

    Raises DataError for a file that is not such a pack.
    """

    def __init__(self, path, part: str):
        try:
            keys = [f"{part}_jpeg", f"{part}_offsets", f"{part}_labels", "class_names"]
            self.jpeg, self.offsets, self.labels, names = read_npz(path, keys).values()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        self.path, self.part = path, part
        if names.ndim != 1 or names.dtype.kind != "U":
            raise DataError(f"{path}: class_names must be a list of names, got {names.shape} of {names.dtype}")
        self.classes = names.tolist()
        self._check()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index: int) -> bytes:
        return self.jpeg[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def _check(self) -> None:
        jpeg, offsets, labels = self.jpeg, self.offsets, self.labels
        if (jpeg.ndim, offsets.ndim, labels.ndim) != (1, 1, 1) or jpeg.dtype != np.uint8 or len(offsets) != len(labels) + 1:
            raise DataError(f"{self.path}: bytes {jpeg.shape}, offsets {offsets.shape} and labels {labels.shape} do not belong "
                            "together")
        if offsets.dtype.kind not in "iu" or offsets[0] != 0 or offsets[-1] != len(jpeg) or (offsets[1:] < offsets[:-1]).any():
            raise DataError(f"{self.path}: the offsets do not rise from 0 to {len(jpeg)}, the number of bytes")
        if len(jpeg) < LEAST * len(labels):
            raise DataError(f"{self.path}: {len(labels):,} pictures cannot lie in {len(jpeg):,} bytes")
        if labels.dtype.kind not in "iu" or labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(f"{self.path}: labels must be from 0 to {len(self.classes) - 1}")
