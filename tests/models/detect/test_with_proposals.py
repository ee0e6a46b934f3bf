"""Proposals of a data set: found once, kept, and moved along with the pixels."""

import numpy as np
import pytest

from minidl.data import DataLoader, Scenes, detection_collate
from minidl.data.box_transforms import Compose, RandomHorizontalFlip, Resize
from minidl.errors import DataError
from minidl.models.detect.proposals import WithProposals, dataset, selective_search
from minidl.random import Generator

ALWAYS = RandomHorizontalFlip(p=2, pairs=Scenes.keypoint_pairs)


def scenes(folder, length=3, transform=None, **settings):
    return WithProposals(Scenes(length=length, size=(64, 80), transform=transform), folder, **{"min_side": 8} | settings)


def test_the_boxes_of_each_picture(tmp_path):
    found = scenes(tmp_path)
    assert found.classes == Scenes.classes and len(found) == 3
    for index in range(3):
        image, target = found[index]
        assert target["proposals"].dtype == np.float32 and len(target["proposals"])
        np.testing.assert_array_equal(target["proposals"], selective_search(image, min_side=8))
        np.testing.assert_array_equal(target["boxes"], Scenes(size=(64, 80))[index][1]["boxes"])


def test_they_are_found_once(tmp_path, monkeypatch, capsys):
    first = [target["proposals"] for _, target in scenes(tmp_path).compute()]
    assert len(list(tmp_path.iterdir())) == 3
    with monkeypatch.context() as broken:
        broken.setattr(dataset, "selective_search", lambda *_, **__: pytest.fail("a second time"))
        again = scenes(tmp_path).compute()
        assert all(np.array_equal(a, target["proposals"]) for a, (_, target) in zip(first, again, strict=True))
    file = next(iter(tmp_path.iterdir()))
    file.write_bytes(file.read_bytes()[:-8])
    assert all(np.array_equal(a, target["proposals"]) for a, (_, target) in zip(first, scenes(tmp_path), strict=True))
    assert str(file) in capsys.readouterr().err


def test_other_settings_and_other_pictures_have_other_files(tmp_path):
    scenes(tmp_path, 1).compute()
    for count, settings in enumerate(({"mode": "single"}, {"seed": 1}, {"min_side": 9}), 2):
        scenes(tmp_path, 1, **settings).compute()
        assert len(list(tmp_path.iterdir())) == count
    scenes(tmp_path, 2).compute()  # the first of which is known
    assert len(list(tmp_path.iterdir())) == 5


def test_workers_fill_the_same_folder(tmp_path):
    scenes(tmp_path / "a").compute()
    scenes(tmp_path / "b").compute(workers=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} \
        == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}


def test_damaged_pictures_may_be_skipped(tmp_path):
    class Damaged(Scenes):
        def load(self, index):
            if index == 1:
                raise DataError("1.jpg: truncated")
            return super().load(index)

    data = WithProposals(Damaged(length=3, size=(64, 80)), tmp_path, min_side=8)
    with pytest.raises(DataError, match="1.jpg: truncated"):
        data.compute()
    assert data.compute(on_error="skip") is data and len(list(tmp_path.iterdir())) == 2


def test_they_move_with_the_pixels(tmp_path):
    plain = scenes(tmp_path)[1][1]
    loader = DataLoader(scenes(tmp_path, transform=Compose([Resize(128, 999), ALWAYS])), 2, collate_fn=detection_collate)
    _, (_, moved) = next(iter(loader))
    for key in ("boxes", "proposals"):
        x1, y1, x2, y2 = plain[key].T * 2
        assert moved[key].dtype == np.float32
        np.testing.assert_array_equal(moved[key], np.stack([160 - x2, y1, 160 - x1, y2], 1))


def test_a_picture_without_objects(tmp_path):
    class Blank(Scenes):
        def load(self, index):
            image, target = super().load(index)
            return image * 0, {key: value[:0] if value.ndim else value for key, value in target.items()}

    transform = Compose([Resize(40, 100), ALWAYS])
    _, target = WithProposals(Blank(length=1, transform=transform), tmp_path, min_side=999).sample(0, Generator(0))
    assert target["boxes"].shape == target["proposals"].shape == (0, 4)
