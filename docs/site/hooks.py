"""What MkDocs is told beside mkdocs.yml: pages of the repository that lie outside of docs/, and links between all.

The Markdown is that of the repository: links are those that work on a code host, and are turned here. A link that leads
nowhere is a warning, which ``make docs`` takes for an error.
"""

import base64
import json
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).resolve().parents[2]
#: file of the repository -> its page
OUTSIDE = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "hjc/configs/README.md": "reference/groups.md",
    "hjc/data/sample/README.md": "sample.md",
}
ELSEWHERE_WORKER = "https://unpkg.com/iframe-worker/shim"
ELSEWHERE = ("http:", "https:", "mailto:", "data:")
#: what a browser fetches by itself from another site
_FETCHED = re.compile(r'<(?:script|img|iframe|link rel="stylesheet")[^>]*?(?:src|href)="(https?://[^"]+)"')
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def sources() -> dict[str, str]:
    """File of the repository -> address of its page or file in the site."""
    found = {f"docs/{p.relative_to(ROOT / 'docs').as_posix()}": p.relative_to(ROOT / "docs").as_posix()
             for p in (ROOT / "docs").rglob("*") if p.is_file()}  # fmt: skip
    found |= OUTSIDE
    found |= {f"experiments/{p.parent.name}/README.md": f"experiments/{p.parent.name}.md"
              for p in (ROOT / "experiments").glob("*/README.md")}  # fmt: skip
    found |= {f"notebooks/{p.name}": f"notebooks/{p.stem}.md" for p in (ROOT / "notebooks").glob("*.ipynb")}
    return found


PAGES = sources()
ORIGIN = {page: source for source, page in PAGES.items()}


def resolve(source: str, target: str) -> str | None:
    """What a link in a file of the repository leads to, as a file of it; None where it leads nowhere."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if (ROOT / path).is_dir():
        return f"{path}/README.md" if (ROOT / path / "README.md").exists() else None
    return path if (ROOT / path).exists() else None


def links(text: str) -> list[str]:
    """Targets of the links in Markdown, those in code left out, without anchors."""
    prose = _FENCE.sub("", text)
    found = (match["target"].partition("#")[0] for match in _LINK.finditer(prose))
    return [target for target in found if target and not target.startswith(ELSEWHERE)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside, and every file of the repository that a page links to."""
    texts = {}
    for source, page in PAGES.items():
        if source.endswith(".ipynb"):
            files.append(File.generated(config, page, content=notebook(ROOT / source)))
        elif source.endswith(".md"):
            texts[source] = (ROOT / source).read_text(encoding="utf-8")
            if not source.startswith("docs/"):
                files.append(File.generated(config, page, content=texts[source]))
    for source, text in texts.items():
        for target in links(text):
            found = resolve(source, target)
            if found is not None and found not in PAGES:
                PAGES[found] = f"files/{found}"
                files.append(File.generated(config, PAGES[found], abs_src_path=str(ROOT / found)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the repository -> links between pages of the site."""
    source = ORIGIN.get(page.file.src_uri)
    if source is None:
        return markdown

    def turned(match: re.Match[str]) -> str:
        target, hash_, anchor = match["target"].partition("#")
        if not target or target.startswith(ELSEWHERE):
            return match[0]
        found = resolve(source, target)
        if found is None or found not in PAGES:
            log.warning("%s: the link %s leads nowhere", source, target)
            return match[0]
        here = posixpath.dirname(page.file.src_uri)
        return f"{match['before']}{posixpath.relpath(PAGES[found], here or '.')}{hash_}{anchor}{match['after']}"

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(turned, part) for part in parts)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme takes what searches on pages opened from the disk from another site; here it is a file of this one."""
    own = posixpath.relpath("site/search_worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    output = output.replace(ELSEWHERE_WORKER, own)
    for found in _FETCHED.findall(output):
        log.warning("%s: the page fetches %s from elsewhere", page.file.src_uri, found)
    return output


# ---------------------------------------------------------------------- notebooks


def notebook(path: Path) -> str:
    """A notebook as Markdown: its cells, and the outputs stored in it, which a test compares with fresh ones."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif text.strip():
            parts.append(f"```python\n{text}\n```")
            parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(filter(None, parts)) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        image = base64.b64encode(base64.b64decode("".join(data["image/png"]))).decode()
        return f'<img src="data:image/png;base64,{image}" alt="What the cell above draws">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return '<div class="output">\n' + re.sub(r"\n\s*", "\n", table).strip() + "\n</div>"
    text = "".join(output.get("text") or data.get("text/plain", []))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
