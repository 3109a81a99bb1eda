"""Studies in which every text that a data set can hold is an identifier of its own."""

import io
import random
from pathlib import Path

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset

WORD = rb"[B-Z]{3}\d{8}Q"
TEXTS = ("LO", "SH", "ST", "LT", "UT", "UC", "PN", "CS", "AE", "UR")
CHARACTER_SETS = {
    "": ("Garcia^Lopez", "Okonkwo"),
    "ISO_IR 100": ("Müller^Jürgen", "Žižek"[1:]),
    "ISO_IR 192": ("王^小东=欧阳^娜娜", "諸葛孔明"),
    "GB18030": ("张^伟强", "欧阳娜娜"),
    "\\ISO 2022 IR 58": ("Zhang^XiaoDong=张^小东", "司马相如"),
    "\\ISO 2022 IR 87": ("Yamada^Tarou=山田^太郎", "山田"),
    "\\ISO 2022 IR 149": ("Hong^Gildong=洪^吉洞", "홍길동"),
}
# What the file cannot do without, and what Retain Device Identity keeps on purpose: see `DEVICE`.
STRUCTURE = frozenset({"SpecificCharacterSet", "SOPClassUID", "Modality", "PhotometricInterpretation", "BurnedInAnnotation", "ImageType"})
_DEVICE = """
    Manufacturer ManufacturerModelName ManufacturerModelVersion SoftwareVersions StationName DeviceSerialNumber DetectorID
    SecondaryCaptureDeviceManufacturer SecondaryCaptureDeviceManufacturerModelName SecondaryCaptureDeviceSoftwareVersions
    DetectorManufacturerName DetectorManufacturerModelName ReceiveCoilManufacturerName TransmitCoilManufacturerName ApplicationName
    ApplicationVersion ApplicationManufacturer PlateID CassetteID GantryID GeneratorID DeviceID DeviceUID UniqueDeviceIdentifier
    PerformedStationName ScheduledStationName XRayDetectorID XRaySourceID XRayDetectorLabel XRaySourceLabel LensMake LensModel
    LensSerialNumber LensSpecification MakerNote DeviceDescription EthnicGroup PerformedLocation ScheduledProcedureStepLocation
    PerformedStationGeographicLocationCodeSequence ActualEnvironmentalConditions SourceManufacturer SourceSerialNumber
    TreatmentMachineName ManufacturerDeviceIdentifier ManufacturerDeviceClassUID DeviceLabel DeviceSettingDescriptionSequence
    SourceHolderID EquipmentModality ApplicatorDescription RadiationMachineName BiologicalSourceIdentifier SlideIdentifier
    SmokingStatus PatientSexNeutered PatientSex UDISequence DeviceIdentifier ModifyingSystem ScheduledStudyLocation
"""
DEVICE = frozenset(_DEVICE.split())


class Study:
    """One file of a study, and the texts and UIDs that may not leave.

    Args:
        number: Tells one study from another; it is also the seed.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.draw = random.Random(number)
        self.character_set = list(CHARACTER_SETS)[number % len(CHARACTER_SETS)]
        self.name, self.mentioned = CHARACTER_SETS[self.character_set]
        self.identifiers: list[str] = []
        self.names = [part for part in self.name.replace("=", "^").split("^") if part]
        self.file_name = self.word()

    def word(self, length: int = 12) -> str:
        """A word of the form `WORD` that is planted once."""
        word = "".join(self.draw.choices("BCDFGHJKLMNPQRSTVWXZ", k=3)) + f"{self.draw.randrange(10**8):08d}"[: length - 4] + "Q"
        self.identifiers.append(word)
        return word

    def uid(self) -> str:
        """A UID that is planted once."""
        uid = f"1.2.826.0.1.3680043.9.{self.number + 10}.{self.draw.randrange(10**12)}"
        self.identifiers.append(uid)
        return uid

    def dataset(self) -> Dataset:
        """A small CT with identifiers in every text of the data dictionary, in nested and in private elements."""
        dataset = Dataset()
        dataset.SpecificCharacterSet = self.character_set.split("\\") if self.character_set else None
        self._plant(dataset, share=1.0 if self.number == 0 else 0.15)
        item = Dataset()
        self._plant(item, share=0.1)
        deeper = Dataset()
        self._plant(deeper, share=0.05)
        item.ProcedureCodeSequence = [deeper]
        for sequence in ("RequestAttributesSequence", "ReferencedImageSequence", "SourceImageSequence", "AnatomicRegionSequence"):
            setattr(dataset, sequence, [item])
        dataset.ContentSequence = [item]
        for group in (0x0009, 0x0019, 0x0029, 0x0033, 0x0051):
            for target in (dataset, item):
                block = target.private_block(group, f"{self.word()}", create=True)
                block.add_new(1, "LO", self.word())
                block.add_new(2, "UN", self.word().encode() + b" ")
                block.add_new(3, "SQ", [deeper])
        for keyword in DEVICE & {"StationName", "DeviceSerialNumber", "SoftwareVersions", "ManufacturerModelName"}:
            setattr(dataset, keyword, f"ROOM {self.names[0]}"[:16])
        dataset.PatientName = self.name
        dataset.StudyDescription = f"CHEST for {self.mentioned} and {self.names[-1]}, {self.word()}"
        dataset.ImageComments = f"{self.names[0]} {self.names[-1]} called {self.word()}"
        dataset.SOPClassUID, dataset.Modality, dataset.PhotometricInterpretation = "1.2.840.10008.5.1.4.1.1.2", "CT", "MONOCHROME2"
        dataset.ImageType, dataset.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "AXIAL"], "NO"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = self.uid(), self.uid(), self.uid()
        dataset.Rows = dataset.Columns = 4
        dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 1, 16, 16, 15, 0
        dataset[0x7FE00010] = DataElement(0x7FE00010, "OW", bytes(32) + self.word().encode() + b" ")  # behind the last pixel
        dataset[0x60000022] = DataElement(0x60000022, "LO", self.word())
        dataset[0x60003000] = DataElement(0x60003000, "OW", self.word().encode() + b" ")
        dataset[0xFFFCFFFC] = DataElement(0xFFFCFFFC, "OB", self.word().encode() + b" ")
        return dataset

    def _plant(self, dataset: Dataset, share: float) -> None:
        for tag, (representation, multiplicity, _, _, keyword) in DicomDictionary.items():
            if (
                tag >> 16 < 0x0008
                or keyword in STRUCTURE | DEVICE
                or self.draw.random() > share
                or multiplicity.startswith(("2", "3", "6"))
            ):
                continue
            if representation == "UI":
                dataset[tag] = DataElement(tag, "UI", self.uid())
            elif representation == "PN":
                dataset[tag] = DataElement(tag, "PN", f"{self.word()}^{self.names[-1]}")
            elif representation in TEXTS:
                dataset[tag] = DataElement(tag, representation, f"http://{self.word()}" if representation == "UR" else self.word())

    def write(self, folder: Path) -> None:
        """Write the file in a folder that is named after the patient, with identifiers in its preamble and meta information."""
        dataset = self.dataset()
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = "1.2.840.10008.1.2" if self.number % 3 == 0 else "1.2.840.10008.1.2.1"
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        meta.ImplementationClassUID = self.uid()
        meta.SourceApplicationEntityTitle, meta.ImplementationVersionName = self.word(), self.word()
        dataset.file_meta = meta
        stream = io.BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True)
        data = stream.getvalue()
        path = folder / self.word() / f"{self.file_name}.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(self.word().encode().ljust(128, b"\0") + data[128:])
