"""Folders as PASCAL VOC has them, made here."""

from pathlib import Path

import numpy as np

from tests.data.pictures import encoded


def object_xml(name="dog", box=(2, 3, 10, 12), **more) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{''.join(f'<{k}>{v}</{k}>' for k, v in more.items())}<bndbox>{sides}</bndbox></object>"


def annotation_xml(*objects: str, width=20, height=15) -> str:
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>../elsewhere.jpg</filename>{size}{''.join(objects)}</annotation>"


def write_voc(folder: Path, annotations: dict[str, str | bytes], lists: dict[str, str] | None = None, suffix=".jpg") -> Path:
    """A picture 20 x 15 for each annotation, and lists of names, by default train of all."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for name, text in annotations.items():
        (folder / "Annotations" / f"{name}.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
        picture = np.full((15, 20, 3), 100, np.uint8)
        (folder / "JPEGImages" / f"{name}{suffix}").write_bytes(encoded(picture, "PNG" if suffix == ".png" else "JPEG"))
    for name, text in (lists or {"train": "\n".join(annotations)}).items():
        (folder / "ImageSets/Main" / f"{name}.txt").write_text(text)
    return folder
