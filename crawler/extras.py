"""Optional dependencies: which extra of this package brings which module. Imported where they are used, asked for here."""

from __future__ import annotations

import importlib.util

from crawler.errors import MissingExtra

_BRINGS = {
    "pillow_heif": ("pillow-heif", "heif"),
    "pyarrow": ("pyarrow", "parquet"),
    "fsspec": ("fsspec", "remote"),
    "backports.zstd": ("backports.zstd", "zstd"),
}


def has(module: str) -> bool:
    """True if the module is installed."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def require(module: str, setting: str, why: str = "") -> None:
    """Look whether a module is installed.

    Args:
        setting: that asks for it.
        why: what needs it, for people.

    Raises:
        MissingExtra: it is not.
    """
    if not has(module):
        package, extra = _BRINGS[module]
        raise MissingExtra(
            setting,
            f"{f'{why} needs {package}, which' if why else package} is not installed: "
            f'python -m pip install "crawler[{extra}]"',
        )
