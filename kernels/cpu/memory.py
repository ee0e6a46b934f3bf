"""Freed memory stays with the process.

A training step frees its arrays and the next one asks for the same again. The C library gives large blocks back to the
operating system, which clears every page anew: on a LeNet step that cost more than its convolutions.
"""

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # glibc's malloc.h
PAD = 64 << 20


def keep_freed_pages() -> None:
    """Tell glibc to reuse freed memory instead of giving it back; elsewhere, or with ``MINIDL_KEEP_PAGES=0``, do nothing."""
    if not sys.platform.startswith("linux") or os.environ.get("MINIDL_KEEP_PAGES") == "0":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)  # never
        mallopt(TOP_PAD, PAD)
