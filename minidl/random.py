"""Random numbers: counter-based streams that any part of a program can take up where it wants to.

A generator is three numbers: a seed, the number of a stream, and a position in it. Whatever it draws depends on these alone,
not on the backend or the number of threads: integers and uniform numbers are the same bits everywhere, normal ones agree
within 2 ulp. Each call starts at a new block of four words, so two calls for 3 numbers differ from one for 6.

>>> import minidl
>>> minidl.manual_seed(0)
Generator(seed=0, stream=0, position=0)
>>> minidl.rand(3)
tensor([0.399 , 0.8805, 0.7357])
"""

import contextlib
import functools
import math
import operator
import os

import numpy as np

from minidl.device import CPU, Device
from minidl.errors import CaptureError
from minidl.kernels import kernel
from minidl.kernels.recording import current

_BLOCK = 4  # words
_LIMIT = 2**64
_LOW = 2**32 - 1


def _on_device(draw):
    """The method of a generator, called where the device of its numbers is the current one."""
    @functools.wraps(draw)
    def drawn(self, *args, device: Device = CPU, **options):
        with device.as_current():
            return draw(self, *args, device=device, **options)

    return drawn


class Generator:
    """A stream of random numbers from Philox4x32-10 (Salmon et al. 2011), as arrays; ``minidl.rand`` and others make tensors.

    ``size`` is a shape or an int, and None for a single number. Without a seed the stream is another one in every process.

    >>> g = Generator(7)
    >>> g.integers(0, 10, size=5)
    array([2, 4, 3, 2, 4])
    >>> state = g.get_state()
    >>> a = g.normal(size=(2, 3)); g.set_state(state); bool((g.normal(size=(2, 3)) == a).all())
    True
    """

    def __init__(self, seed: int | None = None):
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def __repr__(self):
        return f"Generator(seed={self._seed}, stream={self._stream}, position={self._position})"

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream of this seed, -2^63 to 2^64 - 1 (a negative one counts from 2^64), from its beginning."""
        self.set_state((_key(seed), 0, 0))
        return self

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def get_state(self) -> tuple[int, int, int]:
        """(seed, stream, position): all there is to know, fit for JSON."""
        return self._seed, self._stream, self._position

    def set_state(self, state) -> None:
        """Continue from where ``get_state`` was called, on any machine."""
        if current() is not None:
            raise CaptureError("setting the state of a generator happens once, while the step is recorded, and not at its "
                               "replays: set it before the call")
        state = tuple(map(operator.index, state))
        if len(state) != 3 or not all(0 <= part < _LIMIT for part in state):
            raise ValueError(f"a state is three ints (seed, stream, position), each from 0 to 2^64 - 1, got {state}")
        self._seed, self._stream, self._position = state

    def draw(self, name: str, words: int, *args, device: Device = CPU):
        """Kernel ``name`` for the next ``words`` words of the stream, as an array on a device.

        A step recorded by ``minidl.capture`` takes the next words at each replay, and none while it is recorded.
        """

        def place():
            start = _words(self._seed) + _words(self._position) + _words(self._stream)
            self._position = (self._position - -words // _BLOCK) % _LIMIT
            return start

        recording = current()
        if recording is None:
            where = device.array(place(), np.uint32)
        elif device == CPU:
            raise CaptureError("random numbers on the CPU are drawn once, while the step is recorded, and not at its replays: "
                               "draw them on the GPU (device=\"cuda\"), or before the call")
        else:
            where = recording.live(place, np.uint32, 6)
        return kernel(name, where)(where[:2], where[2:], *args)

    @_on_device
    def uniform(self, low=0.0, high=1.0, size=None, *, dtype=np.float64, device: Device = CPU):
        """Numbers uniform on [low, high): multiples of 2^-53 (float64), 2^-24 (float32), 2^-11 (float16) or 2^-8
        (bfloat16), scaled.

        Scaling rounds, so that ``high`` itself may come out, as in NumPy and PyTorch.
        """
        n, dtype = _count(size), np.dtype(dtype)
        return _scaled(self.draw("philox_uniform", n * _words_each(dtype), n, dtype, device=device), high - low, low, size)

    @_on_device
    def normal(self, loc=0.0, scale=1.0, size=None, *, dtype=np.float64, device: Device = CPU):
        """Numbers from the normal distribution of mean ``loc`` and standard deviation ``scale`` (Box and Muller 1958)."""
        if scale < 0:
            raise ValueError(f"a standard deviation cannot be negative, got {scale}")
        n, dtype = _count(size), np.dtype(dtype)
        pairs = -(-n // 2)
        return _scaled(self.draw("philox_normal", 2 * pairs * _words_each(dtype), n, dtype, device=device), scale, loc, size)

    @_on_device
    def integers(self, low, high=None, size=None, *, dtype=np.int64, device: Device = CPU):
        """Integers from ``low`` up to, but not including, ``high``; from 0 up to ``low`` if that is all.

        A 64-bit number modulo the range: among r values the probabilities differ by less than r 2^-64 of their size.
        """
        low, high = (0, low) if high is None else (low, high)
        span, info = high - low, np.iinfo(dtype)
        if span <= 0:
            raise ValueError(f"integers from {low} up to {high}: there are none")
        if low < info.min or high > info.max + 1:
            raise ValueError(f"integers from {low} up to {high} do not fit into {np.dtype(dtype)}")
        long = self._long(_count(size), device)
        if span < _LIMIT:
            long %= np.uint64(span)
        long += np.uint64(low % _LIMIT)
        found = long.astype(dtype)
        return found[0] if size is None else found.reshape(size)

    @_on_device
    def permutation(self, n, *, device: Device = CPU):
        """The integers below ``n`` in random order; for an array its elements along the first axis in random order."""
        if isinstance(n, (int, np.integer)):
            return self._long(n, device).argsort(kind="stable")
        return n[self.permutation(len(n), device=device)]

    def _long(self, n: int, device: Device):
        """uint64 numbers, the first of two words on top."""
        words = self.draw("philox", 2 * n, 2 * n, device=device).astype(np.uint64)
        return (words[0::2] << 32) + words[1::2]


def _key(seed: int) -> int:
    """The seed as an unsigned number of 64 bits."""
    if not -_LIMIT // 2 <= operator.index(seed) < _LIMIT:
        raise ValueError(f"a seed must be an int from -2^63 to 2^64 - 1, got {seed}")
    return operator.index(seed) % _LIMIT


def _words(number: int) -> list[int]:
    return [number & _LOW, number >> 32]


def _words_each(dtype: np.dtype) -> int:
    return 2 if dtype.itemsize == 8 else 1


def _count(size) -> int:
    sizes = () if size is None else (size,) if isinstance(size, (int, np.integer)) else size
    if any(n < 0 for n in sizes):
        raise ValueError(f"sizes cannot be negative, got {size}")
    return math.prod(sizes)


def _scaled(numbers, scale, shift, size):
    """numbers * scale + shift, in two roundings everywhere."""
    if scale != 1:
        numbers *= scale
    if shift != 0:
        numbers += shift
    return numbers[0] if size is None else numbers.reshape(size)


def derive(seed: int, *numbers: int) -> Generator:
    """A generator of its own for each (seed, numbers...), such as (seed, epoch, index of a sample).

    Key and stream are 128 bits hashed from all numbers by a chain of Philox blocks, so that neighbours have nothing in common.

    >>> derive(0, 3, 14).integers(100, size=4), derive(0, 3, 15).integers(100, size=4)
    (array([19, 75, 92, 25]), array([63, 50, 17, 26]))
    """
    key = np.array(_words(_key(seed)), np.uint32)
    state = np.array([0, 0, _LOW, _LOW], np.uint32)  # the last stream of this key, so none of the seed's own blocks
    for number in (len(numbers), *numbers):
        state[:2] ^= np.array(_words(operator.index(number) % _LIMIT), np.uint32)
        state = kernel("philox", key)(key, state, 4)
    generator = Generator(0)
    generator.set_state((*map(int, state[0::2].astype(np.uint64) + (state[1::2].astype(np.uint64) << 32)), 0))
    return generator


default_generator = Generator()


@contextlib.contextmanager
def seeded(seed: int, epoch: int, index: int):
    """Inside, the default generator depends on these three alone; afterwards it is what it was.

    >>> with seeded(0, 1, 2):
    ...     first = default_generator.integers(100)
    >>> with seeded(0, 1, 2):
    ...     bool(default_generator.integers(100) == first)
    True
    """
    before = default_generator.get_state()
    key, stream, position = _epoch_state(seed, epoch)
    default_generator.set_state((key, (stream + index) % _LIMIT, position))
    try:
        yield
    finally:
        default_generator.set_state(before)


@functools.lru_cache(maxsize=4)
def _epoch_state(seed: int, epoch: int) -> tuple[int, int, int]:
    return derive(seed, epoch, 0, 0).get_state()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which everything random takes unless it is given another; returns it."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> tuple[int, int, int]:
    """The state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state) -> None:
    """Set the state of the default generator."""
    default_generator.set_state(state)
