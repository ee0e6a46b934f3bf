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
from minidl.data import DataLoader, Dataset
from minidl.errors import UsageError
from minidl.io import load, save
from minidl.nn.utils import preserved


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
                setattr(module, name, nn.Linear(old.in_features, num_classes))
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
    """A data set whose batches are features; its items are still the images, to be looked at."""

    def __init__(self, dataset: Dataset, features: np.ndarray, labels: np.ndarray):
        self.dataset, self.features, self.labels = dataset, features, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.dataset[index]

    def batch(self, indices: np.ndarray, seed: int, epoch: int) -> tuple:
        """Features and labels of many samples."""
        return self.features[indices], self.labels[indices]


def extract(model: nn.Module, dataset: Dataset, folder=None, batch_size: int = 32, workers: int = 0) -> Features:
    """What reaches the head of a model for each sample, in evaluation mode: the data set, with features (N, D) in its batches.

    ``folder``: where they are kept, under a name that depends on the weights and on the data (labels, and the first and last
    image); the next time they are read from there.
    """
    path = None if folder is None else Path(folder) / f"features-{_fingerprint(model, dataset)}.safetensors"
    if path is not None and path.is_file():
        found = load(path)
        return Features(dataset, found["features"].numpy(), found["labels"].numpy())
    features: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    handle = head(model).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].cpu().numpy()))
    try:
        with preserved(model), minidl.no_grad():
            model.eval()
            for images, of_images in DataLoader(dataset, batch_size, num_workers=workers):
                model(images)
                labels.append(of_images.numpy())
    finally:
        handle.remove()
    together = Features(dataset, np.concatenate(features), np.concatenate(labels))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save({"features": minidl.tensor(together.features), "labels": minidl.tensor(together.labels)}, path)
    return together


def _fingerprint(model: nn.Module, dataset: Dataset) -> str:
    digest = hashlib.sha256()
    top = {id(p) for p in head(model).parameters()}
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if id(value) not in top:
            digest.update(name.encode() + np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    labels = getattr(dataset, "labels", None)
    digest.update(str(len(dataset)).encode() + (b"" if labels is None else labels.tobytes()))
    for index in (0, len(dataset) - 1):
        digest.update(np.ascontiguousarray(dataset[index][0]).tobytes())
    return digest.hexdigest()[:16]
