"""Convolution with windows of one pixel and no padding: for each image a matrix product, without any copying."""

import numpy as np


def conv2d(x, w, b, geometry):
    """As the portable kernel."""
    x = _visited(x, geometry)
    y = np.empty((len(x), len(w), *x.shape[2:]), x.dtype)
    products = _matrices(y, geometry)
    np.matmul(_weights(w, geometry), _matrices(x, geometry), out=products)
    if b is not None:
        products += b.reshape(geometry.groups, -1, 1)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    everywhere = geometry.stride == (1, 1)
    gx = np.empty(x_shape, gy.dtype) if everywhere else np.zeros(x_shape, gy.dtype)
    visited = gx if everywhere else np.empty((*x_shape[:2], *gy.shape[2:]), gy.dtype)
    np.matmul(_weights(w, geometry).swapaxes(1, 2), _matrices(gy, geometry), out=_matrices(visited, geometry))
    if not everywhere:
        _visited(gx, geometry)[...] = visited
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gw = np.zeros(w_shape, x.dtype)
    sums = _weights(gw, geometry)
    gy, x = _matrices(gy, geometry), _matrices(_visited(x, geometry), geometry)
    images = max(1, 1024 // max(1, x.shape[3]))  # several small images side by side make one product of good length
    for n in range(0, len(x), images):
        sums += np.matmul(_side_by_side(gy[n : n + images]), _side_by_side(x[n : n + images]).swapaxes(1, 2))
    return gw


def _visited(x, geometry):
    """The pixels that the windows see: a view."""
    sh, sw = geometry.stride
    return x[:, :, ::sh, ::sw]


def _weights(w, geometry):
    """(O, C/G, 1, 1) -> (G, O/G, C/G)"""
    return w.reshape(geometry.groups, len(w) // geometry.groups, w.shape[1])


def _matrices(x, geometry):
    """(N, C, H, W) -> (N, G, C/G, H*W)"""
    n, c, h, w = x.shape
    return x.reshape(n, geometry.groups, c // geometry.groups, h * w)


def _side_by_side(x):
    """(N, G, C/G, P) -> (G, C/G, N*P)"""
    n, g, c, p = x.shape
    return x.transpose(1, 2, 0, 3).reshape(g, c, n * p)
