"""DICOM files for tests: made ones, and the real ones that pydicom ships."""

from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

#: The test files of pydicom: many makers and transfer syntaxes, every character set, and some that are broken.
REAL: Final = Path(pydicom.__file__).parent / "data"

_IMAGE: Final = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SOPInstanceUID": "1.2.3.4.5",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "PatientID": "A1",
    "PatientName": "García^Ana",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "SpecificCharacterSet": "ISO_IR 192",
    "StudyID": "S1",
    "StudyDate": "20240311",
    "StudyTime": "103000",
    "StudyDescription": "CT chest",
    "AccessionNumber": "ACC1",
    "Modality": "CT",
    "BodyPartExamined": "CHEST",
    "SeriesNumber": "2",
    "InstanceNumber": "1",
    "Rows": 2,
    "Columns": 2,
}


def make_dataset(**attributes: Any) -> Dataset:
    """A small image; an attribute that is None is left out."""
    dataset = Dataset()
    for keyword, value in (_IMAGE | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def write_file(path: Path, **attributes: Any) -> Path:
    """Writes a small image with the attributes, and pixels that nobody may read."""
    dataset = make_dataset(**attributes)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.add_new(0x7FE0_0010, "OB", b"\xff" * 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
