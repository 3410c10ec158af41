//! How a template becomes code that renders a key.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::LitStr;
use syn::ext::IdentExt as _;

use crate::args::Key;
use crate::errors::{Errors, listed, nearest};
use crate::function::{AsyncTrait, Function, Name};
use crate::template::{Piece, Placeholder, Template};

/// What the key can name.
pub(crate) struct Scope {
    pub(crate) names: Vec<Name>,
    nameless: Option<usize>,
    /// `self`, or what `#[async_trait]` made of it.
    pub(crate) receiver: Option<Ident>,
}

impl Scope {
    pub(crate) fn new(function: &Function) -> Self {
        Self {
            names: function.names(),
            nameless: function.nameless(),
            receiver: function
                .sig
                .receiver()
                .map(|receiver| Ident::from(receiver.self_token)),
        }
    }

    /// `#[async_trait]` has bound the parameters again, under the user's names.
    pub(crate) fn rebind(&mut self, found: &AsyncTrait) {
        self.names
            .retain(|name| !name.ident.to_string().starts_with("__arg"));
        self.names.extend(found.names.iter().cloned());
        if found.receiver.is_some() {
            self.receiver.clone_from(&found.receiver);
        }
    }

    fn find(&self, root: &str) -> Option<&Ident> {
        if root == "self" {
            return self.receiver.as_ref();
        }
        let named = |name: &&Name| name.ident.unraw() == root;
        self.names.iter().rfind(named).map(|name| &name.ident)
    }

    fn explain_missing(&self, placeholder: &Placeholder) -> String {
        let Placeholder { root, text, .. } = placeholder;
        if root == "self" {
            return format!("`<{text}>` needs a method: this function has no `self`");
        }
        if let ("_", Some(position)) = (root.as_str(), self.nameless) {
            return format!(
                "the argument at position {position} has no name; replace `_` by a name to use it in the key"
            );
        }
        let mut names: Vec<String> = self
            .names
            .iter()
            .map(|name| name.ident.unraw().to_string())
            .collect();
        names.dedup();
        let known = || names.iter().map(String::as_str);
        let receiver = self.receiver.iter().map(|_| "self");
        let hint = match (nearest(root, known().chain(receiver)), names.len()) {
            (Some(name), _) => format!("did you mean `<{}>`?", text.replacen(root, name, 1)),
            (None, 0) if self.receiver.is_some() => {
                "this method has no arguments but `self`".into()
            }
            (None, 0) => "this function has no arguments".into(),
            (None, 1) => format!("the only argument is {}", listed(known())),
            (None, _) => format!("the arguments are {}", listed(known())),
        };
        format!("no argument named `{root}` for the placeholder `<{text}>`: {hint}")
    }
}

/// `#krate::__private`, where `#krate` is `::verrou` unless told otherwise.
pub(crate) fn private(krate: Option<&syn::Path>) -> TokenStream {
    match krate {
        Some(path) => quote_spanned!(Span::mixed_site()=> #path::__private),
        None => quote_spanned!(Span::mixed_site()=> ::verrou::__private),
    }
}

/// The expression that renders one template.
pub(crate) fn render(
    key: &Key,
    scope: &Scope,
    private: &TokenStream,
    errors: &mut Errors,
) -> TokenStream {
    let steps: Vec<TokenStream> = key
        .template
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(
                quote_spanned!(Span::mixed_site()=> #private::Key::lit(&mut __verrou_key, #text);),
            ),
            Piece::Value(placeholder) => {
                let Some(ident) = scope.find(&placeholder.root) else {
                    let message = scope.explain_missing(placeholder);
                    errors.push_in(&key.literal, Some(&placeholder.range), &message);
                    return None;
                };
                let value = value(placeholder, ident, &key.literal, errors)?;
                let mut tokens = step(placeholder, &value, private);
                if placeholder.fields.is_empty() {
                    tokens.extend(way_to_the_argument(ident, &key.literal));
                }
                Some(tokens)
            }
        })
        .collect();
    let capacity = capacity(&key.template);
    quote_spanned! {Span::mixed_site()=> {
        let mut __verrou_key = #private::Key::with_capacity(#capacity);
        #(#steps)*
        __verrou_key
    }}
}

/// Room for the text, and in each placeholder for the longest number or a UUID: then a key is one allocation.
pub(crate) fn capacity(template: &Template) -> usize {
    let room = |piece: &Piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Value(_) => 40,
    };
    template.pieces.iter().map(room).sum()
}

/// The argument's name at the place of the literal, where an editor looks for what a placeholder stands for. What is
/// rendered has the place of the parameter instead, for the sake of the messages.
fn way_to_the_argument(argument: &Ident, literal: &LitStr) -> TokenStream {
    let mut argument = argument.clone();
    argument.set_span(literal.span().resolved_at(argument.span()));
    quote_spanned!(Span::mixed_site()=> let _ = &#argument;)
}

pub(crate) fn step(
    placeholder: &Placeholder,
    value: &TokenStream,
    private: &TokenStream,
) -> TokenStream {
    let name = &placeholder.text;
    quote_spanned!(Span::mixed_site()=> #private::Key::part(&mut __verrou_key, #name, #value);)
}

/// `&arg` at the place of the parameter, or `&arg.field` at the place of the literal: where rustc shall report a value
/// without `Display`. The name resolves as the parameter does, also when both come from a `macro_rules!`.
pub(crate) fn value(
    placeholder: &Placeholder,
    root: &Ident,
    literal: &LitStr,
    errors: &mut Errors,
) -> Option<TokenStream> {
    if placeholder.fields.is_empty() {
        return Some(quote_spanned!(Span::mixed_site().located_at(root.span())=> &#root));
    }
    let mut root = root.clone();
    root.set_span(literal.span().resolved_at(root.span()));
    let site = Span::mixed_site().located_at(literal.span());
    let mut value = quote_spanned!(site=> &#root);
    for field in &placeholder.fields {
        let Some(member) = member(field, site) else {
            errors.push_in(
                literal,
                Some(&placeholder.range),
                &format!(
                    "`{field}` in `<{}>` cannot be the name of a field",
                    placeholder.text
                ),
            );
            return None;
        };
        value.extend(quote_spanned!(site=> .#member));
    }
    Some(value)
}

/// A field's name as a token: a number, a name, or a keyword as a raw name.
fn member(field: &str, span: Span) -> Option<TokenStream> {
    if let Ok(index) = field.parse::<u32>() {
        return Some(syn::Index { index, span }.to_token_stream());
    }
    if syn::parse_str::<Ident>(field).is_ok() {
        return Some(Ident::new(field, span).to_token_stream());
    }
    let raw_exists = !matches!(field, "self" | "Self" | "super" | "crate" | "_");
    let keyword = syn::parse::Parser::parse_str(Ident::parse_any, field).is_ok();
    (raw_exists && keyword).then(|| Ident::new_raw(field, span).to_token_stream())
}
