"""Names of columns as a reader wants them."""


def spoken(name: str) -> str:
    """A column name as words."""
    return name.replace("_", " ")
