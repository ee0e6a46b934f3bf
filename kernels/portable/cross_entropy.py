"""Cross-entropy of softmax(x) against class indices, fused: no array of probabilities is kept between the two passes.

With p = softmax(x), class t, class weights w (1 if None) and label smoothing s, the loss of a row is
    (1 - s) w_t (-log p_t) + (s / C) sum_c w_c (-log p_c),
and 0 where the target is ``ignore_index``. x (R, C); target (R,) int64, each 0 to C - 1 or ``ignore_index``; w (C,).

Source of the smoothing: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016), section 7.
"""

import numpy as np

from minidl.kernels import namespace


def cross_entropy(x, target, weight, ignore_index, smoothing):
    """The losses (R,) in the dtype of x, and log sum_c exp x_c of each row in float64, which the gradient needs."""
    xp = namespace(x)
    wide = x.astype(np.float64)
    top = wide.max(axis=1)
    log_total = top + xp.log(xp.exp(wide - top[:, None]).sum(axis=1))
    kept, safe, w = _labels(x, target, weight, ignore_index)
    loss = (1 - smoothing) * w[safe] * (log_total - wide[xp.arange(len(x)), safe])
    if smoothing:
        loss = loss + smoothing / x.shape[1] * (w * (log_total[:, None] - wide)).sum(axis=1)
    return xp.where(kept, loss, 0).astype(x.dtype), log_total


def cross_entropy_grad(gy, x, log_total, target, weight, ignore_index, smoothing):
    """gx_c = gy ((1 - s) w_t (p_c - [c = t]) + (s / C) (p_c sum_k w_k - w_c)), for gy (R,), or 0-d if it is the same for all."""
    xp = namespace(x)
    p = xp.exp(x.astype(np.float64) - log_total[:, None])
    kept, safe, w = _labels(x, target, weight, ignore_index)
    hit = safe[:, None] == xp.arange(x.shape[1])
    gx = (1 - smoothing) * w[safe][:, None] * (p - hit) + smoothing / x.shape[1] * (p * w.sum() - w)
    return xp.where(kept[:, None], gy[..., None] * gx, 0).astype(x.dtype)


def mean_loss(loss, target, weight, ignore_index, classes):
    """The sum of the losses (R,), in their dtype, over the sum of the weights of the rows that count, in float64; both 0-d."""
    total = total_weight(target, weight, ignore_index)
    return (loss.sum(dtype=np.float64) / total).astype(loss.dtype), total


def total_weight(target, weight, ignore_index):
    """The sum of the weights of the rows that count, 0-d in float64."""
    xp, kept = namespace(target), target != ignore_index
    if weight is None:
        return kept.sum(dtype=np.float64)
    return xp.where(kept, weight[xp.where(kept, target, 0)], 0).sum(dtype=np.float64)


def _labels(x, target, weight, ignore_index):
    """Which rows count, their classes (0 in the others), and a weight for every class."""
    xp = namespace(x)
    kept = target != ignore_index
    w = xp.ones(x.shape[1]) if weight is None else weight.astype(np.float64)
    return kept, xp.where(kept, target, 0), w
