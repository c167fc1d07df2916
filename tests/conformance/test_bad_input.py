"""What is refused, and how clearly. The client checks much of this itself, so these requests are made by hand."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import psutil
import pytest
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2, api_pb2_grpc

from conformance.engine import Engine

HELLO = hashlib.sha256(b"hello").hexdigest()


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


class TestWho:
    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {"x-modal-token-id": "ak-wrong", "x-modal-token-secret": "as-wrong"},
            {"x-modal-token-id": "", "x-modal-token-secret": ""},
        ],
        ids=["no token", "a wrong token", "an empty token"],
    )
    def test_a_caller_without_the_token_is_refused(self, engine: Engine, metadata: dict[str, str]) -> None:
        code, _ = refusal(lambda: engine.call("ClientHello", Empty(), metadata=metadata))

        assert code is grpc.StatusCode.UNAUTHENTICATED

    def test_half_a_token_is_not_enough(self, engine: Engine) -> None:
        half = {"x-modal-token-id": engine.credentials["MODAL_TOKEN_ID"], "x-modal-token-secret": "as-wrong"}

        code, details = refusal(lambda: engine.call("AppList", api_pb2.AppListRequest(), metadata=half))

        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert engine.credentials["MODAL_TOKEN_SECRET"] not in details

    def test_the_cli_says_what_is_wrong_with_the_token(self, engine: Engine) -> None:
        ran = engine.modal("app", "list", env={**engine.client_environment, "MODAL_TOKEN_SECRET": "as-wrong"})

        assert ran.code != 0
        assert "token" in ran.output.lower()

    def test_the_token_can_be_looked_at_without_its_secret(self, engine: Engine) -> None:
        shown = engine.modal("token", "info").succeeded().output

        assert engine.credentials["MODAL_TOKEN_ID"] in shown
        assert engine.credentials["MODAL_TOKEN_SECRET"] not in shown

    def test_a_short_lived_token_ends_by_itself(self, engine: Engine) -> None:
        token = engine.call("AuthTokenGet", api_pb2.AuthTokenGetRequest()).token

        claims = jwt.decode(token, options={"verify_signature": False})
        assert time.time() < claims["exp"] < time.time() + 24 * 3600


class TestUnknown:
    @pytest.mark.parametrize("method", ["SandboxCreateV2", "EndpointCreate", "AuditLogList"])
    def test_what_is_not_served_is_unimplemented(self, engine: Engine, method: str) -> None:
        request = getattr(api_pb2, f"{method}Request")()

        code, _ = refusal(lambda: engine.call(method, request))

        assert code is grpc.StatusCode.UNIMPLEMENTED

    def test_a_method_of_no_service_is_unimplemented(self, engine: Engine) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel:
            call = channel.unary_unary("/modal.client.ModalClient/MakeCoffee")
            code, _ = refusal(lambda: call(b"", timeout=60))

        assert code is grpc.StatusCode.UNIMPLEMENTED

    def test_ids_of_nothing_are_not_found(self, engine: Engine) -> None:
        nothing = "0" * 22
        requests = {
            "AppGetLayout": api_pb2.AppGetLayoutRequest(app_id=f"ap-{nothing}"),
            "AppStop": api_pb2.AppStopRequest(app_id=f"ap-{nothing}"),
            "FunctionMap": api_pb2.FunctionMapRequest(function_id=f"fu-{nothing}"),
            "ImageJoinStreaming": api_pb2.ImageJoinStreamingRequest(image_id=f"im-{nothing}"),
            "BlobGet": api_pb2.BlobGetRequest(blob_id=f"bl-{nothing}"),
        }

        codes = {method: refusal(lambda: engine.call(method, request))[0] for method, request in requests.items()}  # noqa: B023 — called at once

        assert set(codes.values()) == {grpc.StatusCode.NOT_FOUND}, codes


class TestRequests:
    def test_one_that_cannot_be_read_is_refused_for_good(self, engine: Engine) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel:
            call = channel.unary_unary("/modal.client.ModalClient/SecretGetOrCreate")
            code, _ = refusal(lambda: call(b"\xff\xff\xff\x01", metadata=tuple(engine.client_metadata().items()), timeout=60))

        assert code is grpc.StatusCode.INVALID_ARGUMENT, "a client would repeat UNKNOWN for minutes"

    def test_nothing_is_read_for_a_stranger(self, engine: Engine) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel:
            call = channel.unary_unary("/modal.client.ModalClient/SecretGetOrCreate")
            code, _ = refusal(lambda: call(b"\xff\xff\xff\x01", timeout=60))

        assert code is grpc.StatusCode.UNAUTHENTICATED

    def test_a_refusal_stays_readable_however_long_the_name_in_it(self, engine: Engine) -> None:
        code, details = refusal(lambda: engine.call("AppLookup", api_pb2.AppLookupRequest(app_name="ü" * 100_000)))

        assert code is grpc.StatusCode.NOT_FOUND
        assert details.startswith("No app named")

    @pytest.mark.parametrize("place", ["²", "9" * 5000, "-1", "\0"])
    def test_a_place_in_a_log_that_is_none_means_its_beginning(self, engine: Engine, place: str) -> None:
        request = api_pb2.AppGetLogsRequest(app_id=_app(engine), last_entry_id=place, timeout=float("nan"))

        with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel:
            stub = api_pb2_grpc.ModalClientStub(channel)
            assert not list(stub.AppGetLogs(request, metadata=tuple(engine.client_metadata().items()), timeout=60))

    @pytest.mark.parametrize("app_id", ["../../../etc", "/etc", "a\0b", "x" * 1000, ""])
    @pytest.mark.parametrize("method", ["AppFetchLogs", "AppCountLogs"])
    def test_logs_are_those_of_apps(self, engine: Engine, method: str, app_id: str) -> None:
        request = getattr(api_pb2, f"{method}Request")(app_id=app_id)

        code, _ = refusal(lambda: engine.call(method, request))

        assert code is grpc.StatusCode.NOT_FOUND

    def test_reasons_that_this_version_does_not_know_are_taken(self, engine: Engine) -> None:
        engine.call("AppStop", api_pb2.AppStopRequest(app_id=_app(engine), source=77))  # type: ignore[arg-type]


class TestMounts:
    @pytest.mark.parametrize(
        "path", ["../../etc/passwd", "/root/../../etc/passwd", "relative.txt", "/nul\0byte", "/", "", "/" + "a" * 5000]
    )
    def test_a_path_that_could_leave_the_container_is_refused(self, engine: Engine, path: str) -> None:
        code, details = refusal(lambda: engine.call("MountGetOrCreate", _mount(path, HELLO)))

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "path" in details.lower()

    @pytest.mark.parametrize("digest", ["", "abc", "../" * 10, HELLO.upper(), HELLO + "0", "g" * 64])
    def test_a_digest_that_is_none_is_refused(self, engine: Engine, digest: str) -> None:
        code, _ = refusal(lambda: engine.call("MountGetOrCreate", _mount("/root/a.txt", digest)))

        assert code is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_file_that_was_never_sent_is_refused(self, engine: Engine) -> None:
        missing = hashlib.sha256(b"never sent by anyone").hexdigest()

        code, _ = refusal(lambda: engine.call("MountGetOrCreate", _mount("/root/a.txt", missing)))

        assert code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}

    def test_content_that_does_not_match_its_digest_is_refused_and_not_kept(self, engine: Engine) -> None:
        digest = hashlib.sha256(b"what was promised").hexdigest()

        code, _ = refusal(lambda: engine.call("MountPutFile", api_pb2.MountPutFileRequest(sha256_hex=digest, data=b"what came")))

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        request = api_pb2.MountBatchedCheckExistenceRequest(sha256_hex_hashes=[digest])
        assert list(engine.call("MountBatchedCheckExistence", request).missing_sha256_hex_hashes) == [digest]


def _mount(path: str, digest: str) -> api_pb2.MountGetOrCreateRequest:
    return api_pb2.MountGetOrCreateRequest(
        object_creation_type=api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP,
        files=[api_pb2.MountFile(filename=path, sha256_hex=digest, mode=0o644)],
    )


class TestNames:
    @pytest.mark.parametrize("name", ["../up", "a/b", "spaced out", "x" * 300])
    def test_a_name_that_is_none_is_refused(self, engine: Engine, name: str) -> None:
        request = api_pb2.SecretGetOrCreateRequest(
            deployment_name=name,
            object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
            env_dict={"KEY": "value"},
        )

        code, _ = refusal(lambda: engine.call("SecretGetOrCreate", request))

        assert code is grpc.StatusCode.INVALID_ARGUMENT

    def test_an_environment_that_is_not_there_is_named(self, engine: Engine) -> None:
        request = api_pb2.AppListRequest(environment_name="no-such-place")

        code, details = refusal(lambda: engine.call("AppList", request))

        assert code is grpc.StatusCode.NOT_FOUND
        assert "no-such-place" in details


class TestSizes:
    def test_a_blob_larger_than_allowed_is_refused_before_it_is_sent(self, engine: Engine) -> None:
        request = api_pb2.BlobCreateRequest(content_length=2**50, content_sha256_base64="", content_md5="")

        code, _ = refusal(lambda: engine.call("BlobCreate", request))

        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}

    def test_secrets_of_any_size_are_not_kept(self, engine: Engine) -> None:
        request = api_pb2.SecretGetOrCreateRequest(
            deployment_name="too-large",
            object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
            env_dict={"KEY": "x" * (4 * 1024 * 1024)},
        )

        code, _ = refusal(lambda: engine.call("SecretGetOrCreate", request))

        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


class TestImages:
    def test_an_image_of_nothing_is_refused(self, engine: Engine) -> None:
        request = api_pb2.ImageGetOrCreateRequest(image=api_pb2.Image(), app_id=_app(engine), builder_version="2025.06")

        code, details = refusal(lambda: engine.call("ImageGetOrCreate", request))

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details


def _app(engine: Engine) -> str:
    request = api_pb2.AppCreateRequest(description="bad-input", app_state=api_pb2.APP_STATE_EPHEMERAL)
    return str(engine.call("AppCreate", request).app_id)


class TestHangUps:
    def test_callers_who_hang_up_disturb_nobody(self, engine: Engine) -> None:
        """Whatever the engine was in the middle of, it lets go of."""
        with grpc.insecure_channel(f"127.0.0.1:{engine.control_port}") as channel:
            stub = api_pb2_grpc.ModalClientStub(channel)
            metadata = tuple(engine.client_metadata().items())
            request = api_pb2.SecretGetOrCreateRequest(
                deployment_name="hung-up",
                object_creation_type=api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS,
                env_dict={"KEY": "value"},
            )
            for round_ in range(120):
                patience = [(1 + (round_ + number) % 30) / 1000 for number in range(6)]
                calls = [stub.SecretGetOrCreate.future(request, metadata=metadata, timeout=seconds) for seconds in patience]
                assert {call.code() for call in calls} <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
                stub.SecretList(api_pb2.SecretListRequest(), metadata=metadata, timeout=60)


class TestSockets:
    def test_the_engine_listens_on_loopback_only(self, engine: Engine) -> None:
        ports = {engine.control_port, engine.gateway_port}
        listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports]

        assert {port for _, port in listening} == ports
        assert {address.removeprefix("::ffff:") for address, _ in listening} == {"127.0.0.1"}
