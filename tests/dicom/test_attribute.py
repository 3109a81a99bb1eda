import pytest

from medai.dicom.attribute import read_attributes


def _dataset(**values: object):
    from pydicom import Dataset

    dataset = Dataset()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Ottokar^Wilhelmina", "HX4711", "DX"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("keyword", ["BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "Modality"])
def test_a_name_typed_into_a_code_string_is_left_out(keyword: str) -> None:
    assert keyword not in read_attributes(_dataset(**{keyword: "OTTOKAR"}))
    assert keyword not in read_attributes(_dataset(**{keyword: "KUNIGUNDE"}))


def test_code_strings_of_the_standard_stay() -> None:
    for view in ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "MLO", "CC", "LMO", "FB", "SIO", "XCCL", "XCCM"):
        assert read_attributes(_dataset(ViewPosition=view))["ViewPosition"] == view
    assert read_attributes(_dataset(BodyPartExamined="CHEST", Laterality="L"))["BodyPartExamined"] == "CHEST"


def test_maker_and_model_lose_the_names_and_numbers_of_the_patient() -> None:
    read = read_attributes(_dataset(Manufacturer="GE MEDICAL SYSTEMS", ManufacturerModelName="Revolution HX4711"))
    assert read["Manufacturer"] == "GE MEDICAL SYSTEMS" and "HX4711" not in read["ManufacturerModelName"]
    assert "Manufacturer" not in read_attributes(_dataset(Manufacturer="Ottokar"))


def test_maker_and_model_lose_the_name_of_a_physician() -> None:
    read = read_attributes(_dataset(ReferringPhysicianName="Zwiebelkern^Hans", ManufacturerModelName="Zwiebelkern"))
    assert "ManufacturerModelName" not in read
