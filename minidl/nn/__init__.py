"""Layers, losses and containers, under PyTorch's names."""

from minidl.nn import functional, init, utils
from minidl.nn.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minidl.nn.container import ModuleDict, ModuleList, Sequential
from minidl.nn.conv import Conv2d, ConvTranspose2d, Fold, Unfold
from minidl.nn.dropout import Dropout, Dropout2d
from minidl.nn.embedding import Embedding
from minidl.nn.linear import Flatten, Identity, Linear, Unflatten
from minidl.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SmoothL1Loss,
)
from minidl.nn.module import Module, Parameter
from minidl.nn.norm import BatchNorm1d, BatchNorm2d, BNReLU2d, FrozenBatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from minidl.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d, MaxUnpool2d
from minidl.nn.upsampling import Upsample
