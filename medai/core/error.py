"""Errors that a person reads: one line that says what was wrong and what to do."""


class MedaiError(Exception):
    """A fault of the input, the configuration or the surroundings, told in one line.

    Commands print the message without a traceback and end with exit code 2.
    """


class Refusal(MedaiError):
    """One input that is refused. In a batch it goes to the quarantine, alone it ends the command.

    Args:
        code: Stable reason code in kebab-case, e.g. ``"truncated"``.
        message: What was wrong, what was got, what was expected.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["Refusal"], tuple[str, str]]:
        return Refusal, (self.code, self.message)  # survives the way back from a worker process
