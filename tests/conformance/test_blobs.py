"""Blobs: links for values that are too large for a message. `test_functions.py` sends them as users do; here is what links refuse."""

import base64
import hashlib
import urllib.request
from http import HTTPStatus
from urllib.error import HTTPError

import grpc
import pytest
from modal_proto import api_pb2

from conformance.engine import Engine

DATA = b"some bytes that nobody else has sent" * 100


def _upload(engine: Engine, data: bytes) -> api_pb2.BlobCreateResponse:
    request = api_pb2.BlobCreateRequest(
        content_md5=base64.b64encode(hashlib.md5(data).digest()).decode(),
        content_sha256_base64=base64.b64encode(hashlib.sha256(data).digest()).decode(),
        content_length=len(data),
    )
    return engine.call("BlobCreate", request)


def _http(method: str, url: str, data: bytes | None = None) -> tuple[int, bytes, str]:
    """Status, body and ETag."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), timeout=20) as response:
            return response.status, response.read(), response.headers.get("ETag", "")
    except HTTPError as error:
        with error:
            return error.code, error.read(), ""


def test_what_is_sent_by_a_link_is_fetched_by_another(engine: Engine) -> None:
    upload = _upload(engine, DATA)

    status, _, etag = _http("PUT", upload.upload_urls.items[0], DATA)
    assert (status, etag) == (HTTPStatus.OK, f'"{hashlib.md5(DATA).hexdigest()}"')

    for method in ("BlobGet", "FunctionBlobGet"):  # the second is what older clients ask
        url = engine.call(method, api_pb2.BlobGetRequest(blob_id=upload.blob_ids[0])).download_url
        assert _http("GET", url)[:2] == (HTTPStatus.OK, DATA)


def test_other_bytes_than_promised_are_refused_and_not_kept(engine: Engine) -> None:
    promised = b"promised" * 100
    upload = _upload(engine, promised)

    assert _http("PUT", upload.upload_urls.items[0], b"something" * 100)[0] == HTTPStatus.BAD_REQUEST
    assert _http("PUT", upload.upload_urls.items[0], promised[:-1])[0] == HTTPStatus.BAD_REQUEST

    with pytest.raises(grpc.RpcError) as caught:
        engine.call("BlobGet", api_pb2.BlobGetRequest(blob_id=upload.blob_ids[0]))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_link_that_we_did_not_sign_opens_nothing(engine: Engine) -> None:
    url = _upload(engine, DATA).upload_urls.items[0]

    assert _http("PUT", url[:-8] + "AAAAAAAA", DATA)[0] == HTTPStatus.FORBIDDEN
    assert _http("GET", url)[0] == HTTPStatus.FORBIDDEN, "a link for sending is none for fetching"
