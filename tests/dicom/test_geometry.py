import numpy as np
import pytest

from medai.dicom.geometry import is_placed, measure, order_slices, to_closest_axes, voxel_affine
from tests.dicom.slices import AXIAL, CORONAL, OBLIQUE, SAGITTAL, positions

PLANES = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL, "oblique": OBLIQUE}


def test_stacks_measured_together_give_what_each_gives_alone() -> None:
    generator = np.random.default_rng(3)
    stacks = []
    for _ in range(20):
        rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        orientation = np.concatenate([rotation[0], rotation[1]])
        count = int(generator.integers(1, 9))
        place = positions(count, generator.uniform(0.5, 5), orientation) + generator.normal(scale=0.05, size=(count, 3))
        stacks.append((place, np.tile(orientation, (count, 1))))
    number = np.repeat(np.arange(20), [len(place) for place, _ in stacks])
    position, orientation = (np.concatenate([stack[index] for stack in stacks]) for index in (0, 1))
    order = order_slices(position, orientation, number)
    together = measure(position[order], orientation[order], number[order])
    for index, (place, planes) in enumerate(stacks):
        one = np.zeros(len(place), int)
        at = order_slices(place, planes, one)
        alone = measure(place[at], planes[at], one)
        for name in vars(alone):
            np.testing.assert_allclose(getattr(together, name)[index], getattr(alone, name)[0], rtol=1e-9, atol=1e-9, err_msg=name)


def test_lower_median_step_makes_one_gap_of_two_steps_a_gap() -> None:
    figures = measure(np.array([[0.0, 0, 0], [0, 0, 3], [0, 0, 9]]), np.tile(AXIAL, (3, 1)), np.zeros(3, int))
    assert figures.spacing_mm[0] == 3 and figures.missing[0] == 1 and figures.codes().tolist() == ["missing-slices"]


def test_single_slice_has_no_spacing_and_no_fault() -> None:
    figures = measure(np.zeros((1, 3)), np.array([AXIAL]), np.zeros(1, int))
    assert np.isnan(figures.spacing_mm[0]) and figures.codes().tolist() == [""]


def test_first_fault_is_the_graver() -> None:
    place = np.concatenate([positions(4), positions(4)[:1]])
    place[2, 0] += 3
    planes = np.tile(AXIAL, (5, 1))
    order = order_slices(place, planes, np.zeros(5, int))
    assert measure(place[order], planes, np.zeros(5, int)).codes().tolist() == ["duplicate-positions"]


@pytest.mark.parametrize(
    ("orientation", "sound"),
    [(AXIAL, True), (OBLIQUE, True), ((1, 0, 0, 1, 0, 0), False), ((0,) * 6, False), ((np.nan,) * 6, False), ((1, 0, 0, 0, 1.1, 0), False)],
)
def test_direction_cosines_must_be_unit_vectors_at_right_angles(orientation: tuple[float, ...], sound: bool) -> None:
    assert is_placed(np.zeros((1, 3)), np.array([orientation], float), np.ones((1, 2))).tolist() == [sound]


def test_lengths_must_be_of_a_room() -> None:
    orientation = np.array([AXIAL])
    for position, spacing in ((1e9, 1.0), (np.inf, 1.0), (np.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, 1e300), (0.0, np.nan)):
        assert not is_placed(np.full((1, 3), position), orientation, np.full((1, 2), spacing))[0]


def test_affine_follows_the_equation_of_the_standard() -> None:
    affine = voxel_affine(positions(5, 2.5, OBLIQUE), np.array(OBLIQUE), np.array([0.5, 0.75]), 9.0)
    column, row, index = 7, 4, 3
    expected = positions(5, 2.5, OBLIQUE)[index] + np.array(OBLIQUE[:3]) * 0.75 * column + np.array(OBLIQUE[3:]) * 0.5 * row
    np.testing.assert_allclose(affine @ [column, row, index, 1], [*expected, 1])
    single = voxel_affine(positions(1), np.array(AXIAL), np.array([0.5, 0.75]), 9.0)
    np.testing.assert_allclose(single[:3, 2], [0, 0, 9])


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("reverse", [False, True])
def test_closest_axes_run_towards_superior_posterior_left_and_every_voxel_keeps_its_place(name: str, reverse: bool) -> None:
    plane = np.array(PLANES[name])
    place = positions(4, 2.0, plane)[:: -1 if reverse else 1]
    affine = voxel_affine(place, plane, np.array([0.5, 0.75]), 1.0)
    pixels = np.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
    turned, new = to_closest_axes(pixels, affine)
    cosines = new[:3, :3] / np.linalg.norm(new[:3, :3], axis=0)
    assert (np.diag(cosines) > 0.7).all()  # W towards L, H towards P, D towards S
    assert turned.flags.c_contiguous
    where = {int(value): affine @ [w, h, d, 1] for (c, d, h, w), value in np.ndenumerate(pixels) if c == 0}
    for (c, d, h, w), value in np.ndenumerate(turned):
        if c == 0:
            np.testing.assert_allclose(new @ [w, h, d, 1], where[int(value)], atol=1e-9)
    np.testing.assert_array_equal(turned[1], turned[0] + 4 * 5 * 6)
