"""How many threads compute."""


def get_num_threads() -> int:
    """How many threads the compiled kernels use on the CPU: ``MINIDL_NUM_THREADS``, or the CPUs this process may run on.

    >>> get_num_threads() >= 1
    True
    """
    from minidl.kernels.cpu import threads

    return threads.get_num_threads()


def set_num_threads(threads: int) -> None:
    """Let the compiled kernels use this many threads, the calling one included. They are the only ones: large products of
    matrices are ours, and NumPy's BLAS gets small ones on one thread.

    Raises ValueError unless ``threads`` is a positive int.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    from minidl.kernels.cpu import threads as pool

    pool.set_num_threads(threads)
