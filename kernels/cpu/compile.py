"""How kernels are compiled: one decorator, a private cache on disk, and one function that prepares arrays.

Numba's own cache goes stale when a function called from another file changes, and trusts whatever lies in its folder, which
it unpickles. Ours lives in a folder that only the user can read or write, is named by a hash of all kernel sources, and every
entry carries a checksum: anything that does not fit is compiled anew.
"""

import functools
import hashlib
from pathlib import Path

import numba
import numpy as np
from numba.core import caching

from minidl.kernels.cache import private_folder

# Reordering and fused multiply-adds, but none of the flags that let the compiler assume away NaN or infinity.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def jit(function):
    """Compile ``function`` for Numba without the GIL, cached on disk. Arguments must come from ``ready``.

    >>> @jit
    ... def twice(start, stop, x):
    ...     for i in range(start, stop):
    ...         x[i] *= 2
    >>> x = np.ones(3)
    >>> twice(0, 2, x)
    >>> x
    array([2., 2., 1.])
    """
    dispatcher = numba.njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)
    if cache_folder() is not None and Path(function.__code__.co_filename).is_file():
        dispatcher._cache = _Cache(function)
    return dispatcher


def ready(*arrays):
    """The arrays as compiled kernels want them: C-contiguous, aligned, writable (every other layout would compile anew).

    Copies only what needs it; None stays None. One array in, one array out; several in, a tuple out.
    """
    prepared = tuple(a if a is None or a.flags.carray else np.require(a, requirements=("C", "A", "W")) for a in arrays)
    return prepared[0] if len(prepared) == 1 else prepared


@functools.cache
def cache_folder() -> Path | None:
    """The folder of compiled kernels; its name holds a hash of all kernel sources and of the versions. None if there is none."""
    return private_folder(f"kernels-{_source_hash()}")


def _source_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {np.__version__} bounds {numba.config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class _Locator(caching._CacheLocator):
    def __init__(self, function):
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self):
        return str(cache_folder())

    def get_source_stamp(self):
        return 0  # the folder's name already depends on every source

    def get_disambiguator(self):
        return str(self._line)

    @classmethod
    def from_function(cls, function, _path):
        return cls(function)


class _CompileResult(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _ChecksummedFile(caching.IndexDataCacheFile):
    """Machine code with a flipped bit would run: each data file starts with the SHA-256 of the rest."""

    def _save_data(self, name, data):
        payload = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(payload).digest() + payload)

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            raise ValueError(f"damaged cache file {name}")
        return caching.pickle.loads(payload)


class _Cache(caching.FunctionCache):
    _impl_class = _CompileResult

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _ChecksummedFile(self._cache_path, self._impl.filename_base, 0)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever is wrong with a cache file, the cure is to compile again
            self.flush()
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk costs the next process some time, not this one its result
            pass
