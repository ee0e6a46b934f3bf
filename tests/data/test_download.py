"""Downloads from a server on this machine that misbehaves in every way: the right file or a DownloadError, nothing between."""

import builtins
import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest

from minidl.data import BCCD, CocoDetection, VOCDetection, download
from minidl.data.download import File, Source, fetch, get, list_datasets
from minidl.errors import DataError, DownloadError, MinidlError, UsageError
from tests.data.voc_files import annotation_xml, write_voc

CONTENT = np.random.default_rng(0).bytes(300_000)
FILE = File("a-ubyte.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Server:
    """What each path answers is a function of the request; ``requests`` are (path, Range) in order."""

    def __init__(self):
        self.answers, self.requests = {}, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # the end of the connection is the end of the file

            def do_GET(self):
                server.requests.append((self.path, self.headers["Range"]))
                with contextlib.suppress(OSError):  # the client may leave
                    server.answers.get(self.path, missing)(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def serve(self, path, answer):
        """The address of a path from now on."""
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def reply(handler, status, body, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def missing(handler):
    reply(handler, 404, b"not here")


def whole(content=CONTENT, announced=True):
    """The whole file, whatever range was asked for; ``announced`` may be a wrong length, or False for none."""
    length = {} if announced is False else {"Content_Length": str(len(content) if announced is True else announced)}
    return lambda handler: reply(handler, 200, content, **length)


def ranges(content=CONTENT, stop=None):
    """A server that knows ranges, and cuts the connection after ``stop`` bytes of an answer."""

    def answer(handler):
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        start = int(asked[1]) if asked else 0
        headers = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        rest = content[start:]
        reply(handler, 206 if asked else 200, rest[:stop], Content_Length=str(len(rest)), **headers)

    return answer


def redirect(target):
    return lambda handler: reply(handler, 302, b"", Location=target)


def left(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def check(folder):
    assert left(folder) == [FILE.name] and (folder / FILE.name).read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [whole(), whole(announced=False), ranges()], ids=["plain", "no length", "ranges"])
def test_success(server, tmp_path, answer):
    seen = []
    folder = tmp_path / "new" / "folder"
    path = fetch(FILE, [server.serve("/f", answer)], folder, lambda *args: seen.append(args))
    assert path == folder / FILE.name
    check(folder)
    assert server.requests == [("/f", None)]
    assert seen[-1] == (FILE.name, FILE.size, FILE.size) and [at for _, at, _ in seen] == sorted({at for _, at, _ in seen})


def test_resume(server, tmp_path):
    """Cut off each time after 100,000 bytes: three calls, none of which fetches anything twice."""
    url = server.serve("/f", ranges(stop=100_000))
    for have in (100_000, 200_000):
        with pytest.raises(DownloadError, match=f"ended after {have} of 300000 bytes; run the command again"):
            fetch(FILE, [url], tmp_path)
        assert left(tmp_path) == [f"{FILE.name}.part"]
        assert (tmp_path / f"{FILE.name}.part").read_bytes() == CONTENT[:have]
    fetch(FILE, [url], tmp_path)
    check(tmp_path)
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_resume_at_the_next_mirror(server, tmp_path):
    fetch(FILE, [server.serve("/1", ranges(stop=1000)), server.serve("/2", ranges())], tmp_path)
    check(tmp_path)
    assert server.requests == [("/1", None), ("/2", "bytes=1000-")]


def test_server_that_knows_no_ranges(server, tmp_path):
    (tmp_path / f"{FILE.name}.part").write_bytes(CONTENT[:5000])
    fetch(FILE, [server.serve("/f", whole())], tmp_path)
    check(tmp_path)
    assert server.requests == [("/f", "bytes=5000-")]


def test_server_that_sends_another_range(server, tmp_path):
    """206, but from the beginning: not to be hung onto what is there."""
    def answer(handler):
        reply(handler, 206, CONTENT, Content_Length=str(len(CONTENT)), Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")

    (tmp_path / f"{FILE.name}.part").write_bytes(CONTENT[:5000])
    fetch(FILE, [server.serve("/f", answer)], tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("part", [b"\0" * 5000, CONTENT + b"surplus", CONTENT, b""], ids=["other", "longer", "all", "empty"])
def test_whatever_lay_there_before(server, tmp_path, part):
    (tmp_path / f"{FILE.name}.part").write_bytes(part)
    fetch(FILE, [server.serve("/f", ranges())], tmp_path)
    check(tmp_path)


WRONG = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.mark.parametrize("answer, message", [
    (whole(CONTENT[:-1]), "expected 300000 bytes, the server announces 299999"),
    (whole(CONTENT + b"x"), "expected 300000 bytes, the server announces 300001"),
    (whole(CONTENT + b"x", announced=False), "expected 300000 bytes, the server sends more"),
    (whole(CONTENT[:-1], announced=False), "ended after 299999 of 300000"),
    (whole(WRONG), "wrong checksum: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"),
    (whole(b"", announced=False), "ended after 0 of 300000"),
    (missing, "404"),
    (lambda handler: reply(handler, 503, b""), "503"),
    (lambda handler: None, "without response"),
    (lambda handler: handler.wfile.write(b"rubbish\r\n\r\n"), "rubbish"),
    (whole(CONTENT, announced="many"), None),
    (redirect("http://example.invalid/f"), "refused the redirect to http://example.invalid/f: only https is used"),
    (redirect("ftp://example.invalid/f"), "refused the redirect to ftp|not allowed"),
    (redirect("file:///etc/passwd"), "refused the redirect to file|not allowed"),
    (redirect("http://127.0.0.1.example.invalid/"), "refused the redirect"),
    (redirect("http://127.0.0.1@example.invalid/"), "refused the redirect"),
    (redirect("http://[broken/"), "IPv6"),
    (redirect("/bad"), "infinite loop"),
])
def test_bad_answers(server, tmp_path, answer, message):
    """Refused; then the next mirror is right."""
    bad, good = server.serve("/bad", answer), server.serve("/good", ranges())
    if message is None:  # odd, but the right bytes
        fetch(FILE, [bad], tmp_path)
        return check(tmp_path)
    with pytest.raises(DownloadError, match=f"(?s)could not download a-ubyte.gz:.*/bad: .*({message})"):
        fetch(FILE, [bad], tmp_path)
    assert FILE.name not in left(tmp_path)
    fetch(FILE, [bad, good], tmp_path)
    check(tmp_path)


def test_every_mirror_is_named(server, tmp_path):
    urls = [server.serve("/1", missing), server.serve("/2", whole(WRONG))]
    with pytest.raises(DownloadError, match="(?s)/1: .*404.*\n.*/2: wrong checksum"):
        fetch(FILE, urls, tmp_path)
    assert left(tmp_path) == []


def test_endless_answer_is_left(server, tmp_path):
    """A server that never stops sending is left as soon as it sends more than there is."""
    sent = []

    def answer(handler):
        reply(handler, 200, b"")
        while len(sent) < 10_000:
            handler.wfile.write(bytes(100_000))
            sent.append(None)

    with pytest.raises(DownloadError, match="the server sends more"):
        fetch(FILE, [server.serve("/f", answer)], tmp_path)
    server.http.shutdown()
    assert len(sent) < 1000  # what was on its way in the buffers
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= FILE.size


def test_redirect_within_this_machine(server, tmp_path):
    server.serve("/new", whole())
    fetch(FILE, [server.serve("/old", redirect("/new"))], tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("url", ["http://example.invalid/f", "ftp://127.0.0.1/f", "file:///etc/passwd", "http://localhost.example/f"])
def test_only_https(tmp_path, url):
    with pytest.raises(DownloadError, match="refused: only https is used"):
        fetch(FILE, [url], tmp_path)


def test_nobody_answers(server, tmp_path):
    url = server.serve("/f", whole())
    server.http.server_close()
    with pytest.raises(DownloadError, match="could not download"):
        fetch(FILE, [url], tmp_path)


def test_silence_times_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    go = threading.Event()
    url = server.serve("/f", lambda handler: go.wait(30))
    start = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        fetch(FILE, [url], tmp_path)
    go.set()
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full(server, tmp_path, monkeypatch, code):
    """One clear error, without a try at the other mirrors, and the space is given back."""
    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def write(self, data):
            if self.file.tell() > 100_000:
                raise OSError(code, "No space left on device")
            return self.file.write(data)

    monkeypatch.setattr(download, "open", lambda path, mode: Full(builtins.open(path, mode)), raising=False)
    with pytest.raises(DownloadError, match="the disk is full: a-ubyte.gz needs 300000 bytes in") as caught:
        fetch(FILE, [server.serve("/1", whole()), server.serve("/2", whole())], tmp_path)
    assert caught.value.__cause__.errno == code and isinstance(caught.value, MinidlError)
    assert left(tmp_path) == [] and server.requests == [("/1", None)]


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot make the folder"):
        fetch(FILE, [server.serve("/f", whole())], tmp_path / "file" / "folder")


def test_interrupted_by_the_user(server, tmp_path):
    """Ctrl-C on the way goes through, and what was fetched is kept for the next time."""
    def interrupt(name, have, size):
        if have > 100_000:
            raise KeyboardInterrupt

    url = server.serve("/f", ranges())
    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, [url], tmp_path, interrupt)
    assert left(tmp_path) == [f"{FILE.name}.part"]
    fetch(FILE, [url], tmp_path)
    check(tmp_path)
    assert int(server.requests[1][1].strip("bytes=-")) > 100_000


def source(server, *files, answers):
    for file in files:
        for i, answer in enumerate(answers):
            server.serve(f"/{i}/{file.name}", answer)
    addresses = tuple(f"http://127.0.0.1:{server.http.server_port}/{i}/" for i in range(len(answers)))
    return Source("Letters", "none", addresses, files)


def test_get(server, tmp_path, monkeypatch):
    second = FILE._replace(name="b-ubyte.gz")
    monkeypatch.setitem(download.SOURCES, "letters", source(server, FILE, second, answers=(missing, whole())))
    assert get("letters", tmp_path / "there") == tmp_path / "there"
    assert left(tmp_path / "there") == ["a-ubyte.gz", "b-ubyte.gz"]
    assert [path for path, _ in server.requests] == ["/0/a-ubyte.gz", "/1/a-ubyte.gz", "/0/b-ubyte.gz", "/1/b-ubyte.gz"]
    get("letters", tmp_path / "there")
    assert len(server.requests) == 4  # both were there
    (tmp_path / "there" / "b-ubyte.gz").write_bytes(WRONG)
    get("letters", tmp_path / "there")
    assert (tmp_path / "there" / "b-ubyte.gz").read_bytes() == CONTENT and len(server.requests) == 6


def test_get_into_the_folder_of_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setitem(download.SOURCES, "letters", source(server, FILE, answers=[whole()]))
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "mine"))
    assert get("letters") == tmp_path / "mine" / "letters"
    check(tmp_path / "mine" / "letters")


def test_get_leaves_the_same_content_in_another_wrapper(server, tmp_path, monkeypatch):
    file = FILE._replace(content_md5=hashlib.md5(b"the content").hexdigest())
    monkeypatch.setitem(download.SOURCES, "letters", source(server, file, answers=[whole()]))
    (tmp_path / file.name).write_bytes(gzip.compress(b"the content", 1))
    get("letters", tmp_path)
    assert server.requests == []
    for wrong in (gzip.compress(b"other content"), gzip.compress(b"the content")[:-9], b"the content"):
        (tmp_path / file.name).write_bytes(wrong)
        get("letters", tmp_path)
        check(tmp_path)


def test_unknown_name(tmp_path):
    with pytest.raises(UsageError, match="unknown data set 'mnits': choose from bccd, cifar10, .*mnist"):
        get("mnits", tmp_path)


def test_list_datasets():
    sources = list_datasets()
    assert sorted(sources) == ["bccd", "cifar10", "cifar100", "coco2017", "fashion-mnist", "imagenette", "mnist", "voc2007",
                               "voc2012"]
    for known in sources.values():
        assert known.title and known.licence and known.size == sum(file.size for file in known.files)
        assert known.mirrors and all(address.startswith("https://") and address.endswith("/") for address in known.mirrors)
        assert len({file.name for file in known.files}) == len({file.sha256 for file in known.files}) == len(known.files)
        assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) or known is sources["bccd"] for file in known.files)
        assert all(file.size > 0 for file in known.files)
    sources.clear()
    assert list_datasets()  # a copy


def archive(**pictures) -> bytes:
    """A gzipped tar of pictures in train and val."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for part in ("train", "val"):
            for name, content in pictures.items():
                entry = tarfile.TarInfo(f"set-160/{part}/{name}/a.JPEG")
                entry.size = len(content)
                made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_an_archive_of_pictures_is_unpacked_once(server, tmp_path, monkeypatch):
    content = archive(cat=b"cat", dog=b"dog")
    file = File("set.tgz", len(content), hashlib.sha256(content).hexdigest())
    mirror = server.serve("/set.tgz", whole(content)).removesuffix("set.tgz")
    monkeypatch.setitem(download.SOURCES, "set", Source("a set", "none", (mirror,), (file,), ("train", "val")))
    for _ in range(2):
        assert get("set", tmp_path) == tmp_path
        found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        assert found == ["set.tgz", "train/cat/a.JPEG", "train/dog/a.JPEG", "val/cat/a.JPEG", "val/dog/a.JPEG"]
    assert len(server.requests) == 1


def test_an_archive_that_fails_leaves_no_part(server, tmp_path, monkeypatch):
    """What is not unpacked whole is unpacked again the next time."""
    content = archive(cat=b"cat")[:-40]
    file = File("set.tgz", len(content), hashlib.sha256(content).hexdigest())
    mirror = server.serve("/set.tgz", whole(content)).removesuffix("set.tgz")
    monkeypatch.setitem(download.SOURCES, "set", Source("a set", "none", (mirror,), (file,), ("train", "val")))
    with pytest.raises(DataError, match="not a tar archive that can be read"):
        get("set", tmp_path)
    assert left(tmp_path) == ["set.tgz"]


def zipped(**files) -> bytes:
    """A zip archive; a double underscore in a name is a slash."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def test_several_archives_make_one_folder(server, tmp_path, monkeypatch):
    """As VOC2007's two, of which each lies in another folder of the mirror. Once unpacked they are not needed."""
    contents = {"a.zip": zipped(kit__V__Lists__a="1", kit__V__P__1="one"), "b.zip": zipped(kit__V__Lists__b="2", other__c="3")}
    files = tuple(File(name, len(content), hashlib.sha256(content).hexdigest(), at=f"{name[0]}/")
                  for name, content in contents.items())
    for name, content in contents.items():
        mirror = server.serve(f"/{name[0]}/{name}", whole(content)).removesuffix(f"{name[0]}/{name}")
    monkeypatch.setitem(download.SOURCES, "set", Source("a set", "none", (mirror,), files, ("V",)))
    get("set", tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "V/Lists/a", "V/Lists/b", "V/P/1", "a.zip", "b.zip"]
    (tmp_path / "a.zip").unlink()
    get("set", tmp_path)
    assert len(server.requests) == 2 and left(tmp_path) == ["V", "b.zip"]


def test_an_archive_without_a_checksum(server, tmp_path, monkeypatch):
    """Its size is checked, nearly; one that cannot be unpacked is fetched again the next time."""
    content = zipped(x__V__a="1" * 1000)
    file = File("set.zip", 150, "", slack=50)
    assert 100 < len(content) < 200
    monkeypatch.setitem(download.SOURCES, "set", source(server, file, answers=[whole(content[:-9])])._replace(parts=("V",)))
    with pytest.raises(DataError, match="not a zip archive"):
        get("set", tmp_path)
    assert left(tmp_path) == []
    server.serve("/0/set.zip", whole(content * 2))
    with pytest.raises(DownloadError, match="expected 150 bytes"):
        get("set", tmp_path)
    server.serve("/0/set.zip", whole(content))
    get("set", tmp_path)
    assert left(tmp_path) == ["V", "set.zip"]


def test_what_was_got_is_found(tmp_path, monkeypatch):
    """VOC, BCCD and COCO as they are unpacked, without a path; and an error that says how to get them."""
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for missing_one, name in ((lambda: VOCDetection(year=2007), "voc2007"), (BCCD, "bccd"), (CocoDetection, "coco2017")):
        with pytest.raises(DataError, match=f"get it with `minidl data get {name}`"):
            missing_one()
    with pytest.raises(UsageError, match="the year"):
        VOCDetection()
    write_voc(tmp_path / "voc2012" / "VOC2012", {"one": annotation_xml()})
    write_voc(tmp_path / "bccd" / "BCCD", {"two": annotation_xml()})
    assert VOCDetection(year=2012, image_set="train").names == ["one"] and BCCD().names == ["two"]
    assert BCCD(tmp_path).names == BCCD(tmp_path / "bccd").names == BCCD(tmp_path / "bccd" / "BCCD").names == ["two"]
    coco = tmp_path / "coco2017"
    (coco / "annotations").mkdir(parents=True)
    (coco / "annotations" / "instances_val2017.json").write_text('{"images": [], "categories": [], "annotations": []}')
    assert CocoDetection().root == coco / "val2017" and len(CocoDetection(annFile="instances_val2017.json")) == 0
