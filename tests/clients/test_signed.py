"""Clients that sign, against a service that checks: boto3, the AWS CLI, presigned URLs, and what was changed since."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from mypy_boto3_medical_imaging import HealthImagingClient

from graphql_service.access.keys import WireKey, add_wire_key, remove_key
from graphql_service.access.principals import Principal
from graphql_service.settings import Limits, Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.clients.test_javascript import pytestmark as needs_javascript
from tests.live import make_image_sets
from tests.wire import environment, serve

SEEN, HIDDEN, NONE = "a" * 32, "b" * 32, "c" * 32
ROWS = list(make_image_sets(120))


@dataclass(frozen=True)
class Service:
    """Where it listens, whom it lets in, and the key of one that sees one data store of two."""

    url: str
    keys: Path
    key: WireKey

    def environment(self, key: WireKey | None = None) -> dict[str, str]:
        key = key or self.key
        return environment(self.url) | {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}

    def client(self, key: WireKey | None = None, **config: Any) -> HealthImagingClient:
        key = key or self.key
        return boto3.Session(key.id, key.secret, region_name="eu-central-1").client(
            "medical-imaging", endpoint_url=self.url, config=Config(inject_host_prefix=False, **config)
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("signed")
    key = add_wire_key(folder / "keys.json", Principal("scanner", frozenset({SEEN})))
    with closing(SQLiteStore(folder / "store.db", create=True)) as store:
        for datastore_id in (SEEN, HIDDEN):
            store.load(datastore_id, (replace(row, datastore_id=datastore_id) for row in ROWS))

        with serve(create_app(store, Settings(auth="keys", keys_file=folder / "keys.json"))) as url:
            yield Service(url, folder / "keys.json", key)


def refusal(error: ClientError) -> tuple[int, str]:
    return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def test_a_client_with_a_key_sees_its_data_stores_alone(service: Service) -> None:
    with closing(service.client()) as client:
        assert [each["datastoreId"] for each in client.list_datastores()["datastoreSummaries"]] == [SEEN]
        pages = list(client.get_paginator("search_image_sets").paginate(datastoreId=SEEN))
        found = [each["imageSetId"] for page in pages for each in page["imageSetsMetadataSummaries"]]
        assert sorted(found) == sorted(row.image_set_id for row in ROWS)
        assert len(pages) == 3
        named = {"datastoreId": SEEN, "imageSetId": found[0]}
        assert client.get_image_set(**named)["imageSetState"] == "ACTIVE"
        assert (
            len(
                client.list_image_set_versions(datastoreId=named["datastoreId"], imageSetId=named["imageSetId"])[
                    "imageSetPropertiesList"
                ]
            )
            == 1
        )


def calls(client: HealthImagingClient, datastore_id: str, token: str) -> list[Callable[[], object]]:
    """Every reading call for a data store; the token is of a search in the hidden one."""
    image_set = ROWS[0].image_set_id
    return [
        lambda: client.get_datastore(datastoreId=datastore_id),
        lambda: client.search_image_sets(datastoreId=datastore_id),
        lambda: client.search_image_sets(datastoreId=datastore_id, maxResults=51),
        lambda: client.search_image_sets(datastoreId=datastore_id, nextToken="x"),
        lambda: client.get_image_set(datastoreId=datastore_id, imageSetId=image_set),
        lambda: client.list_image_set_versions(datastoreId=datastore_id, imageSetId=image_set),
        lambda: client.get_image_set_metadata(datastoreId=datastore_id, imageSetId=image_set),
        # The token of whoever may see that data store.
        lambda: client.search_image_sets(datastoreId=HIDDEN, nextToken=token, maxResults=5),
    ]


def test_what_it_does_not_see_is_not_there(service: Service) -> None:
    everything = add_wire_key(service.keys, Principal("all", None))
    with closing(service.client()) as client, closing(service.client(everything)) as all_seeing:
        token = all_seeing.search_image_sets(datastoreId=HIDDEN, maxResults=5)["nextToken"]
        told: dict[str, list[object]] = {HIDDEN: [], NONE: []}
        for datastore_id, errors in told.items():
            for call in calls(client, datastore_id, token):
                with pytest.raises(ClientError) as refused:
                    call()
                errors.append((*refusal(refused.value), refused.value.response["Error"]["Message"]))
        assert told[HIDDEN] == told[NONE]
        assert told[HIDDEN][-1] == (404, "ResourceNotFoundException", "There is no data store with this id.")
        with pytest.raises(client.exceptions.ValidationException):
            client.search_image_sets(datastoreId=SEEN, nextToken=token, maxResults=5)
    remove_key(service.keys, "all")


def test_a_key_that_is_removed_opens_nothing_more(service: Service) -> None:
    key = add_wire_key(service.keys, Principal("short-lived", None))
    with closing(service.client(key)) as client:
        assert len(client.list_datastores()["datastoreSummaries"]) == 2
        remove_key(service.keys, "short-lived")
        with pytest.raises(ClientError) as refused:
            client.list_datastores()
    assert refusal(refused.value) == (403, "UnrecognizedClientException")


def test_clients_are_told_why_they_are_refused(service: Service) -> None:
    other = replace(service.key, secret="0" * 64)
    unknown = replace(service.key, id="AKIAIOSFODNN7EXAMPLE")
    for client, kind in (
        (service.client(other), "InvalidSignatureException"),
        (service.client(unknown), "UnrecognizedClientException"),
        (service.client(signature_version=UNSIGNED), "MissingAuthenticationTokenException"),
    ):
        with closing(client), pytest.raises(ClientError) as refused:
            client.search_image_sets(datastoreId=SEEN)
        assert refusal(refused.value) == (403, kind)


def test_the_command_line_signs(service: Service) -> None:
    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("aws")), "medical-imaging", *arguments, "--output", "json"]
        environ = service.environment() | changed
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

    criteria = '{"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}]}'
    ran = run("search-image-sets", "--datastore-id", SEEN, "--search-criteria", criteria)
    assert (ran.returncode, ran.stderr) == (0, "")
    wanted = {row.image_set_id for row in ROWS if row.tags["DICOMPatientId"] == "P1"}
    assert {each["imageSetId"] for each in json.loads(ran.stdout)["imageSetsMetadataSummaries"]} == wanted
    for changed, kind in (
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "InvalidSignatureException"),
        ({"AWS_SESSION_TOKEN": "x"}, "UnrecognizedClientException"),
    ):
        ran = run("list-datastores", **changed)
        assert ran.returncode == 255  # 254 in its version 2
        assert f"An error occurred ({kind}) when calling the ListDatastores operation" in ran.stderr


@needs_javascript
def test_javascript_signs(service: Service) -> None:
    def run(secret: str) -> subprocess.CompletedProcess[str]:
        asked = {
            "endpoint": service.url,
            "datastoreId": SEEN,
            "imageSetId": ROWS[0].image_set_id,
            "searchCriteria": {},
            "credentials": {"accessKeyId": service.key.id, "secretAccessKey": secret},
        }
        command = ["node", str(Path(__file__).with_name("client.js")), json.dumps(asked)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    ran = run(service.key.secret)
    assert (ran.returncode, ran.stderr) == (0, "")
    answered = json.loads(ran.stdout)
    found = [each["imageSetId"] for page in answered["pages"] for each in page]
    assert sorted(found) == sorted(row.image_set_id for row in ROWS)
    assert [each["datastoreId"] for each in answered["datastores"]] == [SEEN]
    ran = run("x")
    assert ran.returncode == 1
    assert "InvalidSignatureException" in ran.stderr


def test_a_path_with_signs_is_signed_too(service: Service) -> None:
    arn = f"arn:aws:medical-imaging:eu-central-1:111122223333:datastore/{SEEN}"
    with closing(service.client()) as client, pytest.raises(client.exceptions.ValidationException) as refused:
        client.list_tags_for_resource(resourceArn=arn)
    assert "ListTagsForResource is not served here." in str(refused.value)


def answer(method: str, url: str, **sent: Any) -> tuple[int, str | None]:
    """Status and error of an answer that comes to whom botocore does not help."""
    answered = httpx.request(method, url, trust_env=False, **sent)
    assert answered.headers["x-amzn-requestid"]
    return answered.status_code, answered.headers.get("x-amzn-errortype")


def test_a_presigned_url_needs_no_key_while_it_lives(service: Service) -> None:
    named = {"datastoreId": SEEN, "imageSetId": ROWS[0].image_set_id}
    with closing(service.client()) as client:
        listed = client.generate_presigned_url("list_datastores", {"maxResults": 1}, 60)
        image_set = client.generate_presigned_url("get_image_set", named, 60)
        short = client.generate_presigned_url("list_datastores", {}, 1)
        hidden = client.generate_presigned_url("get_datastore", {"datastoreId": HIDDEN}, 60)
    assert httpx.get(listed, trust_env=False).json()["datastoreSummaries"][0]["datastoreId"] == SEEN
    assert httpx.post(image_set, trust_env=False).json()["imageSetId"] == ROWS[0].image_set_id
    assert answer("GET", hidden) == (404, "ResourceNotFoundException")
    invalid = 403, "InvalidSignatureException"
    assert answer("POST", image_set, content=b"{}") == invalid
    assert answer("GET", image_set) == invalid
    assert answer("GET", listed.replace("maxResults=1", "maxResults=2")) == invalid
    assert answer("GET", listed.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == invalid
    assert answer("POST", image_set.replace(SEEN, HIDDEN)) == invalid
    assert answer("GET", listed, headers={"host": "localhost"}) == invalid
    time.sleep(2.1)
    assert answer("GET", short) == invalid


def test_a_request_that_is_changed_on_the_way_is_refused(service: Service) -> None:
    path, body = f"/datastore/{SEEN}/searchImageSets", b'{"filters":[]}'
    query = "maxResults=5"
    host = service.url.removeprefix("http://")
    request = AWSRequest("POST", f"{service.url}{path}?{query}", {"host": host, "x-more": "a"}, body)
    SigV4Auth(Credentials(service.key.id, service.key.secret), "medical-imaging", "us-east-1").add_auth(request)
    headers = {name: str(value) for name, value in request.headers.items()}

    def send(
        *, method: str = "POST", path: str = path, query: str = query, body: bytes = body, **changed: str
    ) -> tuple[int, str | None]:
        changes = {name.replace("_", "-"): value for name, value in changed.items()}
        sent = {name.lower(): value for name, value in headers.items()} | changes
        return answer(method, f"{service.url}{path}?{query}", headers=sent, content=body)

    assert send() == (400, "ValidationException")  # no filters: what was signed has arrived
    assert send(x_other="b") == (400, "ValidationException")
    invalid = 403, "InvalidSignatureException"
    assert send(method="PUT") == invalid
    assert send(path=path.replace(SEEN, HIDDEN)) == invalid
    assert send(path=f"{path}/") == invalid
    assert send(query="maxResults=6") == invalid
    assert send(query=f"{query}&nextToken=x") == invalid
    assert send(body=b"{}") == invalid
    assert send(x_more="b") == invalid
    assert send(host="localhost") == invalid
    assert send(x_amz_date="20240311T150005Z") == invalid
    for old, new in (("us-east-1", "us-east-2"), ("medical-imaging", "s3"), (";x-more", "")):
        authorization = headers["Authorization"].replace(old, new)
        assert authorization != headers["Authorization"]
        assert send(authorization=authorization) == invalid


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/datastore"),
        ("PATCH", "/datastore"),
        ("GET", f"/datastore/{SEEN}"),
        ("GET", "/datastore/x/y/z"),
        ("POST", f"/datastore/{SEEN}/searchImageSets"),
        ("POST", f"/datastore/{SEEN}/imageSet/{SEEN}/deleteImageSet"),
        ("GET", "/tags/x"),
    ],
)
def test_nothing_is_told_to_whom_does_not_sign(service: Service, method: str, path: str) -> None:
    assert answer(method, f"{service.url}{path}?what=ever") == (403, "MissingAuthenticationTokenException")
    bearer = {"authorization": "Bearer imagesets_" + "0" * 16 + "_" + "0" * 64}
    assert answer(method, f"{service.url}{path}", headers=bearer) == (403, "IncompleteSignatureException")


def test_a_body_is_read_no_further_than_its_limit(service: Service) -> None:
    told = answer("POST", f"{service.url}/datastore/{SEEN}/searchImageSets", content=b" " * (Limits().body_bytes + 1))
    assert told == (400, "ValidationException")
