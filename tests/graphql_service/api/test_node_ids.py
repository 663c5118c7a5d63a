import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_service.api.node_ids import NodeId, read_node_id
from graphql_service.errors import InvalidArgument

parts = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1)


@given(parts, parts, st.one_of(st.just(""), st.text(min_size=1)))
def test_an_id_reads_as_it_was_written(kind: str, datastore_id: str, key: str) -> None:
    node_id = NodeId(kind, datastore_id, key)
    assert read_node_id(node_id.encode()) == node_id


@given(st.text())
def test_any_text_is_an_id_of_ours_or_refused(text: str) -> None:
    try:
        node_id = read_node_id(text)
    except InvalidArgument:
        return
    assert node_id.encode() == text


@pytest.mark.parametrize("named", ["", "ImageSet", "ImageSet:", ":d", "ImageSet:d:", "\xff"])
def test_a_malformed_id_is_refused(named: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_node_id(base64.urlsafe_b64encode(named.encode("latin-1")).decode().rstrip("="))
    assert str(refused.value) == "the Node id is malformed: use the 'id' of an object that this service has given"
