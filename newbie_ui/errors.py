"""The exceptions that reach a person.

    NewbieError                  every error of ours
    └── UserError                what was given cannot be used: says the value and the remedy (exit code 2)
        ├── RequestError         a field of a GenerateRequest; `field` names it
        ├── PromptError          the prompt as a whole (too long, too large)
        ├── PresetError          a preset file or name
        ├── SettingsError        an environment variable or a command-line flag
        ├── CheckpointError      a model path or its files
        ├── LoraError            a LoRA file
        ├── PictureError         an uploaded or stored picture
        └── EngineError          the engine cannot take the request now (closed, queue full)
            └── OutOfMemory      the device is too small even after every step down

Everything else that is raised is a bug: the page shows a short reference to the log, never the exception's text.
"""

from __future__ import annotations


class NewbieError(Exception):
    """Base of all errors raised on purpose by this package."""


class UserError(NewbieError):
    """Something given by a person cannot be used. The message holds the value and what to do instead."""


class RequestError(UserError):
    """A field of a request is out of range or of the wrong type.

    Args:
        field: name of the `GenerateRequest` field, e.g. ``"width"``.
        message: one sentence with the value and the remedy.
    """

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field

    def __reduce__(self):
        return type(self), (self.field, str(self))


class PromptError(UserError):
    """The prompt cannot be used as a whole, for example more tokens than the encoder has positions."""


class PresetError(UserError):
    """A preset does not exist, cannot be read, or has an unknown key."""


class SettingsError(UserError):
    """An environment variable or command-line flag has a value that cannot be used."""


class CheckpointError(UserError):
    """A model is missing, incomplete, of another architecture, or not reachable."""


class LoraError(UserError):
    """A LoRA file is unreadable or made for another model."""


class PictureError(UserError):
    """A picture is unreadable, too large, or of a kind that is not accepted."""


class EngineError(UserError):
    """The engine cannot take this request in its present state."""


class OutOfMemory(EngineError):
    """The device has too little memory even after every step down has been tried."""
