"""Which parts learn in which of the four steps."""

import numpy as np

import minidl
from minidl import nn
from minidl.data import Scenes
from minidl.models import faster_rcnn_small
from minidl.models.detect.alternation import four_steps


def state(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def changed(before, after):
    """The parts, by the first words of their names, of which something changed. (What was frozen has fewer numbers.)"""
    return {name.split(".")[0] for name, value in after.items() if not np.array_equal(value, before[name])}


def test_steps():
    image, target = Scenes(length=1)[0]
    targets = [{name: minidl.tensor(value) for name, value in target.items()}]
    made, steps = [], []

    def make():
        minidl.manual_seed(0)
        made.append(faster_rcnn_small(Scenes.classes))
        return made[-1]

    def train(detector):
        before = [state(model) for model in made]
        optimizer = minidl.optim.SGD([p for p in detector.parameters() if p.requires_grad], 0.1)
        optimizer.zero_grad()
        losses = detector.train()([image], targets)
        minidl.stack(list(losses.values())).sum().backward()
        optimizer.step()
        steps.append((set(losses), [changed(old, state(model)) for old, model in zip(before, made, strict=True)]))

    detector = four_steps(make, train)
    of_rpn, of_head = {"loss_objectness", "loss_rpn_box_reg"}, {"loss_classifier", "loss_box_reg"}
    assert steps == [(of_rpn, [{"backbone", "rpn"}, set()]), (of_head, [set(), {"backbone", "roi_heads"}]),
                     (of_rpn, [set(), {"rpn"}]), (of_head, [set(), {"roi_heads"}])]
    assert detector is made[1] and not any(isinstance(layer, nn.BatchNorm2d) for layer in detector.backbone.modules())
    assert len(detector.predict([image])) == 1
