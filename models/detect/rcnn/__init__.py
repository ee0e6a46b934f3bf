"""R-CNN: a classifier of pictures looks at two thousand regions of each, one by one.

    picture -> proposals -> warped windows -> CNN -> features -> one SVM for each class -> NMS
                                                             -> a better box for each class

Source: Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection and semantic segmentation"
(CVPR 2014), and the code that its first author published.

What it changed: features were designed by hand, now they are learnt, on ImageNet's pictures, of which there are many, and then
on the regions of pictures with boxes, of which there are few. Its price: every region goes through the network on its own, and
training comes in stages, each with its own loss.

    from minidl.models.detect.proposals import WithProposals
    scenes = WithProposals(Scenes(), "proposals", min_side=8).compute()    # 1. regions: Selective Search
    detector = rcnn_small(Scenes.classes)
    ...                                                                    # 2. fine-tuning, as other detectors are trained
    fit(detector, scenes, "features")                                      # 3. features to disk, SVMs, box regressors
    detector.predict(images)

``RCNNTrainer`` does 2 and 3, by one of ``RECIPES`` or ``SMALL_RECIPES``.

1. ``warp.py`` makes windows of one size from regions of any size, with some of what surrounds them.
2. ``detector.py``: the network learns to tell the classes and the background apart, by a softmax: ``RCNN.losses``, as any
   detector. Of 128 windows 32 overlap an object by at least 0.5.
3. ``features.py`` keeps what the network makes of each region in files. ``fit.py`` trains on them one linear SVM for each class,
   with objects alone as positives, and everything that overlaps them by less than 0.3 as negatives; and, by ``ridge.py``, linear
   maps from the features of a region to a better box.

Ablations: without stage 2 the features are those of the network as it was; ``use_svms`` and ``use_regressors`` of a detector tell
what it does without either.

Different from the paper: the windows of a step of fine-tuning come from the pictures of a batch, not from all of them; boxes are
not rounded to pixels before they are warped; difficult objects are left out; a sigmoid brings the SVMs' margins to scores from 0
to 1, as other detectors have them, which changes no ranking. As in the published code, boxes are regressed once, before NMS.
"""

from minidl.models.detect.rcnn.detector import RCNN, rcnn_alexnet, rcnn_small, rcnn_vgg16
from minidl.models.detect.rcnn.fit import fit
from minidl.models.detect.rcnn.training import RECIPES, SMALL_RECIPES, RCNNTrainer
from minidl.models.detect.rcnn.warp import warp

__all__ = ["RCNN", "RECIPES", "SMALL_RECIPES", "RCNNTrainer", "fit", "rcnn_alexnet", "rcnn_small", "rcnn_vgg16", "warp"]
