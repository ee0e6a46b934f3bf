"""What the detectors share: each part once."""
