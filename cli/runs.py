"""stub"""


def runs() -> None: ...
