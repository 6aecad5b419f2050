"""Ollama's Python library: `ollama_sdk.py ROOT MODEL`."""

import json
import sys

import ollama

root, model = sys.argv[1:3]
client = ollama.Client(host=root, timeout=120)
hello = [{"role": "user", "content": "Say hello."}]
person = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}}}

assert any(entry.model.startswith(model) for entry in client.list().models)
assert "completion" in client.show(model).capabilities
whole = client.chat(model=model, messages=hello, options={"num_predict": 24, "num_ctx": 4096})
assert whole.done
assert whole.message.content
assert whole.eval_count
parts = list(client.chat(model=model, messages=hello, stream=True, options={"num_predict": 24}))
assert parts[-1].done
assert client.generate(model=model, prompt="Say hello.", options={"num_predict": 8}).response
formed = client.chat(model=model, messages=hello, options={"num_predict": 80}, format={**person, "required": ["name", "age"]})
assert json.loads(formed.message.content).keys() == {"name", "age"}
client.ps()
print("all is well")
