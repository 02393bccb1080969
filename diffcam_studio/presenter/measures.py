"""What the measures are called and how they are explained."""

from __future__ import annotations

METRIC_HELP = {
    "Obj-IoU": (
        "Overlap of the map, cut at Otsu's threshold, with the region.",
        "|M∩O| / |M∪O|",
        3,
    ),
    "Contrast": (
        "Mean of the map inside the region over its mean outside.",
        "mean(M·O) / mean(M·Ō)",
        2,
    ),
    "Concentration": ("Mass inside the region divided by all mass of the map.", "Σ M·O / Σ M", 3),
    "F3": (
        "Harmonic mean of Obj-IoU, contrast (20 counts as 1) and concentration.",
        "3 / (1/I + 1/C + 1/K)",
        3,
    ),
    "Mass": ("Mean of the map over the picture, in shares of the scope's maximum.", "Σ M / N", 3),
}  # fmt: skip
