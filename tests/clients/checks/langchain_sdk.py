"""LangChain's OpenAI package: `langchain_sdk.py ROOT MODEL`."""

import sys

from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

root, model = sys.argv[1:3]
common = {"base_url": f"{root}/v1", "api_key": "none", "model": model, "timeout": 120, "max_retries": 0, "temperature": 0}


class GetWeather(BaseModel):
    """Tells the weather of a city."""

    city: str = Field(description="Its name")


chat = ChatOpenAI(max_tokens=24, **common)
answer = chat.invoke("Say hello.")
assert answer.content
assert answer.usage_metadata["total_tokens"]
assert "".join(part.content for part in chat.stream("Say hello."))
called = ChatOpenAI(max_tokens=128, **common).bind_tools([GetWeather], tool_choice="any").invoke("The weather in Paris?")
assert called.tool_calls[0]["args"].keys() == {"city"}
print("all is well")
