"""Fused networks give what they gave before, with fewer layers."""

import importlib

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import UsageError


def lively(model):
    """With statistics and weights of batch norms that are not those of a new network."""
    random = np.random.default_rng(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            lows = (layer.running_mean, -1), (layer.running_var, 0.5), (layer.weight, 0.5), (layer.bias, -1)
            for tensor, low in lows:
                if tensor is not None:
                    tensor.detach().numpy()[...] = random.uniform(low, 1.5, layer.num_features)
    return model.eval()


def kinds(model):
    return [type(layer).__name__ for layer in model.modules()]


def check(model, *shape):
    x = minidl.randn(*shape, generator=minidl.Generator().manual_seed(1))
    with minidl.no_grad():
        before = model(x).numpy()
        assert model.fuse() is model and not any(module.training for module in model.modules())
        after = model(x).numpy()
    np.testing.assert_allclose(after, before, atol=1e-5 * abs(before).max())


@pytest.mark.parametrize("module, name, shape", [
    ("resnet", "resnet18", (2, 3, 40, 33)), ("resnet", "resnet50", (1, 3, 33, 40)), ("googlenet", "googlenet", (2, 3, 64, 70)),
    ("cifar_resnet", "resnet20", (2, 3, 20, 17)), ("cifar_resnet", "plain20", (2, 3, 16, 16)),
    ("lenet", "lenet5", (3, 1, 28, 28))])
def test_networks(module, name, shape):
    model = lively(getattr(importlib.import_module(f"minidl.models.classify.{module}"), name)())
    check(model, *shape)
    assert not {"BatchNorm2d", "BNReLU2d"} & set(kinds(model)) and "FusedConv2d" in kinds(model)


def test_frozen_batch_norms():
    """Frozen, a network gives what it gave, trains nothing of them, keeps its statistics, and is fused as before."""
    from minidl.models import resnet18

    model, x = lively(resnet18(5)), minidl.randn(2, 3, 40, 33)
    with minidl.no_grad():
        before = model(x).numpy()
    names = model.state_dict().keys()
    nn.FrozenBatchNorm2d.convert(model).train()
    assert not {"BatchNorm2d", "BNReLU2d"} & set(kinds(model))
    assert model.state_dict().keys() == {name for name in names if not name.endswith("num_batches_tracked")}
    assert not any("bn" in name for name, _ in model.named_parameters())
    np.testing.assert_allclose(model(x).detach().numpy(), before, atol=1e-5 * abs(before).max())
    shared, alone = nn.BatchNorm2d(3, affine=False, dtype=minidl.float64).eval(), nn.BNReLU2d(3)
    both = nn.FrozenBatchNorm2d.convert(nn.Sequential(shared, nn.ReLU(), shared))
    assert kinds(both) == ["Sequential", "FrozenBatchNorm2d", "ReLU"] and both[0] is both[2] and not both[0].training
    assert both(minidl.ones(1, 3, 2, 2, dtype=minidl.float64)).dtype == np.float64
    assert type(nn.FrozenBatchNorm2d.convert(alone)) is nn.FrozenBatchNorm2d
    with pytest.raises(UsageError, match="without running statistics"):
        nn.FrozenBatchNorm2d.convert(nn.BatchNorm2d(3, track_running_stats=False))
    (gx,) = minidl.autograd.grad(model(x.requires_grad_()).sum(), x)
    assert gx.isfinite().all() and (gx != 0).any()
    check(model.eval(), 2, 3, 40, 33)
    assert "FrozenBatchNorm2d" not in kinds(model)


@pytest.mark.parametrize("bias, affine", [(True, True), (False, True), (True, False)])
def test_folding(bias, affine):
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 3, bias=bias), nn.BatchNorm2d(5, eps=0.1, affine=affine), nn.Conv2d(5, 2, 1)))
    check(model, 2, 3, 6, 7)
    assert kinds(model) == ["Sequential", "Conv2d", "Identity", "Conv2d"]
    assert model[0].weight.dtype == minidl.float32


def test_a_batch_norm_that_ends_in_a_relu():
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BNReLU2d(5), nn.BNReLU2d(5)))
    check(model, 2, 3, 6, 7)
    assert kinds(model) == ["Sequential", "FusedConv2d", "Identity", "BNReLU2d"]


def test_in_float64_and_on_single_images():
    model = lively(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())).double()
    x = minidl.randn(1, 3, 5, 6, dtype=minidl.float64)
    before = model(x)
    assert model.fuse()(x).dtype == minidl.float64
    assert minidl.allclose(model(x), before) and minidl.allclose(model[0](x[0]), before[0])


def test_what_must_stay():
    shared = nn.Conv2d(3, 3, 1)
    watched = nn.Conv2d(3, 3, 1)
    watched.register_forward_hook(lambda *_: None)
    for first in (shared, watched):
        model = lively(nn.Sequential(first, nn.BatchNorm2d(3), nn.Sequential(shared, nn.Tanh(), nn.ReLU())))
        assert "BatchNorm2d" in kinds(model.fuse()) and "ReLU" in kinds(model)
    unmeasured = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert "BatchNorm2d" in kinds(unmeasured.fuse())

    class Forked(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x)) + self[0](x)

    assert "BatchNorm2d" in kinds(Forked(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval().fuse())


def test_in_training_mode_it_says_what_to_do():
    with pytest.raises(UsageError, match="eval"):
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).fuse()


def test_gradients_flow_through_a_fused_convolution():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).eval()
    x = minidl.randn(2, 2, 5, 6, requires_grad=True)
    model(x).sum().backward()
    want, x.grad = x.grad, None
    model.fuse()(x).sum().backward()
    assert minidl.allclose(x.grad, want)


def test_a_subclass_with_another_forward_says_itself_what_it_chains():
    class Block(nn.Module):
        chains = (("conv", "norm", "relu"),)

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()

        def forward(self, x):
            return self.relu(self.norm(self.conv(x)))

    class Negative(Block):
        def forward(self, x):
            return self.relu(-self.norm(self.conv(x)))

    assert "BatchNorm2d" not in kinds(Block().eval().fuse())
    assert "BatchNorm2d" in kinds(Negative().eval().fuse())
    part_in_training = nn.Sequential(Block(), Block()).eval()
    part_in_training[1].norm.train()
    with pytest.raises(UsageError, match="eval"):
        part_in_training.fuse()


@pytest.mark.parametrize("size, stride, channels", [(3, 1, 16), (3, 2, 3), (1, 1, 5)])  # winograd, direct, pointwise
def test_what_kernels_keep_of_the_weights_follows_every_change(size, stride, channels):
    """Through a view, by loading a state, by another array; on images of several sizes, with both gradients."""
    conv = nn.Conv2d(channels, 16, size, stride)
    model = nn.Sequential(conv, nn.ReLU()).eval().fuse()
    images = [minidl.randn(2, channels, 9, 11), minidl.randn(3, channels, 6, 5)]

    def double():
        with minidl.no_grad():
            conv.weight[0].mul_(2)

    def load():
        model.load_state_dict({name: 3 * value for name, value in model.state_dict().items()})

    def replace():
        conv.weight.data = conv.weight.detach() * 5

    for change in (lambda: None, double, load, replace):
        change()
        for x in images:
            with minidl.no_grad():
                first, again = model(x), model(x)
            want = minidl.conv2d(x, conv.weight.detach().clone(), conv.bias, stride, relu=True)
            assert minidl.allclose(first, want) and np.array_equal(first.numpy(), again.numpy())
        x = images[0].clone().requires_grad_()
        (gx,) = minidl.autograd.grad(model(x).sum(), x)
        (want,) = minidl.autograd.grad(minidl.conv2d(x, conv.weight.detach().clone(), conv.bias, stride, relu=True).sum(), x)
        assert minidl.allclose(gx, want)


def test_what_was_kept_goes_with_the_weights():
    from minidl.kernels import constants

    before = len(constants._kept)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval().fuse()
    assert len(constants._kept) == before + 1
    del model
    assert len(constants._kept) == before
