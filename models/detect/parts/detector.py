"""The face that all detectors have."""

from collections.abc import Sequence

from minidl import nn
from minidl.models.detect.parts.detections import Detections
from minidl.nn.utils import preserved
from minidl.tape import no_grad
from minidl.tensor import Tensor


class Detector(nn.Module):
    """Base of the detectors that are trained by gradient descent; subclasses write ``losses`` and ``detect``.

    Pictures are (3, H, W), tensors or arrays of uint8, or of floating numbers from 0 to 1; each may have a size of its own.
    ``classes`` are the names of the labels, without a background.

    In training mode, ``detector(images, targets)`` gives the losses by name, scalars whose sum is to be minimised; targets are
    those of ``minidl.data.detection``. ``detector.predict(images)`` gives a ``Detections`` for each picture, in any mode.
    """

    classes: tuple[str, ...] = ()

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} has no losses")

    def detect(self, images: Sequence) -> list[Detections]:
        raise NotImplementedError(f"{type(self).__name__} has no detect")

    def forward(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        return self.losses(images, targets)

    def predict(self, images: Sequence) -> list[Detections]:
        """What is in the pictures: in evaluation mode, without a tape; the mode is as before afterwards."""
        with preserved(self), no_grad():
            self.eval()
            return self.detect(images) if len(images) else []
