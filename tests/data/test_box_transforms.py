"""Boxes, masks and keypoints go where the pixels go."""

import numpy as np
import pytest

import minidl
from minidl.data import DataLoader, Scenes, detection_collate, pad_images
from minidl.data.box_transforms import Compose, RandomHorizontalFlip, Resize, resized_to
from minidl.data.detection import target_of
from minidl.data.transforms import ColorShift, Normalize, RandomCrop, ToTensor
from minidl.errors import ShapeError, UsageError

ALWAYS = np.array([0.0], np.float32)


def picture():
    """A dark picture 20 x 30 with a white block in rows 4 to 11, columns 6 to 17, and what is known of it."""
    image, mask = np.zeros((3, 20, 30), np.uint8), np.zeros((1, 20, 30), bool)
    image[:, 4:12, 6:18] = 255
    mask[:, 4:12, 6:18] = True
    points = np.array([[[6, 4, 2], [18, 4, 1], [0, 0, 0]]], np.float32)
    return image, target_of([[6, 4, 18, 12]], [1], 5, masks=mask, keypoints=points, area=np.array([96.0]))


def empty():
    return np.zeros((3, 20, 30), np.uint8), target_of([], [], 0, masks=np.zeros((0, 20, 30), bool),
                                                      keypoints=np.zeros((0, 3, 3), np.float32))


def bounds(white: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(white)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(("size", "limits", "expected"), [
    ((375, 500), (800, 1333), (800, 1066)), ((500, 375), (800, 1333), (1066, 800)), ((480, 640), (600, 1000), (600, 800)),
    ((100, 500), (800, 1333), (266, 1333)), ((600, 1000), (600, 1000), (600, 1000)), ((1, 1000), (10, 20), (1, 20)),
    ((427, 640), (800, 1333), (800, 1199)), ((1200, 1600), (600, 1000), (600, 800)),
])
def test_sizes_as_in_torchvision(size, limits, expected):
    """Its GeneralizedRCNNTransform: floor(side * min(min_size / short, max_size / long))."""
    assert resized_to(size, *limits) == expected


def test_resize_takes_everything_along():
    image, target = picture()
    large, changed = Resize(40, 1000)(image, target)
    assert large.shape == (3, 40, 60) and changed["boxes"].tolist() == [[12, 8, 36, 24]]
    assert bounds(large[0] > 127) == bounds(changed["masks"][0]) == [12, 8, 36, 24]
    assert changed["keypoints"].tolist() == [[[12, 8, 2], [36, 8, 1], [0, 0, 0]]]
    assert changed["area"].tolist() == [384] and changed["image_id"] == 5
    assert changed["boxes"].dtype == changed["keypoints"].dtype == np.float32 and large.dtype == np.uint8
    assert target["boxes"].tolist() == [[6, 4, 18, 12]]  # untouched
    small, changed = Resize(10, 12)(image, target)  # the longer side decides, and rounds the other down
    assert small.shape == (3, 8, 12)
    np.testing.assert_allclose(changed["boxes"], [[6 * .4, 4 * .4, 18 * .4, 12 * .4]], rtol=1e-6)
    assert changed["masks"].shape == (1, 8, 12)


def test_flip_takes_everything_along():
    image, target = picture()
    flipped, changed = RandomHorizontalFlip(pairs=[(0, 1)])(image, target, ALWAYS)
    assert bounds(flipped[0] > 127) == bounds(changed["masks"][0]) == changed["boxes"][0].tolist() == [12, 4, 24, 12]
    assert changed["keypoints"].tolist() == [[[12, 4, 1], [24, 4, 2], [0, 0, 0]]]  # left and right changed places
    again, back = RandomHorizontalFlip(pairs=[(0, 1)])(flipped, changed, ALWAYS)
    np.testing.assert_array_equal(again, image)
    for key, value in target.items():
        np.testing.assert_array_equal(back[key], value)


def test_flip_is_random_in_training_alone():
    image, target = picture()
    flip = RandomHorizontalFlip(0.3, pairs=())
    for uniforms, is_flipped in ((None, False), ([0.31], False), ([0.29], True)):
        assert (flip(image, target, uniforms)[0] is not image) == is_flipped
    with pytest.raises(UsageError, match="which keypoints change places"):
        RandomHorizontalFlip()(image, target, ALWAYS)


@pytest.mark.parametrize("transform", [Resize(33, 90), RandomHorizontalFlip(pairs=())])
def test_pictures_without_objects(transform):
    image, target = transform(*empty(), ALWAYS)
    assert target["boxes"].shape == (0, 4) and target["boxes"].dtype == np.float32
    assert target["masks"].shape == (0, *image.shape[1:]) and target["keypoints"].shape == (0, 3, 3)


def test_compose_with_transforms_of_colours():
    both = Compose([RandomHorizontalFlip(pairs=()), ToTensor(), ColorShift(), Normalize([0.5] * 3, [0.5] * 3), Resize(10, 99)])
    assert both.numbers == 5
    image, target = both(*picture(), np.array([0, .1, .2, .3, .4], np.float32))
    assert image.dtype == np.float32 and image.shape == (3, 10, 15) and target["boxes"].tolist() == [[6, 2, 12, 6]]
    with pytest.raises(UsageError, match="RandomCrop moves pixels"):
        Compose([RandomCrop(8)])
    with pytest.raises(ValueError, match="min_size <= max_size"):
        Resize(100, 50)


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    scenes = Scenes(length=12, transform=RandomHorizontalFlip(pairs=Scenes.keypoint_pairs))
    plain = [Scenes(length=12)[k][0] for k in range(12)]

    def flipped(workers):
        loader = DataLoader(scenes, 5, seed=3, num_workers=workers, collate_fn=detection_collate)
        return [[not np.array_equal(image, plain[int(target["image_id"])]) for batch in loader
                 for image, target in zip(*batch, strict=True)] for _ in range(3)]

    epochs = flipped(0)
    assert epochs == flipped(2) and len({tuple(epoch) for epoch in epochs}) == 3
    assert not any(np.array_equal(scenes[k][0], plain[k][:, :, ::-1]) for k in range(12))


def test_images_of_different_sizes_in_one_batch():
    images = [minidl.ones(3, 5, 9), minidl.ones(3, 7, 4) * 2]
    batch = pad_images(images, 4)
    assert isinstance(batch, minidl.Tensor) and batch.shape == (2, 3, 8, 12) and batch.dtype == np.float32
    for image, place in zip(images, batch.numpy(), strict=True):
        _, height, width = image.shape
        np.testing.assert_array_equal(place[:, :height, :width], image)
        assert not place[:, height:].any() and not place[:, :, width:].any()
    assert pad_images(images, 1).shape == (2, 3, 7, 9)
    for wrong in ([], [np.zeros((2, 2))], [np.zeros((3, 2, 2)), np.zeros((1, 2, 2))]):
        with pytest.raises(ShapeError, match="images \\(C, H, W\\) of one C"):
            pad_images(wrong)
