//! The values of the options, each checked as far as it can be read; what is wrong is told.

use std::time::Duration;

use proc_macro2::{Ident, Span};
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Lit, LitStr, Path, UnOp};

use crate::duration;
use crate::errors::Errors;

pub(crate) enum Time {
    /// A literal, checked, and where it stands.
    Literal(Duration, Span),
    /// Must be a `Duration`; only rustc can tell.
    Expr(Expr),
}

pub(crate) enum Waiting {
    Forever,
    Never,
    For(Time),
}

pub(crate) enum OnBusy {
    Skip,
    Value(Expr),
}

pub(crate) enum OnLost {
    Cancel,
    Continue,
}

pub(crate) fn store(value: &Expr, errors: &mut Errors) -> Option<LitStr> {
    match literal(value) {
        Some(Lit::Str(name)) if name.value().is_empty() => {
            errors.push(name.span(), "the name of a store cannot be empty");
            None
        }
        Some(Lit::Str(name)) => Some(name.clone()),
        _ => {
            errors.push_at(
                value,
                "`store` takes a string literal, as in `store = \"redis\"`",
            );
            None
        }
    }
}

pub(crate) fn time(option: &str, value: Expr, errors: &mut Errors) -> Option<Time> {
    let message = match literal(&value) {
        None if is_negative(&value) => with_unit(option, ""),
        None => return Some(Time::Expr(value)),
        Some(Lit::Str(text)) => match duration::parse(option, &text.value()) {
            Ok(duration) => return Some(Time::Literal(duration, text.span())),
            Err(message) => message,
        },
        Some(Lit::Int(number)) => with_unit(option, number.base10_digits()),
        Some(_) => with_unit(option, ""),
    };
    errors.push_at(value, message);
    None
}

pub(crate) fn wait(value: Expr, errors: &mut Errors) -> Option<Waiting> {
    if is_word(&value, "forever") {
        return Some(Waiting::Forever);
    }
    if is_word(&value, "never") {
        return Some(Waiting::Never);
    }
    if let Some(Lit::Str(text)) = literal(&value)
        && let word @ ("forever" | "never") = text.value().as_str()
    {
        errors.push(
            text.span(),
            format_args!("`{word}` is a word and not a string: write `wait = {word}`"),
        );
        return None;
    }
    time("wait", value, errors).map(Waiting::For)
}

pub(crate) fn on_busy(value: Expr, errors: &mut Errors) -> Option<OnBusy> {
    if is_word(&value, "skip") {
        return Some(OnBusy::Skip);
    }
    if literal(&value).is_none() {
        return Some(OnBusy::Value(value));
    }
    errors.push_at(
        value,
        "`on_busy` takes `skip`, or what the function shall return, as in `on_busy = Ok(0)`",
    );
    None
}

pub(crate) fn renew(value: Expr, errors: &mut Errors) -> Option<Expr> {
    match literal(&value) {
        None | Some(Lit::Bool(_)) => Some(value),
        Some(_) => {
            errors.push_at(value, "`renew` takes `true` or `false`");
            None
        }
    }
}

pub(crate) fn when(value: Expr, errors: &mut Errors) -> Option<Expr> {
    match literal(&value) {
        None | Some(Lit::Bool(_)) => Some(value),
        Some(_) => {
            errors.push_at(value, "`when` takes a condition, as in `when = amount > 0`");
            None
        }
    }
}

pub(crate) fn verrou(value: Expr, errors: &mut Errors) -> Option<Expr> {
    if literal(&value).is_none() {
        return Some(value);
    }
    errors.push_at(
        value,
        "`verrou` takes an instance, as in `verrou = &self.verrou`; a store of an instance is named by `store = \"redis\"`",
    );
    None
}

pub(crate) fn attempts(value: Expr, errors: &mut Errors) -> Option<Expr> {
    let message = match literal(&value) {
        None if is_negative(&value) => "`attempts` takes a number from 1 to 4294967295",
        None => return Some(value),
        Some(Lit::Int(number)) => match number.base10_parse::<u32>() {
            Ok(0) => "0 attempts would never ask the store; give at least 1",
            Ok(_) => return Some(value),
            Err(_) => "`attempts` takes a number from 1 to 4294967295",
        },
        Some(_) => "`attempts` takes a number, as in `attempts = 5`",
    };
    errors.push_at(value, message);
    None
}

pub(crate) fn on_lost(value: &Expr, errors: &mut Errors) -> Option<OnLost> {
    // `continue` is a keyword, so the value is a whole expression.
    if matches!(value, Expr::Continue(plain) if plain.label.is_none()) {
        return Some(OnLost::Continue);
    }
    if is_word(value, "cancel") {
        return Some(OnLost::Cancel);
    }
    errors.push_at(value, "`on_lost` takes `cancel` or `continue`");
    None
}

pub(crate) fn guard(value: &Expr, errors: &mut Errors) -> Option<Ident> {
    let name = match value {
        Expr::Path(path) => path.path.get_ident().filter(|name| *name != "self"),
        _ => None,
    };
    if name.is_none() {
        errors.push_at(value,
            "`guard` takes a name, as in `guard = guard`; the body then has that name for its `&LockGuard`",
        );
    }
    name.cloned()
}

pub(crate) fn krate(input: ParseStream<'_>) -> syn::Result<Path> {
    let span = input.span();
    input
        .call(Path::parse_mod_style)
        .map_err(|_| syn::Error::new(span, "`crate` takes a path, as in `crate = my_verrou`"))
}

/// The value without parentheses, and without the invisible group of a `macro_rules!` fragment.
pub(crate) fn ungrouped(value: Expr) -> Expr {
    match value {
        Expr::Group(group) => ungrouped(*group.expr),
        Expr::Paren(paren) => ungrouped(*paren.expr),
        other => other,
    }
}

pub(crate) fn is_false(value: &Expr) -> bool {
    matches!(literal(value), Some(Lit::Bool(value)) if !value.value)
}

pub(crate) fn is_one(value: &Expr) -> bool {
    matches!(literal(value), Some(Lit::Int(number)) if number.base10_digits() == "1")
}

fn is_word(value: &Expr, word: &str) -> bool {
    matches!(value, Expr::Path(path) if path.path.is_ident(word))
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

/// `-5`: no option takes it, and rustc would speak of an operator that a `Duration` lacks.
fn is_negative(value: &Expr) -> bool {
    matches!(value, Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) && literal(&unary.expr).is_some())
}

fn with_unit(option: &str, number: &str) -> String {
    let meant = duration::meant(number);
    format!("`{option}` takes a string with a unit, as in `{option} = \"{meant}\"`")
}
