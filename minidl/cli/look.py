"""What a trained network looks at.

With pictures, an occlusion map of each: the probability of the class while a grey square covers one part after the other.
Without, the pictures of the test set that excite the maps of a layer most, and what of them the units saw (a deconvnet).

examples:
  minidl look runs/alexnet-imagenette dog.jpg
  minidl look runs/alexnet-imagenette --layer 8 --maps 0,1,2,3
"""

from pathlib import Path

import numpy as np

from minidl.cli.choices import MODELS, data_set, device_option, trained, use_device
from minidl.cli.predict import prepare
from minidl.cli.results import save_figure
from minidl.errors import DataError, UsageError

MOST = 200  # test pictures that are looked through


def arguments(parser) -> None:
    parser.add_argument("path", metavar="RUN", help="a run folder")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="pictures for occlusion maps")
    parser.add_argument("--layer", type=int, help="whose maps, from 1 along the chain of layers (default: the last ReLU)")
    parser.add_argument("--maps", default="0,1,2,3", metavar="N,N,...", help="which maps of the layer, from 0 (default: 0,1,2,3)")
    parser.add_argument("--out", metavar="DIR", default=".", help="where the pictures go (default: here)")
    device_option(parser)


def run(options) -> None:
    use_device(options.device)
    model, config = trained(options.path)
    if MODELS[config["model"]].input_shape[0] != 3:
        raise UsageError(f"look is for networks of colour pictures, {config['model']} reads grey ones; see `minidl.study.record`")
    Path(options.out).mkdir(parents=True, exist_ok=True)
    if options.images:
        for path in options.images:
            _occlude(model, config, path, options.out)
    else:
        _excite(model, config, options)


def _occlude(model, config: dict, path: str, out: str) -> None:
    import minidl
    from minidl.study import occlusion

    image = prepare(path, config)
    with minidl.no_grad():
        probabilities = minidl.softmax(model.eval()(minidl.tensor(image[None])), 1).numpy()[0]
    label, side = int(probabilities.argmax()), image.shape[1]
    found = occlusion.occlusion_map(model, image, label, size=max(1, side // 5), stride=max(1, side // 20))
    name, target = config["classes"][label], Path(out) / f"occlusion-{Path(path).stem}.png"
    save_figure(occlusion.picture(image, found, name, probabilities[label]), target)
    print(f"{path}: {name} {100 * probabilities[label]:.1f} %, from {100 * found.min():.1f} to {100 * found.max():.1f} % "
          f"with a part covered; the map is {target}")


def _excite(model, config: dict, options) -> None:
    from minidl import nn
    from minidl.study import deconvnet

    layers = deconvnet.layers_of(model)
    ends = [place for place, layer in enumerate(layers, 1) if isinstance(layer, (nn.ReLU, nn.BNReLU2d))]
    if options.layer is None and not ends:
        raise UsageError("the chain of layers has no ReLU: choose one of them with --layer")
    depth = ends[-1] if options.layer is None else options.layer
    test = data_set(config["data"], False, model=config["model"])
    if not len(test):
        raise DataError(f"{config['data']} has no test pictures to look through")
    images = np.stack([test[k][0] for k in range(min(MOST, len(test)))])
    try:
        maps = [int(part) for part in options.maps.split(",")]
    except ValueError:
        raise UsageError(f"--maps takes numbers with commas between them, got {options.maps!r}") from None
    found = {channel: deconvnet.strongest(model, images, depth, channel, count=6) for channel in maps}
    target = Path(options.out) / f"units-layer{depth}.png"
    save_figure(deconvnet.picture(found, f"layer {depth}: pictures that excite a map most, and what of them it saw"), target)
    print(f"{len(images)} test pictures were looked through; the strongest are in {target}")
