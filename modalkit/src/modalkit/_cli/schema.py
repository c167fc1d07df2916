"""The JSON Schema of modalkit.yaml, with the synonyms that the file may use."""

from typing import Any

from pydantic import BaseModel

from modalkit.settings import Settings


def settings_schema() -> dict[str, Any]:
    """Draft 2020-12; unknown keys are refused, as `Settings` refuses them."""
    schema = Settings.model_json_schema()
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "modalkit.yaml", "additionalProperties": False}
    for section in sections(Settings):
        _add_synonyms(schema["$defs"][section.__name__], getattr(section, "SYNONYMS", {}))
    entries = schema["$defs"]["ModelSettings"]["properties"]["model_entries"]["additionalProperties"]
    entries["type"] = ["object", "null"]  # a model without arguments of its own
    return schema


def sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models below one, in the order of their keys."""
    found: list[type[BaseModel]] = []
    for each in model.model_fields.values():
        if isinstance(each.annotation, type) and issubclass(each.annotation, BaseModel):
            found += [each.annotation, *sections(each.annotation)]
    return found


def _add_synonyms(definition: dict[str, Any], synonyms: dict[str, str]) -> None:
    properties = definition.get("properties", {})
    for old, new in synonyms.items():
        properties[old] = {key: value for key, value in properties[new].items() if key != "title"}
        properties[old]["description"] = f"The same as `{new}`."
        definition.setdefault("allOf", []).append({"not": {"required": [old, new]}})
