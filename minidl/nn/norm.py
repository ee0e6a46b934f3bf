"""Normalisation layers. Batch norm keeps running statistics, by which it normalises after ``eval()``."""

from minidl.errors import ShapeError, UsageError
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.create import ones, zeros
from minidl.ops.norm import batch_norm, group_norm, layer_norm, local_response_norm
from minidl.tensor import tensor, written


class _Affine(Module):
    """Base of layers that learn a ``weight``, at first 1, and a ``bias``, at first 0; either may be absent (None)."""

    def _learn(self, shape, weight, bias, device, dtype) -> None:
        self.register_parameter("weight", Parameter(ones(shape, device=device, dtype=dtype)) if weight else None)
        self.register_parameter("bias", Parameter(zeros(shape, device=device, dtype=dtype)) if weight and bias else None)

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Affine):
    """Base of batch norms, which differ in the rank of their input."""

    axes: tuple[str, ...]  # the inputs that a subclass takes
    relu = False  # whether what is below 0 becomes 0

    def __init__(self, num_features: int, eps=1e-5, momentum: float | None = 0.1, affine=True, track_running_stats=True,
                 device=None, dtype=None, *, bias=True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._learn((num_features,), affine, bias, device, dtype)
        kept = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if kept else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if kept else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if kept else None)

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set weights to 1 and biases to 0, and forget all batches."""
        self.reset_running_stats()
        super().reset_parameters()

    def forward(self, input):
        self._check(input)
        if not self.training or self.running_mean is None:
            return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.running_mean is None,
                              eps=self.eps, relu=self.relu)
        momentum = 1 / (self.num_batches_tracked.item() + 1) if self.momentum is None else self.momentum
        y = batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, True, momentum, self.eps,
                       relu=self.relu)
        batches = self.num_batches_tracked.array
        batches += 1  # one launch; add_ takes three
        written(batches)
        return y

    def _check(self, input) -> None:
        expected = [shape for shape in self.axes if input.ndim == shape.count(",") + 1]
        if not expected or input.shape[1] != self.num_features:
            raise ShapeError(f"{type(self).__name__}: expected an input {' or '.join(self.axes)} with C={self.num_features}, "
                             f"got shape {input.shape}")

    def extra_repr(self):
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class BatchNorm1d(_BatchNorm):
    """Normalise each channel of vectors (N, C) or sequences (N, C, L), by the batch in training and by running statistics after.

    Running statistics move by ``momentum`` towards each batch's mean and unbiased variance; with ``momentum=None`` they are the
    plain average of all batches so far. ``affine=False`` learns nothing, ``track_running_stats=False`` always normalises by the
    batch. Parameters ``weight`` and ``bias``, buffers ``running_mean`` and ``running_var`` (C,) and ``num_batches_tracked``.

    Raises ShapeError for another rank or number of channels, or one value per channel in training.

    Source: Ioffe and Szegedy, "Batch normalization" (2015).

    >>> import minidl
    >>> from minidl import nn
    >>> nn.BatchNorm1d(1)(minidl.tensor([[1.0], [3.0]])).round()
    tensor([[-1.],
            [ 1.]], op=Round)
    """

    axes = "(N, C)", "(N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of images (N, C, H, W); everything else as BatchNorm1d.

    >>> import minidl
    >>> from minidl import nn
    >>> layer = nn.BatchNorm2d(3)
    >>> layer(minidl.randn(2, 3, 4, 5)).shape, layer.num_batches_tracked
    ((2, 3, 4, 5), tensor(1))
    """

    axes = ("(N, C, H, W)",)


class BNReLU2d(BatchNorm2d):
    """A BatchNorm2d that ends in a ReLU, in the same passes over memory: relu(batch_norm(x)) with the parameters of batch norm.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.BNReLU2d(1)(minidl.tensor([[[[1.0, 3.0]]]])).round()
    tensor([[[[0., 1.]]]], op=Round)
    """

    relu = True


class FrozenBatchNorm2d(Module):
    """A batch norm (N, C, H, W) that learns nothing: ``weight`` and ``bias`` and the running statistics are buffers (C,).

    Detectors see one or two images in a step, whose statistics say little; they keep those of the classifier they start from.
    ``relu`` as in BNReLU2d. ``FrozenBatchNorm2d.convert(model)`` freezes all of BatchNorm2d and BNReLU2d in a model, in place.

    Raises ShapeError as BatchNorm2d. Source: He et al., "Mask R-CNN" (2017), section 4; names and defaults are torchvision's.

    >>> import minidl
    >>> from minidl import nn
    >>> model = nn.FrozenBatchNorm2d.convert(nn.Sequential(nn.BNReLU2d(3)))
    >>> model, list(model.parameters())
    (Sequential(
      (0): FrozenBatchNorm2d(3, eps=1e-05, relu=True)
    ), [])
    """

    def __init__(self, num_features: int, eps=1e-5, relu=False, device=None, dtype=None):
        super().__init__()
        self.num_features, self.eps, self.relu = num_features, eps, relu
        for name, fill in (("weight", ones), ("bias", zeros), ("running_mean", zeros), ("running_var", ones)):
            self.register_buffer(name, fill(num_features, device=device, dtype=dtype))

    @classmethod
    def convert(cls, model: Module) -> Module:
        """The model, its batch norms frozen as they are now; if it is itself one, what takes its place. Raises UsageError for one
        that has no running statistics.
        """
        if isinstance(model, BatchNorm2d):
            return cls._of(model)
        frozen = {norm: cls._of(norm) for norm in model.modules() if isinstance(norm, BatchNorm2d)}
        for module in list(model.modules()):
            for name, child in list(module._modules.items()):
                if child in frozen:
                    setattr(module, name, frozen[child])
        return model

    @classmethod
    def _of(cls, norm: BatchNorm2d) -> "FrozenBatchNorm2d":
        if norm.running_mean is None:
            raise UsageError("a batch norm without running statistics cannot be frozen: it normalises by the batch alone")
        frozen = cls(norm.num_features, norm.eps, norm.relu, norm.running_mean.device, norm.running_mean.dtype)
        for name, _ in list(frozen.named_buffers()):
            given = getattr(norm, name)
            if given is not None:
                setattr(frozen, name, given.detach())
        return frozen.train(norm.training)

    def forward(self, input):
        if input.ndim != 4 or input.shape[1] != self.num_features:
            raise ShapeError(f"FrozenBatchNorm2d: expected an input (N, C, H, W) with C={self.num_features}, got shape "
                             f"{input.shape}")
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps, relu=self.relu)

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, relu={self.relu}"


class GroupNorm(_Affine):
    """Normalise each image over ``num_groups`` groups of neighbouring channels: (N, C, ...) -> (N, C, ...). See ``group_norm``.

    Raises ShapeError if the groups don't divide the channels.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.GroupNorm(2, 6)(minidl.randn(1, 6, 4, 5)).shape
    (1, 6, 4, 5)
    """

    def __init__(self, num_groups: int, num_channels: int, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ShapeError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._learn((num_channels,), affine, bias, device, dtype)

    def forward(self, input):
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class LayerNorm(_Affine):
    """Normalise over the last axes, of sizes ``normalized_shape``, with a weight and bias for each element. See ``layer_norm``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.LayerNorm(4)(minidl.randn(2, 3, 4)).shape
    (2, 3, 4)
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._learn(self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, input):
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class LocalResponseNorm(Module):
    """Divide by the activity of ``size`` neighbouring channels: (N, C, ...) -> (N, C, ...). See ``local_response_norm``.

    As in PyTorch alpha is divided by the size; AlexNet's paper is ``LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.LocalResponseNorm(5)(minidl.randn(2, 8, 4, 3)).shape
    (2, 8, 4, 3)
    """

    def __init__(self, size: int, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
