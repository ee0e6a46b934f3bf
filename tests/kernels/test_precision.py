"""How float32 may be multiplied: a word that kernels read, and that changes nothing on the CPU."""

import threading

import numpy as np
import pytest

import minidl
from minidl import kernels


@pytest.fixture(autouse=True)
def back_to_highest():
    yield
    minidl.set_float32_matmul_precision("highest")


def test_highest_unless_asked():
    assert minidl.get_float32_matmul_precision() == kernels.float32_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", ["high", "medium", "highest"])
def test_what_was_set_holds_in_every_thread(precision):
    minidl.set_float32_matmul_precision(precision)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(minidl.get_float32_matmul_precision()))
    thread.start()
    thread.join()
    assert seen == [precision]


@pytest.mark.parametrize("precision", ["tf32", "HIGH", None, True])
def test_other_words_are_refused_and_change_nothing(precision):
    minidl.set_float32_matmul_precision("high")
    with pytest.raises(ValueError, match="choose one of highest, high, medium"):
        minidl.set_float32_matmul_precision(precision)
    assert minidl.get_float32_matmul_precision() == "high"


@pytest.mark.numpy
def test_the_cpu_multiplies_float32_whatever_it_says():
    random = np.random.default_rng(0)
    a, b = minidl.tensor(random.normal(size=(40, 50))).float(), minidl.tensor(random.normal(size=(50, 30))).float()
    x, w = minidl.tensor(random.normal(size=(2, 3, 9, 8))).float(), minidl.tensor(random.normal(size=(4, 3, 3, 3))).float()
    product, image = (a @ b).numpy(), minidl.conv2d(x, w).numpy()
    minidl.set_float32_matmul_precision("medium")
    np.testing.assert_array_equal((a @ b).numpy(), product)
    np.testing.assert_array_equal(minidl.conv2d(x, w).numpy(), image)
