"""The one error a user ever sees: what is wrong, its value, and what to do about it."""


class UserError(Exception):
    """Bad input. Scripts print it as one line and exit with status 2.

    `field` names the config key, file or column, `value` is what was found there and
    `remedy` says what to do.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(field, value, remedy)
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        return " ".join(f"{self.field}: {self.value!r}: {self.remedy}".split())


class Interrupted(Exception):
    """A stage was asked to stop and kept its state: scripts exit with status 75, run it again."""
