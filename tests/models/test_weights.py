"""Published weights: fetched, checked, read without PyTorch, and refused where they do not fit. The server is on this machine."""

import hashlib
import http.server
import io
import threading
import zipfile

import numpy as np
import pytest

import minidl
from minidl import models
from minidl.cli import main
from minidl.data.download import File
from minidl.errors import CheckpointError, DownloadError, UsageError
from minidl.models.classify import weights
from tests.data.pictures import encoded, noise
from tests.io.torch_files import name, number, pickle, tensor, text


def torch_file(state: dict) -> bytes:
    """A state dict as ``torch.save`` writes it."""
    out, body = io.BytesIO(), name("collections", "OrderedDict") + b")R("
    with zipfile.ZipFile(out, "w") as archive:
        for key, (path, value) in enumerate(state.items()):
            array = np.asarray(value.numpy(), order="C")
            strides = [step // array.itemsize for step in array.strides]
            kind = {"float32": "FloatStorage", "int64": "LongStorage"}[array.dtype.name]
            body += text(path) + tensor(array.shape, strides, key=str(key), count=array.size, kind=kind)
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/data.pkl", pickle(body + b"u"))
    return out.getvalue()


@pytest.fixture(scope="module")
def published():
    """Random weights of a small network under a published name."""
    minidl.manual_seed(0)
    model = models.resnet18()
    return model, torch_file(model.state_dict())


@pytest.fixture
def server(published, tmp_path, monkeypatch):
    """The weights on a server, and an empty cache folder."""
    _, content = published

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    asked: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(weights, "SERVERS", [f"http://127.0.0.1:{server.server_port}/models/"])
        monkeypatch.setitem(weights.PUBLISHED, "resnet18", File("resnet18-test.pth", len(content), digest))
        monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
        yield asked
        server.shutdown()


def test_fetched_once_checked_and_loaded(published, server, tmp_path, capsys):
    model, content = published
    for _ in range(2):
        loaded = models.resnet18(weights="imagenet")
        for key, value in model.state_dict().items():
            np.testing.assert_array_equal(loaded.state_dict()[key].numpy(), value.numpy())
    assert server == ["/models/resnet18-test.pth"]
    err = capsys.readouterr().err
    assert err.startswith(f"weights of resnet18: {len(content) / 1e6:.0f} MB from http://127.0.0.1") and err.count("\n") == 1
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["resnet18-test.pth"]


def test_the_first_digits_of_a_checksum(published, server, monkeypatch):
    """As in the names of PyTorch's files; and a size that is known to a kilobyte."""
    _, content = published
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(weights.PUBLISHED, "resnet18", File("a.pth", len(content) - 500, digest[:8], slack=1024))
    models.resnet18(weights="imagenet")
    monkeypatch.setitem(weights.PUBLISHED, "resnet18", File("b.pth", len(content) - 500, digest[1:9], slack=1024))
    with pytest.raises(DownloadError, match="wrong checksum"):
        models.resnet18(weights="imagenet")
    monkeypatch.setitem(weights.PUBLISHED, "resnet18", File("c.pth", len(content) - 2000, digest, slack=1024))
    with pytest.raises(DownloadError, match="the server announces"):
        models.resnet18(weights="imagenet")


def test_what_is_not_right_is_not_parsed(server, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.PUBLISHED, "resnet18", weights.PUBLISHED["resnet18"]._replace(sha256="0" * 64))
    monkeypatch.setattr(weights, "load", lambda path: pytest.fail("it was parsed"))
    with pytest.raises(DownloadError, match="wrong checksum"):
        models.resnet18(weights="imagenet")
    assert not list((tmp_path / "weights").glob("*.pth"))


def test_from_a_file(published, tmp_path):
    """``.pth`` or safetensors; files from before batches were counted lack the counters."""
    model, content = published
    (tmp_path / "a.pth").write_bytes(content)
    minidl.save(model.state_dict(), tmp_path / "a.safetensors")
    old = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    (tmp_path / "old.pth").write_bytes(torch_file(old))
    for path in ("a.pth", "a.safetensors", "old.pth"):
        loaded = models.resnet18(weights=tmp_path / path)
        np.testing.assert_array_equal(loaded.state_dict()["fc.weight"].numpy(), model.state_dict()["fc.weight"].numpy())


def test_weights_that_do_not_fit(published, tmp_path):
    _, content = published
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)a\.pth.*fc\.weight: expected \(10, 512\), got \(1000, 512\)"):
        models.resnet18(num_classes=10, weights=tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"(?s)a\.pth.*features\.0\.weight"):
        models.alexnet(weights=tmp_path / "a.pth")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data.pkl", pickle(b"](" + number(1) + b"e"))
    (tmp_path / "list.pth").write_bytes(out.getvalue())
    with pytest.raises(CheckpointError, match="expected a state dict, a table of tensors by name, found a list"):
        models.alexnet(weights=tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        models.alexnet(weights=tmp_path / "none.pth")
    with pytest.raises(UsageError, match="there are no published weights of zfnet; there are of alexnet"):
        models.zfnet(weights="imagenet")


def test_official_addresses():
    """One for each name of torchvision's, over https, with a checksum of 8 digits at least."""
    assert weights.SERVERS == ["https://download.pytorch.org/models/"]
    for model, file in weights.PUBLISHED.items():
        assert hasattr(models, model) and file.name.startswith(model.split("_")[0]) and file.name.endswith(".pth")
        digits = file.name.removesuffix(".pth").rpartition("-")[2]
        assert file.sha256.startswith(digits) and len(file.sha256) in (8, 64) and 4e7 < file.size < 6e8
        if model in ("alexnet", "resnet18"):
            assert 0 < file.size - 4 * sum(p.numel() for p in getattr(models, model)().parameters()) < 100_000


def test_the_command_line_names_classes(server, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(encoded(noise(300, 260), "JPEG"))
    assert main(["predict", str(tmp_path / "a.jpg"), "--model", "resnet18", "--weights", "imagenet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'a.jpg'}: ") and out.count(" %") == 3
    assert main(["predict", str(tmp_path / "a.jpg"), "--model", "resnet18"]) == 2
    assert "give --run, or --model and --weights together" in capsys.readouterr().err
