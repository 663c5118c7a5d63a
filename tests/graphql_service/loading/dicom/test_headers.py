import json
import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from graphql_service.instances import Header, Instance, read_header
from graphql_service.loading.dicom import RefusedFile
from graphql_service.loading.dicom.headers import BINARY_LIMIT, VALUE_LIMIT, read_files
from tests.dicom_files import REAL, make_dataset, write_file

#: pydicom's own files that no image set can be made of, and why.
REFUSED = {
    "charset_files/chrSQEncoding.dcm": "it has no SOPInstanceUID",
    "charset_files/chrSQEncoding1.dcm": "it has no SOPInstanceUID",
    "test_files/JPEGLSNearLossless_08.dcm": "it has no StudyInstanceUID",
    "test_files/JPEGLSNearLossless_16.dcm": "it has no StudyInstanceUID",
    "test_files/SC_rgb_jls_lossy_line.dcm": "it has no StudyInstanceUID",
    "test_files/SC_rgb_jls_lossy_sample.dcm": "it has no StudyInstanceUID",
    "test_files/UN_sequence.dcm": "it has no SOPInstanceUID",
    "test_files/dicomdirtests/DICOMDIR": "a DICOMDIR: it lists other files, and holds no instance of its own",
    "test_files/empty_charset_LEI.dcm": "it has no SOPInstanceUID",
    "test_files/meta_missing_tsyntax.dcm": "it has no SOPInstanceUID",
    "test_files/nested_priv_SQ.dcm": "it has no SOPInstanceUID",
    "test_files/no_meta_group_length.dcm": "it has no SOPInstanceUID",
    "test_files/priv_SQ.dcm": "it has no SOPInstanceUID",
    "test_files/rtplan.dump": "not DICOM",
    "test_files/rtplan_truncated.dcm": "it ends within its header",
    "test_files/zipMR.gz": "not DICOM",
}


def read(path: Path) -> Instance | RefusedFile:
    [found] = read_files([os.fsencode(path)])
    return found


def header_of(path: Path) -> Header:
    found = read(path)
    assert isinstance(found, Instance), found
    return read_header(found.header)


def reason_of(path: Path) -> str:
    found = read(path)
    assert isinstance(found, RefusedFile)
    return found.reason


def attributes_of(header: Header) -> dict[str, Any]:
    return {**header.patient, **header.study, **header.series, **header.instance}


def name_of(tag: int) -> str:
    return (keyword_for_tag(tag) if dictionary_has_tag(tag) else "") or f"{tag:08X}"


def tags_of(dataset: Dataset) -> list[int]:
    """The tags of a data set, but for group lengths. Iterating a data set would decode it."""
    return [tag for tag in dataset._dict if tag & 0xFFFF]


def as_json(element: DataElement) -> Any:
    """What pydicom makes of an element, as a header has it."""

    def one(value: Any) -> Any:
        if element.VR in ("DS", "IS"):
            value = getattr(value, "original_string", str(value))
        elif element.VR == "AT":
            return f"{value:08X}"
        elif element.VR == "PN":
            value = str(value)
        return (value.strip(" \0") or None) if isinstance(value, str) else value

    if element.is_empty:
        return None
    return [one(each) for each in element.value] if isinstance(element.value, MultiValue | list) else one(element.value)


def compare(dataset: Dataset, found: dict[str, Any], path: Path) -> int:
    """Compares what pydicom reads with what was read, and answers how many values that were."""
    compared = 0
    for element in (dataset[tag] for tag in tags_of(dataset)):
        value = found[name_of(element.tag)]
        if element.VR == "SQ":
            items = value or []
            assert len(element.value) == len(items), path
            compared += sum(compare(item, other, path) for item, other in zip(element.value, items, strict=True))
        elif not isinstance(element.value, bytes) and not isinstance(value, dict):
            wanted = as_json(element)
            if isinstance(value, str):
                # pydicom drops empty groups at the end of a name, and leaves the spaces that begin a text.
                value = value.rstrip("=").strip(" ") if element.VR == "PN" else value.strip(" ")
            assert value == wanted, (path, element.tag)
            compared += 1
    return compared


def test_real_files_are_read_as_pydicom_reads_them() -> None:
    compared = 0
    for path in sorted(REAL.rglob("*.dcm")):
        found = read(path)
        if isinstance(found, RefusedFile):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            header = read_header(found.header)
            assert set(attributes_of(header)) == {name_of(tag) for tag in tags_of(dataset)}
            compared += compare(dataset, attributes_of(header), path)
        assert header.syntax == dataset.file_meta.get("TransferSyntaxUID", "")
    assert compared > 6_000


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_instance_is_refused(name: str) -> None:
    assert reason_of(REAL / name) == REFUSED[name]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("chrArab", "قباني^لنزار"),
        ("chrFren", "Buc^Jérôme"),
        ("chrFrenMulti", "Buc^Jérôme"),
        ("chrGerm", "Äneas^Rüdiger"),
        ("chrGreek", "Διονυσιος"),
        ("chrH31", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrHbrw", "שרון^דבורה"),
        ("chrI2", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrJapMulti", "やまだ^たろう"),
        ("chrJapMultiExplicitIR6", "やまだ^たろう"),
        ("chrKoreanMulti", "김희중"),
        ("chrRuss", "Люкceмбypг"),
        ("chrX1", "Wang^XiaoDong=王^小東="),
        ("chrX2", "Wang^XiaoDong=王^小东="),
    ],
)
def test_names_are_read_in_every_character_set(name: str, groups: str) -> None:
    assert header_of(REAL / "charset_files" / f"{name}.dcm").patient["PatientName"] == groups


def patch(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("charset", "written", "name"),
    [
        # Half a character looks like = (秀, 0x3D28), ^ or a backslash.
        ("\\ISO 2022 IR 87", b"Hideki=\x1b$B=(<y\x1b(B^\x1b$B>>K\\\x1b(B", "Hideki=秀樹^松本"),
        ("GB18030", "Li=李^\u8b8a".encode("gb18030"), "Li=李^變"),
        ("GBK", "Wang=王^\u8a31".encode("gbk"), "Wang=王^許"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO 2022 IR 6\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
        ("ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2", "สมชาย"),
        ("", b"Doe^Jane", "Doe^Jane"),
        ("ISO_IR 999", b"Doe^Jane", "Doe^Jane"),
    ],
)  # fmt: skip
def test_delimiters_are_looked_for_in_characters_not_in_bytes(
    tmp_path: Path, charset: str, written: bytes, name: str
) -> None:
    path = write_file(tmp_path / "a", SpecificCharacterSet=None, PatientName="N" * (len(written) + len(written) % 2))
    charset_element = b"\x08\0\x05\0CS" + (len(charset) + len(charset) % 2).to_bytes(2, "little")
    charset_element += charset.encode() + b" " * (len(charset) % 2)
    padded = written + b" " * (len(written) % 2)
    patch(patch(path, b"N" * len(padded), padded), b"\x08\0\x16\0UI", charset_element + b"\x08\0\x16\0UI")
    assert header_of(path).patient["PatientName"] == name


@pytest.mark.parametrize("charset", [None, "ISO_IR 192", "ISO_IR 999"])
def test_what_is_searched_is_never_guessed(tmp_path: Path, charset: str | None) -> None:
    path = write_file(tmp_path / "a", SpecificCharacterSet=charset and "ISO_IR 192", PatientName="M#ller^Eva")
    patch(path, b"M#ller", b"M\xfcller")
    if charset:
        patch(path, b"ISO_IR 192", charset.encode())
    assert reason_of(path) == "its PatientName has bytes that are not of the character set that it names"


def test_what_is_not_searched_keeps_its_bytes(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", PatientComments="M#ller", Columns=513)
    patch(path, b"M#ller", b"M\xfcller")
    patch(path, b"US\x02\0\x01\x02", b"US\x03\0\x01\x02\x03")
    header = header_of(path)
    assert header.patient["PatientComments"] == {"InlineBinary": "TfxsbGVy"}
    assert header.instance["Columns"] == {"InlineBinary": "AQID"}


def test_what_is_searched_has_a_text_as_value(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", PatientID="##")
    patch(path, b"LO\x02\0##", b"US\x02\0##")
    assert reason_of(path) == "its PatientID has the VR US"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("uid", [None, "", "1.2.x", "1..2", "12", "1.2\\1.3", "1." + "2" * 63])
def test_uids_must_be_there(tmp_path: Path, keyword: str, uid: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_file(tmp_path / "a", **{keyword: "9" * 64})
    content = path.read_bytes()
    place = content.rindex(b"9" * 64) - 8
    element = b"" if uid is None else content[place : place + 6] + len(uid).to_bytes(2, "little") + uid.encode()
    path.write_bytes(content[:place] + element + content[place + 72 :])
    assert reason_of(path) == (f"its {keyword} is no UID" if uid else f"it has no {keyword}")


def test_values_are_as_json_has_them(tmp_path: Path) -> None:
    dataset = make_dataset(
        ImageType=["ORIGINAL", "PRIMARY"],
        PixelSpacing=["0.50", "0.50"],
        InstanceNumber=None,
        ImageComments="two\r\n  lines ",
        RescaleSlope="1.0 ",
        FrameIncrementPointer=0x0018_1063,
        RealWorldValueIntercept=None,
        SeriesDescription="",
        OtherPatientNames=["A^B", "C^D"],
        SmallestImagePixelValue=None,
    )
    dataset.add_new(0x0018_1271, "FD", [1.5, float("nan")])
    dataset.add_new(0x0019_0010, "LO", "MAKER")
    dataset.add_new(0x0019_1001, "OB", b"\x01\x02")
    dataset.add_new(0x0019_1002, "OB", b"\x01\x02" * BINARY_LIMIT)
    dataset.add_new(0x0019_1003, "UT", "x" * (VALUE_LIMIT + 2))
    dataset.add_new(0x6000_0010, "US", 3)
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-1", "Schädel"
    dataset.ProcedureCodeSequence = [item]
    dataset.AnatomicRegionSequence = []
    path = tmp_path / "a"
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    header = header_of(path)
    assert header.syntax == ""
    assert header.study["ProcedureCodeSequence"] == [{"CodeValue": "T-1", "CodeMeaning": "Schädel"}]
    assert header.patient["OtherPatientNames"] == ["A^B", "C^D"]
    assert header.series["SeriesDescription"] is None
    assert header.representations == {
        "00190010": "LO",
        "00191001": "OB",
        "00191002": "OB",
        "00191003": "UT",
        "60000010": "US",
    }
    shown = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPInstanceUID": "1.2.3.4.5",
        "AnatomicRegionSequence": [],
        "PixelSpacing": ["0.50", "0.50"],
        "ImageComments": "two\r\n  lines",
        "RescaleSlope": "1.0",
        "FrameIncrementPointer": "00181063",
        "WaterEquivalentDiameter": [1.5, "nan"],
        "Rows": 2,
        "00190010": "MAKER",
        "00191001": {"InlineBinary": "AQI="},
        "00191002": None,
        "00191003": None,
        "60000010": 3,
    }
    assert {name: header.instance[name] for name in shown} == shown


@pytest.mark.parametrize("depth", [50, 51, 200, 5_000])
def test_sequences_have_a_depth(tmp_path: Path, depth: int) -> None:
    path = write_file(tmp_path / "a")
    begin, end = b"\x40\0\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    nested = begin * depth + (end + b"\xfe\xff\xdd\xe0\0\0\0\0") * depth
    patch(path, b"\xe0\x7f\x10\0OB", nested + b"\xe0\x7f\x10\0OB")
    if depth == 50:
        assert json.dumps(header_of(path).instance).count("ContentSequence") == 50
    else:
        assert reason_of(path) in (
            "its sequences are nested more than 50 deep",
            "its header is broken (RecursionError)",
        )


@pytest.mark.parametrize("undefined", [False, True])
def test_long_sequences_are_read_but_for_long_values(tmp_path: Path, undefined: bool) -> None:  # noqa: FBT001 - pytest's
    items = []
    for number in range(40):
        item = Dataset()
        item.CodeValue = str(number)
        item.TextValue = "x" * (VALUE_LIMIT // 20)
        items.append(item)
    items[7].TextValue = "x" * (VALUE_LIMIT + 2)
    dataset = make_dataset(ConceptCodeSequence=items)
    dataset["ConceptCodeSequence"].is_undefined_length = undefined
    for way in ("explicit, bare", "implicit, bare", "deflated"):
        WRITERS[way](dataset, tmp_path / "a")
        found = header_of(tmp_path / "a").instance["ConceptCodeSequence"]
        assert [item["CodeValue"] for item in found] == [str(number) for number in range(40)]
        assert [len(item["TextValue"] or "") for item in found] == [0 if n == 7 else 50_000 for n in range(40)]


WRITERS: dict[str, Callable[[Dataset, Path], object]] = {
    "implicit, bare": lambda dataset, path: dataset.save_as(path, implicit_vr=True, little_endian=True),
    "explicit, bare": lambda dataset, path: dataset.save_as(path, implicit_vr=False, little_endian=True),
    "big-endian, bare": lambda dataset, path: dataset.save_as(path, implicit_vr=False, little_endian=False),
    "implicit": lambda dataset, path: save_as(dataset, path, ImplicitVRLittleEndian),
    "big-endian": lambda dataset, path: save_as(dataset, path, ExplicitVRBigEndian),
    "deflated": lambda dataset, path: save_as(dataset, path, DeflatedExplicitVRLittleEndian),
}


def save_as(dataset: Dataset, path: Path, syntax: str) -> None:
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("way", sorted(WRITERS))
def test_one_data_set_is_one_content_however_it_is_written(tmp_path: Path, way: str) -> None:
    wanted = read(write_file(tmp_path / "a", PixelRepresentation=1, SmallestImagePixelValue=-5, PixelData=None))
    assert isinstance(wanted, Instance)
    dataset = pydicom.dcmread(tmp_path / "a", stop_before_pixels=True)
    del dataset.file_meta
    del dataset.preamble
    plain = Dataset()
    plain.update(dataset)
    WRITERS[way](plain, tmp_path / "b")
    found = read(tmp_path / "b")
    assert isinstance(found, Instance)
    assert (found.content, found.identity) == (wanted.content, wanted.identity)


def test_pixels_are_not_read(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    whole = path.read_bytes()
    path.write_bytes(whole[:-16])
    cut = read(path)
    path.write_bytes(whole)
    assert isinstance(cut, Instance)
    assert read_header(cut.header) == header_of(path)


def test_a_searched_value_that_is_too_long_is_refused_not_left_out(tmp_path: Path) -> None:
    for length, keyword in ((VALUE_LIMIT, None), (VALUE_LIMIT + 2, "StudyDescription")):
        dataset = make_dataset()
        dataset[0x0008_1030] = DataElement(0x0008_1030, "LO", "x" * length)
        path = tmp_path / str(length)
        dataset.save_as(path, implicit_vr=True, little_endian=True)
        if keyword is None:
            assert len(header_of(path).study["StudyDescription"]) == length
        else:
            assert reason_of(path) == "its StudyDescription has more than 1,000,000 bytes"


def test_a_file_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a")
    whole = path.read_bytes()
    begin = whole.index(b"\x08\0\x05\0CS")
    reasons = set()
    for length in range(len(whole) - 30):
        path.write_bytes(whole[:length])
        found = read(path)
        if isinstance(found, Instance):
            # Cut between two elements: nothing tells that there were more.
            assert whole[length - 4 : length].strip(b"\0") or length > begin
            continue
        reasons.add(found.reason)
    assert reasons >= {"it is empty", "not DICOM", "it ends before its data set", "it ends within its header"}
    assert not any("broken" in reason for reason in reasons)


def test_odd_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Patient: García\n" * 100)
    assert reason_of(tmp_path / "folder") == "cannot be read: Is a directory"
    assert reason_of(tmp_path / "pipe") == "not a regular file"
    assert reason_of(tmp_path / "gone") == "cannot be read: No such file or directory"
    assert reason_of(tmp_path / "empty") == "it is empty"
    assert reason_of(tmp_path / "text") == "not DICOM"


def test_a_large_length_makes_no_room(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", URNCodeValue="urn:", SelectorUTValue="x" * 300_000)
    patch(path, b"UR\0\0\x04\0\0\0", b"UR\0\0\xf0\xff\xff\xff")
    assert reason_of(path) == "it ends within its header"


def template(folder: Path) -> bytes:
    return write_file(folder / "template").read_bytes()


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_no_header_makes_the_reader_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("files")
    whole = bytearray(template(folder))
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(128, len(whole) - 1), st.integers(0, 255)), max_size=8)
    ):
        whole[place] = byte
    (folder / "damaged").write_bytes(whole)
    found = read(folder / "damaged")
    assert isinstance(found, Instance | RefusedFile)


VRS = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV XX".split()
ELEMENTS = st.tuples(
    st.sampled_from((0x0008_0005, 0x0008_0016, 0x0008_0020, 0x0010_0010, 0x0010_0020, 0x0019_1001, 0x0020_0011,
                     0x0028_0103, 0x0028_0106, 0x0040_0275, 0x5400_0100, 0x6000_3000, 0x0010_0000)),
    st.sampled_from(VRS),
    st.binary(max_size=40)
    | st.sampled_from((b"ISO_IR 192", b"\\ISO 2022 IR 87", b"\x1b$B=(\x1b(B", b"\xfe\xff\0\xe0\0\0\0\0")),
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(elements=st.lists(ELEMENTS, max_size=12), implicit=st.booleans())
def test_no_data_set_makes_the_reader_raise(
    tmp_path_factory: pytest.TempPathFactory,
    elements: list[tuple[int, str, bytes]],
    implicit: bool,  # noqa: FBT001 - hypothesis names it
) -> None:
    uids = [(0x0008_0018, "UI", b"1.2.1"), (0x0020_000D, "UI", b"1.2.2"), (0x0020_000E, "UI", b"1.2.3")]
    stream = BytesIO()
    for tag, vr, value in [(0x0008_0001, "UL", b""), *sorted([*elements, *uids])]:
        stream.write((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little"))
        if implicit:
            stream.write(len(value).to_bytes(4, "little"))
        elif vr in "OB OD OF OL OV OW SQ SV UC UN UR UT UV".split():
            stream.write(vr.encode() + b"\0\0" + len(value).to_bytes(4, "little"))
        else:
            stream.write(vr.encode() + len(value).to_bytes(2, "little"))
        stream.write(value)
    path = tmp_path_factory.mktemp("files") / "a"
    path.write_bytes(stream.getvalue())
    found = read(path)
    if isinstance(found, Instance):
        assert (found.sop_uid, found.study_uid, found.series_uid) == ("1.2.1", "1.2.2", "1.2.3")
    else:
        # Only what is searched, or a sequence that is none, can be wrong.
        assert found.reason.startswith(("its ", "it ends within its header"))
