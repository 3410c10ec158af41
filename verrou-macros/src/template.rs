//! The template of a key: text with placeholders, as in `transfer:<from>`.

use std::ops::Range;

/// A parsed template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text, with `<<` and `>>` already undone.
    Text(String),
    Value(Placeholder),
}

/// `<arg>`, `<arg.field.0>`, `<self.a.b>`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// What stands between `<` and `>`.
    pub(crate) text: String,
    /// The argument, without `r#`.
    pub(crate) root: String,
    /// The fields, without `r#`; a number is a field of a tuple.
    pub(crate) fields: Vec<String>,
    /// Where it stands in the value of the literal, `<` and `>` included.
    pub(crate) range: Range<usize>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) range: Option<Range<usize>>,
}

/// A key has at most this many bytes; the text of a template alone is a part of it.
const MAX_KEY: usize = 512;

/// The characters that a value can bring into a key, `%` by its escapes: none of them can separate two values.
const IN_VALUES: &str = "-._~%";

/// Reads a template. Placeholders with mistakes are left out of it, the mistakes are told.
pub(crate) fn parse(value: &str) -> (Template, Vec<Mistake>) {
    let mut reader = Reader {
        value,
        pieces: Vec::new(),
        text: String::new(),
        previous: None,
        separated: false,
        mistakes: Vec::new(),
    };
    reader.read();
    (
        Template {
            pieces: reader.pieces,
        },
        reader.mistakes,
    )
}

struct Reader<'a> {
    value: &'a str,
    pieces: Vec<Piece>,
    /// The text since the last placeholder.
    text: String,
    /// Where the last placeholder stands.
    previous: Option<Range<usize>>,
    /// Whether that text separates values.
    separated: bool,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn read(&mut self) {
        self.check_whole();
        let mut at = 0;
        while let Some(next) = self.value[at..].chars().next() {
            let rest = &self.value[at..];
            at += match next {
                '<' | '>' if rest[1..].starts_with(next) => {
                    self.push_text(next);
                    2
                }
                '<' => self.read_placeholder(at),
                '>' => {
                    let range = Some(at..at + 1);
                    self.mistake(
                        "`>` without an opening `<` in the lock key; write `>>` for a plain `>`",
                        range,
                    );
                    1
                }
                other => {
                    self.push_text(other);
                    other.len_utf8()
                }
            };
        }
        self.end_text();
    }

    fn check_whole(&mut self) {
        if self.value.is_empty() {
            self.mistake("a lock key cannot be empty", None);
        }
        if self.value.contains('\0') {
            self.mistake("a lock key cannot contain a NUL character", None);
        }
        if self.value.len() > MAX_KEY {
            self.mistake("a lock key has at most 512 bytes", None);
        }
    }

    /// Reads from the `<` at `start` on; returns how many bytes that took.
    fn read_placeholder(&mut self, start: usize) -> usize {
        let inside = &self.value[start + 1..];
        let length = match inside.find(['<', '>']) {
            Some(length) if inside[length..].starts_with('>') => length,
            _ => {
                let range = Some(start..start + 1);
                self.mistake(
                    "unclosed `<` in the lock key; write `<<` for a plain `<`",
                    range,
                );
                return 1;
            }
        };
        let text = &inside[..length];
        let range = start..start + length + 2;
        self.end_text();
        self.check_separator(&range);
        self.previous = Some(range.clone());
        self.separated = false;
        match path(text) {
            Ok((root, fields)) => self.pieces.push(Piece::Value(Placeholder {
                text: text.to_owned(),
                root,
                fields,
                range,
            })),
            Err(message) => self.mistake(message, Some(range)),
        }
        length + 2
    }

    /// Between two placeholders there must be a character that values cannot contain, or `("a", "bc")` and
    /// `("ab", "c")` would make one key.
    fn check_separator(&mut self, range: &Range<usize>) {
        let Some(previous) = self.previous.clone() else {
            return;
        };
        if self.separated {
            return;
        }
        let first = &self.value[previous.clone()];
        let second = &self.value[range.clone()];
        self.mistake(
            format!(
                "nothing separates the values of `{first}` and `{second}`: different arguments would make the same key\n  \
                 help: put one of the characters ! \" # $ & ' ( ) * + , / : ; = ? @ [ \\ ] ^ ` {{ | }} between them, as in `{first}:{second}`"
            ),
            Some(previous.start..range.end),
        );
    }

    fn push_text(&mut self, character: char) {
        self.text.push(character);
        self.separated |= character.is_ascii_punctuation() && !IN_VALUES.contains(character);
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces
                .push(Piece::Text(std::mem::take(&mut self.text)));
        }
    }

    fn mistake(&mut self, message: impl Into<String>, range: Option<Range<usize>>) {
        self.mistakes.push(Mistake {
            message: message.into(),
            range,
        });
    }
}

/// Reads what stands between `<` and `>`.
fn path(text: &str) -> Result<(String, Vec<String>), String> {
    if text.trim().is_empty() {
        return Err(format!(
            "empty placeholder `<{text}>` in the lock key; name an argument, as in `<id>`"
        ));
    }
    let before_format = text.split_once(':').map_or(text, |(path, _)| path);
    let mut segments = before_format.split('.');
    let root = segments.next().and_then(name);
    let fields: Option<Vec<String>> = segments
        .map(|field| name(field).or_else(|| index(field)))
        .collect();
    match (root, fields) {
        (Some(_), Some(_)) if before_format.len() < text.len() => Err(format!(
            "format options are not supported in `<{text}>`; the value is written with `Display`"
        )),
        (Some(root), Some(fields)) => Ok((root, fields)),
        _ => Err(format!(
            "`<{text}>` is not a placeholder: expected an argument name or a field path, as in `<id>` or `<account.id>`"
        )),
    }
}

fn name(segment: &str) -> Option<String> {
    let name = segment.strip_prefix("r#").unwrap_or(segment);
    let mut characters = name.chars();
    let first = characters.next()?;
    let starts = first.is_alphabetic() || first == '_';
    let goes_on = characters.all(|next| next.is_alphanumeric() || next == '_');
    (starts && goes_on).then(|| name.to_owned())
}

/// The number of a tuple's field, as rustc wants it: no leading zero.
fn index(segment: &str) -> Option<String> {
    let number: u32 = segment.parse().ok()?;
    (number.to_string() == segment).then(|| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn pieces(value: &str) -> Vec<Piece> {
        let (template, mistakes) = parse(value);
        assert_eq!(mistakes, [], "{value}");
        template.pieces
    }

    fn placeholders(value: &str) -> Vec<(String, Vec<String>)> {
        pieces(value)
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Value(placeholder) => Some((placeholder.root, placeholder.fields)),
                Piece::Text(_) => None,
            })
            .collect()
    }

    #[track_caller]
    fn mistake(value: &str) -> (String, Option<Range<usize>>) {
        let (_, mut mistakes) = parse(value);
        assert_eq!(mistakes.len(), 1, "{value}: {mistakes:?}");
        let mistake = mistakes.remove(0);
        (mistake.message, mistake.range)
    }

    #[test]
    fn text_and_placeholders() {
        assert_eq!(pieces("nightly"), [text("nightly")]);
        let Piece::Value(from) = &pieces("transfer:<from>!")[1] else {
            panic!("a placeholder");
        };
        assert_eq!((from.root.as_str(), from.range.clone()), ("from", 9..15));
        assert_eq!(
            placeholders("<a.b.0>:<self.tenant.id>"),
            [
                ("a".into(), vec!["b".into(), "0".into()]),
                ("self".into(), vec!["tenant".into(), "id".into()])
            ]
        );
        assert_eq!(
            placeholders("<r#type>/<été>"),
            [("type".into(), vec![]), ("été".into(), vec![])]
        );
    }

    #[test]
    fn doubled_brackets_are_text() {
        assert_eq!(pieces("a<<b>>c{}"), [text("a<b>c{}")]);
        assert_eq!(placeholders("<<<id>>>"), [("id".into(), vec![])]);
        assert_eq!(pieces("<<<id>>>").len(), 3);
    }

    #[test]
    fn brackets_come_in_pairs() {
        assert_eq!(mistake("a:<id").1, Some(2..3));
        assert!(mistake("a:<id").0.starts_with("unclosed `<`"));
        assert!(mistake("a:id>").0.starts_with("`>` without an opening `<`"));
        assert!(mistake("a:<b<c>").0.starts_with("unclosed `<`"));
        assert!(mistake("<id>>").0.starts_with("`>` without"));
    }

    #[test]
    fn only_names_and_fields_are_placeholders() {
        for bad in [
            "id.len()", "a[0]", "1x", "a..b", "a.", ".a", "a b", " id", "a.01", "&id", "a::b", "*",
        ] {
            let (message, range) = mistake(&format!("k:<{bad}>"));
            let expected = if bad == "a::b" {
                "format options"
            } else {
                "is not a placeholder"
            };
            assert!(message.contains(expected), "{message}");
            assert_eq!(range, Some(2..bad.len() + 4));
        }
        for empty in ["k:<>", "k:< >"] {
            assert!(mistake(empty).0.starts_with("empty placeholder"), "{empty}");
        }
        for format in ["k:<id:?>", "k:<id:08>", "k:<a.b:x>"] {
            assert!(mistake(format).0.starts_with("format options"), "{format}");
        }
    }

    #[test]
    fn values_need_a_separator_that_they_cannot_contain() {
        for bad in [
            "<a><b>",
            "<a>-<b>",
            "<a>._~<b>",
            "<a>%<b>",
            "<a>x<b>",
            "<a>é<b>",
            "<a> <b>",
        ] {
            assert!(mistake(bad).0.starts_with("nothing separates"), "{bad}");
        }
        for good in [
            "<a>:<b>",
            "<a>-/-<b>",
            "<a>>><b>",
            "<a><<<b>",
            "-<a>-",
            "<a>\\<b>",
        ] {
            assert!(parse(good).1.is_empty(), "{good}");
        }
    }

    #[test]
    fn a_key_is_not_empty_not_too_long_and_has_no_nul() {
        assert_eq!(mistake("").0, "a lock key cannot be empty");
        assert!(mistake("a\0").0.contains("NUL"));
        assert!(mistake(&"k".repeat(513)).0.contains("512"));
    }

    #[test]
    fn all_mistakes_are_told_and_the_rest_is_read() {
        let (template, mistakes) = parse("<a.>:<ok>:<>");
        assert_eq!(mistakes.len(), 2);
        assert_eq!(
            template
                .pieces
                .iter()
                .filter(|piece| matches!(piece, Piece::Value(_)))
                .count(),
            1
        );
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        let alphabet = ['<', '>', 'a', '.', ':', 'é', '0', '\0'];
        for number in 0..alphabet.len().pow(5) {
            let mut rest = number;
            let value: String = (0..5)
                .map(|_| {
                    let character = alphabet[rest % alphabet.len()];
                    rest /= alphabet.len();
                    character
                })
                .collect();
            parse(&value);
        }
    }
}
