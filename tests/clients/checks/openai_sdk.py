"""OpenAI's Python library: `openai_sdk.py ROOT MODEL`."""

import json
import sys

import openai

root, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{root}/v1", api_key="none", timeout=120, max_retries=0)
hello = [{"role": "user", "content": "Say hello."}]
weather = [{"role": "user", "content": "What is the weather in Paris?"}]
place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": place}}]

assert model in [entry.id for entry in client.models.list()]
whole = client.chat.completions.create(model=model, messages=hello, max_tokens=24)
assert whole.choices[0].message.content
assert whole.choices[0].finish_reason in ("stop", "length")
with client.chat.completions.stream(model=model, messages=hello, max_tokens=24) as stream:
    for _ in stream:
        pass
    assert stream.get_final_completion().choices[0].message.content
called = client.chat.completions.create(
    model=model, messages=weather, tools=tools, tool_choice="required", max_tokens=128, temperature=0
)
[call] = called.choices[0].message.tool_calls
assert json.loads(call.function.arguments).keys() == {"city"}
assert called.choices[0].finish_reason == "tool_calls"
turn = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
result = {"role": "tool", "tool_call_id": call.id, "content": "18 C"}
client.chat.completions.create(model=model, messages=[*weather, turn, result], tools=tools, max_tokens=24)
assert client.completions.create(model=model, prompt="Once upon a time", max_tokens=8).choices[0].text
assert client.responses.create(model=model, input="Say hello.", max_output_tokens=24).output_text
with client.responses.stream(model=model, input="Say hello.", max_output_tokens=24) as stream:
    for _ in stream:
        pass
    assert stream.get_final_response().usage
refused = ""
try:
    client.chat.completions.create(model="no-such-model", messages=hello)
except openai.NotFoundError as error:
    refused = error.code
assert refused == "model_not_found"
print("all is well")
