"""Anchors: the boxes at every place of a feature map that a region proposal network starts from."""

from collections.abc import Sequence

import numpy as np

from minidl.errors import UsageError
from minidl.tensor import Tensor, astensor


class AnchorGenerator:
    """Boxes of several sizes and shapes around each element of one or more feature maps.

    Args:
        sizes: for each feature map the sizes of its anchors: a box of size s and any shape covers s² pixels.
        aspect_ratios: heights over widths, the same for all maps.

    Anchors of one element come ratio by ratio, of each the sizes; edges are rounded to whole pixels, as torchvision does. Element
    (i, j) of a map has its anchors around (j · stride, i · stride).

    Source: Ren et al., "Faster R-CNN" (2015), section 3.1.1; for several maps Lin et al., "Feature pyramid networks" (2017),
    section 4.1.

    >>> generator = AnchorGenerator([[32]], [0.5, 1.0])
    >>> generator.per_place, generator.cells[0].tolist()
    (2, [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0]])
    >>> generator((64, 96), [(2, 3)])[0].shape
    (12, 4)
    """

    def __init__(self, sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)):
        if len({len(of_map) for of_map in sizes}) != 1 or not all(aspect_ratios) or not all(s > 0 for of in sizes for s in of):
            raise UsageError(f"anchors need as many sizes for each map, above 0, and ratios, got {sizes} and {aspect_ratios}")
        self.cells = [_cell(np.array(of_map, np.float32), np.array(aspect_ratios, np.float32)) for of_map in sizes]

    @property
    def per_place(self) -> int:
        """Anchors around each element of a map."""
        return len(self.cells[0])

    def __call__(self, image_size: tuple[int, int], map_sizes: Sequence[tuple[int, int]], device=None) -> list[Tensor]:
        """For maps of (H, W) of a batch of images of ``image_size`` (height, width), their anchors (H · W · per_place, 4)."""
        if len(map_sizes) != len(self.cells):
            raise UsageError(f"there are anchors for {len(self.cells)} feature maps, got {len(map_sizes)} maps")
        placed = []
        for cell, (rows, columns) in zip(self.cells, map_sizes, strict=True):
            y, x = np.meshgrid(np.arange(rows) * (image_size[0] // rows), np.arange(columns) * (image_size[1] // columns),
                               indexing="ij")
            shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32)
            anchors = astensor((shifts + cell).reshape(-1, 4))
            placed.append(anchors if device is None else anchors.to(device))
        return placed


def _cell(sizes: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """The anchors around the origin (ratios · sizes, 4)."""
    down = np.sqrt(ratios)
    widths, heights = (np.outer(factor, sizes).ravel() for factor in (1 / down, down))
    return np.round(np.stack([-widths, -heights, widths, heights], 1) / 2)
