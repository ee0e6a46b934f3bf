"""The two ways of training Faster R-CNN run to their ends and give a detector that is worth something or nothing."""

from benchmarks import alternation


def test_both_ways_run():
    for way in (alternation.at_once, alternation.alternately):
        found = alternation.measure(way, train=8, test=2, epochs=1, seed=0)
        assert 0 <= found["map"] <= 1 and found["seconds"] > 0
