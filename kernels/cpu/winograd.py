"""Convolution by few multiplications: S. Winograd's minimal filtering, as A. Lavin and S. Gray applied it to convolutional layers
(Fast Algorithms for Convolutional Neural Networks, 2016). Windows of 3x3 or 5x5 at stride 1, float32.

F(m, r) computes m outputs of r weights with n = m + r - 1 multiplications instead of m r, since it multiplies polynomials by
their values at n points. In two dimensions, for each tile d (n, n) of the image, with fixed matrices A, G and B:

    y = Aᵀ [ (G w Gᵀ) * (Bᵀ d B) ] A          y (m, m), * element by element

Summed over channels c, each of the n² elements is a product of matrices of its own: M[o, tile] = sum over c of U[o, c] V[c,
tile]. A 3x3 layer takes n² / m² = 2.25 multiplications per output with F(4, 3), and 4 with F(2, 3), instead of 9; a 5x5 layer
takes 9 with F(2, 5) instead of 25. The gradients are the same maps read in the other direction:

    in x:  the correlation of gy with w rotated by half a turn
    in w:  gw = Gᵀ [ sum over tiles of (A gy Aᵀ) * (Bᵀ d B) ] G

The price is accuracy: sums of differently scaled terms lose digits. Measured against float64 at 512 channels, relative to the
largest output: see ``docs/speed.md``. Where it could be much worse, the caller is told to use another algorithm: next to an
outlier, values of ordinary size would be lost in its rounding error, and NaN or infinity would spread over a tile.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.constants import derived
from minidl.kernels.cpu import winograd_tiles as tiles
from minidl.kernels.cpu.gemm import steps
from minidl.kernels.cpu.instructions import LANES
from minidl.kernels.cpu.moves import aligned
from minidl.kernels.cpu.threads import get_num_threads, split
from minidl.kernels.cpu.winograd_tiles import room
from minidl.kernels.shapes import windows

ALGORITHMS = {3: ((tiles.F43, 4), (tiles.F23, 2)), 5: ((tiles.F25, 2),)}  # for weights r x r: (which, m)
MOST = 112  # tiles worked on together, so that their transforms stay in the cache
BLOCK_STRIPS = 4, 6  # of outputs and of channels, in a block of a weight gradient
FEW = 256  # tiles that are worked on all together
OUTLIER = 1e4  # times the mean magnitude: next to such a value, others keep fewer than three digits
LARGEST = 1e15  # and this is one in any company
PARTS, PARTS_BYTES = 16, 16 << 20  # a weight gradient is summed in at most so many parts, whatever the number of threads
SAMPLE = 256  # numbers that tell the mean magnitude, without the largest of them:
SPARED, SPARED_WEIGHTS = 1 / 128, 1 / 4  # gradients may be sparse; weights are not, but one of nine taps may be large everywhere


class Plan(NamedTuple):
    """F(m, r) with n = m + r - 1; ``down`` x ``across`` tiles to an image, ``rows`` tile rows worked on at a time."""

    kind: int
    m: int
    r: int
    n: int
    down: int
    across: int
    rows: int


def suits(w_shape, geometry) -> bool:
    """Whether the windows are of a kind that these algorithms know."""
    r = w_shape[2]
    return (r in ALGORITHMS and w_shape[3] == r and geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
            and max(geometry.padding) < r)


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel, or None if x or w holds NaN, infinity or an outlier."""
    y = np.empty((len(x), len(w), *windows(x.shape[2:], w.shape[2:], geometry)), x.dtype)
    return _correlate(x, w, False, b, geometry.padding, y, relu)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel, or None if gy or w holds NaN, infinity or an outlier."""
    padding = tuple(w.shape[2] - 1 - p for p in geometry.padding)
    return _correlate(gy, w, True, None, padding, np.empty(x_shape, gy.dtype), False)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel, or None if gy or x hold NaN, infinity or an outlier."""
    outputs, channels, r, _ = w_shape
    plan, total = _plan(r, gy.shape[2:], len(x), 1)
    strips = -(-channels // LANES), -(-outputs // LANES)
    work = plan.n**2 * total * channels * outputs // LANES
    if total * (channels + outputs) <= channels * outputs:
        gw, seen = _weight_grad_at_once(gy, x, w_shape, geometry, plan, total, strips, work)
    else:
        gw, seen = _weight_grad_in_parts(gy, x, w_shape, geometry, plan, total, strips, work)
    seen = seen.reshape(-1, sum(strips))
    return gw if _ordinary(seen[:, : strips[0]], x) and _ordinary(seen[:, strips[0] :], gy) else None


@functools.lru_cache
def _plan(r, size, images, threads):
    """The algorithm with the fewest multiplications; and the number of tiles. Blocks of tile rows are as high as leaves the
    busiest thread the fewest tiles, those that only fill a block among them.
    """
    counts = ((-(-size[0] // m) * -(-size[1] // m) * (m + r - 1) ** 2, kind, m) for kind, m in ALGORITHMS[r])
    _, kind, m = min(counts)
    down, across = -(-size[0] // m), -(-size[1] // m)
    lines = images * down
    most = max(1, min(lines, MOST // across))
    rows = min(range(1, most + 1), key=lambda rows: (-(-lines // rows // threads) * tiles.filled(rows * across), -rows))
    return Plan(kind, m, r, m + r - 1, down, across, rows), lines * across


def _correlate(x, w, flip, b, padding, y, relu):
    """y (N, O, H, W) = b (O,) + the correlation of x (N, C, ...) with w, or with ``flip`` its adjoint."""
    channels, outputs = x.shape[1], y.shape[1]
    plan, total = _plan(w.shape[2], y.shape[2:], len(y), get_num_threads())
    strips, groups, elements = -(-outputs // LANES), -(-channels // LANES), plan.n**2
    bias = np.zeros(strips * LANES, x.dtype)
    if b is not None:
        bias[:outputs], bias[outputs:] = b, b[-1]
    work = elements * total * channels * outputs // LANES
    if not derived(w, "ordinary", lambda: _ordinary_weights(w)):
        return None
    if total <= FEW and total < outputs:
        seen = np.zeros(groups, np.int32)
        v = aligned(elements * room(tiles.filled(total), groups), x)
        split(tiles.transform_channels, groups, work, x, padding, True, 0, total // plan.across, plan, v, seen)
        if not _ordinary(seen, x):
            return None
        split(tiles.by_outputs, -(-strips // tiles.groups_at_once(strips)), work, w, flip, v, bias, plan, steps(4, channels), y,
              relu)
        return y
    blocks = -(-(total // plan.across) // plan.rows)
    seen = np.zeros((blocks, groups), np.int32)
    u = derived(w, ("winograd", plan.kind, flip), lambda: _transformed(w, flip, plan, strips, channels))
    split(tiles.by_tiles, blocks, work, x, padding, u, bias, plan, steps(4, channels), y, seen, relu)
    return y if _ordinary(seen, x) else None


def _ordinary_weights(w):
    seen = np.zeros(len(w), np.int32)
    split(tiles.largest_of_rows, len(w), w.size // LANES, w.reshape(len(w), -1), seen)
    return _ordinary(seen, w, SPARED_WEIGHTS)


def _transformed(w, flip, plan, strips, channels):
    """G w Gᵀ of all weights: see ``transform_weights``."""
    u = aligned(plan.n**2 * room(strips, channels), w)
    split(tiles.transform_weights, strips, u.size, w, flip, plan, u, 0)
    return u


def _weight_grad_at_once(gy, x, w_shape, geometry, plan, total, strips, work):
    """For few tiles: transform all, then multiply block by block of outputs and channels."""
    (x_strips, y_strips), gw = strips, np.empty(w_shape, x.dtype)
    rows = total // plan.across
    v, z = (aligned(plan.n**2 * room(count, tiles.filled(total)), x) for count in strips)
    seen = np.zeros(x_strips + y_strips, np.int32)
    split(tiles.transform_channels, x_strips, work, x, geometry.padding, True, 0, rows, plan, v, seen)
    split(tiles.transform_channels, y_strips, work, gy, (0, 0), False, 0, rows, plan, z, seen[x_strips:])
    down, across = BLOCK_STRIPS
    blocks = -(-y_strips // down) * -(-x_strips // across)
    split(tiles.weight_grad_blocks, blocks, work, v, z, total, down, across, plan, steps(4, total), gw)
    return gw, seen


def _weight_grad_in_parts(gy, x, w_shape, geometry, plan, total, strips, work):
    """For many tiles: sum the products part by part of the tiles."""
    (x_strips, y_strips), gw = strips, np.empty(w_shape, x.dtype)
    size = plan.n**2 * room(y_strips * LANES, x_strips)
    parts = min(total // plan.across, max(2, min(PARTS, 1 << int(math.log2(max(1, PARTS_BYTES // (size * x.itemsize)))))))
    products, seen = np.empty((parts, size), x.dtype), np.zeros((parts, x_strips + y_strips), np.int32)
    split(tiles.weight_grad_parts, parts, work, x, geometry.padding, gy, plan, steps(4, plan.rows * plan.across), products, seen)
    split(tiles.sum_parts, len(gw), products.size, products, plan, gw)
    return gw, seen


def _ordinary(seen, x, spared=SPARED):
    """Whether ``seen``, the bits of the largest magnitudes in x, tells of finite numbers without an outlier."""
    return not seen.size or tiles.ordinary(seen, x.reshape(-1), SAMPLE, spared, OUTLIER, LARGEST)
