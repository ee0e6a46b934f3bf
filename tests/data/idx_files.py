"""Files in the idx format for tests."""

import gzip
import struct

import numpy as np

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def header(*shape, kind=8, rank=None):
    return bytes([0, 0, kind, len(shape) if rank is None else rank]) + struct.pack(f">{len(shape)}I", *shape)


def idx(array):
    return header(*array.shape) + array.tobytes()


def write_mnist(folder, train=40, test=12, shape=(28, 28), zipped=()):
    """Synthetic files of MNIST; returns the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    arrays = []
    for name, count in zip(FILES, (train, train, test, test), strict=True):
        images = "images" in name
        arrays.append(random.integers(0, 256 if images else 10, (count, *(shape if images else ())), np.uint8))
        content = idx(arrays[-1])
        (folder / (name + ".gz" * (name in zipped))).write_bytes(gzip.compress(content) if name in zipped else content)
    return arrays
