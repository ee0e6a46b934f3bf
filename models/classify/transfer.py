"""Transfer learning: what one task has taught, used for another.

Two ways, as in every lecture: keep the network as it is and train a new head on its features, which are computed once; or go on
training it, the lower layers more slowly than the head, since what they see (edges, colours, textures) is much the same
everywhere. Sources: Donahue et al., "DeCAF" (ICML 2014); Zeiler and Fergus, "Visualizing and understanding convolutional
networks" (ECCV 2014); Yosinski et al., "How transferable are features in deep neural networks?" (NIPS 2014).
"""

import hashlib
from pathlib import Path

import numpy as np

import minidl
from minidl import nn
from minidl.data import DataLoader, Dataset, ImageArrays, Subset, prefetch
from minidl.errors import DataError, UsageError
from minidl.io import load, save
from minidl.nn.utils import device_of, preserved


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer, which gives the logits. Raises UsageError for a model without one."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise UsageError(f"{type(model).__name__} has no linear layer that could be its head")
    return layers[-1]


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """The same model with a new last layer for so many classes, drawn anew; returns the model.

    >>> from minidl.models import resnet18
    >>> replace_head(resnet18(num_classes=10), 3)(minidl.zeros(1, 3, 64, 64)).shape
    (1, 3)
    """
    old = head(model)
    for module in model.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, nn.Linear(old.in_features, num_classes).to(old.weight.device))
    return model


def freeze(model: nn.Module, layers: int) -> nn.Module:
    """Keep all weights as they are but those of the last ``layers`` convolutions and linear layers; returns the model.

    Batch norms before these are frozen as well, but still use and gather the statistics of the new data.

    >>> from minidl.models import alexnet
    >>> frozen = freeze(alexnet(num_classes=3), layers=2)
    >>> [name for name, p in frozen.named_parameters() if p.requires_grad]
    ['classifier.4.weight', 'classifier.4.bias', 'classifier.6.weight', 'classifier.6.bias']
    """
    weighted = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))]
    counted = [place for place, layer in enumerate(weighted) if not isinstance(layer, nn.BatchNorm2d)]
    if not 1 <= layers <= len(counted):
        raise UsageError(f"{type(model).__name__} has {len(counted)} layers with weights, of which 1 to all can be trained, got "
                         f"{layers}")
    for layer in weighted[: counted[-layers]]:
        for p in layer.parameters():
            p.requires_grad = False
    return model


def parameter_groups(model: nn.Module, lr: float, lower: float) -> list[dict]:
    """Groups for an optimizer: the head at ``lr``, all else that is not frozen at ``lower`` times it."""
    top = list(head(model).parameters())
    chosen = {id(p) for p in top}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    return [{"params": top, "lr": lr}, *([{"params": rest, "lr": lower * lr}] if rest else [])]


class HeadOnly(nn.Module):
    """A model whose features are known: reads them instead of images, and has the weights of the whole model in its state.

    x (N, features) -> logits (N, num_classes)
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.head = head(model)
        self._whole = (model,)  # in a tuple, so that its parameters are not trained

    def forward(self, x):
        return self.head(x)

    def state_dict(self, *args, **options):
        """The state of the whole model."""
        return self._whole[0].state_dict(*args, **options)

    def load_state_dict(self, *args, **options):
        """Load the state of the whole model."""
        return self._whole[0].load_state_dict(*args, **options)


class Features(Dataset):
    """A data set whose batches are features; its items are still the images, to be looked at.

    ``skipped`` has, by index, what is wrong with samples that were left out.
    """

    def __init__(self, dataset: Dataset, features: np.ndarray, labels: np.ndarray, skipped: dict[int, str] | None = None):
        self.dataset, self.features, self.labels, self.skipped = dataset, features, labels, skipped or {}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.dataset[index]

    def batch(self, indices: np.ndarray, seed: int, epoch: int) -> tuple:
        """Features and labels of many samples."""
        return self.features[indices], self.labels[indices]


def extract(model: nn.Module, dataset: Dataset, folder=None, batch_size: int = 32, workers: int = 0,
            on_error: str = "raise") -> Features:
    """What reaches the head of a model for each sample, in evaluation mode: the data set, with features (N, D) in its batches.

    They are computed where the model is, and kept on the CPU.

    Samples that cannot be read are left out with ``on_error="skip"``. Raises DataError for a data set without samples.

    ``folder``: where they are kept and read from the next time, under a name that depends on what the model makes of the first
    and the last sample, on its weights, and on the data: the arrays of a set in memory, names, sizes and times of files. Features
    of other kinds of data sets are not kept.
    """
    if not len(dataset):
        raise DataError("there is nothing to compute features of: the data set is empty")
    identity = None if folder is None or on_error == "skip" else _identity(dataset)
    if identity is None:
        return _computed(model, dataset, batch_size, workers, on_error)
    ends = _computed(model, Subset(dataset, [0, len(dataset) - 1]), 2, 0, "raise")
    digest = hashlib.sha256(identity + ends.features.tobytes())
    top = {id(p) for p in head(model).parameters()}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if id(value) not in top:
            digest.update(name.encode() + np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    path = Path(folder) / f"features-{digest.hexdigest()[:16]}.safetensors"
    if path.is_file():
        found = load(path)
        return Features(dataset, found["features"].numpy(), found["labels"].numpy())
    together = _computed(model, dataset, batch_size, workers, on_error)
    path.parent.mkdir(parents=True, exist_ok=True)
    save({"features": minidl.from_numpy(together.features), "labels": minidl.from_numpy(together.labels)}, path)
    return together


def _computed(model: nn.Module, dataset: Dataset, batch_size: int, workers: int, on_error: str) -> Features:
    features: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    loader = DataLoader(dataset, batch_size, num_workers=workers, on_error=on_error)
    handle = head(model).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].cpu().numpy()))
    try:
        with preserved(model), minidl.no_grad():
            model.eval()
            for images, of_images in prefetch(loader, device_of(model)):
                model(images)
                labels.append(of_images.numpy())
    finally:
        handle.remove()
    if not features:
        raise DataError("there is nothing to compute features of: no sample can be read")
    kept = np.setdiff1d(np.arange(len(dataset)), list(loader.skipped))
    left = dataset if len(kept) == len(dataset) else Subset(dataset, kept)
    return Features(left, np.concatenate(features), np.concatenate(labels), loader.skipped)


def _identity(dataset: Dataset) -> bytes | None:
    """A checksum of the data in memory, or of names, sizes and times of the files; None for data that cannot be told so."""
    digest = hashlib.sha256()
    files = getattr(dataset, "files", None)
    if isinstance(dataset, ImageArrays):
        digest.update(str(dataset.images.shape).encode() + dataset.images.tobytes())
    elif isinstance(files, list):
        for path in files:
            digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    elif hasattr(files, "path"):
        path = Path(files.path)
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    else:
        return None
    digest.update(dataset.labels.tobytes())
    return digest.digest()
