"""HealthImaging's wire protocol over real HTTP on this machine, and what real clients of it need in the environment."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Scope

from graphql_service.access.signatures import SignedRequest
from graphql_service.auditing import Reading
from graphql_service.stores.base import Store


def environment(url: str) -> dict[str, str]:
    """What points boto3 and the AWS CLI at this address and nothing else."""
    return {
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@dataclass(frozen=True, slots=True)
class Open:
    """A door that stands open: whoever comes sees the whole store, and nothing is written down."""

    store: Store

    async def read_body(self, request: Request) -> bytes:
        return await request.body()

    def work(self) -> AbstractContextManager[None]:
        return nullcontext()

    def admit_signed(self, _scope: Scope, _request: SignedRequest) -> Store:
        return self.store

    def write_down(self, _scope: Scope, _operations: Sequence[str], _readings: Sequence[Reading]) -> None:
        pass


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Serves the application in a thread, on a free port; its address."""
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
