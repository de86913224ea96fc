"""The prompt: document, XML text, edits, lint, tags, budget, pasting. Standard library only; imports nothing here."""
