"""Downloads: official addresses, checked by SHA-256 before anyone parses them, resumed where they broke off.

Only https, also after redirects (and http to this machine itself, for tests). What arrives is counted against the size known
beforehand, written beside its place, and moved there once its checksum is right: nothing half-written is ever found.
"""

import errno
import gzip
import hashlib
import http.client
import os
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minidl.data.places import cache_folder
from minidl.data.unpack import unpack
from minidl.errors import DataError, DownloadError, UsageError

CHUNK = 1 << 16
TIMEOUT = 30  # seconds without a byte


class File(NamedTuple):
    """One file: its name, size in bytes, SHA-256 or its first digits, where known the MD5 of what is zipped in it, by how many
    bytes the size may differ, and in which folder of a mirror it lies. Without a SHA-256 the size alone is checked.
    """

    name: str
    size: int
    sha256: str
    content_md5: str | None = None
    slack: int = 0
    at: str = ""


class Source(NamedTuple):
    """A data set that can be downloaded: mirrors hold all files under one address, the official one first.

    ``parts``: the folders, such as train, that its archives are unpacked to.
    """

    title: str
    licence: str
    mirrors: tuple[str, ...]
    files: tuple[File, ...]
    parts: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


# Sizes and checksums as commonly published for the original files.
SOURCES = {
    "mnist": Source(
        "MNIST handwritten digits, 60,000 + 10,000 images of 28x28", "CC BY-SA 3.0 (as commonly stated)",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (File("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
              "6bbc9ace898e44ae57da46a324031adb"),
         File("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
              "a25bea736e30d166cdddb491f175f624"),
         File("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
              "2646ac647ad5339dbf082846283269ea"),
         File("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
              "27ae3e4e09519cfbb04c329615203637")),
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST, 60,000 + 10,000 images of 28x28", "MIT",
        ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
         "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"),
        (File("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
         File("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
         File("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
         File("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5")),
    ),
    "cifar10": Source(
        "CIFAR-10, 50,000 + 10,000 colour images of 32x32", "none stated", ("https://www.cs.toronto.edu/~kriz/",),
        (File("cifar-10-python.tar.gz", 170498071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),),
    ),
    "cifar100": Source(
        "CIFAR-100, 50,000 + 10,000 colour images of 32x32", "none stated", ("https://www.cs.toronto.edu/~kriz/",),
        (File("cifar-100-python.tar.gz", 169001437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),),
    ),
    "imagenette": Source(
        "Imagenette, ten classes of ImageNet, shorter side 160", "Apache 2.0 for the list; pictures are ImageNet's",
        ("https://s3.amazonaws.com/fast-ai-imageclas/",),
        (File("imagenette2-160.tgz", 99003388, "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5"),),
        ("train", "val"),
    ),
    # GitHub makes this archive when it is asked for, of one commit; so there is no checksum, and the size is nearly this.
    "bccd": Source(
        "BCCD, 364 microscope pictures of blood with 4,888 cells of three kinds; no checksum is published", "MIT",
        ("https://github.com/Shenggan/BCCD_Dataset/archive/",),
        (File("d272fb14cdff6e473fafeeeba32aba5f560e9e43.zip", 8_000_000, "", slack=2_000_000),),
        ("BCCD",),
    ),
    "voc2007": Source(
        "PASCAL VOC 2007, 5,011 + 4,952 photographs with objects of 20 classes", "photographs of Flickr, under its terms",
        ("https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/", "https://pjreddie.com/media/files/"),
        (File("VOCtrainval_06-Nov-2007.tar", 460032000, "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508"),
         File("VOCtest_06-Nov-2007.tar", 451020800, "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892")),
        ("VOC2007",),
    ),
    "voc2012": Source(
        "PASCAL VOC 2012, 11,540 photographs with objects of 20 classes", "photographs of Flickr, under its terms",
        ("https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/", "https://pjreddie.com/media/files/"),
        (File("VOCtrainval_11-May-2012.tar", 1999639040, "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),),
        ("VOC2012",),
    ),
    # The official bucket by its https address: the certificate of images.cocodataset.org is for another name.
    "coco2017": Source(
        "COCO 2017, 118,287 + 5,000 photographs with objects of 80 classes", "CC BY 4.0; photographs each under their own",
        ("https://s3.amazonaws.com/images.cocodataset.org/",),
        (File("annotations_trainval2017.zip", 252907541, "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
              at="annotations/"),
         File("val2017.zip", 815585330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", at="zips/"),
         File("train2017.zip", 19336861798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", at="zips/")),
        ("annotations", "val2017", "train2017"),
    ),
}


def list_datasets() -> dict[str, Source]:
    """The data sets that ``get`` knows, by name.

    >>> sorted(list_datasets())
    ['bccd', 'cifar10', 'cifar100', 'coco2017', 'fashion-mnist', 'imagenette', 'mnist', 'voc2007', 'voc2012']
    """
    return dict(SOURCES)


def get(name: str, root=None, progress: Callable[[str, int, int], None] | None = None) -> Path:
    """Download a data set into the folder ``root`` (by default one of its name in ``cache_folder()``); returns that folder.

    Files that are there and right are left alone, others of these names replaced. Archives are unpacked, and not needed any more
    after that. ``progress(file name, bytes so far, bytes in all)`` is called on the way. Raises UsageError for an unknown name,
    DownloadError when no mirror gives a right file or it cannot be written, DataError for an archive that cannot be unpacked.
    """
    if name not in SOURCES:
        raise UsageError(f"unknown data set {name!r}: choose from {', '.join(sorted(SOURCES))}")
    source = SOURCES[name]
    folder = Path(root) if root is not None else cache_folder() / name
    if source.parts and all((folder / part).is_dir() for part in source.parts):
        return folder
    for file in source.files:
        fetch(file, [mirror + file.at + file.name for mirror in source.mirrors], folder, progress)
    if source.parts:
        _unpack(source, folder)
    return folder


def _unpack(source: Source, folder: Path) -> None:
    try:
        unpack([folder / file.name for file in source.files], folder, source.parts)
    except DataError:
        for file in source.files:
            if not file.sha256:  # what came was taken for right: not the next time
                (folder / file.name).unlink()
        raise


def fetch(file: File, urls: list[str], folder: Path, progress=None) -> Path:
    """One file from the first of ``urls`` that gives it; see ``get``."""
    target, part = folder / file.name, folder / f"{file.name}.part"
    if _is_right(target, file):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"cannot make the folder {folder}: {error}") from error
    failures, urls = [], list(urls)
    for url in urls:
        old = part.exists()
        try:
            _receive(url, part, file, progress)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a redirect to what is no address
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
                raise DownloadError(f"the disk is full: {file.name} needs {file.size} bytes in {folder}") from error
            failures.append(f"{url}: {error}")
            continue
        found = _checksum(open(part, "rb"), "sha256")
        if found.startswith(file.sha256):
            os.replace(part, target)
            return target
        part.unlink()
        failures.append(f"{url}: wrong checksum: expected SHA-256 {file.sha256}, got {found}")
        if old:  # perhaps what lay there was damaged: once more, from the beginning
            urls.append(url)
    raise DownloadError(f"could not download {file.name}:\n  " + "\n  ".join(failures))


def _is_right(path: Path, file: File) -> bool:
    """Whether a file is the published one, or has its content in another gzip wrapper."""
    if not path.is_file():
        return False
    if abs(path.stat().st_size - file.size) <= file.slack and _checksum(open(path, "rb"), "sha256").startswith(file.sha256):
        return True
    try:
        return file.content_md5 is not None and _checksum(gzip.open(path), "md5") == file.content_md5
    except (OSError, EOFError, zlib.error):
        return False


def _checksum(stream, algorithm: str) -> str:
    with stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _receive(url: str, part: Path, file: File, progress) -> None:
    """Bytes of ``url`` into ``part``, continuing what is there already."""
    if not _is_allowed(url):
        raise DownloadError("refused: only https is used")
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size - file.slack:
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "minidl", **({"Range": f"bytes={have}-"} if have else {})})
    with _opener.open(request, timeout=TIMEOUT) as response:
        resumed = have > 0 and response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and abs(int(announced) + have - file.size) > file.slack:
            raise DownloadError(f"expected {file.size} bytes, the server announces {int(announced) + have}")
        with open(part, "ab" if resumed else "wb") as out:
            while chunk := response.read(CHUNK):
                have += len(chunk)
                if have > file.size + file.slack:
                    raise DownloadError(f"expected {file.size} bytes, the server sends more")
                out.write(chunk)
                if progress:
                    progress(file.name, have, file.size)
            os.fsync(out.fileno())
    if have < file.size - file.slack:
        raise DownloadError(f"the connection ended after {have} of {file.size} bytes; run the command again to go on from there")


def _is_allowed(url: str) -> bool:
    """https, or http to this machine itself."""
    return urllib.parse.urlsplit(url).scheme == "https" or _is_local(url)


def _is_local(url: str) -> bool:
    address = urllib.parse.urlsplit(url)
    return address.scheme == "http" and address.hostname in ("127.0.0.1", "localhost", "::1")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects to https only; what this machine itself serves may also lead to this machine."""

    def redirect_request(self, request, fp, code, message, headers, url):
        if not _is_allowed(url) or (_is_local(url) and not _is_local(request.full_url)):
            raise DownloadError(f"refused the redirect to {url}: only https is used")
        return super().redirect_request(request, fp, code, message, headers, url)


_opener = urllib.request.build_opener(_CheckedRedirects)
