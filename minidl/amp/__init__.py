"""Mixed precision: ``autocast`` computes where it is safe in 16 bits, ``GradScaler`` keeps small gradients from vanishing."""

from minidl.amp.autocast_mode import autocast, get_autocast_dtype, is_autocast_enabled
from minidl.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "get_autocast_dtype", "is_autocast_enabled"]
