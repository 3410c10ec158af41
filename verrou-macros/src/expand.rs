//! What `#[locked]` makes of a function: render the keys, acquire, run the body inside `hold`, release.
//!
//! Three rules keep it out of the user's way. All names begin with `__verrou_`, because a name in a pattern that is a
//! constant of the user's would be compared with it. All tokens are at the mixed site, so that lints take them for
//! another crate's, but for those whose place a message of rustc should show. All paths are absolute.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Attribute, Expr, Token, Type};

use crate::args::Args;
use crate::errors::Errors;
use crate::function::{Function, Shape, replace_async_block, replace_async_trait};
use crate::render::{Scope, private, render};
use crate::values::{OnBusy, OnLost, Time, Waiting};

/// Two of them are in no common order with other functions.
const SECOND: &str = "a second `#[locked]` takes its locks one inside the other, which can deadlock; name all keys in one: `#[locked(\"a\", \"b\")]`";

pub(crate) fn locked(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut args = Args::parse(arguments, &mut errors);
    if args.guard.is_some() {
        args.when = None;
    }
    let function = Function::parse(item.clone(), &mut errors);
    let expanded = function.map_or(item, |mut function| {
        function
            .locked(&mut args, &mut errors)
            .unwrap_or_else(|| function.kept(&args, &mut errors))
    });
    // The function stays when the arguments are wrong: all who call it go on type-checking.
    let mut tokens = errors.to_tokens();
    tokens.extend(expanded);
    tokens
}

impl Function {
    fn locked(&mut self, args: &mut Args, errors: &mut Errors) -> Option<TokenStream> {
        let shape = self.shape(errors);
        self.refuse_a_second_locked(args, errors);
        self.refuse_a_guard_named_like_an_argument(args, errors);
        if is_locked(&self.body) {
            errors.push(Span::call_site(), SECOND);
            return None;
        }
        let args = &*args;
        let shape = shape?;
        let ret = self.checked_output(errors)?;
        let mut scope = Scope::new(self);
        let body = match shape {
            Shape::Async(keyword) => {
                let mut user = TokenStream::new();
                self.brace
                    .surround(&mut user, |tokens| tokens.extend(self.body.clone()));
                Plan::new(args, ret, &scope, errors).wrap(&user, keyword)
            }
            Shape::Block => replace_async_block(&self.body, &mut |keyword, block| {
                let mut wrap = |user: &Group, scope: &Scope| {
                    let tokens = user.to_token_stream();
                    let locked = Plan::new(args, ret.clone(), scope, errors).wrap(&tokens, keyword);
                    braced_like(user, locked)
                };
                let of_async_trait = replace_async_trait(block, &mut |found| {
                    scope.rebind(found);
                    wrap(&found.user, &scope)
                });
                of_async_trait.unwrap_or_else(|| wrap(block, &scope))
            })?,
        };
        Some(self.with_body(&body))
    }

    /// The function without a lock, for one that cannot have it. Its keys are checked all the same; so is its body, which
    /// must have the guard's name.
    fn kept(&self, args: &Args, errors: &mut Errors) -> TokenStream {
        let scope = Scope::new(self);
        // Below `#[async_trait]` the names would have to be found first.
        if !scope
            .names
            .iter()
            .any(|name| name.ident.to_string().starts_with("__arg"))
        {
            let private = private(args.krate.as_ref());
            for key in &args.keys {
                let _ = render(key, &scope, &private, errors);
            }
        }
        let Some(name) = &args.guard else {
            return self.with_body(&self.body);
        };
        let private = private(args.krate.as_ref());
        let body = &self.body;
        let function = self.with_body(&quote_spanned! {Span::mixed_site()=>
            let (#name,): (&#private::LockGuard,) = ::core::panic!();
            #body
        });
        quote_spanned!(Span::mixed_site()=> #[allow(unreachable_code, unused_variables)] #function)
    }

    fn refuse_a_second_locked(&mut self, args: &mut Args, errors: &mut Errors) {
        self.attrs.retain(|attr| {
            let last = attr.path().segments.last();
            let second = last.is_some_and(|segment| segment.ident == "locked");
            if second {
                if let (None, Ok(list)) = (&args.guard, attr.meta.require_list()) {
                    // The body goes on having it.
                    args.guard = Args::parse(list.tokens.clone(), &mut Errors::default()).guard;
                    args.when.take_if(|_| args.guard.is_some());
                }
                errors.push_at(attr.path(), SECOND);
            }
            !second
        });
    }

    /// The name goes on standing for the argument, so that the body type-checks.
    fn refuse_a_guard_named_like_an_argument(&self, args: &mut Args, errors: &mut Errors) {
        let is_argument = |guard: &mut Ident| self.names().iter().any(|name| name.ident == *guard);
        if let Some(guard) = args.guard.take_if(is_argument) {
            errors.push(
                guard.span(),
                format_args!("`{guard}` is the name of an argument; give the guard another one"),
            );
        }
    }

    /// The return type, ready to be repeated in the body.
    fn checked_output(&self, errors: &mut Errors) -> Option<Type> {
        let output = self.output();
        let message = "a `#[locked]` function must be able to return a lock error";
        match output.as_ref().map(bare) {
            Some(Type::Never(never)) => {
                errors.push(
                    never.span(),
                    format_args!("{message}, so it cannot return `!`"),
                );
                return None;
            }
            Some(Type::Tuple(tuple)) if tuple.elems.is_empty() => {}
            Some(_) => {
                let mut output = output?;
                Nameable.visit_type_mut(&mut output);
                return Some(output);
            }
            None => {}
        }
        errors.push(
            self.sig.ident.span(),
            format_args!(
                "{message}: make it return `Result<(), E>` where `E: From<verrou::Error>`"
            ),
        );
        None
    }

    /// The whole signature is printed as it was: parts that this crate does not know would be lost otherwise.
    fn with_body(&self, body: &TokenStream) -> TokenStream {
        let Self {
            attrs,
            vis,
            default,
            sig,
            brace,
            inner_attrs,
            rest,
            ..
        } = self;
        let mut block = TokenStream::new();
        brace.surround(&mut block, |tokens| {
            tokens.extend(quote!(#(#inner_attrs)* #body));
        });
        quote!(#(#attrs)* #vis #default #sig #block #rest)
    }
}

/// The type without parentheses, and without the invisible group of a `macro_rules!` fragment.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

fn braced_like(group: &Group, stream: TokenStream) -> Group {
    let mut braced = Group::new(Delimiter::Brace, stream);
    braced.set_span(group.span());
    braced
}

/// `impl Trait` cannot be written where a type is repeated; `_` can.
struct Nameable;

impl VisitMut for Nameable {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::ImplTrait(unnameable) = ty {
            let span = unnameable.impl_token.span;
            *ty = Type::Verbatim(Token![_](span).to_token_stream());
        }
        visit_type_mut(self, ty);
    }
}

/// All that the generated code is made of.
struct Plan<'a> {
    args: &'a Args,
    /// The return type of the future, `impl Trait` as `_`.
    ret: Type,
    scope: &'a Scope,
    /// One expression of type `Key` for each template.
    keys: Vec<TokenStream>,
    /// `::verrou::__private`
    private: TokenStream,
    /// There are mistakes, which must not look like others: an argument that a key means but does not name, like an
    /// unused one.
    broken: bool,
}

impl<'a> Plan<'a> {
    fn new(args: &'a Args, ret: Type, scope: &'a Scope, errors: &mut Errors) -> Self {
        let private = private(args.krate.as_ref());
        let keys = args
            .keys
            .iter()
            .map(|key| render(key, scope, &private, errors))
            .collect();
        Self {
            args,
            ret,
            scope,
            keys,
            private,
            broken: !errors.is_empty(),
        }
    }

    /// The statements around `user`, a block; `keyword` is the `async` that the user wrote.
    fn wrap(&self, user: &TokenStream, keyword: Span) -> TokenStream {
        let Self { ret, private, .. } = self;
        let acquire = self.acquire();
        let body = self.body(user, keyword);
        let site = Span::mixed_site();
        let (take, borrowed, owned) = match &self.args.when {
            None => (
                acquire,
                quote_spanned!(site=> ::core::option::Option::Some(&__verrou_guard)),
                quote_spanned!(site=> ::core::option::Option::Some(__verrou_guard)),
            ),
            Some(when) => {
                let when = self.typed(&quote_spanned!(site=> ::core::primitive::bool), when);
                (
                    quote_spanned!(site=> match #when {
                        true => ::core::option::Option::Some(#acquire),
                        false => ::core::option::Option::None,
                    }),
                    quote_spanned!(site=> ::core::option::Option::as_ref(&__verrou_guard)),
                    quote_spanned!(site=> __verrou_guard),
                )
            }
        };
        let held = self.args.guard.as_ref().map(
            |_| quote_spanned!(Span::mixed_site()=> let (__verrou_held,) = (&__verrou_guard,);),
        );
        // What is returned has the place of the body, where rustc then reports a wrong lifetime.
        let output = Ident::new(
            "__verrou_output",
            Span::mixed_site().located_at(user.span()),
        );
        quote_spanned! {Span::mixed_site()=>
            // A pattern and not a name: clippy's `significant_drop_tightening` would have the guard dropped earlier.
            let (__verrou_guard,) = (#take,);
            #held
            let #output = match #private::hold(#borrowed, #body).await {
                ::core::result::Result::Ok(__verrou_output) => __verrou_output,
                ::core::result::Result::Err(__verrou_error) =>
                    <#ret as #private::Output>::from_lock_error(__verrou_error),
            };
            #private::release(#owned).await;
            #[allow(clippy::implicit_return)]
            #output
        }
    }

    /// An expression for the guard; it returns from the function when there is none.
    fn acquire(&self) -> TokenStream {
        let Self {
            ret, private, keys, ..
        } = self;
        let verrou = match &self.args.verrou {
            Some(verrou) => {
                // A name for it, because what rustc expects would decide on the type of a generic call.
                let place = Span::mixed_site().located_at(verrou.span());
                let given = Ident::new("__verrou_given", place);
                let verrou = self.in_scope(verrou);
                quote_spanned!(Span::mixed_site()=> match &(#verrou) { #given => #private::given(#given) })
            }
            None => quote_spanned!(Span::mixed_site()=> #private::current()),
        };
        let store = match &self.args.store {
            Some(name) => quote_spanned!(Span::mixed_site()=> ::core::option::Option::Some(#name)),
            None => quote_spanned!(Span::mixed_site()=> ::core::option::Option::None),
        };
        let options = self.options();
        let on_busy = self.on_busy();
        // Statements of their own: no reference to an argument, and no formatter, may live across the await.
        quote_spanned! {Span::mixed_site()=> {
            let __verrou_keys = [#(#keys),*];
            let __verrou_instance = #verrou;
            let __verrou_options = #options;
            match #private::acquire(__verrou_instance, #store, __verrou_options, __verrou_keys).await {
                ::core::result::Result::Ok(__verrou_guard) => __verrou_guard,
                ::core::result::Result::Err(__verrou_error) => {
                    #on_busy
                    return <#ret as #private::Output>::from_lock_error(__verrou_error);
                }
            }
        }}
    }

    fn on_busy(&self) -> Option<TokenStream> {
        let Self { ret, private, .. } = self;
        let value = match self.args.on_busy.as_ref()? {
            OnBusy::Skip => {
                quote_spanned!(Span::mixed_site()=> <#ret as #private::Skip>::skipped())
            }
            OnBusy::Value(value) => self.in_scope(value),
        };
        Some(quote_spanned! {Span::mixed_site()=>
            if #private::Error::is_busy(&__verrou_error) {
                #[allow(clippy::diverging_sub_expression)]
                let __verrou_value: #ret = #value;
                #[allow(unreachable_code)]
                return __verrou_value;
            }
        })
    }

    /// The body as a future. The `if let` tells rustc the output before it reads the body (coercions, `?`); the arm keeps
    /// the user's own braces, for messages and for the scope of what is imported in them, without a lint.
    fn body(&self, user: &TokenStream, keyword: Span) -> TokenStream {
        let ret = &self.ret;
        // With the user's span the note "return type inferred to be .. here" shows the return type.
        let edge = Ident::new("__verrou_ret", ret.span());
        let captures = self.captures(user);
        let guard = self
            .args
            .guard
            .as_ref()
            .map(|name| quote_spanned!(Span::mixed_site()=> let (#name,) = (__verrou_held,);));
        let inner = quote_spanned! {Span::mixed_site()=>
            #captures
            if let ::core::option::Option::Some(#edge) = ::core::option::Option::None::<#ret> {
                #[allow(unreachable_code)]
                return #edge;
            }
            #guard
            match () { () => #user }
        };
        // The user's own span for keyword and braces: "borrow of moved value" then knows the variable's name.
        let (keyword, moved) = (Token![async](keyword), Token![move](keyword));
        let mut block = Group::new(Delimiter::Brace, inner);
        block.set_span(keyword.span);
        quote!(#keyword #moved #block)
    }

    /// Moves every argument that the body names into it as a whole, so that it drops before the release. By itself
    /// `async move` takes the fields that are named, and leaves the others to the end of the function. The block drops
    /// what it captured in the order in which it is named first: here that of a function, the last argument first.
    fn captures(&self, user: &TokenStream) -> TokenStream {
        let mut captures = TokenStream::new();
        for name in self.scope.names.iter().rev() {
            if self.broken || mentions(user, &name.ident) {
                captures.extend(capture(&name.cfgs, &name.ident));
            }
        }
        if let Some(receiver) = &self.scope.receiver
            && mentions(user, receiver)
        {
            captures.extend(capture(&[], receiver));
        }
        captures
    }

    fn options(&self) -> TokenStream {
        let Self { args, private, .. } = self;
        let site = Span::mixed_site();
        let label: Vec<String> = args.keys.iter().map(|key| key.literal.value()).collect();
        let label = label.join(", ");
        let time = |time: &Option<Time>| time.as_ref().map(|time| self.time(time));
        let typed = |ty, value: &Option<Expr>| {
            let ty = quote_spanned!(site=> ::core::primitive::#ty);
            value.as_ref().map(|value| self.typed(&ty, value))
        };
        let on_lost = args.on_lost.as_ref().map(|on_lost| match on_lost {
            OnLost::Cancel => quote_spanned!(site=> #private::OnLost::Cancel),
            OnLost::Continue => quote_spanned!(site=> #private::OnLost::Continue),
        });
        let settings = [
            ("label", Some(quote_spanned!(site=> #label))),
            ("ttl", time(&args.ttl)),
            ("wait", args.wait.as_ref().map(|wait| self.waiting(wait))),
            ("max_hold", time(&args.max_hold)),
            ("min_hold", time(&args.min_hold)),
            ("renew", typed(format_ident!("bool"), &args.renew)),
            ("attempts", typed(format_ident!("u32"), &args.attempts)),
            ("delay", time(&args.delay)),
            ("on_lost", on_lost),
        ];
        let none = quote_spanned!(site=> #private::LockOptions::new());
        settings.into_iter().fold(none, |options, (name, value)| {
            let Some(value) = value else { return options };
            let setter = Ident::new(name, site);
            quote_spanned!(site=> #private::LockOptions::#setter(#options, #value))
        })
    }

    fn waiting(&self, wait: &Waiting) -> TokenStream {
        let private = &self.private;
        let site = Span::mixed_site();
        match wait {
            Waiting::Forever => quote_spanned!(site=> #private::Wait::Forever),
            Waiting::Never => quote_spanned!(site=> #private::Wait::Never),
            Waiting::For(time) => {
                let time = self.time(time);
                quote_spanned!(site=> #private::Wait::For(#time))
            }
        }
    }

    fn time(&self, time: &Time) -> TokenStream {
        let site = Span::mixed_site();
        match time {
            Time::Literal(duration, _) => {
                let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
                quote_spanned!(site=> ::core::time::Duration::new(#seconds, #nanoseconds))
            }
            Time::Expr(value) => self.typed(&quote_spanned!(site=> ::core::time::Duration), value),
        }
    }

    /// A `let` with its type: a wrong value is reported at the value, without a quote of the setter.
    fn typed(&self, ty: &TokenStream, value: &Expr) -> TokenStream {
        let value = self.in_scope(value);
        quote_spanned!(Span::mixed_site()=> { let __verrou_value: #ty = #value; __verrou_value })
    }

    /// An expression of the user's; under `#[async_trait]` `self` has another name.
    fn in_scope(&self, value: &Expr) -> TokenStream {
        let tokens = value.to_token_stream();
        match &self.scope.receiver {
            Some(receiver) if *receiver != "self" => with_receiver(tokens, receiver),
            _ => tokens,
        }
    }
}

fn capture(cfgs: &[Attribute], name: &Ident) -> TokenStream {
    quote_spanned!(Span::mixed_site()=> #(#cfgs)* let _ = &#name;)
}

/// Whether the tokens name the argument `name`: not a field, a method, a lifetime or a local of that name. Where tokens
/// alone do not tell, they do.
fn mentions(tokens: &TokenStream, name: &Ident) -> bool {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let is = |at: usize, next: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == next);
    let word = |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word);
    // After the `;` of `let name = ..;` the name is the local.
    let mut shadowed = false;
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back);
        let follows = |back: usize, next: char| before(back).is_some_and(|at| is(at, next));
        match token {
            TokenTree::Ident(ident) if ident.unraw() == name.unraw() => {
                let member = follows(1, '.') && !follows(2, '.');
                let mutable = before(1).is_some_and(|at| word(at, "mut"));
                let binding = before(1 + usize::from(mutable)).filter(|at| word(*at, "let"));
                if let Some(binding) = binding {
                    let whole = is(at + 1, '=') || (is(at + 1, ':') && !is(at + 2, ':'));
                    shadowed |= whole && starts_statement(&tokens[..binding]);
                } else if !member && !follows(1, '\'') {
                    return true;
                }
            }
            TokenTree::Group(group) if mentions(&group.stream(), name) => return true,
            TokenTree::Punct(punct) if shadowed && punct.as_char() == ';' => return false,
            _ => {}
        }
    }
    false
}

fn starts_statement(before: &[TokenTree]) -> bool {
    match before.last() {
        None => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ';',
        Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
        Some(_) => false,
    }
}

/// Whether the body is what another `#[locked]` made. That one may go by another name, so its attribute tells nothing.
fn is_locked(body: &TokenStream) -> bool {
    let mut tokens = body.clone().into_iter();
    let starts = matches!(
        (tokens.next(), tokens.next()),
        (Some(TokenTree::Ident(word)), Some(TokenTree::Group(pattern)))
            if word == "let" && pattern.stream().to_string().starts_with("__verrou_guard")
    );
    // Under `#[async_trait]`, and below other attributes that wrap the body, it is further inside.
    let inside = |token| matches!(token, TokenTree::Group(group) if is_locked(&group.stream()));
    starts || body.clone().into_iter().any(inside)
}

fn with_receiver(tokens: TokenStream, receiver: &Ident) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let replace = |(at, token): (usize, &TokenTree)| match token {
        // `self::PATH` is the module.
        TokenTree::Ident(ident)
            if ident == "self" && !(colon(tokens.get(at + 1)) && colon(tokens.get(at + 2))) =>
        {
            Ident::new(
                &receiver.to_string(),
                ident
                    .span()
                    .located_at(ident.span())
                    .resolved_at(receiver.span()),
            )
            .into()
        }
        TokenTree::Group(group) => {
            let mut replaced =
                Group::new(group.delimiter(), with_receiver(group.stream(), receiver));
            replaced.set_span(group.span());
            replaced.into()
        }
        other => other.clone(),
    };
    tokens.iter().enumerate().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_named_by_its_name_alone() {
        let id = Ident::new("id", Span::call_site());
        let named = |body: &str| mentions(&body.parse().expect("tokens"), &id);
        for body in [
            "id",
            "f(&id)",
            "..id",
            "0..id",
            "0..=id",
            "id.id",
            "r#id",
            "let id = id + 1;",
            "if let id = 1 {} g(); id",
            "#[cfg(x)] let id = 1; id",
            "{ let id = 1; } id",
            "match 1 { 1 => { let id = 1; id } _ => id }",
            "let id::A = 1; id",
            "println!(\"{}\", id)",
        ] {
            assert!(named(body), "{body}");
        }
        for body in [
            "p.id",
            "p.0.id()",
            "a\n.id",
            "let x: &'id str = s;",
            "'id: loop { break 'id; }",
            "let id = 1; id",
            "let mut id: u8 = 1; { id += 1; } id",
            "if a {} let id = 1; id",
            "\"id\"",
            "identity",
        ] {
            assert!(!named(body), "{body}");
        }
    }
}
