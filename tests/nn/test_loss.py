"""Loss modules: each is its function with the options given at construction."""

import pytest

import minidl
from minidl import nn, ops
from tests.checks import leaf

CLASSES, ELEMENTS = (leaf(4, 3), minidl.tensor([0, 2, 1, 2])), (leaf(2, 3), leaf(2, 3, low=0.1, high=0.9, seed=1).detach())
PROBABILITIES = (leaf(2, 3, low=0.1, high=0.9).detach(), ELEMENTS[1])
W, WE = leaf(3, low=0.5).detach(), leaf(2, 3, low=0.5).detach()
SIGNS = minidl.tensor([[1, -1, 1], [-1, -1, 1]])

CASES = [
    (nn.CrossEntropyLoss, ops.cross_entropy, CLASSES, {"weight": W, "ignore_index": 2, "label_smoothing": 0.1}),
    (nn.NLLLoss, ops.nll_loss, CLASSES, {"weight": W, "ignore_index": 2}),
    (nn.MSELoss, ops.mse_loss, ELEMENTS, {}),
    (nn.L1Loss, ops.l1_loss, ELEMENTS, {}),
    (nn.SmoothL1Loss, ops.smooth_l1_loss, ELEMENTS, {"beta": 0.3}),
    (nn.HuberLoss, ops.huber_loss, ELEMENTS, {"delta": 0.3}),
    (nn.BCELoss, ops.binary_cross_entropy, PROBABILITIES, {"weight": WE}),
    (nn.BCEWithLogitsLoss, ops.binary_cross_entropy_with_logits, ELEMENTS, {"weight": WE, "pos_weight": W}),
    (nn.MultiMarginLoss, ops.multi_margin_loss, CLASSES, {"p": 2, "margin": 0.5, "weight": W}),
    (nn.HingeEmbeddingLoss, ops.hinge_embedding_loss, (ELEMENTS[0], SIGNS), {"margin": 0.5}),
    (nn.KLDivLoss, ops.kl_div, ELEMENTS, {"log_target": True}),
]


@pytest.mark.parametrize("module, function, arguments, options", CASES, ids=[case[0].__name__ for case in CASES])
def test_modules_are_their_functions(module, function, arguments, options):
    assert module()(*arguments).item() == function(*arguments).item()
    changed = [{name: value} for name, value in options.items()] + [{"reduction": "sum"}, {"reduction": "none"}]
    for option in changed:
        y, expected = module(**option)(*arguments), function(*arguments, **option)
        assert y.tolist() == expected.tolist()
        assert y.sum().item() != module()(*arguments).item()  # the option reaches the function and changes something
    with pytest.raises(ValueError, match="reduction must be one of 'mean'"):
        module(reduction="average")


@pytest.mark.parametrize("module", [nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiMarginLoss])
def test_weights_are_buffers(module):
    loss = module(weight=W)
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    assert loss.to(minidl.float32).weight.dtype == minidl.float32
    assert "weight" not in module().state_dict()


def test_batchmean_belongs_to_divergence_alone():
    nn.KLDivLoss(reduction="batchmean")
    with pytest.raises(ValueError, match="'batchmean'"):
        nn.MSELoss(reduction="batchmean")
