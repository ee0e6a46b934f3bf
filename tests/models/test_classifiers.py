"""The lecture's classifiers: parameters and multiply-adds as published, to the last one, and shapes inside."""

import numpy as np
import pytest

import minidl
from minidl import models, nn
from minidl.errors import UsageError
from minidl.models.classify.googlenet import GoogLeNet, GoogLeNetOutputs
from minidl.models.classify.resnet import Subsample
from minidl.study import summarize

# name: (constructor, parameters, multiply-adds of an image or None)
COUNTS = {
    "AlexNet 2012": (models.AlexNet2012, 60_965_224, 724_406_816),
    "AlexNet": (models.alexnet, 61_100_840, 714_188_480),
    "VGG A": (models.vgg11, 132_863_336, 7_609_090_048),
    "ResNet-18 A": (lambda: models.resnet18(option="A"), 11_515_688, 1_794_805_760),
    "ResNet-18": (models.resnet18, 11_689_512, 1_814_073_344),
    "ResNet-18 C": (lambda: models.resnet18(option="C"), 12_043_816, 1_878_298_624),
    "ResNet-34 A": (lambda: models.resnet34(option="A"), 21_623_848, None),
    "ResNet-34": (models.resnet34, 21_797_672, 3_663_761_408),
    "ResNet-34 C": (lambda: models.resnet34(option="C"), 22_716_840, None),
    "ResNet-50 v1": (lambda: models.resnet50(v1=True), 25_557_032, 3_857_973_248),
    "ResNet-50": (models.resnet50, 25_557_032, 4_089_184_256),
    "ResNet-20": (lambda: models.CifarResNet(20), 269_722, 40_550_400 + 640),
    "ResNet-32": (lambda: models.CifarResNet(32), 464_154, 68_861_952 + 640),
    "ResNet-44": (lambda: models.CifarResNet(44), 658_586, 97_173_504 + 640),
    "ResNet-56": (lambda: models.CifarResNet(56), 853_018, 125_485_056 + 640),
    "ResNet-110": (lambda: models.CifarResNet(110), 1_727_962, 252_887_040 + 640),
    "ResNet-20 B": (lambda: models.CifarResNet(20, option="B"), 272_474, 40_812_544 + 640),
    "plain-20": (lambda: models.CifarResNet(20, residual=False), 269_722, 40_550_400 + 640),
    "GoogLeNet": (models.googlenet, 13_004_888, 1_506_748_416),
    "GoogLeNet without aux": (lambda: models.googlenet(aux_logits=False), 6_624_904, 1_498_376_192),
    "GoogLeNet 2014": (lambda: GoogLeNet(paper=True), 13_378_280, 1_591_044_096),
    "GoogLeNet 2014 without aux": (lambda: GoogLeNet(paper=True, aux_logits=False), 6_998_552, 1_582_671_872),
}
LARGE = {
    "VGG A-LRN": (lambda: models.VGG("A-LRN"), 132_863_336, 7_609_090_048),
    "VGG B": (models.vgg13, 133_047_848, 11_308_466_176),
    "VGG C": (lambda: models.VGG("C"), 133_638_952, 11_770_888_192),
    "VGG D": (models.vgg16, 138_357_544, 15_470_264_320),
    "VGG E": (models.vgg19, 143_667_240, 19_632_062_464),
    "VGG A with batch norm": (models.vgg11_bn, 132_868_840, 7_609_090_048),
    "VGG B with batch norm": (models.vgg13_bn, 133_053_736, 11_308_466_176),
    "VGG D with batch norm": (models.vgg16_bn, 138_365_992, 15_470_264_320),
    "VGG E with batch norm": (models.vgg19_bn, 143_678_248, 19_632_062_464),
    "ResNet-101 v1": (lambda: models.resnet101(v1=True), 44_549_160, 7_570_194_432),
    "ResNet-101": (models.resnet101, 44_549_160, 7_801_405_440),
    "ResNet-152 v1": (lambda: models.resnet152(v1=True), 60_192_808, 11_282_415_616),
    "ResNet-152": (models.resnet152, 60_192_808, 11_513_626_624),
}


@pytest.mark.parametrize("name", [*COUNTS, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_published_counts(name):
    make, parameters, multiply_adds = (COUNTS | LARGE)[name]
    model = make()
    assert sum(p.numel() for p in model.parameters()) == parameters
    if multiply_adds:
        rows = summarize(model, (2, *model.input_shape))  # two images: batch norm of a single pixel needs them
        assert sum(row.multiply_adds for row in rows) == 2 * multiply_adds


def test_the_maps_of_alexnet():
    rows = summarize(models.AlexNet2012(num_classes=3), (1, 3, 227, 227))
    shapes = [row.output[1:] for row in rows if row.layer in ("Conv2d", "MaxPool2d")]
    assert shapes == [(96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13),
                      (256, 6, 6)]


def test_alexnet_starts_as_printed():
    layers = [layer for layer in models.AlexNet2012(num_classes=7).modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert [layer.bias.detach().numpy()[0] for layer in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(0.009 < layer.weight.detach().numpy().std() < 0.011 for layer in layers[:7])


def test_the_maps_of_zfnet():
    rows = summarize(models.zfnet(num_classes=3), (1, 3, 224, 224))
    shapes = [row.output[1:] for row in rows if row.layer in ("Conv2d", "MaxPool2d")]
    assert shapes == [(96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13),
                      (256, 6, 6)]


@pytest.mark.parametrize("paper", [False, True])
def test_googlenet_has_three_outputs_in_training(paper):
    model = GoogLeNet(num_classes=5, paper=paper)
    outputs = model(minidl.randn(2, 3, 96, 96))
    assert isinstance(outputs, GoogLeNetOutputs) and {y.shape for y in outputs} == {(2, 5)}
    assert model.eval()(minidl.randn(2, 3, 96, 96)).shape == (2, 5)
    shapes = {row.name: row.output for row in summarize(model, (2, 3, 224, 224))}
    assert shapes["maxpool1"] == (2, 64, 56, 56)
    assert shapes["maxpool3"] == (2, 480, 14, 14) and shapes["maxpool4"] == (2, 832, 7, 7)


def test_googlenet_rescales_what_it_is_given():
    x = minidl.rand(2, 3, 64, 64)
    mean, deviation = (minidl.tensor(v).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    model = models.googlenet(num_classes=4, transform_input=True).eval()
    expected = models.googlenet(num_classes=4).eval()
    expected.load_state_dict(model.state_dict())
    assert np.allclose(model((x - mean) / deviation).detach().numpy(), expected((x - 0.5) / 0.5).detach().numpy(), atol=1e-5)


def test_subsampling_shortcuts():
    x = minidl.randn(2, 3, 5, 6)
    y = Subsample(3, 5, 2)(x)
    assert y.shape == (2, 5, 3, 3)
    assert np.array_equal(y.numpy()[:, :3], x.numpy()[:, :, ::2, ::2]) and not y.numpy()[:, 3:].any()


def test_a_residual_block_can_do_nothing():
    model = models.CifarResNet(8)
    block = model.layer1[0].eval()
    for layer in (block.conv1, block.conv2):
        nn.init.zeros_(layer.weight)
    x = minidl.rand(2, 16, 4, 4)
    assert np.array_equal(block(x).detach().numpy(), x.numpy())
    plain = models.CifarResNet(8, residual=False).layer1[0].eval()
    nn.init.zeros_(plain.conv2.weight)
    assert not plain(x).detach().numpy().any()


def test_wrong_calls():
    with pytest.raises(UsageError, match="VGG has the configurations A, A-LRN, B, C, D, E, got 'F'"):
        models.VGG("F")
    with pytest.raises(UsageError, match=r"6n \+ 2 layers.* got 21"):
        models.CifarResNet(21)
    with pytest.raises(UsageError, match="option A, B or C, got 'D'"):
        models.resnet18(option="D")
