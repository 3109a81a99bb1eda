"""What a copy of an image may have gone through."""

import io

import numpy as np
from PIL import Image

TRANSFORMS = ("resize", "crop", "brightness", "jpeg")


def eight_bit(image: np.ndarray) -> np.ndarray:
    """Stretched between its 0.1st and 99.9th percentile."""
    if image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, [0.1, 99.9])
    return np.asarray(np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255, dtype=np.uint8)


def changed(image: np.ndarray, how: str, random: np.random.Generator) -> np.ndarray:
    """A copy (H, W) of 8 bit: resized to 50-200 %, 5 % of each side cut off in all or at every edge, 80-120 % as bright, or JPEG 60."""
    plain = eight_bit(image)
    height, width = plain.shape
    picture = Image.fromarray(plain)
    if how == "resize":
        factor = random.uniform(0.5, 2.0) if min(height, width) >= 64 else random.uniform(0.75, 2.0)
        size = max(8, round(width * factor)), max(8, round(height * factor))
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    if how == "crop":
        if random.random() < 0.5:
            rows, columns = round(0.05 * height), round(0.05 * width)
            return plain[rows : height - rows, columns : width - columns]
        rows, columns = round(0.95 * height), round(0.95 * width)
        top, left = random.integers(0, height - rows + 1), random.integers(0, width - columns + 1)
        return plain[top : top + rows, left : left + columns]
    if how == "brightness":
        return np.clip(plain * random.uniform(0.8, 1.2), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(stream.getvalue())))
