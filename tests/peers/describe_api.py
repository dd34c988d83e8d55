"""Writes an OpenAPI description of one operation of a provider, from the types of the provider's own SDK.

    describe_api.py openai|anthropic >FILE

The SDKs openai and anthropic are generated from the providers' API descriptions, which are published nowhere that a package
registry reaches; the SDK's request types are the nearest thing to them. Runs on the Python that has the SDKs, not on pytest's.
Stricter than the descriptions themselves in one point: a member that the SDK does not know is refused.
"""

import json
import sys

from pydantic import TypeAdapter


def openai():
    from openai import OpenAI
    from openai.types.chat import ChatCompletion
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    return OpenAI(api_key="key"), "/chat/completions", CompletionCreateParamsNonStreaming, ChatCompletion


def anthropic():
    from anthropic import Anthropic
    from anthropic.types import Message
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
    return Anthropic(api_key="key"), "/v1/messages", MessageCreateParamsNonStreaming, Message


def closed(schema):
    """The SDK's types list every member there is; JSON Schema would let others pass."""
    if isinstance(schema, dict):
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            closed(value)
    elif isinstance(schema, list):
        for value in schema:
            closed(value)
    return schema


def moved(schema, name):
    """The schema, with its $defs among the description's components, under names of their own."""
    text = json.dumps(schema).replace('"#/$defs/', f'"#/components/schemas/{name}.')
    schema = json.loads(text)
    return {name: schema, **{f"{name}.{key}": value for key, value in schema.pop("$defs", {}).items()}}


def headers_of(client):
    """The headers that the SDK sends and the API needs. What only tells of the SDK is left out."""
    sent = {name.lower() for name in {**client.default_headers, **client.auth_headers}}
    return sorted(sent & {"authorization", "x-api-key", "anthropic-version", "content-type"})


def main():
    client, path, request, answer = {"openai": openai, "anthropic": anthropic}[sys.argv[1]]()
    base = "/v1" if client.base_url.path.rstrip("/").endswith("/v1") else ""
    reference = "#/components/schemas/"
    operation = {
        "operationId": "create",
        "parameters": [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
                       for name in headers_of(client) if name != "content-type"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": reference + "Request"}}}},
        "responses": {"200": {"description": "OK",
                              "content": {"application/json": {"schema": {"$ref": reference + "Answer"}}}}},
    }
    json.dump({
        "openapi": "3.1.0",
        "info": {"title": sys.argv[1], "version": "1"},
        "x-headers": headers_of(client),
        "paths": {base + path: {"post": operation}},
        "components": {"schemas": {**moved(closed(TypeAdapter(request).json_schema()), "Request"),
                                   **moved(TypeAdapter(answer).json_schema(), "Answer")}},
    }, sys.stdout, indent=1)


main()
