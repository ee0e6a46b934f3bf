"""Proposals: boxes that may hold an object of whatever kind, for a classifier to look at."""

from minidl.models.detect.proposals.segments import felzenszwalb

__all__ = ["felzenszwalb"]
