"""Loaders of training and test images, as the options of a training say."""

import numpy as np

from minidl.cli.choices import on_error

OVERFIT_STEPS = 25  # an epoch goes through the few images again and again


def few(data, count: int, batch_size: int) -> tuple:
    """For --overfit: the first ``count`` samples as test set, and as training set so often that an epoch has enough steps."""
    from minidl.data import Subset

    chosen = np.arange(min(count, len(data)))
    return Subset(data, np.resize(chosen, OVERFIT_STEPS * batch_size)), Subset(data, chosen)


def loaders(config: dict, train, test, test_batch: int, collate_fn=None) -> tuple:
    """The loader of training images, in random order, and that of test images."""
    from minidl.data import DataLoader

    common = {"num_workers": config["workers"], "persistent_workers": True, "on_error": on_error(config["bad_images"]),
              "collate_fn": collate_fn}
    return (DataLoader(train, config.get("batch_size", 1), shuffle=True, seed=config["seed"], **common),
            DataLoader(test, test_batch, **common))
