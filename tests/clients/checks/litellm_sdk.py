"""LiteLLM over four of its providers: `litellm_sdk.py ROOT MODEL`."""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

root, model = sys.argv[1:3]
litellm.telemetry = False
hello = [{"role": "user", "content": "Say hello."}]
for provider, base in (("openai", f"{root}/v1"), ("lm_studio", f"{root}/v1"), ("ollama_chat", root), ("anthropic", root)):
    asked = {"model": f"{provider}/{model}", "api_base": base, "messages": hello, "api_key": "none", "timeout": 120}
    whole = litellm.completion(**asked, max_tokens=24, num_retries=0)
    assert whole.choices[0].message.content, provider
    parts = litellm.completion(**asked, max_tokens=24, num_retries=0, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices), provider
print("all is well")
