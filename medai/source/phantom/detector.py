"""From the path through the body to the picture: Beer-Lambert, scatter, blur, noise, processing for presentation."""

from functools import cache

import numpy as np
from jaxtyping import Float32, UInt16

from medai.source.phantom.frame import Field, blur_narrow, blur_wide
from medai.source.phantom.population import Site

ATTENUATION_PER_MM = 0.0172
"""Of water in a hardened beam of about 70 keV."""
_FLOOR = 1e-4
_BANK = 2**21


def expose(path: Field, site: Site, exposure: float, draw: np.random.Generator) -> Field:
    """Detector signal relative to the open beam.

    Args:
        path: Water-equivalent path in mm.
        site: Its detector.
        exposure: Dose relative to the site's usual one; more is less noise.
        draw: Of the noise.
    """
    primary = path * np.float32(-ATTENUATION_PER_MM)
    primary = blur_narrow(np.exp(primary, out=primary), site.sharpness)
    primary += np.float32(site.scatter * 0.35) * blur_wide(primary, 12)
    deviation = primary * np.float32(1 / (site.photons * exposure))
    deviation += np.float32(site.electronic**2)
    deviation = np.sqrt(deviation, out=deviation)
    deviation *= _white_noise(path.shape, draw)
    primary += deviation
    return np.maximum(primary, np.float32(_FLOOR), out=primary)


def _white_noise(shape: tuple[int, ...], draw: np.random.Generator) -> Field:
    """A stretch of one long fixed sequence from a random place: fresh normals would be a tenth of the time of an image."""
    count = shape[0] * shape[1]
    if count > _BANK // 2:
        return draw.standard_normal(shape, np.float32)
    start = int(draw.integers(_BANK - count))
    return _noise_bank()[start : start + count].reshape(shape)


@cache
def _noise_bank() -> Float32[np.ndarray, " n"]:
    return np.random.Generator(np.random.Philox(2**31)).standard_normal(_BANK, np.float32)


def present(radiance: Field, site: Site, brightness: float = 0.0) -> Field:
    """Grey in [0, 1], dense is bright: logarithm, detail gain, the body's range spread over the scale.

    Args:
        radiance: Detector signal relative to the open beam.
        site: Its processing.
        brightness: Shift of the scale, as an operator would leave it.
    """
    density = np.log(radiance)
    density *= -1
    coarse = blur_wide(density, 14)
    coarse *= np.float32(-site.detail)
    density *= np.float32(1 + site.detail)
    density += coarse
    low, high = _body_range(density)
    scale = 0.80 / (high - low)
    density *= np.float32(scale)
    density += np.float32(0.13 + brightness - low * scale)
    grey: Field = np.clip(density, 0, 1, out=density)
    if site.curve:
        grey += np.float32(site.curve) * grey * (1 - grey)
    return grey


def _body_range(density: Field) -> tuple[float, float]:
    """Where lungs begin and the densest parts end, without the air around the body."""
    height, width = density.shape
    sample = density[height // 16 :: max(height // 48, 1), width // 16 :: max(width // 48, 1)]
    body = np.sort(sample[sample > 0.9])
    if len(body) < 16:
        return 0.9, 4.0
    low, high = float(body[int(0.04 * len(body))]), float(body[int(0.985 * len(body))])
    return low, max(high, low + 1.0)


def quantise(grey: Float32[np.ndarray, "H W"], bits: int) -> UInt16[np.ndarray, "H W"]:
    """Stored values of `bits` bits."""
    return np.rint(grey * np.float32(2**bits - 1)).astype(np.uint16)
