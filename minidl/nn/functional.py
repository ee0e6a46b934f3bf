"""Everything that layers compute, as functions, under PyTorch's names. Nothing is defined here."""

from minidl.ops import *
