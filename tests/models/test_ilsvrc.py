"""Many views of an image, against the same by hand."""

import numpy as np
import pytest

import minidl
from minidl.data.transforms import Normalize, Resize, ToTensor
from minidl.errors import UsageError
from minidl.models import alexnet, resnet18, vgg11
from minidl.models.classify.dense import dense
from minidl.models.classify.recipe import DEVIATION, MEAN
from minidl.models.evaluate.ilsvrc import TenCrops, many_views


def pictures(n, height, width):
    return np.random.default_rng(0).integers(0, 256, (n, 3, height, width), np.uint8)


def probabilities(model, images):
    with minidl.no_grad():
        return minidl.softmax(model(minidl.tensor(images)), 1).numpy()


def normalised(image):
    return Normalize(MEAN, DEVIATION)(ToTensor()(image))


@pytest.mark.parametrize("build", [alexnet, vgg11])
def test_dense_is_the_same_network(build):
    """On its own size one score for each class; on a larger image, at each place the score of the crop there."""
    minidl.manual_seed(0)
    model = build(num_classes=5).eval().double()
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224))
    with minidl.no_grad():
        whole = dense(model)(minidl.tensor(image))
        assert whole.shape == (1, 5, 1, 1)
        np.testing.assert_allclose(whole.numpy()[..., 0, 0], model(minidl.tensor(image)).numpy(), rtol=1e-10)
        assert dense(model)(minidl.zeros(1, 3, 224 + 64, 224 + 32, dtype=minidl.float64)).shape == (1, 5, 3, 2)


def test_dense_of_what_has_no_linear_layers():
    with pytest.raises(UsageError, match="ResNet has no linear layers on its maps"):
        dense(resnet18(num_classes=2))


def test_ten_crops():
    image = pictures(2, 5, 7)
    found = TenCrops(4)(image)
    assert found.shape == (2, 10, 3, 4, 4)
    for place, (top, left) in enumerate([(0, 0), (0, 3), (1, 0), (1, 3), (0, 1)]):
        part = image[:, :, top : top + 4, left : left + 4]
        np.testing.assert_array_equal(found[:, place], part)
        np.testing.assert_array_equal(found[:, place + 5], part[..., ::-1])


def test_ten_views_are_their_mean():
    minidl.manual_seed(0)
    model = alexnet(num_classes=4).eval()
    views, transform, _ = many_views(model, 224, "ten")
    image = pictures(1, 300, 260)
    crops = TenCrops(224)(normalised(Resize(256)(image)))[0]
    expected = probabilities(model, crops).mean(0)
    np.testing.assert_allclose(probabilities(views, transform(image))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("build", [alexnet, resnet18])
def test_dense_views_are_their_mean(build):
    minidl.manual_seed(0)
    model = build(num_classes=4).eval()
    views, transform, batch = many_views(model, 224, "dense", [224, 288])
    assert transform is None and batch == 1
    image = pictures(1, 300, 260)
    total = 0
    for scale in (224, 288):
        one = normalised(Resize(scale)(image))
        for each in (one, one[..., ::-1].copy()):
            with minidl.no_grad():
                scores = dense(model)(minidl.tensor(each)).mean((2, 3)) if build is alexnet else model(minidl.tensor(each))
            total = total + minidl.softmax(scores, 1).numpy()[0] / 4
    np.testing.assert_allclose(probabilities(views, image)[0], total, rtol=1e-5)


def test_mistakes():
    with pytest.raises(UsageError, match="scales must be at least 224"):
        many_views(None, 224, "dense", [200])
    with pytest.raises(UsageError, match="views are ten, dense"):
        many_views(None, 224, "five")
