from dataclasses import replace

import pytest

from graphql_service.instances import Header, image_set_id, make_instance, read_header, write_metadata, write_tags

HEADER = Header(
    patient={"PatientID": "A1", "PatientName": "García^Ana", "PatientBirthDate": "19700102", "PatientSex": "F"},
    study={
        "StudyInstanceUID": "1.2",
        "StudyID": "S1",
        "StudyDescription": "CT chest",
        "AccessionNumber": "ACC1",
        "StudyDate": "20240311",
        "StudyTime": "103000",
    },
    series={"SeriesInstanceUID": "1.2.3", "Modality": "CT", "BodyPartExamined": "CHEST", "SeriesNumber": "2"},
    instance={"SOPInstanceUID": "1.2.3.4", "Rows": 2},
    representations={},
    syntax="1.2.840.10008.1.2.1",
)


def digests(header: Header) -> tuple[bytes, bytes]:
    instance = make_instance(b"/a", 1, 2, header)
    assert read_header(instance.header) == header
    assert (instance.path, instance.size, instance.changed) == (b"/a", 1, 2)
    assert (instance.study_uid, instance.series_uid, instance.sop_uid) == ("1.2", "1.2.3", "1.2.3.4")
    return instance.identity, instance.content


def test_identity_is_what_patient_and_study_say() -> None:
    identity, content = digests(HEADER)
    assert digests(replace(HEADER, syntax="1.2.840.10008.1.2")) == (identity, content)
    shuffled = replace(HEADER, patient=dict(reversed(list(HEADER.patient.items()))))
    assert digests(shuffled) == (identity, content)
    empty = digests(replace(HEADER, patient={**HEADER.patient, "PatientComments": None}))
    assert empty[0] == identity != empty[1]
    other = digests(replace(HEADER, instance={**HEADER.instance, "Rows": 3}))
    assert other[0] == identity
    assert other[1] != content
    assert digests(replace(HEADER, patient={**HEADER.patient, "PatientComments": "x"}))[0] != identity
    assert digests(replace(HEADER, study={**HEADER.study, "PatientAge": "054Y"}))[0] != identity


def test_ids_are_those_of_the_series_and_the_identity() -> None:
    ids = {image_set_id(uid, identity, copy) for uid in ("1.2", "1.3") for identity in (b"a", b"b") for copy in (0, 1)}
    assert len(ids) == 8
    assert image_set_id("1.2.3", bytes(16), 0) == "6b15eb1bfd6b6c9b1edd366db360ff78"


def test_tags_are_those_of_a_summary() -> None:
    assert write_tags(HEADER, 3, 40) == {
        "DICOMPatientId": "A1",
        "DICOMPatientName": "García^Ana",
        "DICOMPatientBirthDate": "19700102",
        "DICOMPatientSex": "F",
        "DICOMStudyInstanceUID": "1.2",
        "DICOMStudyId": "S1",
        "DICOMStudyDescription": "CT chest",
        "DICOMAccessionNumber": "ACC1",
        "DICOMSeriesInstanceUID": "1.2.3",
        "DICOMSeriesModality": "CT",
        "DICOMSeriesBodyPart": "CHEST",
        "DICOMSeriesNumber": 2,
        "DICOMStudyDate": "20240311",
        "DICOMStudyTime": "103000",
        "DICOMNumberOfStudyRelatedSeries": 3,
        "DICOMNumberOfStudyRelatedInstances": 40,
    }


@pytest.mark.parametrize(
    ("keyword", "stored", "tag", "written"),
    [
        ("StudyDate", "2024.03.11", "DICOMStudyDate", "20240311"),
        ("StudyDate", "2024-03-11", "DICOMStudyDate", "2024-03-11"),
        ("StudyDate", "20240311-20240312", "DICOMStudyDate", "20240311-20240312"),
        ("StudyDate", None, "DICOMStudyDate", None),
        ("StudyTime", "10:30:00", "DICOMStudyTime", "103000"),
        ("StudyTime", "10:30:00.5", "DICOMStudyTime", "103000.5"),
        ("StudyTime", "10:30", "DICOMStudyTime", "1030"),
        ("PatientBirthDate", "1970.01.02", "DICOMPatientBirthDate", "19700102"),
        ("SeriesNumber", "-1", "DICOMSeriesNumber", -1),
        ("SeriesNumber", "+007", "DICOMSeriesNumber", 7),
        ("SeriesNumber", "1.0", "DICOMSeriesNumber", "1.0"),
        ("SeriesNumber", "9" * 13, "DICOMSeriesNumber", "9" * 13),
        ("SeriesNumber", ["1", "2"], "DICOMSeriesNumber", "1\\2"),
        ("PatientID", ["A", None, "B"], "DICOMPatientId", "A\\\\B"),
        ("PatientSex", None, "DICOMPatientSex", None),
    ],
)
def test_a_tag_is_what_is_stored_or_missing(keyword: str, stored: object, tag: str, written: object) -> None:
    patient, study, series = (
        {**level, keyword: stored} if keyword in level else level
        for level in (HEADER.patient, HEADER.study, HEADER.series)
    )
    assert write_tags(replace(HEADER, patient=patient, study=study, series=series), 1, 1).get(tag) == written


def test_metadata_has_each_attribute_once() -> None:
    other = Header(
        patient={**HEADER.patient, "PatientComments": None},
        study=HEADER.study,
        series={**HEADER.series, "SeriesNumber": "3", "StationName": "B"},
        instance={"SOPInstanceUID": "1.2.3.5", "Rows": 2, "00190010": "MAKER"},
        representations={"00190010": "LO"},
        syntax="",
    )
    assert write_metadata("d" * 32, "i" * 32, [HEADER, other]) == {
        "SchemaVersion": "1.1",
        "DatastoreID": "d" * 32,
        "ImageSetID": "i" * 32,
        "Patient": {"DICOM": {**HEADER.patient, "PatientComments": None}},
        "Study": {
            "DICOM": HEADER.study,
            "Series": {
                "1.2.3": {
                    "DICOM": {"SeriesInstanceUID": "1.2.3", "Modality": "CT", "BodyPartExamined": "CHEST"},
                    "Instances": {
                        "1.2.3.4": {
                            "DICOM": {"SeriesNumber": "2", "SOPInstanceUID": "1.2.3.4", "Rows": 2},
                            "DICOMVRs": {},
                            "StoredTransferSyntaxUID": "1.2.840.10008.1.2.1",
                        },
                        "1.2.3.5": {
                            "DICOM": {
                                "SeriesNumber": "3",
                                "StationName": "B",
                                "SOPInstanceUID": "1.2.3.5",
                                "Rows": 2,
                                "00190010": "MAKER",
                            },
                            "DICOMVRs": {"00190010": "LO"},
                        },
                    },
                }
            },
        },
    }
