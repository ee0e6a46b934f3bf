"""Published weights, by name of the model: torchvision's, trained on ImageNet's thousand classes, or detectors' on COCO.

Files are fetched from PyTorch's own server, checked by SHA-256 before a byte is parsed, kept in the cache folder, and read
without PyTorch (see ``minidl.io.torch_file``). Where only the first eight digits of a checksum are published, as part of the
file's name, these are compared, as PyTorch itself does. Source of names, sizes and accuracies: torchvision 0.29.2.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from minidl.data.download import File, fetch
from minidl.data.places import cache_folder
from minidl.errors import CheckpointError, UsageError
from minidl.io import load

SERVERS = ["https://download.pytorch.org/models/"]
MIB, SLACK = 1 << 20, 1 << 10  # sizes are published in MiB, to three digits behind the point


def _about(name: str, mib: float) -> File:
    """A file whose size is known to a kilobyte, and of whose checksum the first eight digits are in its name."""
    return File(name, round(mib * MIB), name.removesuffix(".pth")[-8:], slack=SLACK)


PUBLISHED = {
    "alexnet": File("alexnet-owt-7be5be79.pth", 244408911, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
    "vgg11": _about("vgg11-8a719046.pth", 506.84), "vgg11_bn": _about("vgg11_bn-6002323d.pth", 506.881),
    "vgg13": _about("vgg13-19584684.pth", 507.545), "vgg13_bn": _about("vgg13_bn-abd245e5.pth", 507.59),
    "vgg16": _about("vgg16-397923af.pth", 527.796)._replace(
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    "vgg16_bn": _about("vgg16_bn-6c64b313.pth", 527.866),
    "vgg19": _about("vgg19-dcbb9e9d.pth", 548.051), "vgg19_bn": _about("vgg19_bn-c79401a0.pth", 548.143),
    "googlenet": _about("googlenet-1378be20.pth", 49.731),
    "resnet18": File("resnet18-f37072fd.pth", 46830571, "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),
    "resnet34": _about("resnet34-b627a593.pth", 83.275),
    "resnet50": File("resnet50-0676ba61.pth", 102530333, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
    "resnet101": _about("resnet101-63fe2227.pth", 170.511), "resnet152": _about("resnet152-394f9c45.pth", 230.434),
    "faster_rcnn_resnet50_fpn": _about("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 159.743),
}


def with_weights(model, name: str, weights, published: str = "imagenet", renamed: Callable[[dict], dict] = dict):
    """The model, with weights if any are asked for: None, "imagenet" (or what ``published`` says) for the published ones of
    ``name``, or a file. ``renamed`` gives a state dict from a file the model's names.

    A file holds a state dict of this model, as safetensors or from ``torch.save``. Raises UsageError where none are published,
    DownloadError, CheckpointError for a file that is damaged or of another model, with what differs.
    """
    if weights is None:
        return model
    path = fetched(name) if weights == published else Path(weights)
    state = load(path)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected a state dict, a table of tensors by name, found a {type(state).__name__}")
    state = renamed(state)
    for missing in model.state_dict().keys() - state.keys():
        if missing.endswith("num_batches_tracked"):  # which files from before PyTorch 0.4.1 lack
            state[missing] = model.state_dict()[missing]
    try:
        model.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return model


def fetched(name: str) -> Path:
    """The file of a model's published weights, downloaded if it is not there yet; its size is told on stderr first."""
    if name not in PUBLISHED:
        raise UsageError(f"there are no published weights of {name}; there are of {', '.join(PUBLISHED)}")
    file, folder = PUBLISHED[name], cache_folder() / "weights"
    if not (folder / file.name).is_file():
        print(f"weights of {name}: {file.size / 1e6:.0f} MB from {SERVERS[0]}{file.name} to {folder}", file=sys.stderr)
    return fetch(file, [server + file.name for server in SERVERS], folder)
