"""Reading checkpoints: files → names and tensors (`weights`), names → ours (`keys`, `plan`), parts, tokenizers, hub."""
