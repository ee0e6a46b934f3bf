"""VOC's average precision: worked by hand, and against the devkit's procedure as loops over whole pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

import minidl
from minidl.data.detection import target_of
from minidl.errors import DataError, ShapeError
from minidl.models.evaluate.voc import area, eleven_points, evaluate_voc, precision_recall


def found(boxes=(), labels=(), scores=()):
    labels = np.array(labels, np.int64)
    return SimpleNamespace(boxes=np.array(boxes, np.float32).reshape(len(labels), 4), labels=labels,
                           scores=np.array(scores, np.float32))


ONE, TWO, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def test_by_hand():
    """Four objects of one class in two images, five detections by falling score: right, wrong, right, twice, right."""
    targets = [target_of([ONE, TWO], [0, 0], 0), target_of([ONE, FAR], [0, 0], 1)]
    detections = [found([ONE, FAR, ONE], [0, 0, 0], [0.9, 0.8, 0.6]), found([FAR, ONE], [0, 0], [0.7, 0.5])]
    curve = evaluate_voc(detections, targets, ["thing"]).curves["thing"]
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 4, 2 / 4, 2 / 4, 3 / 4])
    np.testing.assert_allclose(curve.scores, [0.9, 0.8, 0.7, 0.6, 0.5], rtol=1e-6)
    assert curve.objects == 4
    assert curve.ap == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3 + 1 / 4 * 3 / 5)
    # At recalls 0, .1, .2 precision 1; at .3, .4, .5 2/3; at .6, .7 3/5; beyond 0.
    ap = evaluate_voc(detections, targets, ["thing"], use_07_metric=True).ap["thing"]
    assert ap == pytest.approx((3 + 3 * 2 / 3 + 2 * 3 / 5) / 11)


def test_difficult_objects_do_not_count():
    target = target_of([ONE, TWO], [0, 0], 0, difficult=[False, True])
    curve = evaluate_voc([found([TWO, TWO, ONE], [0, 0, 0], [0.9, 0.8, 0.7])], [target], ["thing"]).curves["thing"]
    assert curve.objects == 1 and curve.precision.tolist() == [1] and curve.ap == 1


def test_a_detection_belongs_to_the_object_that_it_overlaps_most():
    """The second one overlaps both objects by more than half, most the one that is taken: false, as in the devkit."""
    target = target_of([[0, 0, 10, 10], [0, 0, 10, 14]], [0, 0], 0)
    detections = [found([[0, 0, 10, 10], [0, 0, 10, 11]], [0, 0], [0.9, 0.8])]
    assert evaluate_voc(detections, [target], ["thing"]).curves["thing"].recall.tolist() == [0.5, 0.5]


def test_half_is_enough():
    target = target_of([[0, 0, 10, 10]], [0], 0)
    for height, expected in ((5, 1), (4.99, 0)):
        detections = [found([[0, 0, 10, height]], [0], [1])]
        assert evaluate_voc(detections, [target], ["thing"]).mean_ap == expected
    detections = [found([[0, 0, 10, 7]], [0], [1])]
    assert evaluate_voc(detections, [target], ["thing"], iou_threshold=0.75).mean_ap == 0


def test_classes_apart():
    targets = [target_of([ONE, TWO], [0, 1], 0)]
    result = evaluate_voc([found([ONE, ONE, TWO], [0, 1, 3], [0.9, 0.8, 0.7])], targets, ["a", "b", "c", "d"])
    assert result.ap["a"] == 1 and result.ap["b"] == 0 and np.isnan(result.ap["c"]) and np.isnan(result.ap["d"])
    assert result.mean_ap == 0.5  # of the classes that have objects
    assert result.curves["b"].precision.tolist() == [0] and result.curves["d"].objects == 0


def test_nothing_found_and_nothing_there():
    assert evaluate_voc([found()], [target_of([ONE], [0], 0)], ["a"]).mean_ap == 0
    assert evaluate_voc([found()], [target_of([ONE], [0], 0)], ["a"], use_07_metric=True).mean_ap == 0
    for detections, targets in (([], []), ([found([ONE], [0], [1])], [target_of([], [], 0)])):
        assert np.isnan(evaluate_voc(detections, targets, ["a"]).mean_ap)
    empty_box = evaluate_voc([found([[5, 5, 5, 5]], [0], [1])], [target_of([[5, 5, 5, 5]], [0], 0)], ["a"])
    assert empty_box.mean_ap == 0


def test_recall_of_exactly_three_tenths():
    """0.3 is less than 3 * 0.1 in floating point: the devkit's eleven points do not see it."""
    precision, recall = np.array([1.0]), np.array([0.3])
    assert eleven_points(precision, recall) == pytest.approx(3 / 11)
    assert area(precision, recall) == pytest.approx(0.3)


def devkit(detections, targets, label, year):
    """VOCevaldet.m and VOCap.m, as loops, with boxes of whole pixels counted from 1 and their widths with + 1."""
    rows = [(float(score), image, [box[0] + 1, box[1] + 1, box[2], box[3]]) for image, each in enumerate(detections)
            for box, of, score in zip(each.boxes.astype(float), each.labels, each.scores, strict=True) if of == label]
    rows.sort(key=lambda row: -row[0])
    objects = [[([b[0] + 1, b[1] + 1, b[2], b[3]], d) for b, of, d in zip(t["boxes"].astype(float), t["labels"], t["difficult"],
                                                                        strict=True) if of == label] for t in targets]
    taken, npos = set(), sum(not d for each in objects for _, d in each)
    tp, fp = [], []
    for _, image, bb in rows:
        ovmax, jmax = -np.inf, None
        for j, (gt, _) in enumerate(objects[image]):
            iw, ih = (min(bb[k + 2], gt[k + 2]) - max(bb[k], gt[k]) + 1 for k in (0, 1))
            if iw > 0 and ih > 0:
                union = sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (bb, gt)) - iw * ih
                if iw * ih / union > ovmax:
                    ovmax, jmax = iw * ih / union, j
        hit, miss = 0, 0
        if ovmax >= 0.5:
            if not objects[image][jmax][1]:
                hit = (image, jmax) not in taken
                miss = not hit
                taken.add((image, jmax))
        else:
            miss = 1
        tp.append(hit)
        fp.append(miss)
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    with np.errstate(invalid="ignore"):
        rec, prec = tp / npos, np.nan_to_num(tp / (tp + fp))
    if year == 2007:
        return sum(max(prec[rec >= t], default=0) / 11 for t in np.arange(0, 1.1, 0.1))
    mrec, mpre = np.array([0, *rec, 1]), np.array([0, *prec, 0])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    i = np.flatnonzero(mrec[1:] != mrec[:-1]) + 1
    return ((mrec[i] - mrec[i - 1]) * mpre[i]).sum()


@pytest.mark.parametrize("seed", range(20))
def test_as_the_devkit(seed):
    """Random whole boxes, many of them close to objects; distinct scores."""
    rng = np.random.default_rng(seed)
    targets, detections = [], []
    for image in range(7):
        count, guesses = rng.integers(0, 6), rng.integers(0, 12)
        corners = rng.integers(0, 40, (count, 2))
        true = np.concatenate([corners, corners + rng.integers(1, 25, (count, 2))], 1)
        targets.append(target_of(true, rng.integers(0, 3, count), image, rng.random(count) < 0.3))
        at = rng.integers(0, 40, (guesses, 2))
        boxes = np.concatenate([at, at + rng.integers(1, 25, (guesses, 2))], 1)
        for k in range(guesses):
            if count and rng.random() < 0.7:
                boxes[k] = true[rng.integers(count)] + rng.integers(-1, 2, 4)
                boxes[k, 2:] = np.maximum(boxes[k, 2:], boxes[k, :2] + 1)
        detections.append(found(boxes, rng.integers(0, 3, guesses), rng.permutation(10_000)[:guesses] + image / 10))
    for year in (2007, 2012):
        result = evaluate_voc(iter(detections), iter(targets), ["a", "b", "c"], use_07_metric=year == 2007)
        for label, ap in enumerate(result.ap.values()):
            if any((~t["difficult"] & (t["labels"] == label)).any() for t in targets):
                assert ap == pytest.approx(devkit(detections, targets, label, year), abs=1e-12)
            else:
                assert np.isnan(ap)


def test_tensors_do_as_well():
    target = {key: minidl.tensor(value) for key, value in target_of([ONE], [0], 0).items()}
    detection = SimpleNamespace(boxes=minidl.tensor([ONE]), labels=minidl.tensor([0]), scores=minidl.tensor([0.5]))
    assert evaluate_voc([detection], [target], ["a"]).mean_ap == 1


def test_mistakes():
    target, right = target_of([ONE], [0], 0), found([ONE], [0], [1])
    with pytest.raises(ShapeError, match="there are 1 targets, and more detections"):
        evaluate_voc([right] * 2, [target], ["a"])
    with pytest.raises(ShapeError, match="there are 0 detections, and more targets"):
        evaluate_voc([], [target], ["a"])
    for wrong, message in ((found([ONE], [1], [1]), "image 0: a detection has a label that is not from 0 to 0"),
                           (found([ONE], [0], [np.nan]), "image 0: a score or a box of a detection is NaN"),
                           (found([[0, 0, 1, np.nan]], [0], [1]), "is NaN")):
        with pytest.raises(DataError, match=message):
            evaluate_voc([wrong], [target], ["a"])
    with pytest.raises(DataError, match="an object has a label that is not"):
        evaluate_voc([right], [target_of([ONE], [-1], 0)], ["a"])
    with pytest.raises(ShapeError, match="expected boxes \\(D, 4\\)"):
        evaluate_voc([SimpleNamespace(boxes=np.zeros((1, 5)), labels=np.zeros(1, int), scores=np.zeros(1))], [target], ["a"])


def test_picture(tmp_path):
    targets = [target_of([ONE, TWO], [0, 1], 0)]
    figure = precision_recall(evaluate_voc([found([ONE, ONE, FAR], [0, 1, 2], [0.9, 0.8, 0.7])], targets, ["a", "b", "c", "d"]))
    figure.savefig(tmp_path / "curves.png")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a  100.0", "b  0.0", "c  -", "d  -"]
    assert axes.lines[0].get_xydata().tolist() == [[0, 1], [1, 1]]
    assert "50.0 %" in axes.get_title(loc="left")
