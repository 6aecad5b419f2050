"""What transformers writes in single precision, and how likely it finds a text: what all layouts are held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROMPTS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue.",
)
TOKENS = 32
MEASURED_TEXT = (
    "The sea covers most of the surface of the Earth. Its water is salty, because rivers carry small amounts of minerals "
    "from the land, and the sun takes away only the water. Waves are made by the wind: the longer it blows, the higher they "
    "are. The tides follow the moon, which pulls at the water on the side that faces it. Many animals live in the sea, from "
    "the smallest plankton to the blue whale, the largest animal that has ever lived. People have sailed on it for thousands "
    "of years, to fish, to trade and to find out what lies behind the horizon. Today cables at its bottom carry most of what "
    "is sent between the continents."
)


def make_reference(folder: Path, source: Path) -> None:
    """Writes reference.json: prompts as ids, what is written after each, and a text's mean negative log-likelihood."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    prompts: list[dict[str, Any]] = []
    for text in PROMPTS:
        messages = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        with torch.inference_mode():
            written = model.generate(
                torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )
        after = written[0, len(ids) :].tolist()
        answer = tokenizer.decode(after, skip_special_tokens=True)
        prompts.append({"text": text, "ids": ids, "written": after, "answer": answer})
    measured = tokenizer(MEASURED_TEXT, add_special_tokens=False).input_ids
    with torch.inference_mode():
        logs = torch.log_softmax(model(torch.tensor([measured])).logits[0].double(), -1)
    loss = -logs[range(len(measured) - 1), measured[1:]].mean().item()
    folder.mkdir()
    told = {"prompts": prompts, "measured": {"ids": measured, "nll": loss}}
    (folder / "reference.json").write_text(json.dumps(told), encoding="utf-8")
