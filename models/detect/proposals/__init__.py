"""Proposals: boxes that may hold an object of whatever kind, for a classifier to look at."""

from minidl.models.detect.proposals.dataset import CachedSearch, WithProposals
from minidl.models.detect.proposals.segments import felzenszwalb
from minidl.models.detect.proposals.selective_search import MODES, selective_search

__all__ = ["MODES", "CachedSearch", "WithProposals", "felzenszwalb", "selective_search"]
