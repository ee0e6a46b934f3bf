"""Detectors: where the objects of a picture are, and what they are."""
