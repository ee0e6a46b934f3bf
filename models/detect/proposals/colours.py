"""Colour spaces in which the regions of a picture are compared: each is blind to another kind of shading or highlight.

All take RGB (3, H, W), float64 from 0 to 1, and give channels from 0 to 1.
Source: J. Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, section 3.2, table 1.
"""

import numpy as np

RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # IEC 61966-2-1
WHITE = RGB_TO_XYZ.sum(1)
DARK = (6 / 29) ** 3  # below this part of white, CIE's lightness is linear


def hsv(rgb: np.ndarray) -> np.ndarray:
    """Hue, saturation, value; hue is 0 where there is none.

    >>> hsv(np.array([[0.0, 1, 0.5], [0.5, 1, 0.5], [0, 0, 0.5]]).reshape(3, 1, 3)).round(3).tolist()
    [[[0.333, 0.167, 0.0]], [[1.0, 1.0, 0.0]], [[0.5, 1.0, 0.5]]]
    """
    red, green, blue = rgb
    value = rgb.max(0)
    chroma = value - rgb.min(0)
    some = np.where(chroma > 0, chroma, 1)
    sixths = np.select([chroma == 0, value == red, value == green],
                       [0, (green - blue) / some % 6, 2 + (blue - red) / some], 4 + (red - green) / some)
    return np.stack([sixths / 6, chroma / np.where(value > 0, value, 1), value])


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of sRGB: L / 100, (a + 128) / 256, (b + 128) / 256.

    >>> lab(np.ones((3, 1, 1))).round(6).ravel().tolist()
    [1.0, 0.5, 0.5]
    """
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = np.tensordot(RGB_TO_XYZ / WHITE[:, None], linear, 1)
    x, y, z = np.where(xyz > DARK, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([1.16 * y - 0.16, (500 * (x - y) + 128) / 256, (200 * (y - z) + 128) / 256])


def rgi(rgb: np.ndarray) -> np.ndarray:
    """The parts of red and green in the sum of all three, a third in black, and the intensity.

    >>> rgi(np.array([0.2, 0.2, 0.4]).reshape(3, 1, 1)).round(3).ravel().tolist()
    [0.25, 0.25, 0.267]
    """
    total = rgb.sum(0)
    red, green = (np.divide(part, total, out=np.full_like(total, 1 / 3), where=total > 0) for part in rgb[:2])
    return np.stack([red, green, total / 3])


def hue(rgb: np.ndarray) -> np.ndarray:
    """Hue alone, (1, H, W)."""
    return hsv(rgb)[:1]


def intensity(rgb: np.ndarray) -> np.ndarray:
    """The mean of the channels, (1, H, W)."""
    return rgb.mean(0, keepdims=True)


COLOURS = {"HSV": hsv, "Lab": lab, "rgI": rgi, "H": hue, "I": intensity}
