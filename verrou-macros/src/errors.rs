//! Every mistake of one use, collected: the user hears of all of them in one compile.

use std::ops::Range;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::LitStr;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, span: Span, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new(span, message));
    }

    /// Points at all of `tokens`, on every compiler: a single span of several tokens is only the first on stable.
    pub(crate) fn push_at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn push_error(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// A mistake inside a string. Stable Rust cannot point into a literal, so the message draws the caret itself.
    pub(crate) fn push_in(&mut self, literal: &LitStr, part: Option<&Range<usize>>, message: &str) {
        let drawing = part
            .and_then(|part| drawing(&literal.token().to_string(), &literal.value(), part))
            .unwrap_or_default();
        self.push(literal.span(), format_args!("{message}{drawing}"));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One `compile_error!` for each.
    pub(crate) fn to_tokens(&self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// The literal as it stands in the source, and carets under `part` of its value.
///
/// `None` if the source is not the value between quotes (escapes, line breaks): the places would be wrong.
fn drawing(source: &str, value: &str, part: &Range<usize>) -> Option<String> {
    let quote = source.find('"')?;
    let start = quote + 1;
    let inner = source.get(start..start.checked_add(value.len())?)?;
    if inner != value || value.contains(char::is_control) {
        return None;
    }
    let indent = source[..start].chars().count() + value.get(..part.start)?.chars().count();
    let width = value.get(part.clone())?.chars().count().max(1);
    Some(format!(
        "\n  in {source}\n     {:indent$}{}",
        "",
        "^".repeat(width)
    ))
}

/// The one of `known` that `given` is probably meant to be.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(x != y))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `` `a`, `b` ``
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["ttl", "wait", "store", "min_hold"];
        assert_eq!(nearest("tll", known), Some("ttl"));
        assert_eq!(nearest("wiat", known), Some("wait"));
        assert_eq!(nearest("minhold", known), Some("min_hold"));
        assert_eq!(nearest("timeout", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(distance("form", "from"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn carets_stand_under_the_part() {
        let shown = drawing("\"t:<form>\"", "t:<form>", &(2..8));
        assert_eq!(
            shown.as_deref(),
            Some("\n  in \"t:<form>\"\n        ^^^^^^")
        );
        let raw = drawing("r#\"t:<é>\"#", "t:<é>", &(2..6));
        assert_eq!(raw.as_deref(), Some("\n  in r#\"t:<é>\"#\n          ^^^"));
    }

    #[test]
    fn no_carets_where_the_source_is_not_the_value() {
        assert_eq!(drawing("\"a\\tb<\"", "a\tb<", &(3..4)), None);
        assert_eq!(drawing("\"a", "abc", &(0..1)), None);
        assert_eq!(drawing("\"abc\"", "abc", &(2..9)), None);
    }
}
