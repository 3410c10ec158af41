//! `key!`: the text of a key, outside of a function under `#[locked]`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, LitStr, Path, Token};

use crate::errors::{Errors, listed, nearest};
use crate::render::{capacity, private, step, value};
use crate::template::{self, Piece, Placeholder, Template};
use crate::values;

pub(crate) fn key(arguments: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let krate = krate(&arguments);
    let parser = |input: ParseStream<'_>| Arguments::read(input, &mut errors);
    let expanded = match parser.parse2(arguments) {
        Ok(arguments) => arguments.render(&mut errors),
        Err(error) => {
            errors.push_error(error);
            // Of the right type, so that the code around it goes on type-checking.
            let private = private(krate.as_ref());
            quote_spanned!(Span::mixed_site()=> #private::Key::finish(#private::Key::with_capacity(0)))
        }
    };
    if errors.is_empty() {
        return expanded;
    }
    let errors = errors.to_tokens();
    quote_spanned!(Span::mixed_site()=> { #errors #expanded })
}

/// The path in `crate = path`, also if what stands before it cannot be read: what replaces the key must be found too.
fn krate(arguments: &TokenStream) -> Option<Path> {
    let tokens: Vec<TokenTree> = arguments.clone().into_iter().collect();
    let is = |token: &TokenTree, next: char| matches!(token, TokenTree::Punct(punct) if punct.as_char() == next);
    let path = tokens.windows(2).position(|pair| {
        matches!(&pair[0], TokenTree::Ident(word) if word == "crate") && is(&pair[1], '=')
    })? + 2;
    let path = tokens[path..].iter().take_while(|token| !is(token, ','));
    Path::parse_mod_style.parse2(path.cloned().collect()).ok()
}

struct Arguments {
    literal: LitStr,
    template: Template,
    values: Vec<(Ident, Expr)>,
    krate: Option<Path>,
}

impl Arguments {
    fn read(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Self> {
        let literal: LitStr = input.parse().map_err(|error| {
            syn::Error::new(
                error.span(),
                "`key!` needs a string literal, as in `key!(\"transfer:<from>\", from = 7)`",
            )
        })?;
        let (template, mistakes) = template::parse(&literal.value());
        for mistake in mistakes {
            errors.push_in(&literal, mistake.range.as_ref(), &mistake.message);
        }
        let mut arguments = Self {
            literal,
            template,
            values: Vec::new(),
            krate: None,
        };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name = input.call(Ident::parse_any)?;
            if name == "crate" {
                input.parse::<Token![=]>()?;
                if arguments.krate.replace(values::krate(input)?).is_some() {
                    errors.push(name.span(), "`crate` is given twice");
                }
                continue;
            }
            let value = if input.parse::<Option<Token![=]>>()?.is_some() {
                input.parse()?
            } else if let Ok(value) = syn::parse2(name.to_token_stream()) {
                value
            } else {
                errors.push(
                    name.span(),
                    format_args!(
                        "`{name}` is a keyword: give it a value, as in `{name} = r#{name}`"
                    ),
                );
                syn::parse_quote!("")
            };
            if arguments.position(&name.unraw().to_string()).is_some() {
                errors.push(name.span(), format_args!("`{name}` is given twice"));
            } else {
                arguments.values.push((name, value));
            }
        }
        Ok(arguments)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.values
            .iter()
            .position(|(known, _)| known.unraw() == name)
    }

    fn render(&self, errors: &mut Errors) -> TokenStream {
        let site = Span::mixed_site();
        let private = private(self.krate.as_ref());
        let mut all_found = errors.is_empty();
        let mut used = vec![false; self.values.len()];
        let mut steps = Vec::new();
        for piece in &self.template.pieces {
            match piece {
                Piece::Text(text) => {
                    steps
                        .push(quote_spanned!(site=> #private::Key::lit(&mut __verrou_key, #text);));
                }
                Piece::Value(placeholder) => match self.position(&placeholder.root) {
                    None => {
                        all_found = false;
                        let message = self.explain_missing(placeholder);
                        errors.push_in(&self.literal, Some(&placeholder.range), &message);
                    }
                    Some(position) => {
                        used[position] = true;
                        let bound = self.bound(position);
                        // It is a reference already, which rustc would name.
                        let value = if placeholder.fields.is_empty() {
                            Some(bound.to_token_stream())
                        } else {
                            value(placeholder, &bound, &self.literal, errors)
                        };
                        if let Some(value) = value {
                            steps.push(step(placeholder, &value, &private));
                        }
                    }
                },
            }
        }
        // A misspelt placeholder leaves its value unused; one message is enough.
        let unused = self
            .values
            .iter()
            .zip(used)
            .filter(|(_, used)| all_found && !used);
        for ((name, _), _) in unused {
            errors.push(name.span(), format_args!("`{name}` is not used in the key"));
        }
        let values = self.values.iter().map(|(_, value)| value);
        let bound = (0..self.values.len()).map(|position| self.bound(position));
        // A `match`, so that each value is evaluated once and its temporaries live as long as it is used.
        let capacity = capacity(&self.template);
        quote_spanned! {site=> {
            let mut __verrou_key = #private::Key::with_capacity(#capacity);
            match (#(&(#values),)*) {
                (#(#bound,)*) => { #(#steps)* }
            }
            #private::Key::finish(__verrou_key)
        }}
    }

    /// Where the value at `position` is bound: our name, the user's place.
    fn bound(&self, position: usize) -> Ident {
        let place = self.values[position].0.span();
        format_ident!(
            "__verrou_{position}",
            span = Span::mixed_site().located_at(place)
        )
    }

    fn explain_missing(&self, placeholder: &Placeholder) -> String {
        let Placeholder { root, text, .. } = placeholder;
        let names: Vec<String> = self
            .values
            .iter()
            .map(|(name, _)| name.unraw().to_string())
            .collect();
        let known = || names.iter().map(String::as_str);
        let hint = match (nearest(root, known()), names.is_empty()) {
            (Some(name), _) => format!("did you mean `<{}>`?", text.replacen(root, name, 1)),
            (None, _) if root == "self" => {
                "give it a value: `self` in a method, or `self = account`".into()
            }
            (None, true) => format!("give it a value, as in `{root} = 7`"),
            (None, false) => format!("the values are {}", listed(known())),
        };
        format!("no value named `{root}` for the placeholder `<{text}>`: {hint}")
    }
}

#[cfg(test)]
mod tests {
    /// Otherwise rustc would speak of a `verrou` that is not there, beside the mistake itself.
    #[test]
    fn a_renamed_crate_is_known_whatever_cannot_be_read() {
        for arguments in [
            "KEY, crate = my::locks",
            "\"t:<a>\" a = 1, crate = my::locks",
            "\"t:<a>\", crate = my::locks, a = ",
            "\"t:<a>\", a = %, crate = my::locks,",
        ] {
            let expanded = super::key(arguments.parse().expect("tokens")).to_string();
            assert!(expanded.contains("compile_error"), "{expanded}");
            assert!(expanded.contains("my :: locks :: __private"), "{expanded}");
            assert!(!expanded.contains("verrou :: __private"), "{expanded}");
        }
    }
}
