"""Generate photo-like pictures from a seed."""

import io

import numpy as np
from PIL import Image, ImageDraw


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Draw shapes in random colours; the same seed gives the same picture."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        box = (int(x), int(y), int(x + size[0] // 3), int(y + size[1] // 3))
        draw.ellipse(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()
