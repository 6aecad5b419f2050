"""Anthropic's Python library: `anthropic_sdk.py ROOT MODEL`."""

import sys

import anthropic

root, model = sys.argv[1:3]
client = anthropic.Anthropic(base_url=root, auth_token="none", timeout=120, max_retries=0)
hello = [{"role": "user", "content": "Say hello."}]
place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"name": "get_weather", "description": "Tells the weather.", "input_schema": place}]
weather = [{"role": "user", "content": "What is the weather in Paris?"}]

assert model in [entry.id for entry in client.models.list()]
whole = client.messages.create(model=model, max_tokens=24, messages=hello, system="Be brief.")
assert whole.content[0].text
assert whole.usage.output_tokens
assert client.messages.count_tokens(model=model, messages=hello).input_tokens > 0
with client.messages.stream(model=model, max_tokens=128, messages=weather, tools=tools, tool_choice={"type": "any"}) as stream:
    called = stream.get_final_message()
[use] = [block for block in called.content if block.type == "tool_use"]
assert use.input.keys() == {"city"}
assert called.stop_reason == "tool_use"
answer = {"type": "tool_result", "tool_use_id": use.id, "content": "18 C"}
turn = {"role": "assistant", "content": [{"type": "tool_use", "id": use.id, "name": use.name, "input": use.input}]}
client.messages.create(
    model=model, max_tokens=24, tools=tools, messages=[*weather, turn, {"role": "user", "content": [answer]}]
)
print("all is well")
