"""LM Studio's Python library, over its WebSockets: `lmstudio_sdk.py ROOT MODEL`."""

import sys

import lmstudio

root, name = sys.argv[1:3]
with lmstudio.Client(root.partition("://")[2]) as client:
    model = client.llm.model(name)
    assert name in [entry.identifier for entry in client.list_loaded_models()]
    answer = model.respond("Say hello.", config={"maxTokens": 24})
    assert answer.content
    assert answer.stats.predicted_tokens_count
    assert list(model.respond_stream("Say hello.", config={"maxTokens": 24}))
    assert model.get_context_length() > 0
print("all is well")
