//! Links lead somewhere, the book has every page, and paths that are named exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::markdown::{Page, page, pages, project};

const BOOK: &str = "docs";
const CONTENTS: &str = "docs/SUMMARY.md";

#[test]
fn links_and_anchors_lead_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in &pages {
        for link in page.links() {
            if ["http://", "https://"].iter().any(|scheme| link.text.starts_with(scheme)) {
                continue;
            }
            count += 1;
            if let Err(why) = follow(&pages, page, &link.text) {
                wrong.push(format!("{}: {}: {why}", link.place, link.text));
            }
        }
    }
    assert!(count > 50, "links are found: {count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn follow(pages: &[Page], from: &Page, link: &str) -> Result<(), &'static str> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, it)| (path, Some(it)));
    let target = if path.is_empty() { Some(from.path.clone()) } else { beside(&from.path, path) };
    let target = target.ok_or("leads out of the project")?;
    if !project().join(&target).exists() {
        return Err("there is no such file");
    }
    let is_page = target.extension().is_some_and(|it| it == "md");
    if from.path.starts_with(BOOK) && is_page && !target.starts_with(BOOK) {
        // mdBook makes it a link to an HTML file that nobody writes.
        return Err("the book has only pages of docs/; link to the folder instead");
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let page = pages.iter().find(|page| page.path == target).ok_or("only pages have anchors")?;
    if page.anchors().contains(anchor) { Ok(()) } else { Err("there is no such heading") }
}

/// A path in a page, relative to the project; `None` if it is not inside.
fn beside(page: &Path, path: &str) -> Option<PathBuf> {
    let mut target = page.parent()?.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => target.push(name),
            Component::CurDir => {}
            Component::ParentDir if target.pop() => {}
            _ => return None,
        }
    }
    Some(target)
}

#[test]
fn wrong_links_are_found() {
    let pages = pages();
    let from = page("docs/compat.md");
    assert_eq!(follow(&pages, &from, "binlog.md#guarantees"), Ok(()));
    assert_eq!(follow(&pages, &from, "#waiter-order"), Ok(()));
    assert_eq!(follow(&pages, &from, "../examples/handlers"), Ok(()));
    for wrong in ["binlog.md#no-such", "no-such.md", "#no-such", "../README.md", "../../x"] {
        assert!(follow(&pages, &from, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_page_is_in_the_book() {
    let links = page(CONTENTS).links();
    let listed: Vec<PathBuf> = links.into_iter().map(|it| Path::new(BOOK).join(it.text)).collect();
    let unique: BTreeSet<&PathBuf> = listed.iter().collect();
    assert_eq!(unique.len(), listed.len(), "{CONTENTS} lists each page once");
    let pages = pages();
    let there: BTreeSet<&PathBuf> =
        pages.iter().map(|page| &page.path).filter(|path| path.starts_with(BOOK)).collect();
    let there = there.into_iter().filter(|path| *path != Path::new(CONTENTS));
    assert_eq!(unique, there.collect::<BTreeSet<_>>(), "{CONTENTS} and the pages in {BOOK}/");
}

/// Code spans that are paths from the project's folder.
#[test]
fn paths_that_are_named_exist() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        for span in page.spans() {
            let path = span.text.trim_end_matches('/');
            if path.contains(['*', '<', ' ']) || !begins_in_the_project(path) {
                continue;
            }
            count += 1;
            if !project().join(path).exists() {
                wrong.push(format!("{}: {path}", span.place));
            }
        }
    }
    assert!(count > 20, "paths are found: {count}");
    assert!(wrong.is_empty(), "there are no such files:\n{}", wrong.join("\n"));
}

/// Whether this is a path whose first part is a folder of the project.
pub(crate) fn begins_in_the_project(path: &str) -> bool {
    let Some((first, _)) = path.split_once('/') else { return false };
    let is_folder = !first.is_empty() && !first.starts_with('.') && project().join(first).is_dir();
    is_folder && !["target", "build", "book"].contains(&first)
}

/// Without this a word of the book's settings could be wrong where mdbook is not installed.
#[test]
fn the_book_is_made_of_these_pages() {
    let settings = fs::read_to_string(project().join("book.toml")).expect("book.toml is there");
    assert!(settings.contains(&format!("src = \"{BOOK}\"")), "{settings}");
    // As deep as docs/, for the links that lead out of it.
    assert!(settings.contains("build-dir = \"book\""), "{settings}");
}
