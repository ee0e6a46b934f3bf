"""Box regression: a linear map from the features of a region to where the object is, for each class.

Source: Girshick et al., "Rich feature hierarchies" (2014), appendix C, and its published code, from which the numbers are.
"""

import numpy as np

STRENGTH = 1000.0  # lambda, for features with a mean norm of 20
LEAST_VARIANCE = 1e-3


def ridge(features: np.ndarray, targets: np.ndarray, strength: float = STRENGTH) -> tuple[np.ndarray, np.ndarray]:
    """``weight`` (4, D) and ``bias`` (4,) that give targets (N, 4) from features (N, D), float64.

    Targets are centred and made uncorrelated, of about the same variance, for their errors to count alike: u = (t - mean) T. Then
    B is the minimum of |[x 1] B - u|^2 + strength |B|^2, which has a closed form. The constant 1 is one more feature: its weights
    are held small, too.

    >>> weight, bias = ridge(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0, 0, 1, 0], [2, 0, 1, 0], [4, 0, 1, 0]]), 1e-9)
    >>> weight.round(3).tolist(), bias.round(3).tolist()
    ([[2.0], [0.0], [0.0], [0.0]], [0.0, 0.0, 1.0, 0.0])
    """
    mean = targets.mean(0, dtype=np.float64)
    centred = targets - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(targets))
    deviations = np.sqrt(variances.clip(0) + LEAST_VARIANCE)
    whiten, back = axes / deviations @ axes.T, axes * deviations @ axes.T
    x = np.concatenate([features, np.ones((len(features), 1))], 1, dtype=np.float64)
    solution = _minimum(x, centred @ whiten, strength) @ back
    return solution[:-1].T, solution[-1] + mean


def _minimum(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """The B for which |x B - y|^2 + strength |B|^2 is least, by the smaller of two systems of equations that have it."""
    samples, width = x.shape
    if samples < width:
        return x.T @ np.linalg.solve(x @ x.T + strength * np.eye(samples), y)
    return np.linalg.solve(x.T @ x + strength * np.eye(width), x.T @ y)
