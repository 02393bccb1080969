"""Files that are read or copied whole: images, thumbnails, copies of runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from diffcam_core.errors import RunFileError
from diffcam_studio.worker.queries import (
    CopyQuery,
    ImageQuery,
    LoadedImage,
    Thumbnail,
    ThumbnailQuery,
    Written,
)


def read_image(query: ImageQuery) -> LoadedImage:
    """Read an image file, or render a sticker scene."""
    from diffcam_core.images import open_image, scene_record

    if query.path.startswith("scene:"):
        from diffcam_core.datasets.scenes import make_scene

        seed = int(query.path.removeprefix("scene:"))
        pixels = make_scene(seed).render(query.longest or 640)
        return LoadedImage(pixels, True, json.dumps({"seed": seed}))
    image = open_image(query.path)
    record = scene_record(image)
    if query.longest:
        image.thumbnail((query.longest, query.longest))
    scene = json.dumps(record) if record else ""
    return LoadedImage(np.asarray(image, np.uint8), record is not None, scene)


def read_thumbnail(query: ThumbnailQuery) -> Thumbnail:
    """Return a small picture of a run or an image, with a line about it."""
    path = Path(query.path)
    if path.suffix in (".dcam", ".part"):
        from io import BytesIO

        from PIL import Image

        from diffcam_core.session import open_run

        with open_run(path) as run:
            computed = int(run.computed.any(axis=1).sum())
            layers = len(run.layers)
            line = f"{run.n_steps} steps, {layers} layers"
            if not run.complete:
                line = f"{computed} of {run.n_steps} steps are safe"
            data = run.thumbnail
        with Image.open(BytesIO(data), formats=("PNG",)) as picture:
            pixels = np.asarray(picture.convert("RGB"), np.uint8)
        return Thumbnail(pixels, line)
    loaded = read_image(ImageQuery(query.path, 192))
    return Thumbnail(loaded.pixels, "Image")


def copy_run(query: CopyQuery) -> Written:
    """Write a copy of a run; the target is whole or not there."""
    target = Path(query.target)
    if target.suffix != ".dcam":
        target = target.with_name(f"{target.name}.dcam")
    part = target.with_name(f"{target.name}.new")
    try:
        shutil.copyfile(query.source, part)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunFileError(error.strerror or str(error), "Save it elsewhere") from error
    return Written(str(target), f"{target.stat().st_size / 1e6:.1f} MB")
