"""Which sizes the network's input may have, and how its values are scaled."""

from medai.planning.fingerprint import Fingerprint
from medai.planning.machine import Machine
from medai.planning.sheet import Sheet

SMALL = 64  # pixels; images below it are taken as they are
SIDES_GPU = (512, 448, 384, 320, 256, 224, 192, 160, 128, 96, 64)
SIDES_CPU = (224, 192, 160, 128, 96, 64)
SQUARE = (0.8, 1.25)  # width over height
NARROWEST_WINDOW_HU = 50.0


def sizes(facts: Fingerprint, machine: Machine) -> list[tuple[int, int]]:
    """Sizes (height, width) in pixels that may be tried, the largest first: none is larger than the images."""
    side = facts.side
    if side < SMALL:
        return [(max(8, round(facts.size.height.median)), max(8, round(facts.size.width.median)))]
    sides = [value for value in (SIDES_GPU if machine.device == "cuda" else SIDES_CPU) if value <= side]
    if side <= 224:
        sides = sorted({side // 8 * 8, *sides}, reverse=True)
    return [_shaped(value, facts.size.aspect.median) for value in sides]


def _shaped(side: int, aspect: float) -> tuple[int, int]:
    """A size with this shorter side: square where the images nearly are."""
    if SQUARE[0] <= aspect <= SQUARE[1]:
        return side, side
    longer = round(side * max(aspect, 1 / aspect) / 16) * 16
    return (side, longer) if aspect > 1 else (longer, side)


def size_words(facts: Fingerprint) -> str:
    """The native size in words, for reasons."""
    size = facts.size
    if size.height.least == size.height.most and size.width.least == size.width.most:
        return f"all {facts.train + facts.validation:,} images are {size.height.median:g} x {size.width.median:g} pixels"
    rows, columns = (f"{value.least:g} to {value.most:g}" for value in (size.height, size.width))
    return f"the median image is {size.height.median:g} x {size.width.median:g} pixels (rows {rows}, columns {columns})"


def choose_channels(sheet: Sheet, facts: Fingerprint) -> int:
    """1 or 3 channels of the network's input."""
    counts = facts.size.channels
    colour, total = counts.get("3", 0), sum(counts.values())
    why = f"{colour:,} of {total:,} images are in colour" if colour else f"all {total:,} images are grey"
    return int(sheet.choose("preprocessing.channels", 3 if colour else 1, why))


def choose_intensity(sheet: Sheet, facts: Fingerprint) -> None:
    """How modality values become the network's input."""
    if sheet.has("preprocessing.intensity"):
        for key, value in (("method", "percentile"), ("lower", 0.5), ("upper", 99.5)):
            sheet.choose(f"preprocessing.intensity.{key}", value, "beside what is given by hand")
        return
    method, lower, upper, why = _intensity(facts)
    what = "modality value" if method == "window" else "percentile"
    sheet.choose("preprocessing.intensity.method", method, why)
    sheet.choose("preprocessing.intensity.lower", lower, f"{what} that becomes 0")
    sheet.choose("preprocessing.intensity.upper", upper, f"{what} that becomes 1")


def _intensity(facts: Fingerprint) -> tuple[str, float, float, str]:
    values = facts.values
    low, high = values.percentiles["0.5"], values.percentiles["99.5"]
    if values.kind == "hu":
        return "window", *_window_hu(facts)
    if facts.size.channels.get("3") and values.kind == "8-bit":
        return "window", 0.0, 255.0, "8-bit colour pictures: one scale for all channels and images keeps the hue"
    if values.kind == "8-bit" and values.top.median >= 128 and values.top.least >= 0.4 * values.top.median:
        bright = f"the brightest pixels of {values.images} sampled images lie from {values.top.least:.0f} to {values.top.most:.0f}"
        return "window", 0.0, 255.0, f"8-bit images that use their range ({bright}), so their values are taken as they are"
    types = ", ".join(f"{count:,} {name}" for name, count in values.dtypes.items())
    why = f"values without a common scale ({types}; 99 % of the pixels of {values.images} sampled images lie from {low:g} to {high:g}"
    return "percentile", 0.5, 99.5, f"{why}), so each image's own percentiles are taken"


def _window_hu(facts: Fingerprint) -> tuple[float, float, str]:
    values = facts.values
    if values.window is not None and values.window[1] >= NARROWEST_WINDOW_HU:
        centre, width = values.window
        why = f"CT in HU: the median window of the files, level {centre:g}, width {width:g}, the same for every image"
        return centre - width / 2, centre + width / 2, why
    lower, upper = (round(value, -1) for value in values.body)
    found = f"99 % of the pixels above the surrounding air lie from {values.body[0]:.0f} to {values.body[1]:.0f} HU"
    why = f"CT in HU: {found} in {values.images} sampled images; the same scale for every image"
    return lower, max(upper, lower + NARROWEST_WINDOW_HU), why
