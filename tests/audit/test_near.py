import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from medai.audit.near import CROWD, near_duplicates
from medai.audit.phash import signature
from medai.audit.register import detail, register, reliability

Scene = Callable[..., np.ndarray]


def _transform() -> ModuleType:
    spec = importlib.util.spec_from_file_location("transform", Path(__file__).with_name("transform.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


transform = _transform()


class Planted:
    """Images and their copies: what has to be found, and what was."""

    def __init__(self, images: list[np.ndarray], patients: list[str], each: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.images = list(images)
        self.source, self.how = list(range(len(images))), ["original"] * len(images)
        for how in transform.TRANSFORMS:
            for place in random.choice(len(images), min(each, len(images)), replace=False):
                self.images.append(transform.changed(images[place], how, random))
                self.source.append(int(place))
                self.how.append(how)
        self.thumbnails = np.stack([signature(image[None]).thumbnail for image in self.images])
        self.search = near_duplicates(self.thumbnails, lambda place: self.images[place][None])
        self.found = {frozenset(pair) for pair in zip(self.search.first.tolist(), self.search.second.tolist(), strict=True)}
        self.patients = patients

    def recall(self, how: str, levels: float = np.inf) -> tuple[int, int]:
        """Copies that were found beside their original, and all copies; without featureless originals and those of more grey levels."""
        copies = [k for k, one in enumerate(self.how) if one == how and self.thumbnails[self.source[k]].any()]
        copies = [k for k in copies if int(np.ptp(self.images[self.source[k]])) < levels]
        return sum(frozenset((k, self.source[k])) in self.found for k in copies), len(copies)

    def precision(self) -> tuple[int, int, int]:
        """Right pairs, all pairs, and those left out: of one patient's images, that nobody calls wrong or right."""
        right = sum(len({self.source[place] for place in pair}) == 1 for pair in self.found)
        same = sum(len(sources := {self.source[place] for place in pair}) == 2 and len({self.patients[place] for place in sources}) == 1
                   for pair in self.found)  # fmt: skip
        return right, len(self.found) - same, same


LEVELS = 32  # below, a slice at the end of a volume is almost black, and JPEG leaves little of what it shows


def check(planted: Planted, what: str) -> None:
    """The figures that must hold, told with their counts."""
    recalls = {how: planted.recall(how) for how in transform.TRANSFORMS}
    black = {how: planted.recall(how, LEVELS) for how in transform.TRANSFORMS}
    right, total, same = planted.precision()
    print(f"\n{what}: {len(planted.images)} images, {planted.search.compared:,} pairs compared, {planted.search.featureless} featureless")
    print(f"  precision {right}/{total} = {right / total:.4f}, pairs of one patient {same}")
    for how, (hit, count) in recalls.items():
        print(f"  recall of {how:<10} {hit}/{count} = {hit / count:.4f}; of almost black ones {black[how][0]}/{black[how][1]}")
    assert right / total >= 0.99
    assert all(hit / count >= 0.95 for hit, count in recalls.values())


def kermany(shared_data: Path, most: int) -> tuple[list[np.ndarray], list[str]]:
    files = sorted((shared_data / "kermany-cxr-small").rglob("*.jpeg"))
    files = files[:: max(1, len(files) // most)]
    return [np.asarray(Image.open(file).convert("L")) for file in files], [
        file.name.split("_")[0] if file.name.startswith("person") else file.name for file in files
    ]


def lgg(shared_data: Path, most: int, first: int = 0) -> tuple[list[np.ndarray], list[str]]:
    files = sorted(file for file in (shared_data / "lgg-mri").rglob("*.png") if "mask" not in file.name)
    files = files[first :: max(1, len(files) // most)]
    return [np.asarray(Image.open(file).convert("L")) for file in files], [file.parent.name[:12] for file in files]


def siim(shared_data: Path, most: int) -> tuple[list[np.ndarray], list[str]]:
    import pydicom

    found = [pydicom.dcmread(file) for file in sorted((shared_data / "siim-ct-dicom").rglob("*.dcm"))[:most]]
    return [each.pixel_array.astype(np.int16) for each in found], [str(each.PatientID) for each in found]


def pneumonia(shared_data: Path, most: int) -> tuple[list[np.ndarray], list[str]]:
    images = np.load(shared_data / "medmnist" / "pneumoniamnist_rebuilt.npz")["train_images"][:most]
    return list(images), [str(place) for place in range(len(images))]


def test_copies_are_found_and_nothing_else(scene: Scene) -> None:
    planted = Planted([scene(seed)[0] for seed in range(60)], [str(seed) for seed in range(60)], 25, 0)
    check(planted, "scenes")


def test_copies_of_real_radiographs_are_found(shared_data: Path) -> None:
    check(Planted(*kermany(shared_data, 120), 30, 0), "kermany-cxr-small")


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("load", "most"), [(kermany, 500), (lgg, 1500), (siim, 74), (pneumonia, 1500)], ids=["radiographs", "brain MR", "CT", "28 pixels"]
)
def test_recall_and_precision_on_real_images(
    shared_data: Path, load: Callable[[Path, int], tuple[list[np.ndarray], list[str]]], most: int
) -> None:
    check(Planted(*load(shared_data, most), 300, 1), load.__name__)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_recall_and_precision_on_the_other_half_of_the_brain_slices(shared_data: Path) -> None:
    check(Planted(*lgg(shared_data, 1500, first=1), 300, 2), "lgg, other slices")


def test_the_window_of_a_crop_is_told(scene: Scene) -> None:
    image = scene(5, side=200)[0]
    images = [image, image[10:200, 4:194]]
    thumbnails = np.stack([signature(each[None]).thumbnail for each in images])
    search = near_duplicates(thumbnails, lambda place: images[place][None])
    assert list(zip(search.first, search.second, strict=True)) == [(0, 1)]
    assert np.allclose(search.frames[0], [0.05, 0.95, 0.02, 0.95], atol=0.01)


def test_featureless_images_are_no_pairs() -> None:
    search = near_duplicates(np.zeros((500, 32, 32), np.uint8), lambda _: pytest.fail("no pixel is wanted"))
    assert search.featureless == 500 and search.images == 0 and len(search.first) == 0


def test_a_crowd_of_equal_hashes_has_a_pair_a_member(scene: Scene) -> None:
    image, other = scene(6), scene(7)
    images = [image] * (CROWD + 10) + [other]
    thumbnails = np.stack([signature(each).thumbnail for each in images])
    search = near_duplicates(thumbnails, lambda place: images[place])
    assert search.crowds == 1 and set(search.first.tolist()) == {0} and len(search.second) == CROWD + 9


def test_at_most_so_many_pairs_are_verified_and_it_is_told(scene: Scene) -> None:
    images = [scene(seed) for seed in range(5)] * 2
    thumbnails = np.stack([signature(each).thumbnail for each in images])
    search = near_duplicates(thumbnails, lambda place: images[place], most=3)
    assert (search.candidates, search.looked_at, len(search.first)) == (5, 3, 3)


def _dark(scene: Scene, seed: int, levels: int = 24) -> np.ndarray:
    return (scene(seed, side=128)[0] * (levels / 255)).round().astype(np.uint8)


def _found(images: list[np.ndarray]) -> set[tuple[int, int]]:
    search = near_duplicates(np.stack([signature(each[None]).thumbnail for each in images]), lambda place: images[place][None])
    return {(min(pair), max(pair)) for pair in zip(search.first.tolist(), search.second.tolist(), strict=True)}


def test_copies_of_almost_black_images_are_found_and_nothing_else(scene: Scene) -> None:
    images = [_dark(scene, seed) for seed in range(30)]
    copies = [transform.changed(image, "jpeg", np.random.default_rng(0)) for image in images]
    found = _found(images + copies)
    assert found <= {(k, k + 30) for k in range(30)} and len(found) >= 25


def test_only_pixels_that_are_counted_have_a_noise_of_half_a_level(scene: Scene) -> None:
    images = [_dark(scene, seed) for seed in range(30)]
    images += [transform.changed(image, "jpeg", np.random.default_rng(0)) for image in images]
    assert len(_found([image.astype(np.float32) for image in images])) < len(_found(images))
    assert len(_found([image.astype(np.int32) * 1000 for image in images])) < len(_found(images))


def test_noise_takes_its_share_of_a_correlation(scene: Scene) -> None:
    random = np.random.default_rng(0)
    clean = np.concatenate([scene(seed, side=64) for seed in range(20)]).astype(np.float64)
    noisy = clean + random.normal(0, 20, clean.shape)
    measured = np.einsum("bp,bp->b", detail(clean), detail(noisy))
    told = reliability(noisy, noisy, np.full(20, 20.0))
    assert np.abs(measured - told).max() < 0.03 and told.min() > 0.3 and told.max() < 0.95
    assert np.array_equal(reliability(clean, noisy, np.zeros(20)), np.ones(20))
    assert np.array_equal(reliability(clean, noisy, np.full(20, 1e3)), np.zeros(20))


def test_registration_forgives_contrast_and_not_another_image(scene: Scene) -> None:
    one, other = (signature(scene(seed)).thumbnail for seed in (8, 9))
    start = np.tile([0.0, 1.0, 0.0, 1.0], (2, 1))
    likeness, _ = register(np.stack([one, one]), np.stack([one // 3 + 40, other]), start)
    assert likeness[0] > 0.98 and likeness[1] < 0.8
