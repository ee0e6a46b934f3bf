"""The winners of ILSVRC and of PASCAL VOC over the years, from their published figures. Nothing is trained.

Sources: Russakovsky et al. 2015, table 8, and the competition's result pages for classification (top-5 error of the winning
entry, and a person's 5.1 %, section 6.4); for detection on VOC 2007 and 2012 the papers named: Felzenszwalb et al. (DPM v5),
R-CNN, Fast and Faster R-CNN, YOLO, SSD.
"""

from minidl.models.experiments.fit import COLOURS, axes_of
from minidl.study.pictures import figure_of

PERSON = 5.1
ILSVRC = [  # year, entry, top-5 error in % on the test set, layers
    (2010, "NEC-UIUC", 28.2, 0), (2011, "XRCE", 25.8, 0), (2012, "AlexNet", 16.4, 8), (2013, "Clarifai", 11.7, 8),
    (2014, "GoogLeNet", 6.67, 22), (2014, "VGG", 7.3, 19), (2015, "ResNet", 3.57, 152),
]
VOC = [  # year of the paper, method, mean average precision in % on VOC 2007's test set
    (2010, "DPM v5", 33.7), (2014, "R-CNN", 58.5), (2014, "R-CNN VGG16", 66.0), (2015, "Fast R-CNN", 70.0),
    (2015, "Faster R-CNN", 73.2), (2016, "YOLO", 63.4), (2016, "SSD300", 74.3), (2016, "SSD512", 76.8),
    (2017, "YOLOv2 544", 78.6),
]


def run(report=print) -> tuple[dict, object]:
    """Both charts."""
    figure = figure_of(10, 3.8)
    left, right = figure.subplots(1, 2)
    names = [f"{year}\n{name}" + (f"\n{layers} layers" if layers else "") for year, name, _, layers in ILSVRC]
    axes_of(left, "ILSVRC classification: top-5 error on the test set, %", "")
    left.bar(names, [error for _, _, error, _ in ILSVRC], color=[COLOURS[0] if layers else COLOURS[5] for *_, layers in ILSVRC])
    for place, (_, _, error, _) in enumerate(ILSVRC):
        left.text(place, error, f"{error:g}", ha="center", va="bottom", fontsize=8)
    left.axhline(PERSON, color="black", linestyle=":", linewidth=1)
    left.text(6.55, PERSON + 0.2, f"person {PERSON}", fontsize=7, ha="right")
    left.tick_params(axis="x", labelsize=6.5)
    axes_of(right, "detection on PASCAL VOC 2007: mean average precision, %", "year of publication")
    for place, (year, name, precision) in enumerate(VOC):
        right.plot(year, precision, "o", color=COLOURS[5] if place == 0 else COLOURS[1], markersize=5)
        side = -1 if name.startswith(("Fast", "R-CNN")) else 1
        right.annotate(name, (year, precision), xytext=(5 * side, -3), textcoords="offset points", fontsize=7.5,
                       ha="right" if side < 0 else "left")
    right.set_ylim(25, 85)
    right.set_xlim(2009.5, 2018.5)
    for year, name, error, _ in ILSVRC:
        report(f"ILSVRC {year}: {name}, top-5 error {error} %")
    return {"ilsvrc": ILSVRC, "voc2007": VOC}, figure
