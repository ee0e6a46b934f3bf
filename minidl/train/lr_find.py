"""The learning rate test: one run with a rate that grows from batch to batch, and what the loss does.

Source: L. N. Smith, "Cyclical learning rates for training neural networks" (WACV 2017), section 3.3.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from minidl.data.prefetch import prefetch
from minidl.errors import DataError, UsageError
from minidl.nn.utils import device_of, preserved
from minidl.ops.cross_entropy import cross_entropy
from minidl.study.pictures import figure_of
from minidl.tape import no_grad

SMOOTHING = 0.9  # of the running mean of the loss
BLOWN_UP = 4.0  # the test ends when the smoothed loss exceeds its minimum so many times
RULE = "a tenth of the rate at which the smoothed loss is lowest"


class RateTest(NamedTuple):
    """``rates`` tried, the smoothed ``losses`` at them, and the rate that ``RULE`` gives."""

    rates: list[float]
    losses: list[float]
    suggestion: float


def lr_find(model, optimizer, loader: Iterable, loss: Callable = cross_entropy, *, low=1e-6, high=10.0, steps=100,
            device=None) -> RateTest:
    """Train for ``steps`` batches with rates from ``low`` to ``high``, in equal factors, and put everything back bit for bit.

    Ends early when the loss blows up. The rate suggested is a tenth of that with the lowest smoothed loss: large, with room to
    the rates where training diverges. Batches come from ``loader``, again from its start when it ends, and are sent to
    ``device`` (default: where the model is).

    Raises UsageError unless 0 < low < high and steps >= 10, DataError if the loader gives no batch.

    >>> from minidl import nn, optim
    >>> from minidl.data import DataLoader, Digits
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> found = lr_find(model, optim.SGD(model.parameters(), 0.1), DataLoader(Digits(), 32, seed=0))
    >>> 0.001 < found.suggestion < 1
    True
    """
    if not 0 < low < high < math.inf or steps < 10:
        raise UsageError(f"the learning rate test needs 0 < low < high and at least 10 steps, got {low}, {high} and {steps}")
    factor = (high / low) ** (1 / (steps - 1))
    rates, losses, mean = [], [], 0.0
    with _restored(model, optimizer, loader):
        model.train()
        batches = prefetch(_endless(loader), device_of(model) if device is None else device)
        for step, (images, labels) in zip(range(steps), batches, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = low * factor**step
            optimizer.zero_grad()
            value = loss(model(images), labels)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * value.item()
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or (losses and smooth > BLOWN_UP * min(losses)):
                break
            rates.append(low * factor**step)
            losses.append(smooth)
            value.backward()
            optimizer.step()
    if not losses:
        raise DataError("the loss was not finite at the first batch, or there is none: nothing to test")
    return RateTest(rates, losses, rates[min(range(len(losses)), key=losses.__getitem__)] / 10)


def _endless(loader):
    while True:
        count = 0
        for batch in loader:
            count += 1
            yield batch
        if not count:
            raise DataError("there is nothing to train on: the loader gave no batch")


class _restored:
    """Parameters, gradients, buffers, modes, optimizer, loader and random state are afterwards what they were."""

    def __init__(self, model, optimizer, loader):
        self.model, self.optimizer, self.loader = model, optimizer, loader

    def __enter__(self):
        self.parameters = [(p, p.detach().clone(), p.grad) for p in self.model.parameters()]
        self.state, self.optimizer.state = self.optimizer.state, type(self.optimizer.state)(dict)
        self.state_copy = {p: {k: v.copy() if hasattr(v, "copy") else v for k, v in s.items()} for p, s in self.state.items()}
        self.optimizer.state.update({p: dict(s) for p, s in self.state_copy.items()})
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.place = self.loader.state_dict() if hasattr(self.loader, "state_dict") else None
        self.rest = preserved(self.model)
        self.rest.__enter__()

    def __exit__(self, *error):
        self.rest.__exit__(*error)
        with no_grad():
            for p, before, grad in self.parameters:
                p.copy_(before)
                p.grad = grad
        self.optimizer.state = self.state
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        if self.place is not None:
            self.loader.load_state_dict(self.place)


def picture(found: RateTest):
    """Smoothed loss against learning rate, with the suggestion."""
    figure = figure_of(7, 3.6)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="#2b6cb0", linewidth=1.6)
    axes.axvline(found.suggestion, color="#dd6b20", linewidth=1.2)
    axes.set_xscale("log")
    axes.set_title(f"suggested rate {found.suggestion:.2g}: {RULE}", loc="left", fontsize=10)
    axes.set_xlabel("learning rate", fontsize=9)
    axes.set_ylabel("loss, smoothed", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
