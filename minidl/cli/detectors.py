"""What `minidl train` needs to train a detector, as ``classifiers`` has it for a classifier; and its data, by name or folder."""

import importlib
from pathlib import Path

from minidl.cli.choices import DETECT, DETECTORS, on_error, one_of, recorded, use_device
from minidl.cli.loaders import few, loaders
from minidl.errors import CheckpointError, DataError, UsageError

SCHEDULES = ("cosine", "steps", "exponential", "constant")  # those that a rising start fits
VOC = {"bccd": None, "voc2007": 2007, "voc2012": 2012}  # data sets in VOC's layout, and their years
DATA = ("scenes", *VOC, "coco2017")
MIN_SIDE = 8  # pixels: of Selective Search's boxes, where R-CNN kept those from 20, which misses a third of COCO's objects
PICTURES = ("{0}", "images/{0}", "images", "JPEGImages", ".", "../{0}", "../images", "../JPEGImages")  # beside COCO's files


def recipes(model: str) -> dict:
    """How a detector is trained, by data set; the first is for all others."""
    from minidl.models.detect import recipe

    name = "RECIPES" if DETECTORS[model].pretrained else "SMALL_RECIPES"
    return getattr(family(model), name, getattr(recipe, name))


def family(model: str):
    """The module or package of a detector. What is trained otherwise than others has recipes there, and R-CNN its own trainer."""
    return importlib.import_module(DETECT + DETECTORS[one_of(model, DETECTORS, "detector")].module)


def default_data(name: str) -> str:
    """What a detector is trained on if nothing is said: needs no download."""
    return "scenes"


def trainer_of(config: dict, folder):
    """Everything that a run consists of."""
    import minidl
    from minidl.data import detection_collate
    from minidl.models.detect import recipe
    from minidl.models.detect.training import DetectionTrainer

    if config["capture"]:
        raise UsageError("a detector's steps cannot be recorded, since each picture has shapes of its own: leave out --capture")
    use_device(config["device"])
    minidl.manual_seed(config["seed"])
    train = data_set(config["data"], True)
    test = data_set(config["data"], False, train.classes)
    if tuple(test.classes) != tuple(train.classes):
        raise DataError(f"{config['data']}: the classes of the training pictures are {', '.join(train.classes)}, those of the "
                        f"test pictures {', '.join(test.classes)}")
    if config["augment"] and not config["overfit"]:
        augment(train)
    model = detector(config["model"], train.classes, config["backbone"], config["min_size"], config["proposals"])
    if DETECTORS[config["model"]].proposals:
        now = folder is not None and not config["overfit"]
        train, test = (with_proposals(each, config, now) for each in (train, test))
    if config["overfit"]:
        train, test = few(train, config["overfit"], config["batch_size"])
    loader, tested = loaders(config, train, test, config["batch_size"], detection_collate)
    pieces = recipe.training(model, config, train, -(-len(loader) // config["accumulate"]))
    trainer = getattr(family(config["model"]), "RCNNTrainer", DetectionTrainer)
    return trainer(model, train=loader, test=tested, run=folder, accumulate=config["accumulate"], amp=config["amp"], **pieces)


def result(trainer, last: dict) -> str:
    """What came of a training, in a line."""
    found = "unknown: there is no object in the test images" if last["test_map"] is None else f"{100 * last['test_map']:.2f} %"
    return f"test mAP@0.5 {found}"


def detector(name: str, classes, backbone: str = "", min_size: int = 0, proposals: str = "fast", **options):
    """A detector by its name on the command line, for classes by their names.

    ``backbone``: pretrained weights of its convolutions, "imagenet" or a file, "" for none. ``min_size``: to what the shorter
    side of each picture is brought, 0 for the detector's own. ``proposals``: the mode of Selective Search.
    """
    module, choice = family(name), DETECTORS[name]
    if backbone and not choice.pretrained:
        raise UsageError(f"the small convolutions of {name} have no pretrained weights: leave out --backbone")
    if backbone:
        options["weights_backbone"] = backbone
    if choice.proposals:
        from minidl.models.detect.proposals import CachedSearch

        options["proposer"] = CachedSearch(proposals_folder(), mode(proposals), min_side=MIN_SIDE)
    elif proposals != "fast":
        raise UsageError(f"{name} finds its proposals itself: leave out --proposals")
    found = getattr(module, choice.constructor)(classes, **options)
    if min_size and found.inputs.min_size is None:
        raise UsageError(f"{name} takes pictures as they are: leave out --min-size")
    if min_size:
        found.inputs.max_size = round(found.inputs.max_size * min_size / found.inputs.min_size)
        found.inputs.min_size = min_size
    return found


def mode(name: str) -> str:
    """``name`` if it is a mode of Selective Search; raises UsageError otherwise."""
    from minidl.models.detect.proposals import MODES

    return one_of(name, MODES, "mode of Selective Search")


def trained(path) -> tuple:
    """Detector and configuration of a run folder; raises UsageError for that of a classifier, CheckpointError for an odd
    configuration.
    """
    from minidl import nn

    folder, config = recorded(path)
    if config["model"] not in DETECTORS:
        raise UsageError(f"{path} is a run of {config['model']}, a classifier: use `minidl predict --run {path}`")
    size = config.get("min_size", 0)
    if type(size) is not int or not 0 <= size < 2**63:
        raise CheckpointError(f"{folder.path / 'config.json'} was changed: min_size must be a whole number of at least 0, got "
                              f"{size!r}")
    try:
        model = detector(config["model"], config["classes"], min_size=size, proposals=str(config.get("proposals", "fast")))
    except UsageError as error:
        raise CheckpointError(f"{folder.path / 'config.json'} was changed: {error}") from None
    if config.get("backbone"):  # whose statistics were kept as they are
        nn.FrozenBatchNorm2d.convert(model)
    model.load_state_dict(folder.load_checkpoint()["model"])
    return model, config


def published(name: str, weights: str):
    """A detector with published weights, "coco", or with those in a file, for COCO's classes."""
    module, choice = family(name), DETECTORS[name]
    if not choice.published:
        known = ", ".join(other for other, choice in DETECTORS.items() if choice.published)
        raise UsageError(f"there are no published weights of {name}, only of {known}; what was trained here is in a run folder")
    return getattr(module, choice.constructor)(weights=weights)


def augment(data) -> None:
    """Let training pictures be mirrored at random, with their boxes."""
    from minidl.data.box_transforms import Compose, RandomHorizontalFlip

    # Detectors of boxes read no keypoints, so it matters to none which change places where a data set does not say.
    data.transform = Compose([RandomHorizontalFlip(pairs=getattr(data, "keypoint_pairs", ()))])


def with_proposals(data, config: dict, now: bool):
    """The data with Selective Search's boxes, which are kept for all runs: those of all pictures are found ``now``, or each when
    it is needed.
    """
    from minidl.models.detect.proposals import WithProposals

    found = WithProposals(data, proposals_folder(), config["proposals"], min_side=MIN_SIDE)
    return found.compute(config["workers"], on_error(config["bad_images"])) if now else found


def proposals_folder() -> Path:
    """Where Selective Search's boxes are kept."""
    from minidl.data.places import user_folder

    return user_folder().parent / "proposals"


def data_set(name: str, train: bool, classes=None):
    """Pictures with boxes: a data set by name, or from a folder in VOC's layout or with COCO's JSON files; with its own classes
    unless others are given.
    """
    from minidl.data import Scenes
    from minidl.data.places import find_folder

    if name == "scenes":
        return Scenes(train)
    if name in VOC:
        folder = find_folder(name, ("ImageSets/Main", "*/ImageSets/Main", "VOCdevkit/*/ImageSets/Main"))
        return _voc(folder / "BCCD" if (folder / "BCCD").is_dir() else folder, train, classes, VOC[name])
    if name == "coco2017":
        return _coco(find_folder(name, ("annotations/instances_*.json",)), train)
    folder = Path(name)
    if not folder.is_dir():
        if "/" in name or "\\" in name:
            raise UsageError(f"there is no folder {name!r}; give one that holds your data, or one of {', '.join(DATA)}")
        one_of(name, DATA, "data set")
    has_json = any(folder.glob("annotations/*.json")) or any(folder.glob("*.json"))
    return _coco(folder, train) if has_json and not (folder / "ImageSets").is_dir() else _voc(folder, train, classes)


def _voc(root: Path, train: bool, classes, year: int | None = None):
    """VOC's layout: tested on "test", else on "val"; trained on all the rest, "trainval", else "train"."""
    from minidl.data import VOCDetection
    from minidl.data.voc import voc_folder

    lists = voc_folder(root, year) / "ImageSets" / "Main"
    test = "test" if (lists / "test.txt").is_file() else "val"
    rest = "trainval" if test == "test" and (lists / "trainval.txt").is_file() else "train"
    return VOCDetection(root, rest if train else test, year, classes)


def _coco(folder: Path, train: bool):
    """COCO's files: instances_train*.json; for tests instances_test*.json or instances_val*.json, the first by name. Files of
    other names count where there are none of these.
    """
    from minidl.data import CocoDetection

    files = [*folder.glob("annotations/*.json"), *folder.glob("*.json")]
    files.sort(key=lambda path: ("instances" not in path.name, path.name))
    words = ("train",) if train else ("test", "val")
    path = next((path for path in files for word in words if word in path.stem), None)
    if path is None:
        raise DataError(f"{folder}: expected a JSON file with {' or '.join(words)} in its name, found "
                        f"{', '.join(path.name for path in files)}")
    found = CocoDetection(folder, path)
    places = [folder / place.format(path.stem.split("_")[-1]) for place in PICTURES]
    names = [image["file_name"] for image in found.images.values()]
    found.root = next((place for place in places if any((place / name).is_file() for name in names)), folder)
    return found
