//! No link in the texts is dead: files, headings, and pages of the documentation. Without the network; what leads into the crate
//! is looked after by rustdoc.

use std::path::{Path, PathBuf};

/// Where the crate's own pages are when they are published.
const PUBLISHED: &str = "https://docs.rs/verrou/latest/verrou/docs/";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn texts() -> Vec<PathBuf> {
    let mut texts: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "examples/README.md",
        "ui-tests/README.md",
    ]
    .iter()
    .map(|text| root().join(text))
    .collect();
    for folder in ["verrou/src/docs", "verrou/src/docs/decisions"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        let pages = entries.map(|entry| entry.unwrap().path());
        texts.extend(pages.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    texts
}

/// The text without what is code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // The odd parts of what the ticks divide.
            for (part, code) in line.split('`').zip([false, true].into_iter().cycle()) {
                prose.push_str(if code { "code" } else { part });
            }
            prose.push('\n');
        }
    }
    prose
}

/// The targets of the links in `prose`.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    let inline = prose.split("](").skip(1);
    inline.filter_map(|rest| rest.split(')').next())
}

/// The anchors of the headings in `text`, as GitHub and rustdoc make them.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if line.starts_with('#') && !fenced {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            anchors.push(kept.collect::<String>().replace(' ', "-"));
        }
    }
    anchors
}

/// What is wrong with a link of `file`, whose content is `text`.
fn flaw(file: &Path, text: &str, link: &str) -> Option<String> {
    if let Some(page) = link.strip_prefix(PUBLISHED) {
        let name = page.split('/').next().unwrap_or_default();
        let source = std::fs::read_to_string(root().join("verrou/src/docs.rs")).unwrap();
        let known = source.contains(&format!("pub mod {name} {{"));
        return (!known).then(|| "there is no such page".to_owned());
    }
    if link.contains("::") || link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let is_page = file.starts_with(root().join("verrou/src/docs"));
    if is_page && !path.is_empty() {
        return Some("a page of the documentation has no files beside it".to_owned());
    }
    let target = if path.is_empty() {
        text.to_owned()
    } else {
        let target = file.parent()?.join(path);
        if !target.exists() {
            return Some("there is no such file".to_owned());
        }
        std::fs::read_to_string(target).unwrap_or_default()
    };
    let known = anchor.is_empty() || anchors(&target).iter().any(|known| known == anchor);
    (!known).then(|| "there is no such heading".to_owned())
}

#[test]
fn no_link_in_the_texts_is_dead() {
    let mut looked_at = 0;
    for file in texts() {
        let text = std::fs::read_to_string(&file).unwrap();
        for link in links(&prose(&text)) {
            let flaw = flaw(&file, &text, link);
            assert_eq!(flaw, None, "{}: `{link}`", file.display());
            looked_at += 1;
        }
    }
    assert!(looked_at > 60, "{looked_at} links");
    // And what is dead is found.
    let page = root().join("verrou/src/docs/keys.md");
    for dead in [
        "#no-such-heading",
        "no-such-file.md",
        &format!("{PUBLISHED}no_such_page/index.html"),
    ] {
        assert!(
            flaw(&root().join("README.md"), "# One", dead).is_some(),
            "{dead}"
        );
        assert!(flaw(&page, "# One", dead).is_some(), "{dead}");
    }
    assert_eq!(flaw(&page, "# One & two: `3`", "#one--two-3"), None);
}

/// Each page is named where people look for it.
#[test]
fn every_page_is_linked_from_the_front_page() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("verrou/src/docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let link = format!("{PUBLISHED}{name}/index.html");
        assert!(readme.contains(&link), "README.md does not link {name}");
    }
}

/// Each program is told of, with the question that it answers.
#[test]
fn every_example_is_in_the_index_twice() {
    let index = std::fs::read_to_string(root().join("examples/README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "rs") {
            let file = path.file_name().unwrap().to_str().unwrap();
            let links = index.matches(&format!("]({file})")).count();
            assert_eq!(links, 2, "{file}");
        }
    }
}
