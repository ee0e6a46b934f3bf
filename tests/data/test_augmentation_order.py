"""Where a sample comes in an epoch says nothing about how it is augmented."""

import numpy as np

from minidl.data import DataLoader
from minidl.data.dataset import ImageArrays


class Witness:
    """Writes the random numbers of each sample into its image."""

    numbers = 3

    def __call__(self, images, uniforms):
        return np.broadcast_to(uniforms[:, :, None, None], (len(images), 3, 2, 2))


def test_order_and_augmentation_are_independent():
    dataset = ImageArrays(np.zeros((2000, 1, 2, 2), np.uint8), np.arange(2000), Witness())
    images, labels = next(iter(DataLoader(dataset, batch_size=2000, shuffle=True, seed=0)))
    place = np.arange(2000)
    assert not np.array_equal(labels.array, place)  # shuffled
    for number in range(3):
        correlation = np.corrcoef(place, images.array[:, number, 0, 0])[0, 1]
        assert abs(correlation) < 0.1  # 4.5 standard deviations; it was 0.9998 when both drew from one stream
