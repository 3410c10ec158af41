//! What stands in `#[locked(..)]`: keys, then options. One row of [`OPTIONS`] and one arm of `Args::option` for each.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, LitStr, Path, Token, token};

use crate::errors::{Errors, listed, nearest};
use crate::template::{self, Template};
use crate::values::{self, OnBusy, OnLost, Time, Waiting, is_false, is_one};

/// Every option with an example of its value.
const OPTIONS: [(&str, &str); 14] = [
    ("store", "\"redis\""),
    ("ttl", "\"30s\""),
    ("wait", "\"5s\""),
    ("max_hold", "\"5m\""),
    ("min_hold", "\"1s\""),
    ("renew", "false"),
    ("attempts", "5"),
    ("delay", "\"100ms\""),
    ("on_busy", "skip"),
    ("on_lost", "continue"),
    ("when", "enabled"),
    ("guard", "guard"),
    ("verrou", "&self.verrou"),
    ("crate", "my_verrou"),
];

const KEY_HELP: &str = "as in `#[locked(\"transfer:<from>\")]`";

/// The arguments of `#[locked]`, as far as they are right.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) keys: Vec<Key>,
    pub(crate) store: Option<LitStr>,
    pub(crate) ttl: Option<Time>,
    pub(crate) wait: Option<Waiting>,
    pub(crate) max_hold: Option<Time>,
    pub(crate) min_hold: Option<Time>,
    pub(crate) renew: Option<Expr>,
    pub(crate) attempts: Option<Expr>,
    pub(crate) delay: Option<Time>,
    pub(crate) on_busy: Option<OnBusy>,
    pub(crate) on_lost: Option<OnLost>,
    pub(crate) when: Option<Expr>,
    pub(crate) guard: Option<Ident>,
    pub(crate) verrou: Option<Expr>,
    pub(crate) krate: Option<Path>,
    /// The names of the options in the order in which they stand, also of those that are wrong.
    names: Vec<Ident>,
}

pub(crate) struct Key {
    pub(crate) literal: LitStr,
    pub(crate) template: Template,
}

impl Args {
    /// Reads the tokens between the parentheses of `#[locked(..)]`.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let parser = |input: ParseStream<'_>| {
            args.read(input, errors);
            Ok(())
        };
        if let Err(error) = parser.parse2(tokens) {
            errors.push_error(error);
        }
        args
    }

    fn read(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        if input.is_empty() {
            errors.push(
                Span::call_site(),
                format_args!("`#[locked]` needs a key, {KEY_HELP}"),
            );
        }
        while !input.is_empty() {
            if input.peek(Token![,]) {
                errors.push(input.span(), "nothing stands before this `,`");
            } else if is_key(input) {
                self.key(input, errors);
            } else if let Some(name) = option_name(input) {
                self.assignment(&name, input, errors);
            } else {
                reject(input, errors);
            }
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                errors.push(input.span(), "expected `,`");
                // `"a" ttl = "1s"` goes on with the option; anything else would only repeat the message.
                if option_name(input).is_none() && !input.peek(LitStr) {
                    skip_to_comma(input);
                    let _ = input.parse::<Token![,]>();
                }
            }
        }
        let nameless = self.keys.is_empty() && errors.is_empty();
        if nameless && !self.names.is_empty() {
            errors.push(
                Span::call_site(),
                format_args!("`#[locked]` needs a key, {KEY_HELP}"),
            );
        }
        self.check_together(errors);
    }

    fn key(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        let Ok(literal) = input.parse::<LitStr>() else {
            return reject(input, errors);
        };
        if !self.names.is_empty() {
            errors.push(literal.span(), "lock keys come before the options");
        }
        let value = literal.value();
        if self.keys.iter().any(|key| key.literal.value() == value) {
            errors.push(
                literal.span(),
                format_args!("the key {value:?} is given twice"),
            );
        }
        let (template, mistakes) = template::parse(&value);
        for mistake in mistakes {
            errors.push_in(&literal, mistake.range.as_ref(), &mistake.message);
        }
        self.keys.push(Key { literal, template });
    }

    /// `name = value`, or a name that lacks its value; `input` stands before the name.
    fn assignment(&mut self, name: &Ident, input: ParseStream<'_>, errors: &mut Errors) {
        let _ = input.call(Ident::parse_any);
        let text = name.to_string();
        let known = OPTIONS.iter().find(|(option, _)| *option == text);
        let first = !self.names.contains(name);
        if known.is_none() {
            unknown_option(name, errors);
        } else if !first {
            errors.push(
                name.span(),
                format_args!("the option `{text}` is given twice"),
            );
        }
        let fresh = known.is_some() && first;
        self.names.push(name.clone());

        if input.parse::<Token![=]>().is_err() || input.is_empty() || input.peek(Token![,]) {
            if let Some((_, example)) = known {
                errors.push(
                    name.span(),
                    format_args!("the option `{text}` needs a value, as in `{text} = {example}`"),
                );
            }
            return skip_to_comma(input);
        }
        let result = match text.as_str() {
            "crate" => values::krate(input).map(|path| {
                if fresh {
                    self.krate = Some(path);
                }
            }),
            _ => input.parse::<Expr>().map(|value| {
                if fresh {
                    self.option(&text, values::ungrouped(value), errors);
                }
            }),
        };
        if let Err(error) = result {
            if known.is_some() {
                errors.push_error(error);
            }
            skip_to_comma(input);
        }
    }

    fn option(&mut self, name: &str, value: Expr, errors: &mut Errors) {
        match name {
            "store" => self.store = values::store(&value, errors),
            "ttl" => self.ttl = values::time(name, value, errors),
            "wait" => self.wait = values::wait(value, errors),
            "max_hold" => self.max_hold = values::time(name, value, errors),
            "min_hold" => self.min_hold = values::time(name, value, errors),
            "renew" => self.renew = values::renew(value, errors),
            "attempts" => self.attempts = values::attempts(value, errors),
            "delay" => self.delay = values::time(name, value, errors),
            "on_busy" => self.on_busy = values::on_busy(value, errors),
            "on_lost" => self.on_lost = values::on_lost(&value, errors),
            "when" => self.when = values::when(value, errors),
            "guard" => self.guard = values::guard(&value, errors),
            "verrou" => self.verrou = values::verrou(value, errors),
            _ => {}
        }
    }

    /// Options that contradict each other.
    fn check_together(&self, errors: &mut Errors) {
        if let (Some(Time::Literal(min_hold, span)), Some(Time::Literal(ttl, _))) =
            (&self.min_hold, &self.ttl)
            && min_hold > ttl
        {
            errors.push(
                *span,
                format_args!("`min_hold` is longer than the `ttl` of {ttl:?}; raise the `ttl`"),
            );
        }
        if let (Some(Time::Literal(max_hold, span)), Some(Time::Literal(min_hold, _))) =
            (&self.max_hold, &self.min_hold)
            && max_hold < min_hold
        {
            errors.push(
                *span,
                format_args!("`max_hold` is shorter than the `min_hold` of {min_hold:?}"),
            );
        }
        if let (Some(Time::Literal(max_hold, span)), Some(Time::Literal(ttl, _))) =
            (&self.max_hold, &self.ttl)
            && max_hold >= ttl
            && self.renew.as_ref().is_some_and(is_false)
            && self.guard.is_none()
        {
            errors.push(
                *span,
                format_args!("`max_hold` has no meaning here: with `renew = false` the lock ends after its `ttl` of {ttl:?}; remove one of the two"),
            );
        }
        if self.when.is_some() && self.guard.is_some() {
            errors.push(
                self.later("when", "guard"),
                "`guard` cannot be used with `when`: there is no guard when the body runs without the lock; remove one of the two",
            );
        }
        let asks_once = match &self.wait {
            Some(Waiting::Never) => Some("never"),
            Some(Waiting::For(Time::Literal(time, _))) if time.is_zero() => Some("\"0s\""),
            _ => None,
        };
        if let Some(wait) = asks_once {
            for (option, given) in [
                ("attempts", self.attempts.is_some()),
                ("delay", self.delay.is_some()),
            ] {
                if given {
                    errors.push(
                        self.later("wait", option),
                        format_args!("`{option}` has no meaning with `wait = {wait}`, which asks once; remove one of the two"),
                    );
                }
            }
        } else if self.delay.is_some() && self.attempts.as_ref().is_some_and(is_one) {
            errors.push(
                self.later("attempts", "delay"),
                "`delay` has no meaning with `attempts = 1`, after which nothing is tried again; remove one of the two",
            );
        }
    }

    /// The place of that one of the two options that stands last.
    fn later(&self, one: &str, other: &str) -> Span {
        let either = |name: &&Ident| *name == one || *name == other;
        let name = self.names.iter().rfind(either);
        name.map_or_else(Span::call_site, Ident::span)
    }
}

/// Whether the next argument is a string literal, and not the beginning of an expression.
fn is_key(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    // What follows without a comma is another mistake.
    ahead.parse::<LitStr>().is_ok()
        && !(ahead.peek(Token![.])
            || ahead.peek(Token![?])
            || ahead.peek(Token![+])
            || ahead.peek(Token![as])
            || ahead.peek(token::Bracket)
            || ahead.peek(token::Paren))
}

/// The name in `name = ..`, or a known name that lacks its value.
fn option_name(input: ParseStream<'_>) -> Option<Ident> {
    let ahead = input.fork();
    let name = ahead.call(Ident::parse_any).ok()?;
    let assigned = ahead.peek(Token![=]) && !ahead.peek(Token![==]);
    let known = OPTIONS.iter().any(|(option, _)| name == option);
    // `concat!(..)` and `verrou::KEY` are keys that cannot be.
    let path = ahead.peek(Token![::]) || ahead.peek(Token![!]);
    (assigned || (known && !path)).then_some(name)
}

fn reject(input: ParseStream<'_>, errors: &mut Errors) {
    errors.push(
        input.span(),
        format_args!("a lock key must be a string literal, {KEY_HELP}"),
    );
    skip_to_comma(input);
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}

fn unknown_option(name: &Ident, errors: &mut Errors) {
    let known = || OPTIONS.iter().map(|(option, _)| *option);
    let hint = match nearest(&name.to_string(), known()) {
        Some(option) => format!("did you mean `{option}`?"),
        None => format!("expected one of {}", listed(known())),
    };
    errors.push(name.span(), format_args!("unknown option `{name}`: {hint}"));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parsed(text: &str) -> (Args, String) {
        let mut errors = Errors::default();
        let tokens = text.parse().expect("tokens");
        let args = Args::parse(tokens, &mut errors);
        (args, errors.to_tokens().to_string())
    }

    #[track_caller]
    fn told(text: &str, expected: &[&str]) {
        let (_, errors) = parsed(text);
        for part in expected {
            assert!(
                errors.contains(&part.replace('"', "\\\"")),
                "{text}: {errors}"
            );
        }
        assert_eq!(
            errors.matches("compile_error").count(),
            expected.len(),
            "{text}: {errors}"
        );
    }

    #[test]
    fn keys_then_options() {
        let (args, errors) = parsed(
            "\"a:<b>\", \"c\", store = \"s\", ttl = \"1s\", wait = forever, max_hold = LIMIT, min_hold = \"1s\", \
             renew = false, attempts = 3, delay = \"5ms\", on_busy = skip, on_lost = continue, when = a::<B, C>(x), \
             verrou = &self.v, crate = my::verrou,",
        );
        assert_eq!(errors, "");
        assert_eq!(args.keys.len(), 2);
        assert!(matches!(args.ttl, Some(Time::Literal(ttl, _)) if ttl == Duration::from_secs(1)));
        assert!(matches!(args.wait, Some(Waiting::Forever)));
        assert!(matches!(args.max_hold, Some(Time::Expr(_))));
        assert!(matches!(args.on_busy, Some(OnBusy::Skip)));
        assert!(matches!(args.on_lost, Some(OnLost::Continue)));
        assert!(args.when.is_some() && args.krate.is_some());
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        told(
            "\"a:<\", tll = \"1s\", ttl = 30, ttl = \"1s\", attempts = 0, on_lost = stop",
            &[
                "unclosed `<`",
                "unknown option `tll`: did you mean `ttl`?",
                "`ttl` takes a string with a unit, as in `ttl = \"30s\"`",
                "the option `ttl` is given twice",
                "0 attempts",
                "`on_lost` takes",
            ],
        );
    }

    #[test]
    fn a_wrong_value_does_not_hide_what_follows() {
        told(
            "\"a\", nonsense = , ttl = \"1\"",
            &["unknown option `nonsense`", "has no unit"],
        );
        told(
            "\"a\", nonsense = %% 4, ttl = \"1\"",
            &["unknown option `nonsense`", "has no unit"],
        );
        told("\"a\" ttl = \"1\"", &["expected `,`", "has no unit"]);
        told(
            "\"a\", ttl, wait = ",
            &[
                "the option `ttl` needs a value",
                "the option `wait` needs a value",
            ],
        );
    }

    #[test]
    fn a_key_is_a_string_literal_and_comes_first() {
        for bad in [
            "42",
            "b\"x\"",
            "KEY",
            "concat!(\"a\")",
            "\"a\".len()",
            "crate::KEY",
            "format!(\"a\")",
        ] {
            told(bad, &["a lock key must be a string literal"]);
        }
        told(
            "ttl = \"1s\", \"a\"",
            &["lock keys come before the options"],
        );
        told("\"a\", \"a\"", &["the key \"a\" is given twice"]);
        told("", &["`#[locked]` needs a key"]);
        told("ttl = \"1s\"", &["`#[locked]` needs a key"]);
    }

    #[test]
    fn options_that_contradict_each_other() {
        told(
            "\"a\", ttl = \"1s\", min_hold = \"2s\"",
            &["`min_hold` is longer than the `ttl` of 1s"],
        );
        told(
            "\"a\", max_hold = \"1s\", min_hold = \"2s\"",
            &["`max_hold` is shorter than"],
        );
        told(
            "\"a\", when = x, guard = g",
            &["`guard` cannot be used with `when`"],
        );
    }

    #[test]
    fn any_tokens_are_read_without_a_panic() {
        let snippets = [
            "\"a\"", "\"<b\"", ",", "=", "ttl", "\"1s\"", "5", "on_lost", "continue", "crate",
            "::", "guard", "(x)", "!",
        ];
        let count = snippets.len();
        for number in 0..count.pow(4) {
            let text: String = (0..4)
                .map(|place| format!("{} ", snippets[number / count.pow(place) % count]))
                .collect();
            parsed(&text);
        }
    }
}
