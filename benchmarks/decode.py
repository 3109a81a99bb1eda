"""Frames/s of each decoder of each transfer syntax, and of `read_frames` as a whole, in turns in one run.

    OMP_NUM_THREADS=1 python benchmarks/decode.py
    OMP_NUM_THREADS=1 python benchmarks/decode.py --quick   # small frames, one second: whether it runs, no figures

It makes its own frames: 1024 x 1024, 12 bits of 16, smooth with noise as a radiograph. Rows: pydicom with each of its plugins, our
call of the same decoder on the bare frame ("medai: NAME"), and `read_frames` of the whole file in the safe and in the fast order.
One process, one thread: the figures are for one core.
"""

import argparse
import io
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' encoders

from medai.dicom.decoder import decode_with, decoders_of
from medai.dicom.parse import parse
from medai.dicom.pixel import read_layout
from medai.dicom.read import read_frames
from tests.dicom.mutate import DEFLATED_FRAMES, ENCAPSULATED, EXPLICIT, JPEG, RLE, data_set, to_bytes

RESULT = Path(__file__).parent / "results" / "decode.json"
SYNTAXES = {
    "native": EXPLICIT,
    "encapsulated uncompressed": ENCAPSULATED,
    "deflated frames": DEFLATED_FRAMES,
    "RLE": RLE,
    "JPEG baseline (8 bits)": JPEG + "50",
    "JPEG lossless": JPEG + "70",
    "JPEG-LS": JPEG + "80",
    "JPEG 2000 lossless": JPEG + "90",
}
Runs = dict[str, Callable[[], Any]]


def radiograph(side: int, bits: int) -> np.ndarray:
    """(1, side, side): broad structures and noise, so that a codec neither flies nor starves."""
    y, x = np.mgrid[:side, :side] / side
    smooth = (np.sin(9 * x) + np.cos(7 * y) + np.sin(40 * x * y) / 4 + 2.3) / 4.6
    noisy = smooth * (2**bits - 1) * 0.9 + np.random.default_rng(0).normal(0, 2 ** (bits - 9), (side, side))
    return np.clip(np.rint(noisy), 0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)[None]


def runs_of(data: bytes) -> Runs:
    """What is timed for one file; every one gives the same pixels."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    parsed = parse(data)
    layout, syntax = read_layout(parsed), str(dataset.file_meta.TransferSyntaxUID)
    runs: Runs = {}
    try:
        plugins = get_decoder(syntax).available_plugins if layout.encapsulated else ("",)
    except NotImplementedError:
        plugins = ()
    for name in plugins:
        runs[f"pydicom: {name or 'native'}"] = lambda name=name: pixel_array(dataset, decoding_plugin=name)
    if layout.encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        for name in decoders_of(syntax, fast=True):
            runs[f"medai: {name}"] = lambda name=name: decode_with(name, frame, layout)[0]
    runs["pydicom: file to pixels"] = lambda: pixel_array(io.BytesIO(data))
    runs["read_frames"] = lambda: read_frames(data)[0]
    runs["read_frames fast"] = lambda: read_frames(data, fast=True)[0]
    return runs


def measure(runs: Runs, seconds: float) -> dict[str, dict[str, float]]:
    """Each in turn, again and again, until `seconds` have passed for each: frames/s by the median, and the best."""
    first = None
    usable: Runs = {}
    for name, run in runs.items():
        try:
            pixels = np.asarray(run()).reshape(-1)
        except Exception as error:  # a plugin that does not take this form
            print(f"    {name}: {str(error).splitlines()[-1][:100]}")
            continue
        first = pixels if first is None else first
        if not np.array_equal(pixels, first):
            raise SystemExit(f"{name} gives other pixels than the rest")
        usable[name] = run
    times: dict[str, list[float]] = {name: [] for name in usable}
    while min(sum(taken) for taken in times.values()) < seconds and max(len(taken) for taken in times.values()) < 400:
        for name, run in usable.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {
        name: {"median": round(1 / median(taken), 1), "best": round(1 / min(taken), 1), "runs": len(taken)} for name, taken in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="64 x 64, a moment a decoder, nothing written unless --output")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each decoder of each syntax")
    parser.add_argument("--output", type=Path, help=f"JSON; by default {RESULT.name} beside this file, none with --quick")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    side, seconds = (64, 0.02) if options.quick else (1024, options.seconds)
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for name, syntax in SYNTAXES.items():
        bits = 8 if syntax == JPEG + "50" else 12
        data = to_bytes(data_set(radiograph(side, bits), bits), syntax)
        print(f"{name} ({len(data):,} bytes)")
        rates[name] = measure(runs_of(data), seconds)
        for decoder, rate in rates[name].items():
            print(f"    {decoder:32} {rate['median']:10.1f} frames/s (best {rate['best']:.1f})")
    packages = {
        package: version(package)
        for package in ("pydicom", "python-gdcm", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "pillow", "numpy")
    }
    result = {"date": str(date.today()), "machine": platform.machine(), "side": side, "packages": packages, "frames_per_second": rates}
    output = options.output or (None if options.quick else RESULT)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written to {output}")


if __name__ == "__main__":
    main()
