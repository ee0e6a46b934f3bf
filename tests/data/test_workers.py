"""Workers change nothing in the result; their errors and deaths arrive; nothing hangs and nobody stays behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.data import DataLoader, ImageArrays, Subset, TensorDataset
from minidl.data.transforms import Compose, RandomAffine, RandomShift, ToTensor
from minidl.errors import DataError, UsageError
from tests.data.sets import Drawing, Failing, Fatal, Noisy, Slow, Unopenable, Whole, second_halves, unsendable

ROOT = Path(__file__).resolve().parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="uses POSIX signals")


@pytest.fixture(autouse=True)
def _watchdog():
    """A hang is a failure, not a hung suite."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def alive(pid) -> bool:
    """Whether a process runs; one that waits to be collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(folder) -> bool:
    """Whether all processes that left their number in a folder end within 10 seconds."""
    pids = [int(path.name) for path in Path(folder).iterdir()]
    assert pids
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def images():
    values = np.random.default_rng(0).integers(0, 256, (37, 1, 6, 5), dtype=np.uint8)
    moves = Compose([RandomShift(2), RandomAffine(20, (0.1, 0.1)), ToTensor()])
    return ImageArrays(values, np.arange(37), moves)


def two_epochs(dataset, workers, **options):
    loader = DataLoader(dataset, 5, shuffle=True, seed=3, num_workers=workers, **options)
    return [[tuple(part.array for part in batch) for batch in loader] for _ in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("dataset", [images(), Noisy(), Subset(Noisy(), [5, 3, 3, 1, 8, 0, 7])],
                         ids=["whole batches", "samples", "subset"])
def test_the_number_of_workers_changes_nothing(dataset, workers, persistent):
    """Order and augmentation are bit for bit the same, and differ between samples and epochs."""
    expected = two_epochs(dataset, 0)
    found = two_epochs(dataset, workers, persistent_workers=persistent)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))
    assert not np.array_equal(expected[0][0][0], expected[1][0][0])


def test_two_workers_change_nothing():
    """The quick part of the test above."""
    expected, found = two_epochs(images(), 0)[0], two_epochs(images(), 2)[0]
    assert all(np.array_equal(x, y) for a, b in zip(found, expected, strict=True) for x, y in zip(a, b, strict=True))


def test_an_error_arrives_with_sample_and_traceback():
    loader = DataLoader(Failing("key"), 3, num_workers=2)
    batches = iter(loader)
    assert next(batches)[1].tolist() == [0, 1, 2]  # what comes before the bad batch comes
    with pytest.raises(KeyError) as caught:
        next(batches)
    assert caught.value.args == ("image", 5) and caught.value.__notes__ == ["while reading sample 5 of Failing"]
    cause = str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__, DataError)
    assert "in a data worker" in cause and "sets.py" in cause and "in __getitem__" in cause


@pytest.mark.parametrize(("kind", "message"), [("picky", "PickyError: this and that\nwhile reading sample 5 of Failing"),
                                               ("unpicklable", "ValueError: with a lock\nwhile reading sample 5 of Failing")])
def test_an_error_that_cannot_travel_arrives_by_name(kind, message):
    with pytest.raises(DataError) as caught:
        list(DataLoader(Failing(kind), 3, num_workers=1))
    assert str(caught.value) == message and "sets.py" in str(caught.value.__cause__)


def test_an_error_in_a_whole_batch():
    with pytest.raises(OSError, match="the disk is gone") as caught:
        list(DataLoader(Whole(), 4, num_workers=1))
    assert caught.value.errno == 5 and caught.value.__notes__ == ["while reading samples [4, 5, 6, 7] of Whole"]


def test_an_error_on_opening_the_data_set_in_the_worker():
    with pytest.raises(FileNotFoundError, match="archive.tar") as caught:
        list(DataLoader(Unopenable(), 2, num_workers=1))
    assert "open_archive" in str(caught.value.__cause__)


def test_a_batch_that_cannot_travel():
    with pytest.raises(Exception, match="Can't|cannot|local object") as caught:
        list(DataLoader(Noisy(), 2, num_workers=1, collate_fn=unsendable))
    assert "in a data worker" in str(caught.value.__cause__)


def test_a_data_set_that_cannot_travel():
    with pytest.raises(UsageError, match="Noisy or its collate_fn cannot be sent to a worker process.*num_workers=0"):
        next(iter(DataLoader(Noisy(), 2, num_workers=1, collate_fn=lambda samples: samples)))


def test_workers_go_on_after_an_error():
    loader = DataLoader(Failing("key", bad=22), 5, num_workers=2, persistent_workers=True)
    for _ in range(2):
        seen = []
        with pytest.raises(KeyError):
            for _, labels in loader:
                seen += labels.tolist()
        assert seen == list(range(20))


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(("how", "message"), [("kill", "died with exit code -9: signal 9 killed it"),
                                              ("exit", "died with exit code 3: what it printed says why")])
def test_a_worker_that_dies_is_an_error(how, message):
    loader = DataLoader(Fatal(how), 3, num_workers=2, persistent_workers=True)
    for _ in range(2):  # the second time with new workers
        with pytest.raises(DataError, match=message):
            list(loader)


@POSIX
def test_a_worker_killed_while_the_parent_waits(tmp_path):
    batches = iter(DataLoader(Slow(str(tmp_path), seconds=30), 1, num_workers=1))
    killer = threading.Thread(target=_when_there, args=(tmp_path, lambda pid: os.kill(pid, signal.SIGKILL)))
    killer.start()
    start = time.monotonic()
    with pytest.raises(DataError, match="signal 9 killed it"):
        next(batches)
    assert time.monotonic() - start < 20
    killer.join()


def _when_there(folder, action):
    """Calls ``action`` with the first worker's number once it has begun a sample."""
    while not (pids := os.listdir(folder)):
        time.sleep(0.02)
    action(int(pids[0]))


def test_batches_of_many_indices_lock_nobody():
    """Tasks and results both larger than any pipe's buffer: each side could wait for the other to read."""
    loader = DataLoader(TensorDataset(np.arange(1_000_000)), 200_000, num_workers=1, prefetch_factor=3)
    assert [len(batch) for (batch,) in loader] == [200_000] * 5


def test_custom_collate_in_workers():
    assert list(DataLoader(Noisy(5), 2, num_workers=1, collate_fn=second_halves)) == [[0, 1], [2, 3], [4]]


def test_infinite_batch_sampler():
    def forever():
        while True:
            yield [2, 0]

    batches = iter(DataLoader(TensorDataset(np.arange(3)), batch_sampler=forever(), num_workers=1))
    assert [next(batches)[0].tolist() for _ in range(5)] == [[2, 0]] * 5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
class TestNobodyStaysBehind:
    @pytest.mark.parametrize("persistent", [False, True])
    def test_after_the_last_batch(self, tmp_path, persistent):
        loader = DataLoader(Slow(str(tmp_path), 0), 3, num_workers=2, persistent_workers=persistent)
        assert len(list(loader)) == 8 and len(list(tmp_path.iterdir())) == 2
        assert all(alive(path.name) for path in tmp_path.iterdir()) is persistent
        list(loader)
        assert len(list(tmp_path.iterdir())) == (2 if persistent else 4)
        del loader
        assert gone(tmp_path)

    def test_when_the_iterator_is_dropped(self, tmp_path):
        loader = DataLoader(Slow(str(tmp_path), 0.05), 1, num_workers=2)
        start = time.monotonic()
        for _ in loader:
            break
        assert gone(tmp_path) and time.monotonic() - start < 10

    def test_when_one_is_stuck(self, tmp_path):
        """Even in the middle of an hour of work."""
        batches = iter(DataLoader(Slow(str(tmp_path), 3600), 1, num_workers=1))
        main = threading.get_ident()
        stopper = threading.Thread(target=_when_there, args=(tmp_path, lambda _: signal.pthread_kill(main, signal.SIGINT)))
        stopper.start()
        with pytest.raises(KeyboardInterrupt):
            next(batches)
        stopper.join()
        assert gone(tmp_path)

    def test_persistent_workers_left_early(self, tmp_path):
        loader = DataLoader(Slow(str(tmp_path), 0), 4, shuffle=True, seed=0, num_workers=2, persistent_workers=True)
        peer = DataLoader(Noisy(), 4, shuffle=True, seed=0)
        for _ in range(3):  # left-over results of one epoch are not taken for those of the next
            ours, theirs = iter(loader), iter(peer)
            for _ in range(2):
                assert np.array_equal(next(ours)[0].array, next(theirs)[0].array)
            del ours
        assert len(list(tmp_path.iterdir())) == 2

    def test_two_iterations_of_persistent_workers_at_once(self):
        loader = DataLoader(Noisy(), 4, shuffle=True, seed=0, num_workers=1, persistent_workers=True)
        peer = DataLoader(Noisy(), 4, shuffle=True, seed=0)
        pairs = zip(zip(loader, loader, strict=True), zip(peer, peer, strict=True), strict=True)
        assert all(np.array_equal(x[0].array, y[0].array) for ours, theirs in pairs
                   for x, y in zip(ours, theirs, strict=True))

    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    @pytest.mark.parametrize("seconds", [0.05, 3600])
    def test_when_the_parent_ends(self, tmp_path, sent, seconds):
        """Ctrl-C goes to the whole group of processes; a kill to the parent alone."""
        folder, script = tmp_path / "pids", tmp_path / "train.py"
        folder.mkdir()
        script.write_text(SCRIPT.format(folder=str(folder), seconds=seconds))
        process = subprocess.Popen([sys.executable, script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                                   start_new_session=True, stderr=subprocess.PIPE, text=True)
        while len(list(folder.iterdir())) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == -sent
        if sent == signal.SIGINT:
            assert stderr.count("KeyboardInterrupt") == 1 and "ForkServer" not in stderr  # the parent's alone
        assert gone(folder)

    def test_a_script_without_main_is_told_so(self, tmp_path):
        script = tmp_path / "train.py"
        folder = tmp_path / "pids"
        folder.mkdir()
        guarded = SCRIPT.format(folder=str(folder), seconds=0)
        script.write_text(guarded.replace('if __name__ == "__main__":', "if True:"))
        found = subprocess.run([sys.executable, script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                               capture_output=True, text=True, timeout=60)
        assert found.returncode == 1 and 'must begin its work under `if __name__ == "__main__":`' in found.stderr


SCRIPT = """
from minidl.data import DataLoader
from tests.data.sets import Slow

if __name__ == "__main__":
    for batch in DataLoader(Slow({folder!r}, {seconds}, length=100_000), 1, num_workers=2):
        pass
"""


def test_what_a_data_set_draws_does_not_depend_on_the_workers():
    epochs = {}
    for workers in (0, 1, 2):
        minidl.manual_seed(5)
        loader = DataLoader(Drawing(), 3, shuffle=True, num_workers=workers)
        epochs[workers] = [[batch.tolist() for batch in loader] for _ in range(2)]
        after = minidl.rand(1).item()
    assert epochs[0] == epochs[1] == epochs[2] and epochs[0][0] != epochs[0][1]
    minidl.manual_seed(5)
    DataLoader(Drawing(), 3, shuffle=True)
    assert minidl.rand(1).item() == after  # reading samples leaves the default generator alone
