"""README for an index page, which knows no neighbouring files: its relative links lead to the repository instead."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"(!\[[^\]]*\]\()(?!https?:|#)")
LINK = re.compile(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)")


def absolute(readme: str, repository: str) -> str:
    """The text with a picture as the file itself, and every other relative link as the file's page."""
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")
    return LINK.sub(rf"\1{repository}/blob/main/", PICTURE.sub(rf"\1{raw}/main/", readme))


class Readme(MetadataHookInterface):
    """Called by hatchling whenever it makes the metadata of a package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme, with links into the repository that `project.urls` names."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = absolute(readme, metadata["urls"]["Repository"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
