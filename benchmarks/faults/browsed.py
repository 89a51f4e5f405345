"""A page as a browser takes it: whether a name on it has become more than text."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page, and its title.

    Attributes:
      tags: "a href" -> how many.
      title: its text.
    """

    def __init__(self, text: str):
        super().__init__()
        self.tags: dict[str, int] = {}
        self.title, self._inside = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Counts it."""
        names = " ".join([tag, *sorted(name for name, _ in attrs)])
        self.tags[names] = self.tags.get(names, 0) + 1
        self._inside = tag == "title"

    def handle_endtag(self, tag):
        """Ends the title."""
        self._inside = False

    def handle_data(self, data):
        """Text; it may come in parts."""
        self.title += data if self._inside else ""


def problem(page: str, plain: str, name: str) -> str:
    """What is wrong with the page of a study called `name`, beside that of the same study of a plain name."""
    odd, other = Page(page), Page(plain)
    changed = [tag for tag in odd.tags.keys() | other.tags.keys() if odd.tags.get(tag) != other.tags.get(tag)]
    if changed:
        return f"the page has other elements: {', '.join(sorted(changed))}"
    if "script-src 'sha256-" not in page.replace("&#39;", "'"):
        return "the page has no policy that names its scripts"
    return "" if odd.title == name else f"the page is called {odd.title!r}"
