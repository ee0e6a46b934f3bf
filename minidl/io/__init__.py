"""Files: safe storage of tensors and nested structures, written whole or not at all."""

from minidl.io.atomic import atomic_write, write_text
from minidl.io.cache import Cache, fingerprint
from minidl.io.store import load, save
