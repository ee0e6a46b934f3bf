"""Devices by name, what is missing where there is none, moves between them, and mistakes that mix them.

The GPUs are those of the stand-in for CuPy, so there are two.
"""

import pickle
import sys

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.device import Device, gpu_count
from minidl.errors import DeviceError, DtypeError, MissingDependencyError


@pytest.fixture(autouse=True)
def default_on_cpu():
    before = minidl.get_default_device()
    minidl.set_default_device(None)
    yield
    minidl.set_default_device(before)


def test_names(cupy):
    assert [str(Device.parse(name)) for name in ("cpu", "cuda", "cuda:1", Device("cuda"), Device("cuda:1"))] == [
        "cpu", "cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    with cupy.cuda.Device(1):
        assert str(Device.parse("cuda")) == "cuda:1" and minidl.zeros(1, device="cuda").device == Device("cuda", 1)
    for name in ("tpu", "cpu:0", "cuda:x", "cuda:-1"):
        with pytest.raises(DeviceError, match="unknown device"):
            Device.parse(name)
    with pytest.raises(DeviceError, match="there is no GPU 2: this machine has 2"):
        minidl.ones(1).to("cuda:2")


def test_arrays_of_others_with_a_get_of_their_own():
    class Series:  # as pandas'
        dtype = np.dtype(np.int16)

        def get(self, key):
            raise KeyError(key)

        def __array__(self, dtype=None, copy=None):
            return np.array([3, 5], dtype or self.dtype)

    x = minidl.tensor(Series(), device="cpu")
    assert x.tolist() == [3, 5] and x.dtype == np.int16


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    gpu_count.cache_clear()
    with pytest.raises(MissingDependencyError, match=r'pip install "minidl\[cuda12\]"'):
        minidl.ones(1).cuda()


@pytest.mark.parametrize("status, driver, message", [
    (35, 0, "there is no NVIDIA driver: install one"), (35, 11040, "too old: it knows CUDA 11.4, and CuPy is made for 12.8"),
    (100, 12080, "the NVIDIA driver finds none"), (3, 12080, "cudaErrorInitializationError")])
def test_without_a_gpu(cupy, monkeypatch, status, driver, message):
    def fail():
        raise cupy.cuda.runtime.CUDARuntimeError(status, "cudaErrorInitializationError: initialization error")

    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", fail)
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: driver)
    with pytest.raises(DeviceError, match=message):
        minidl.zeros(1, device="cuda")


def test_the_default_device(cupy):
    like, array = minidl.ones(2), np.ones(2)
    minidl.set_default_device("cuda")
    assert minidl.get_default_device() == Device("cuda", 0)
    made = [minidl.tensor([1.0]), minidl.tensor(array), minidl.zeros(2), minidl.ones(2), minidl.empty(2), minidl.full((2,), 3),
            minidl.arange(3), minidl.linspace(0, 1, 3), minidl.eye(2), minidl.rand(2), minidl.randn(2), minidl.randint(5, (2,)),
            minidl.randperm(3), nn.Linear(2, 3).weight, minidl.tensor([minidl.tensor(1.0), 2.0])]
    assert {str(x.device) for x in made} == {"cuda:0"}
    stay = [minidl.from_numpy(array), minidl.zeros_like(like), like.new_ones(2), minidl.tensor(like), minidl.rand_like(like),
            minidl.zeros(2, device="cpu")]
    assert {str(x.device) for x in stay} == {"cpu"}
    with cupy.cuda.Device(1):
        assert minidl.zeros(2).device == Device("cuda", 1)
    minidl.set_default_device("cuda:1")
    assert minidl.zeros(2).device == Device("cuda", 1) and minidl.tensor(made[0]).device == Device("cuda", 0)
    with pytest.raises(DeviceError, match="unknown device"):
        minidl.set_default_device("tpu")


def test_like_on_another_device(cupy):
    x = minidl.ones(2, 3)
    for y, value in ((minidl.zeros_like(x, device="cuda"), 0), (minidl.full_like(x, 7, device="cuda:1"), 7)):
        assert y.device.type == "cuda" and y.tolist() == [[value] * 3] * 2


def test_moves_and_their_gradients(cupy):
    x = minidl.tensor([1.0, 2.0], requires_grad=True)
    y = x.cuda()
    assert y.device == Device("cuda", 0) and y.cuda() is y and x.cpu() is x and x.to("cpu") is x
    (y * y).sum().cpu().backward()
    assert x.grad.tolist() == [2, 4] and x.grad.device.type == "cpu"
    assert minidl.ones(2, device="cuda:1").to("cuda:0").device == Device("cuda", 0)


def test_tensors_on_a_gpu_print_and_pickle_but_numpy_cannot_read_them(cupy):
    x = minidl.tensor([1.0, 2.0], device="cuda")
    assert repr(x) == "tensor([1., 2.], device=cuda:0)" and x.tolist() == [1, 2] and x.numpy().tolist() == [1, 2]
    again = pickle.loads(pickle.dumps(x))
    assert again.device == x.device and again.tolist() == [1, 2]


MIXED = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "matmul": lambda x, y: x @ y.T, "less": lambda x, y: x < y,
    "maximum": minidl.maximum, "equal": minidl.Tensor.equal, "isclose": minidl.isclose, "logical": minidl.logical_and,
    "where": lambda x, y: minidl.where(x > 0, x, y), "cat": lambda x, y: minidl.cat([x, y]), "linear": minidl.linear,
    "conv2d": lambda x, y: minidl.conv2d(x.reshape(1, 1, 2, 3), y.reshape(1, 1, 2, 3)),
    "cross_entropy": lambda x, y: minidl.ops.cross_entropy(x, y[:, 0].long()),
    "layer_norm": lambda x, y: minidl.layer_norm(x, (3,), y[0]),
    "condition of where": lambda x, y: minidl.where(y > 0, x, x), "masked_fill": lambda x, y: x.masked_fill(y > 0, 2.0),
    "gather": lambda x, y: x.gather(1, y.long()), "scatter": lambda x, y: x.scatter(1, y.long(), x),
    "source of scatter": lambda x, y: x.scatter(1, x.long(), y), "scatter_add": lambda x, y: x.scatter_add(1, x.long(), y),
    "embedding": lambda x, y: minidl.embedding(x[0].long(), y),
    "max_unpool2d": lambda x, y: minidl.max_unpool2d(x[None], y[None].long(), 1),
}


@pytest.mark.parametrize("first", ["cpu", "cuda"])
@pytest.mark.parametrize("name", MIXED)
def test_mixing_devices_names_both(cupy, name, first):
    x = minidl.ones(2, 3, device=first)
    y = minidl.ones(2, 3, device="cpu" if first == "cuda" else "cuda")
    with pytest.raises(DeviceError, match=r"on (cpu|cuda:0) and .*on (cpu|cuda:0): move one with \.to\(\"cuda:0\"\)"):
        MIXED[name](x, y)


@pytest.mark.parametrize("name", ["add", "matmul", "less", "cat", "linear", "source of scatter", "embedding"])
def test_mixing_gpus_names_both(cupy, name):
    x, y = minidl.ones(2, 3, device="cuda:0"), minidl.ones(2, 3, device="cuda:1")
    with pytest.raises(DeviceError, match="on cuda:[01] and .*on cuda:[01]"):
        MIXED[name](x, y)


def test_a_gpu_that_is_not_current(cupy):
    x = minidl.ones(2, device="cuda:1")
    with pytest.raises(DeviceError, match=r"on cuda:1, and the current GPU is cuda:0: .*with minidl.cuda.device\(1\)"):
        x + x
    with cupy.cuda.Device(1):
        assert (x + x).device == Device("cuda", 1)


def test_masks_and_indices_of_another_gpu_are_named(cupy):
    x = minidl.ones(2, 3, device="cuda:0")
    mask = minidl.tensor([True, False, True], device="cuda:1")
    for call in (lambda: minidl.where(mask, x, x), lambda: x.masked_fill(mask, 0)):
        with pytest.raises(DeviceError, match=r"float32 .* on cuda:0 and bool \(3,\) on cuda:1"):
            call()
    with pytest.raises(DeviceError, match=r"gather: .* float32 \(2, 3\) on cuda:0 and int64 \(2, 3\) on cuda:1"):
        x.gather(1, minidl.zeros(2, 3, dtype=int, device="cuda:1"))


def test_values_go_from_gpu_to_gpu(cupy):
    for target, source in (("cuda:0", "cuda:1"), ("cuda:1", "cuda:0"), ("cuda:1", "cpu"), ("cpu", "cuda:1")):
        x = minidl.zeros(2, device=target)
        assert x.copy_(minidl.ones(2, device=source)).tolist() == [1, 1] and str(x.device) == target
    layer, other = nn.Linear(2, 3).to(1), nn.Linear(2, 3).to(0)
    layer.load_state_dict(other.state_dict())
    assert layer.weight.tolist() == other.weight.tolist() and str(layer.weight.device) == "cuda:1"


def test_copies_stay_on_their_gpu(cupy):
    x = minidl.tensor([1.0, 2.0], device="cuda:1")
    assert x.clone().device == Device(1) and x.clone().tolist() == [1, 2] and x.clone().array is not x.array


def test_random_numbers_on_a_gpu_that_is_not_current(cupy):
    for draw in (lambda device: minidl.rand(3, device=device), lambda device: minidl.randn(2, 3, device=device),
                 lambda device: minidl.randint(2, 7, (5,), device=device), lambda device: minidl.randperm(5, device=device)):
        drawn = []
        for device in ("cuda:1", "cuda:0"):
            minidl.manual_seed(0)
            drawn.append(draw(device))
            assert str(drawn[-1].device) == device
        assert drawn[0].tolist() == drawn[1].tolist()


def test_numbers_are_gpus(cupy):
    assert Device(1) == Device("cuda", 1) == Device.parse(np.int64(1)) and str(minidl.zeros(1, device=0).device) == "cuda:0"
    x = minidl.ones(2)
    assert x.to(1).device == Device(1) == x.cuda(1).device and x.to(True) is x  # True is non_blocking, as in PyTorch
    assert nn.Linear(2, 3).to(1).weight.device == nn.Linear(2, 3).cuda(1).weight.device == Device(1)
    for wrong in (True, -1, 1.0):
        with pytest.raises(DeviceError, match="unknown device"):
            Device(wrong)


@pytest.mark.parametrize("number", [minidl.tensor(2.0), np.float32(2), 2.0])
def test_a_number_of_the_cpu_joins_a_gpu(cupy, number):
    x = minidl.tensor([1.0, 3.0], device="cuda", requires_grad=True)
    for y, expected in ((x * number, [2, 6]), (x < number, [True, False]), (minidl.maximum(x, minidl.tensor(2.0)), [2, 3]),
                        (minidl.where(x > number, x, 0.0), [0, 3]), (minidl.where(x > 2, 1.0, 0.0), [0, 1])):
        assert y.device.type == "cuda" and y.tolist() == expected
    (x * number).sum().backward()
    assert x.grad.tolist() == [2, 2]
    if isinstance(number, minidl.Tensor):
        scale = minidl.tensor(2.0, requires_grad=True)
        (scale * x.detach()).sum().backward()
        assert scale.grad.item() == 4 and scale.grad.device.type == "cpu"


def test_indices_and_values_of_the_cpu_go_to_the_gpu(cupy):
    x = minidl.arange(6).reshape(2, 3).to("cuda")
    assert x[minidl.tensor([1])].tolist() == [[3, 4, 5]] and x[[0], 1].tolist() == [1]
    x[0] = minidl.tensor([7, 8, 9])
    x[minidl.tensor([1]), 0] = np.array([5])
    x.cpu().copy_(x)
    assert x.copy_(x.cpu() + 1).tolist() == [[8, 9, 10], [6, 5, 6]]
    with pytest.raises(DeviceError, match=r"index tensor on cuda:0 for a tensor on the CPU"):
        minidl.ones(2)[minidl.tensor([0], device="cuda")]


def test_powers_of_integers(cupy):
    x = minidl.tensor([1, 2, 3], device="cuda")
    assert (x**x).tolist() == [1, 4, 27] and (2**x).tolist() == [2, 4, 8] and (x**minidl.tensor(2)).tolist() == [1, 4, 9]
    for negative in (-1, minidl.tensor(-1), -x):
        with pytest.raises(DtypeError, match="integers to negative powers"):
            x**negative


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda:0", "cuda:1")])
def test_a_gradient_on_another_device_never_reaches_a_kernel(cupy, first, second):
    p = minidl.ones(3, device=first, requires_grad=True)
    p.grad = minidl.ones(3, device=second)
    with pytest.raises(DeviceError, match="an optimizer's step: tensors on different devices"):
        minidl.optim.SGD([p], 0.5).step()
    assert p.tolist() == [1] * 3


def test_training_leaves_no_memory_behind(cupy):
    """But for constants of kernels, and the latest tables of where parameters and gradients are."""
    pool, before = cupy.get_default_memory_pool(), 0

    def train():
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).to("cuda")
        optimizer = minidl.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        images, labels = minidl.ones(5, 1, 4, 4, device="cuda"), minidl.ones(5, dtype=int, device="cuda")
        for _ in range(2):
            optimizer.zero_grad()
            minidl.ops.cross_entropy(net(images), labels).backward()
            optimizer.step()
        assert pool.used_bytes() > before

    for _ in range(5):
        train()
    before = pool.used_bytes()
    for _ in range(3):
        train()
        assert pool.used_bytes() == before
