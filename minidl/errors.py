"""Typed errors. Each message says what was expected, what came, and what to do.

Every error is a MinidlError and also the built-in type that Python programmers expect in its place.
"""

import importlib


class MinidlError(Exception):
    """Base of all errors that minidl raises on purpose."""


class ShapeError(MinidlError, ValueError):
    """Ranks or sizes that don't fit."""


class DtypeError(MinidlError, TypeError):
    """A dtype that an operation cannot take."""


class DeviceError(MinidlError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class OutOfMemoryError(MinidlError, MemoryError):
    """A GPU has not as much memory left as was asked for."""


class GraphError(MinidlError, RuntimeError):
    """Backward through what was freed, overwritten, never recorded, or gives a wrong gradient."""


class CaptureError(MinidlError, RuntimeError):
    """A step that cannot be recorded, or a recording that no longer fits what it would change."""


class AnomalyError(MinidlError, RuntimeError):
    """Anomaly mode found the operation in which a NaN was born or a saved array was changed."""


class DataError(MinidlError, ValueError):
    """A data file that is missing, truncated, corrupted or not what it claims to be."""


class CheckpointError(MinidlError, ValueError):
    """A checkpoint that cannot be read, or that belongs to another model."""


class DownloadError(MinidlError, OSError):
    """A download that failed, or whose checksum is wrong."""


class UsageError(MinidlError, ValueError):
    """An option or argument of a command that makes no sense; the command line exits with code 2."""


class MissingDependencyError(MinidlError, ImportError):
    """An optional package that this function needs is not installed."""


def require(module: str, extra: str):
    """Import an optional package, or say how to install it.

    >>> require("json", extra="train").dumps([1])
    '[1]'
    >>> require("no_such_package", extra="train")
    Traceback (most recent call last):
    ...
    minidl.errors.MissingDependencyError: this needs the package no_such_package: pip install "minidl[train]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = module.split(".")[0]
        raise MissingDependencyError(f'this needs the package {package}: pip install "minidl[{extra}]"') from None
