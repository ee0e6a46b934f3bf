"""What the network makes of every region of a data set, kept in files: the second stage of training reads them several times."""

from typing import NamedTuple

import numpy as np

from minidl.data.collate import arrays, tensors
from minidl.io import Cache, fingerprint
from minidl.models.detect.parts.inputs import for_training
from minidl.models.detect.rcnn.detector import RCNN, numbered
from minidl.nn.utils import device_of, preserved
from minidl.ops.boxes import box_iou
from minidl.ops.join import cat
from minidl.tape import no_grad
from minidl.tensor import from_numpy

PAIRED = 0.6  # overlap with an object, above which a region learns where it is


class Regions(NamedTuple):
    """The R regions of one picture, the L objects first, and P pairs of a region and the object that it overlaps most.

    ``labels`` (L,) of the objects; ``overlaps`` (L, R) of objects and regions; ``fc7`` (R, D7). Of each pair ``objects`` (P,):
    which object; ``offsets`` (P, 4) from the region to the object; ``pool5`` (P, D5) of the region.
    """

    labels: np.ndarray
    overlaps: np.ndarray
    fc7: np.ndarray
    objects: np.ndarray
    offsets: np.ndarray
    pool5: np.ndarray

    def overlap_with(self, label: int) -> np.ndarray:
        """How much each region overlaps objects of a class at most, (R,)."""
        return self.overlaps[self.labels == label].max(0, initial=0)


def network(detector: RCNN) -> str:
    """A name for all that features depend on but the picture and its boxes."""
    state = [*detector.pool5.state_dict().items(), *detector.fc7.state_dict().items()]
    return fingerprint(detector.size, detector.padding, *(part for name, value in state for part in (name, arrays(value))))


class RegionFeatures:
    """Item i are the ``Regions`` of picture i of a data set that has proposals.

    One file for each picture has fc7 of all regions, and pool5 of those in pairs, under a name that depends on the network, the
    picture and its boxes; see ``minidl.io.Cache``. ``cache.size`` are their bytes: with AlexNet 16 KB a region, 33 MB a picture.
    """

    def __init__(self, detector: RCNN, dataset, folder):
        self.detector, self.dataset, self.cache = detector, dataset, Cache(folder)
        self.network = network(detector)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index: int) -> Regions:
        """Raises DataError as ``RCNN.losses``."""
        image, target = self.dataset[index]
        batch = self.detector.inputs([image], device_of(self.detector))
        target = for_training([tensors(target)], batch, len(self.detector.classes), with_proposals=True)[0]
        objects = target["boxes"]
        boxes = cat([objects, target["proposals"]])
        overlaps = np.nan_to_num(box_iou(objects, boxes).numpy())  # two empty boxes overlap by 0 / 0: not at all
        rows = np.flatnonzero(overlaps.max(0, initial=0) > PAIRED)
        of = overlaps[:, rows].argmax(0) if len(rows) else rows
        name = fingerprint(self.network, arrays(image), boxes.numpy(), rows)
        kept = self.cache(name, lambda: self._computed(batch, boxes, rows))
        offsets = self.detector.coder.encode(objects[from_numpy(of)], boxes[from_numpy(rows)])
        return Regions(target["labels"].numpy(), overlaps, kept["fc7"], of, offsets.numpy(), kept["pool5"])

    def _computed(self, batch, boxes, rows: np.ndarray) -> dict[str, np.ndarray]:
        with preserved(self.detector), no_grad():
            self.detector.eval()
            pool5, fc7 = self.detector.in_chunks(batch.images, numbered([boxes]).to(batch.images.device))
        return {"fc7": fc7.cpu().numpy(), "pool5": pool5.cpu().numpy()[rows]}
