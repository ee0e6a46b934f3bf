"""The commands as a user types them: results, and every mistake in one clear line with exit code 2."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minidl
from minidl.cli import COMMANDS, main
from minidl.kernels.cpu.compile import cache_folder
from minidl.train import RunFolder

ROOT = Path(minidl.__file__).resolve().parent.parent
TINY = ("train", "lenet", "--epochs", "1", "--batch-size", "256", "--no-augment")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test in a folder of its own, with no data but the digits."""
    cache_folder()  # compiled kernels stay where they are, whichever test of this process needs them first
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))


@pytest.fixture
def fails(capsys):
    """Run a command that must fail with one line that holds the words, and leave no run folder; returns that line."""

    def run(*arguments, words):
        assert main(list(map(str, arguments))) == 2
        out, err = capsys.readouterr()
        assert words in err and len(err.splitlines()) == 1 and out == "", err
        return err

    return run


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A finished run of one epoch."""
    path = tmp_path_factory.mktemp("runs") / "a"
    assert main([*TINY, "--out", str(path)]) == 0
    return path


def test_train_eval_resume(tmp_path, capsys):
    assert main([*TINY, "--out", "runs/x", "--seed", "3", "--capture"]) == 0  # which changes nothing on the CPU
    *_, folder, result = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"test accuracy \d+\.\d\d %", result) and folder == "pictures, metrics and checkpoint are in runs/x"
    assert main(["eval", "runs/x"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == result
    assert main(["train", "lenet", "--resume", "runs/x", "--epochs", "2"]) == 0
    assert len((tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()) == 2
    config = json.loads((tmp_path / "runs/x/config.json").read_text())
    assert config["epochs"] == 2 and config["seed"] == 3 and config["batch_size"] == 256 and config["augment"] is False
    assert config["capture"] is True


def test_a_run_of_before_mixed_precision_goes_on(tmp_path):
    """Neither its configuration nor its checkpoint says anything of it."""
    assert main([*TINY, "--out", "x"]) == 0
    folder = RunFolder(tmp_path / "x").open()
    folder.write_config({name: value for name, value in folder.config.items() if name not in ("amp", "device")})
    folder.save_checkpoint({name: value for name, value in folder.load_checkpoint().items() if name != "scaler"})
    assert main(["train", "lenet", "--resume", "x", "--epochs", "2"]) == 0
    assert len((tmp_path / "x/metrics.jsonl").read_text().splitlines()) == 2


def test_mixed_precision(tmp_path):
    assert main([*TINY, "--out", "runs/x", "--amp", "fp16"]) == 0
    assert json.loads((tmp_path / "runs/x/config.json").read_text())["amp"] == "fp16"
    assert main(["train", "lenet", "--resume", "runs/x", "--epochs", "2"]) == 0
    assert len((tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()) == 2


def test_runs_get_folders_of_their_own(tmp_path):
    assert main([*TINY]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"lenet-digits-\d{8}-\d{6}", folder.name)


def test_same_seed_same_bits(tmp_path):
    for name, seed, workers in (("a", 1, 0), ("b", 1, 2), ("c", 2, 0)):
        assert main([*TINY, "--augment", "--seed", str(seed), "--workers", str(workers), "--out", name]) == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_data_of_ones_own(tmp_path, capsys):
    """Four idx files in a folder, of 20 and 10 images."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for part, n in (("train", 20), ("t10k", 10)):
        sizes = b"".join(size.to_bytes(4, "big") for size in (n, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + bytes(range(196)) * 4 * n)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + n.to_bytes(4, "big")
                                                                + bytes(k % 10 for k in range(n)))
    assert main(["train", "lenet", "--data", str(folder), "--epochs", "1", "--out", "x"]) == 0
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\x0a\0\0\0\x1c\0\0\0\x1c" + b"short")
    capsys.readouterr()
    assert main(["eval", "x"]) == 2
    assert "t10k-images-idx3-ubyte" in capsys.readouterr().err


MISTAKES = {
    ("trian", "lenet"): "unknown command 'trian'; did you mean train?",
    ("xyzzy",): "unknown command 'xyzzy'; see `minidl --help`",
    (): "required: COMMAND",
    ("train",): "required: model",
    ("train", "lnet"): "unknown model 'lnet'; did you mean lenet?",
    ("train", "resnet51"): "unknown model 'resnet51'; did you mean resnet",
    ("train", "alexnet"): "say what to train alexnet on with --data: cifar10",
    ("train", "alexnet", "--data", "mnist"): "alexnet reads colour images, and mnist has grey ones",
    ("train", "lenet", "--data", "cifar10"): "lenet reads grey images, and cifar10 has colour ones",
    ("train", "lenet", "--schedule", "cosinus"): "unknown schedule 'cosinus'; did you mean cosine?",
    ("train", "lenet", "--epoch", "3"): "--epoch 3; did you mean --epochs?",
    ("train", "lenet", "--batchsize=3"): "--batchsize=3; did you mean --batch-size?",
    ("train", "lenet", "--epochs", "many"): "argument --epochs: invalid int value: 'many'",
    ("train", "lenet", "--epochs", "0"): "--epochs must be a finite number of at least 1, got 0",
    ("train", "lenet", "--batch-size", "0"): "--batch-size must be a finite number of at least 1, got 0",
    ("train", "lenet", "--batch-size", "-3"): "got -3",
    ("train", "lenet", "--lr", "nan"): "--lr must be a finite number of at least 0, got nan",
    ("train", "lenet", "--lr", "inf"): "got inf",
    ("train", "lenet", "--momentum", "-1"): "--momentum must be",
    ("train", "lenet", "--seed", "-1"): "--seed must be",
    ("train", "lenet", "--seed", "9" * 30): "--seed must be",
    ("train", "lenet", "--workers", "-1"): "--workers must be",
    ("train", "lenet", "--data", "mnits"): "unknown data set 'mnits'; did you mean mnist?",
    ("train", "lenet", "--data", "no/such/folder"): "there is no folder 'no/such/folder'",
    ("train", "lenet", "--data", "mnist"): "minidl data get mnist",
    ("train", "lenet", "--data", "."): "is in none of these folders",
    ("train", "lenet", "--device", "gpu"): "unknown device 'gpu'",
    ("train", "lenet", "--amp", "fp8"): "amp must be one of off, bf16, fp16, got 'fp8'",
    ("train", "lenet", "--resume", "nowhere"): "nowhere is not a run folder",
    ("eval", "nowhere"): "nowhere is not a run folder",
    ("eval",): "give a run folder, or --model, --weights and --data",
    ("predict",): "required: IMAGE",
    ("predict", "nowhere.png"): "nowhere.png: there is no such file",
    ("predict", "."): ".: not a picture",
    ("predict", "a.png", "--run", "nowhere"): "nowhere is not a run folder",
    ("summary", "lenett"): "did you mean lenet?",
    ("summary", "lenet", "--batch", "0"): "--batch must be at least 1",
    ("data", "lst"): "unknown action 'lst'; did you mean list?",
    ("data", "get"): "data get needs a name",
    ("data", "get", "fashion"): "unknown data set 'fashion'; did you mean fashion-mnist?",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes(arguments, fails, tmp_path):
    fails(*arguments, words=MISTAKES[arguments])
    assert not list(tmp_path.iterdir())


def test_cuda_without_a_gpu(fails, tmp_path):
    try:
        minidl.device.parse("cuda")
        pytest.skip("there is a GPU")
    except minidl.errors.MinidlError:
        fails("train", "lenet", "--device", "cuda", words="")
        fails("eval", "x", "--device", "cuda", words="")
    assert not list(tmp_path.iterdir())


def test_out_that_cannot_be(fails, tmp_path, a_run):
    (tmp_path / "file").write_text("")
    fails(*TINY, "--out", "file", words="file: File exists")
    fails(*TINY, "--out", "file/below", words="file/below: Not a directory")
    fails(*TINY, "--out", a_run, words="holds a run already: continue it with --resume")


def test_resume_keeps_its_options(fails, a_run):
    fails("train", "lenet", "--resume", a_run, "--lr", "1", "--seed", "2", "--out", "x",
          words="a resumed run keeps its own options: leave out --lr, --seed, --out")
    fails("train", "lenet", "--resume", a_run, "--epochs", "0", words="--epochs must be")


@pytest.mark.parametrize(("config", "words"), [
    ("{", "config.json cannot be read"), ("[]", "config.json holds no JSON object"),
    ('{"model": "lenet"}', "config.json was changed: --data must be of type str, got None"),
    ('{"model": ["lenet"], "data": 3}', "a run of ['lenet'], not of lenet")])
def test_a_tampered_configuration(fails, tmp_path, config, words):
    (tmp_path / "config.json").write_text(config)
    fails("train", "lenet", "--resume", ".", words=words)
    fails("eval", ".", words="config.json")


def test_a_damaged_checkpoint(fails, tmp_path, a_run):
    content = (a_run / "checkpoint.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes((a_run / "config.json").read_bytes())
    for damaged in (b"", content[:-1], content[: len(content) // 2], b"\x80\x04." + content):
        (tmp_path / "checkpoint.safetensors").write_bytes(damaged)
        fails("train", "lenet", "--resume", ".", words="checkpoint.safetensors: ")
        fails("eval", ".", words="checkpoint.safetensors: ")
        assert (tmp_path / "checkpoint.safetensors").read_bytes() == damaged


def test_epochs_fewer_than_done(fails, tmp_path, capsys):
    assert main(["train", "lenet", "--epochs", "2", "--batch-size", "500", "--out", "x"]) == 0
    capsys.readouterr()
    fails("train", "lenet", "--resume", "x", "--epochs", "1", words="2 epochs are done already, more than --epochs 1")
    assert json.loads((tmp_path / "x" / "config.json").read_text())["epochs"] == 2


def test_a_resume_elsewhere_says_so(tmp_path, capsys):
    assert main([*TINY, "--out", "x"]) == 0
    found = json.loads((tmp_path / "x/versions.json").read_text())
    (tmp_path / "x/versions.json").write_text(json.dumps(found | {"numpy": "1.0"}))
    capsys.readouterr()
    assert main(["train", "lenet", "--resume", "x"]) == 0
    assert "note: numpy was 1.0, is " in capsys.readouterr().err


def test_divergence(fails, capsys):
    assert main([*TINY, "--lr", "1e20", "--out", "x"]) == 2
    expected = r"^minidl: the loss became (nan|inf) in epoch 1, after \d+ images: lower the learning rate"
    assert re.search(expected, capsys.readouterr().err)
    assert main(["eval", "x"]) == 0


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_help(command, capsys):
    assert main([*command, "--help"]) == 0
    assert "example" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minidl {minidl.__version__}\n"


def test_summary(capsys):
    assert main(["summary", "lenet", "--batch", "3"]) == 0
    header, *rows, total = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["layer", "type", "output", "parameters"]
    assert rows[3].split()[:5] == ["features.3", "Conv2d", "3x16x10x10", "2,416", "720,000"] and rows[3].split()[-1] == "14x14"
    assert total.split()[1:3] == ["61,706", f"{3 * 416_520:,}"]


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("minidl ", "numpy ", "BLAS ", "threads", "GPU", "data folder", "minidl data get mnist"):
        assert word in out


def test_info_names_what_is_missing(capsys, monkeypatch):
    from minidl.train import versions

    complete = versions.versions()
    monkeypatch.setattr(versions, "versions", lambda: complete | {
        "rich": None, "numba": None, "blas": None, "cupy": "cupy-cuda12x 14.2 cupy-cuda13x 14.2"})
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert 'rich: pip install "minidl[train]"' in out and "numba: pip install numba" in out and "keep one" in out


def test_data_list(capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("digits", "mnist", "fashion-mnist", "bccd", "voc2012")) and "MB" in out
    assert "20405.4 MB" in out  # COCO: what a stranger should know first


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "minidl", *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c(tmp_path, capsys):
    """Exit code 130, two lines, and a checkpoint from which the run goes on."""
    with command("train", "lenet", "--epochs", "1000", "--out", "x", cwd=tmp_path) as process:
        wait_for(tmp_path / "x/curves.png")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert re.search(r"\d+ of 1000 epochs are kept; go on with: minidl train lenet --resume x\nminidl: stopped\n", err)
    assert minidl.load(tmp_path / "x/checkpoint.safetensors")["epoch"] >= 1
    assert not [path for path in (tmp_path / "x").iterdir() if path.suffix == ".tmp"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_closed_pipe(tmp_path):
    with command("summary", "lenet", cwd=tmp_path) as process:
        process.stdout.close()
        assert process.wait(60) == 1 and process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_in_an_epoch(tmp_path, capsys):
    """kill -9 at several moments: each time the run goes on, and it ends with the bits of one that was left alone."""
    options = ("--batch-size", "32", "--epochs", "4", "--seed", "7")
    assert main(["train", "lenet", *options, "--out", str(tmp_path / "alone")]) == 0
    start = ["train", "lenet", *options, "--out", "killed"]
    for appeared, delay in (("checkpoint.safetensors", 0.05), ("curves.png", 0.1), ("metrics.jsonl", 0.3)):
        with command(*start, cwd=tmp_path) as process:
            wait_for(tmp_path / "killed" / appeared)
            time.sleep(delay)
            process.kill()
        start = ["train", "lenet", "--resume", "killed"]
    capsys.readouterr()
    assert main(["train", "lenet", "--resume", str(tmp_path / "killed")]) == 0
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert (alone / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    times = ("seconds", "images_per_second", "waited_for_data")
    rows = [[{key: value for key, value in json.loads(line).items() if key not in times}
             for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (alone, killed)]
    assert rows[0] == rows[1] and len(rows[0]) == 4
    assert not [path for path in killed.iterdir() if path.suffix == ".tmp"]
