"""How fast a folder of DICOM files loads, in how much memory, and whether a load that is killed ends in the same store.

    python -m tests.benchmarks.dicom_benchmark [--files 20000] [--kills 10] [--folder FOLDER]

Files are made once in FOLDER (a new one that is removed again, when there is none): 60 attributes, 2 kB of pixels, 50 a
series, 200 a study.
"""

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from graphql_service.loading.dicom import load_folder
from graphql_service.stores.sqlite import SQLiteStore
from tests.dicom_files import make_dataset

ID = "d" * 32
#: What stands in the template for what is another one in each file.
STUDY, SERIES, SOP, PATIENT = "1.2.840.111111.1", "1.2.840.222222.1", "1.2.840.333333.1", "PAT44444"


def make_template() -> bytes:
    dataset = make_dataset(
        PatientID=PATIENT,
        PatientName="García^Ana María",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=SERIES,
        SOPInstanceUID=SOP,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        AcquisitionDate="20240311",
        ContentDate="20240311",
        AcquisitionTime="103100",
        ContentTime="103200",
        Manufacturer="ACME Medical",
        InstitutionName="General Hospital",
        ReferringPhysicianName="Silva^Rui",
        StationName="CT01",
        SeriesDescription="Thorax 1.0 B30f",
        ManufacturerModelName="Scanner 64",
        PatientAge="054Y",
        PatientWeight="70.5",
        SliceThickness="1.0",
        KVP="120",
        DataCollectionDiameter="500",
        DeviceSerialNumber="12345",
        SoftwareVersions="1.0.0",
        ProtocolName="Thorax",
        ReconstructionDiameter="350",
        DistanceSourceToDetector="1040",
        DistanceSourceToPatient="570",
        GantryDetectorTilt="0",
        TableHeight="150",
        RotationDirection="CW",
        ExposureTime="500",
        XRayTubeCurrent="200",
        Exposure="100",
        FilterType="0",
        GeneratorPower="24",
        FocalSpots="1.2",
        ConvolutionKernel="B30f",
        PatientPosition="HFS",
        AcquisitionNumber="1",
        ImagePositionPatient=["-175.0", "-175.0", "100.0"],
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        FrameOfReferenceUID="1.2.840.555555.1",
        SliceLocation="100.0",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=32,
        Columns=32,
        PixelSpacing=["0.68", "0.68"],
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        WindowCenter="40",
        WindowWidth="400",
        RescaleIntercept="-1024",
        RescaleSlope="1",
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.add_new(0x7FE0_0010, "OW", bytes(2_048))
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


def make_files(folder: Path, count: int) -> None:
    template = make_template()
    for number in range(count):
        study, series = number // 200, number // 50
        content = template
        for text, value in ((STUDY, study), (SERIES, series), (SOP, number), (PATIENT, study)):
            digits = f"{value:0{6 if text != PATIENT else 5}d}"
            head, tail = (text[:8], text[14:]) if text != PATIENT else (text[:3], "")
            content = content.replace(text.encode(), f"{head}{digits}{tail}".encode())
        path = folder / f"{study}" / f"{series}" / f"IM{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def load(folder: Path, path: Path) -> None:
    """Loads in this process, and says how that went."""
    with closing(SQLiteStore(path, create=True)) as store:
        store.create_datastore(ID)
        began = time.perf_counter()
        result = load_folder(folder, store, ID)
        seconds = time.perf_counter() - began
    files = result.read + result.unchanged + result.refused
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{files:,} files in {seconds:.1f} s: {files / seconds:,.0f} a second;"
        f" processor {own.ru_utime + own.ru_stime:.1f} s, readers {children.ru_utime + children.ru_stime:.1f} s;"
        f" at most {own.ru_maxrss / 1024:.0f} MB here, {children.ru_maxrss / 1024:.0f} MB in a reader; {result}",
        flush=True,
    )


def contents(path: Path) -> list[object]:
    """All that a store holds of image sets, but for times of writing."""
    with closing(SQLiteStore(path)) as store:
        found = sorted(store.image_sets(ID, list(store.image_set_ids(ID))).values(), key=lambda each: each.image_set_id)
        return [
            (each.image_set_id, each.version, each.is_primary, each.tags, store.metadata(ID, [each.image_set_id]))
            for each in found
        ]


def read_so_far(path: Path) -> int:
    """How many files' headers a store holds."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        return int(connection.execute("SELECT count(*) FROM dicom_files_1").fetchone()[0])
    return 0  # its tables are still to be made


def main() -> None:
    arguments = argparse.ArgumentParser(description="Load generated DICOM files, and kill the load.")
    arguments.add_argument("--files", type=int, default=20_000)
    arguments.add_argument("--kills", type=int, default=10)
    arguments.add_argument("--folder", type=Path)
    arguments.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.load:
        load(given.folder, given.load)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "files"
        if not folder.exists():
            make_files(folder, given.files)
        command = [sys.executable, "-m", "tests.benchmarks.dicom_benchmark", "--folder", str(folder), "--load"]
        once, killed = Path(temporary) / "once.db", Path(temporary) / "killed.db"
        subprocess.run([*command, str(once)], check=True)
        subprocess.run([*command, str(once)], check=True)
        count = read_so_far(once)
        for kill in range(given.kills):
            with subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL) as process:
                while process.poll() is None and read_so_far(killed) < count * (kill + 1) // (given.kills + 1):
                    time.sleep(0.01)
                process.kill()
            print(f"killed with {read_so_far(killed):,} files read", flush=True)
        subprocess.run([*command, str(killed)], check=True)
        same = contents(once) == contents(killed)
        print(
            f"after {given.kills} kills: {'the same' if same else 'ANOTHER'} store, {len(contents(once)):,} image sets"
        )
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
