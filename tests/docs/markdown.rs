//! As much of Markdown as these pages use: headings, links, code blocks and code spans.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of the project's own.
const NOT_OURS: &[&str] = &["target", "build", "book", "node_modules", "artifacts"];

/// The folder of the project.
pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
pub(crate) struct Page {
    /// Relative to the project.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Text at a place in a page, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// `docs/worker.md:12`, say.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A fenced block of code.
pub(crate) struct Block {
    /// What is behind the opening fence.
    pub(crate) language: String,
    pub(crate) lines: Vec<Placed>,
}

impl Block {
    /// What is between the fences.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// Where the first line is.
    pub(crate) fn place(&self) -> &str {
        self.lines.first().map_or("an empty block", |line| &line.place)
    }
}

/// All pages of the project.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    collect(project(), &mut pages);
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(pages.len() >= 10, "the pages are found: {}", pages.len());
    pages
}

/// One page.
pub(crate) fn page(path: &str) -> Page {
    let text = fs::read_to_string(project().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Page { path: path.into(), text }
}

fn collect(folder: &Path, pages: &mut Vec<Page>) {
    for entry in fs::read_dir(folder).expect("a folder of the project can be read") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && !NOT_OURS.contains(&name) {
            collect(&path, pages);
        } else if path.extension().is_some_and(|it| it == "md") {
            let text = fs::read_to_string(&path).expect("a page is UTF-8");
            let path = path.strip_prefix(project()).expect("it is in the project").to_owned();
            pages.push(Page { path, text });
        }
    }
}

impl Page {
    /// Its code blocks.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        self.split().1
    }

    /// The code spans outside of code blocks, line breaks in them made spaces.
    pub(crate) fn spans(&self) -> Vec<Placed> {
        let prose = self.prose();
        let mut spans = Vec::new();
        let mut start = 0;
        for (at, piece) in prose.split('`').enumerate() {
            if at % 2 == 1 {
                let text = piece.replace('\n', " ");
                spans.push(Placed { place: self.place_of(&prose, start), text });
            }
            start += piece.len() + 1;
        }
        spans
    }

    /// Where inline links lead.
    pub(crate) fn links(&self) -> Vec<Placed> {
        // A span cannot hold a link. It keeps its length, so that places stay right.
        let mut prose = String::new();
        for (at, piece) in self.prose().split('`').enumerate() {
            if at > 0 {
                prose.push('`');
            }
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            prose.extend(piece.chars().map(|c| if at % 2 == 1 { blank(c) } else { c }));
        }
        let mut links = Vec::new();
        for (at, _) in prose.match_indices("](") {
            let target = &prose[at + 2..];
            let Some(end) = target.find(')') else { continue };
            let place = self.place_of(&prose, at);
            links.push(Placed { place, text: target[..end].to_owned() });
        }
        links
    }

    /// What a link to this page can have behind its `#`: GitHub and mdBook derive it from headings.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let mut anchors = BTreeSet::new();
        for line in prose.lines() {
            let title = line.trim_start_matches('#');
            if title.len() == line.len() || !title.starts_with(' ') {
                continue;
            }
            let kept = title.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let numbered = (1..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.clone()).chain(numbered);
            let free = names.find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
        anchors
    }

    /// The text of one section: from its heading to the next one of any level.
    pub(crate) fn section(&self, heading: &str) -> &str {
        let start = self.text.find(&format!("\n## {heading}\n"));
        let start = start.unwrap_or_else(|| panic!("{}: {heading}", self.path.display()));
        let section = &self.text[start + 1..];
        section[3..].find("\n#").map_or(section, |end| &section[..end + 3])
    }

    /// The page without its code blocks, line for line.
    fn prose(&self) -> String {
        self.split().0
    }

    fn split(&self) -> (String, Vec<Block>) {
        let mut prose = String::new();
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    open = Some(Block { language: language.to_owned(), lines: Vec::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => {
                    let place = format!("{}:{}", self.path.display(), number + 1);
                    block.lines.push(Placed { place, text: line.to_owned() });
                }
                (None, None) => prose.push_str(line),
            }
            prose.push('\n');
        }
        assert!(open.is_none(), "{}: a code block does not end", self.path.display());
        (prose, blocks)
    }

    fn place_of(&self, prose: &str, at: usize) -> String {
        format!("{}:{}", self.path.display(), prose[..at].matches('\n').count() + 1)
    }
}

/// The first cell of each row of the tables in a text, the heads left out.
pub(crate) fn first_cells(text: &str) -> Vec<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix('|'));
    let cells = rows.filter_map(|row| row.split('|').next()).map(str::trim);
    cells.filter(|cell| cell.contains('`')).collect()
}

#[test]
fn a_page_is_read() {
    let text = "# A `b-c` D!\n\n[x](y.md#z) `[no](link)` `two\nlines`\n\n```sh\nls # `x`\n```\n# A b-c D\n";
    let page = Page { path: "p.md".into(), text: text.to_owned() };
    let anchors: Vec<String> = page.anchors().into_iter().collect();
    assert_eq!(anchors, ["a-b-c-d", "a-b-c-d-1"]);
    let links: Vec<_> = page.links().into_iter().map(|it| (it.place, it.text)).collect();
    assert_eq!(links, [("p.md:3".to_owned(), "y.md#z".to_owned())]);
    let spans: Vec<String> = page.spans().into_iter().map(|it| it.text).collect();
    assert_eq!(spans, ["b-c", "[no](link)", "two lines"]);
    let blocks = page.blocks();
    assert_eq!((&*blocks[0].language, blocks[0].text()), ("sh", "ls # `x`\n".to_owned()));
    assert_eq!(blocks[0].place(), "p.md:7");
    assert_eq!(first_cells("| a | b |\n|---|---|\n| `-x Y` | z |\n"), ["`-x Y`"]);
}
