"""Makes a site of pages that are written to be read in the tree: README.md is the first page, and files outside docs/ that
pages link to (experiments, .proto) come along as text."""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)\)")


def index():
    """README.md as a page of docs/."""
    text = (ROOT / "README.md").read_text()
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)",
                  lambda found: f"]({found[1].removeprefix('docs/')})" if found[1].startswith("docs/")
                  else f"](../{found[1]})", text)


def on_files(files, config):
    files.append(File.generated(config, "index.md", content=index()))
    pages = [index(), *(path.read_text() for path in pathlib.Path(config.docs_dir).glob("*.md"))]
    for name in sorted({name for page in pages for name in OUTSIDE.findall(page)}):
        source = ROOT / name
        if source.is_dir():
            source /= "README.md"
        if source.is_file():  # what is not there stays a link that leads nowhere, which --strict refuses
            files.append(File.generated(config, f"source/{name}.txt", content=source.read_text()))
    return files


def on_page_markdown(markdown, **_):
    return OUTSIDE.sub(r"](source/\1.txt)", markdown)
