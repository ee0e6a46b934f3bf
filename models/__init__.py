"""Architectures, detectors and evaluation, each with its paper's recipe."""

if __name__ == "models":
    raise ImportError("`models` is imported as `minidl.models`: write `from minidl import models`")

from minidl.models.classify.alexnet import AlexNet, AlexNet2012, alexnet
from minidl.models.classify.cifar_resnet import CifarResNet
from minidl.models.classify.googlenet import GoogLeNet, googlenet
from minidl.models.classify.lenet import LeNet5, lenet5
from minidl.models.classify.lenet1998 import LeNet5Of1998
from minidl.models.classify.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from minidl.models.classify.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from minidl.models.classify.zfnet import ZFNet, zfnet
from minidl.models.detect.fast_rcnn import FastRCNN, fast_rcnn_small, fast_rcnn_vgg16
from minidl.models.detect.faster_rcnn import (
    FasterRCNN,
    faster_rcnn_resnet50_c4,
    faster_rcnn_resnet50_fpn,
    faster_rcnn_resnet101_c4,
    faster_rcnn_small,
    faster_rcnn_vgg16,
)
from minidl.models.detect.rcnn import RCNN, rcnn_alexnet, rcnn_small, rcnn_vgg16

__all__ = ["RCNN", "VGG", "AlexNet", "AlexNet2012", "CifarResNet", "FastRCNN", "FasterRCNN", "GoogLeNet", "LeNet5",
           "LeNet5Of1998", "ResNet", "ZFNet", "alexnet", "fast_rcnn_small", "fast_rcnn_vgg16", "faster_rcnn_resnet50_c4",
           "faster_rcnn_resnet50_fpn", "faster_rcnn_resnet101_c4", "faster_rcnn_small", "faster_rcnn_vgg16", "googlenet",
           "lenet5", "rcnn_alexnet", "rcnn_small", "rcnn_vgg16", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
           "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "zfnet"]
