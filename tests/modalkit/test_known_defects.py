"""What an earlier implementation of the same idea had wrong, and the tests that keep it from coming back."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

DEFECTS = {
    "settings read at import": "modalkit/test_settings.py::test_nothing_is_read_at_import",
    "removed SDK keyword arguments passed through": "modalkit/test_modal_config.py::test_keywords_that_the_sdk_removed_are_not_passed",
    "a custom constructor on a class with modal.parameter()": "modalkit/test_kit_client.py::test_it_has_no_constructor_of_its_own",
    "type(app_cls) used where the class itself was given": "modalkit/test_kit_client.py::test_the_class_itself_is_given",
    "model_name set as an attribute, so always the default model": "modalkit/test_kit_client.py::test_the_named_model_answers",
    "a list passed to a batched method as one element": "modalkit/test_handler.py::test_items_of_several_parcels_make_one_batch",
    "an unparametrised generic input model, so every async call failed": "modalkit/test_jobs.py::test_an_unparametrised_order_is_taken",
    "500 instead of 422": "modalkit/test_web_routes.py::test_an_input_that_is_none_is_422_with_the_path_of_each_fault",
    "an empty request schema in OpenAPI": "modalkit/test_web_routes.py::test_it_shows_the_apps_own_models",
    "promised routes missing": "modalkit/test_web_routes.py::test_every_promised_route_is_there",
    "asyncio.run inside a running loop, swallowed": "modalkit/test_kit_client.py::test_within_a_running_loop_it_is_awaited",
    "back-end constructed with arguments it does not take": "modalkit/test_queues.py::test_every_back_end_is_made_of_its_settings_alone",
    "documented back-end not registered": "modalkit/test_queues.py::test_every_documented_back_end_is_registered",
    "reload interval -1 meaning every request": "modalkit/test_modal_config.py::test_no_interval_zero_and_minus_one_mean_never",
    "list-form extra_run_commands dropped": "modalkit/test_modal_config.py::test_extra_run_commands_are_run_as_text_and_as_a_list",
    "the configured image silently replaced": "modalkit/test_modal_config.py::test_the_configured_image_is_kept",
    ".env promised and not read": "modalkit/test_settings.py::test_dotenv_is_read",
    "the YAML not shipped into the image": "modalkit/test_modal_config.py::test_the_yaml_is_shipped_and_named_in_the_image",
    "one global batch setting for all services": "modalkit/test_modal_config.py::test_each_service_has_its_own_batch_settings",
    "one bad item failing its batch": "modalkit/test_batches.py::test_it_fails_alone",
    "zip(strict=False)": "modalkit/test_batches.py::test_a_wrong_length_is_an_error_that_says_so",
    "CUDA faults found by a substring": "modalkit/test_fault_taxonomy.py::test_words_alone_are_no_fault",
    "the batch of a CUDA fault lost": "conformance/test_modalkit.py::test_a_broken_device_loses_no_request",
    "fire-and-forget tasks lost at shutdown": "modalkit/test_webhooks.py::test_what_is_under_way_when_the_app_ends_is_delivered",
    "job ids without any way to ask for the result": "modalkit/test_jobs.py::test_a_result_can_be_asked_for_by_the_jobs_id",
    "keys compared with ==": "modalkit/test_api_keys.py::test_keys_are_compared_in_constant_time_and_all_of_them",
    "unknown YAML keys accepted in silence": "modalkit/test_settings.py::test_an_unknown_key_names_its_line_and_the_nearest_key",
    "tests that mock so much that none of this showed": "conformance/test_modalkit.py::TestDeploymentGuide",
}


@pytest.mark.parametrize("test", DEFECTS.values(), ids=list(DEFECTS))
def test_each_has_a_test_of_its_own(test: str) -> None:
    file, _, name = test.partition("::")

    assert name in names(TESTS / file)


def names(file: Path) -> set[str]:
    """The classes and functions of a file."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {each.name for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, kinds)}
