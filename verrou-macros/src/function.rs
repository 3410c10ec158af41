//! The function under `#[locked]`: its parts, its shape, the names that a key can use.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{
    Attribute, FnArg, GenericArgument, Local, Pat, PathArguments, ReturnType, Signature, Stmt,
    Token, Type, TypeParamBound, Visibility, braced, token,
};

use crate::errors::Errors;

/// A function with a body. The body stays tokens: new syntax, and code that is being typed, must not matter.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) default: Option<Ident>,
    pub(crate) sig: Signature,
    pub(crate) brace: token::Brace,
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) body: TokenStream,
    /// What follows the body: nothing, unless braces are misplaced.
    pub(crate) rest: TokenStream,
}

/// How the body becomes a future.
pub(crate) enum Shape {
    /// `async fn`; the place of its `async`.
    Async(Span),
    /// The whole body is one async block, perhaps boxed: written by hand, or by `#[async_trait]`.
    Block,
}

/// Something that a placeholder can name.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) ident: Ident,
    /// The parameter's own `#[cfg]`s: without them the name may not exist.
    pub(crate) cfgs: Vec<Attribute>,
}

impl Function {
    /// Reads the item, or tells what it is instead of a function with a body.
    pub(crate) fn parse(item: TokenStream, errors: &mut Errors) -> Option<Self> {
        let mut function = None;
        let parser = |input: ParseStream<'_>| {
            function = Self::read(input, errors)?;
            let rest = input.parse()?;
            if let Some(function) = &mut function {
                function.rest = rest;
            }
            Ok(())
        };
        if let Err(error) = parser.parse2(item) {
            errors.push_error(error);
            // Parts of it could not be read, and would be lost.
            return None;
        }
        function
    }

    fn read(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Option<Self>> {
        let attrs = input.call(Attribute::parse_outer)?;
        let start = input.span();
        let vis = input.parse()?;
        let default = read_default(input);
        if !starts_function(input) {
            errors.push(
                start,
                "`#[locked]` goes on an `async fn` (for an `impl`: on each method)",
            );
            return Ok(None);
        }
        let sig: Signature = input.parse()?;
        if input.peek(Token![;]) {
            errors.push(
                sig.fn_token.span,
                "`#[locked]` needs a function body: put it on the implementations of this method instead",
            );
            return Ok(None);
        }
        let content;
        let brace = braced!(content in input);
        Ok(Some(Self {
            attrs,
            vis,
            default,
            sig,
            brace,
            inner_attrs: content.call(Attribute::parse_inner)?,
            body: content.parse()?,
            rest: TokenStream::new(),
        }))
    }

    /// How the body becomes a future; tells what is in the way otherwise.
    pub(crate) fn shape(&self, errors: &mut Errors) -> Option<Shape> {
        if let Some(keyword) = &self.sig.constness {
            errors.push(
                keyword.span,
                "`#[locked]` cannot be used on a `const fn`: taking a lock waits",
            );
            return None;
        }
        if let Some(keyword) = &self.sig.asyncness {
            return Some(Shape::Async(keyword.span));
        }
        // A bare `#[test]` takes nothing away: the user wrote it on a function that never was `async`.
        let plain_test = self.attrs.iter().any(|attr| attr.path().is_ident("test"));
        let is_test = |attr: &&Attribute| {
            let last = attr.path().segments.last();
            last.is_some_and(|segment| segment.ident == "test") && !attr.path().is_ident("test")
        };
        if let Some(test) = self.attrs.iter().find(is_test) {
            errors.push_at(
                test.path(),
                "`#[locked]` saw a function that is no longer `async`: put `#[locked]` above this attribute",
            );
            return None;
        }
        let instead = if plain_test {
            ", and `#[tokio::test]` for `#[test]`"
        } else {
            ""
        };
        let returns_future = self.output().is_some();
        match (returns_future, is_async_block(&self.body)) {
            (true, true) => return Some(Shape::Block),
            (true, false) => errors.push(
                self.sig.fn_token.span,
                "`#[locked]` needs an `async fn`, or a body that is one `async move` block: what runs before such a block would run without the lock",
            ),
            (false, true) => errors.push_at(
                returned(&self.sig.output),
                "`#[locked]` cannot see what this future returns: write `impl Future<Output = R>` or `Pin<Box<dyn Future<Output = R>>>`",
            ),
            (false, false) => errors.push(
                self.sig.fn_token.span,
                format_args!(
                    "`#[locked]` needs an `async fn`\n  help: write `async fn {}`{instead}; if another attribute took the `async` away, put `#[locked]` above it",
                    self.sig.ident
                ),
            ),
        }
        None
    }

    /// What the future returns; `None` if it is not written, or not readable.
    pub(crate) fn output(&self) -> Option<Type> {
        match &self.sig.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) if self.sig.asyncness.is_some() => Some((**ty).clone()),
            ReturnType::Type(_, ty) => future_output(ty),
        }
    }

    /// The names that the parameters bind, `self` aside.
    pub(crate) fn names(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for input in &self.sig.inputs {
            if let FnArg::Typed(parameter) = input {
                collect(&parameter.pat, &cfgs(&parameter.attrs), &mut names);
            }
        }
        names
    }

    /// The first parameter without a name, counted from 1.
    pub(crate) fn nameless(&self) -> Option<usize> {
        let wild = |input: &FnArg| matches!(input, FnArg::Typed(parameter) if matches!(*parameter.pat, Pat::Wild(_)));
        self.sig.inputs.iter().position(wild).map(|index| index + 1)
    }
}

fn read_default(input: ParseStream<'_>) -> Option<Ident> {
    let ahead = input.fork();
    let word = ahead.call(Ident::parse_any).ok()?;
    if word != "default" || !starts_function(&ahead) {
        return None;
    }
    input.call(Ident::parse_any).ok()
}

fn starts_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    loop {
        if ahead.peek(Token![fn]) {
            return true;
        }
        let qualifier = ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(syn::LitStr);
        if !qualifier || ahead.parse::<TokenTree>().is_err() {
            return false;
        }
    }
}

fn returned(output: &ReturnType) -> Option<&Type> {
    match output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(ty),
    }
}

/// `R` in `impl Future<Output = R>`, `Pin<Box<dyn Future<Output = R>>>`, `BoxFuture<'_, R>`.
fn future_output(ty: &Type) -> Option<Type> {
    match ty {
        Type::ImplTrait(ty) => ty.bounds.iter().find_map(bound_output),
        Type::TraitObject(ty) => ty.bounds.iter().find_map(bound_output),
        Type::Paren(ty) => future_output(&ty.elem),
        Type::Group(ty) => future_output(&ty.elem),
        Type::Path(ty) => {
            let last = ty.path.segments.last()?;
            let PathArguments::AngleBracketed(arguments) = &last.arguments else {
                return None;
            };
            let mut types = arguments.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            if last.ident == "BoxFuture" || last.ident == "LocalBoxFuture" {
                return types.next().cloned();
            }
            types.find_map(future_output)
        }
        _ => None,
    }
}

fn bound_output(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    let last = bound.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(output) if output.ident == "Output" => Some(output.ty.clone()),
        _ => None,
    })
}

fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    let is_cfg = |attr: &&Attribute| attr.path().is_ident("cfg");
    attrs.iter().filter(is_cfg).cloned().collect()
}

/// The names that a pattern binds.
fn collect(pat: &Pat, cfgs: &[Attribute], names: &mut Vec<Name>) {
    let mut all = |pats: &mut dyn Iterator<Item = &Pat>| {
        for pat in pats {
            collect(pat, cfgs, names);
        }
    };
    match pat {
        Pat::Ident(binding) => {
            names.push(Name {
                ident: binding.ident.clone(),
                cfgs: cfgs.to_vec(),
            });
            if let Some((_, pat)) = &binding.subpat {
                collect(pat, cfgs, names);
            }
        }
        // Every case binds the same names.
        Pat::Or(or) => all(&mut or.cases.iter().take(1)),
        Pat::Paren(paren) => collect(&paren.pat, cfgs, names),
        Pat::Reference(reference) => collect(&reference.pat, cfgs, names),
        Pat::Slice(slice) => all(&mut slice.elems.iter()),
        Pat::Struct(fields) => all(&mut fields.fields.iter().map(|field| &*field.pat)),
        Pat::Tuple(tuple) => all(&mut tuple.elems.iter()),
        Pat::TupleStruct(tuple) => all(&mut tuple.elems.iter()),
        Pat::Type(typed) => collect(&typed.pat, cfgs, names),
        _ => {}
    }
}

fn is_async_block(body: &TokenStream) -> bool {
    replace_async_block(body, &mut |_, block| block.clone()).is_some()
}

/// Rewrites the braces of a body that is nothing but an async block: `async move {..}`, `Box::pin(async move {..})`,
/// `async move {..}.boxed()`, also behind a `return` or in braces of its own. `None` if it is anything else.
pub(crate) fn replace_async_block(
    body: &TokenStream,
    rewrite: &mut dyn FnMut(Span, &Group) -> Group,
) -> Option<TokenStream> {
    let tokens: Vec<TokenTree> = body.clone().into_iter().collect();
    if let [TokenTree::Group(group)] = &*tokens {
        return match group.delimiter() {
            Delimiter::None => replace_async_block(&group.stream(), rewrite),
            Delimiter::Brace => {
                let inside = replace_async_block(&group.stream(), rewrite)?;
                let mut replaced = Group::new(Delimiter::Brace, inside);
                replaced.set_span(group.span());
                Some(TokenTree::from(replaced).into())
            }
            _ => None,
        };
    }
    let is = |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word);
    if is(0, "return") {
        let end = tokens.len()
            - usize::from(
                matches!(tokens.last(), Some(TokenTree::Punct(punct)) if punct.as_char() == ';'),
            );
        let value: TokenStream = tokens.get(1..end)?.iter().cloned().collect();
        let value = replace_async_block(&value, rewrite)?;
        let end = tokens.get(end).cloned();
        return Some(
            [tokens[0].clone()]
                .into_iter()
                .chain(value)
                .chain(end)
                .collect(),
        );
    }
    if is(0, "async") {
        let at = if is(1, "move") { 2 } else { 1 };
        let TokenTree::Group(block) = tokens.get(at)? else {
            return None;
        };
        let rest = tokens.get(at + 1..)?;
        if block.delimiter() != Delimiter::Brace || !(rest.is_empty() || is_boxed(rest)) {
            return None;
        }
        let block = rewrite(tokens[0].span(), block);
        let mut tokens = tokens;
        tokens[at] = block.into();
        return Some(tokens.into_iter().collect());
    }
    let Some((TokenTree::Group(group), path)) = tokens.split_last() else {
        return None;
    };
    let pin = path.len().checked_sub(1)?;
    let boxes = path
        .iter()
        .any(|token| matches!(token, TokenTree::Ident(ident) if ident == "Box"));
    let is_path = path.iter().all(|token| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    });
    if group.delimiter() != Delimiter::Parenthesis || !is(pin, "pin") || !boxes || !is_path {
        return None;
    }
    let mut pinned = Group::new(
        Delimiter::Parenthesis,
        replace_async_block(&without_comma(group.stream()), rewrite)?,
    );
    pinned.set_span(group.span());
    let path = path.iter().cloned();
    Some(path.chain([pinned.into()]).collect())
}

/// `.boxed()` of the `futures` crate.
fn is_boxed(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(dot), TokenTree::Ident(name), TokenTree::Group(group)]
        if dot.as_char() == '.' && (name == "boxed" || name == "boxed_local") && group.stream().is_empty())
}

fn without_comma(tokens: TokenStream) -> TokenStream {
    let mut tokens: Vec<_> = tokens.into_iter().collect();
    if matches!(tokens.last(), Some(TokenTree::Punct(punct)) if punct.as_char() == ',') {
        tokens.pop();
    }
    tokens.into_iter().collect()
}

/// The inside of an async block that `#[async_trait]` wrote: `let __self = self; .. let __ret: R = { user }; __ret`.
pub(crate) struct AsyncTrait {
    /// All before the user's block: the parameters bound anew, and `let __ret: R =`.
    pub(crate) before: TokenStream,
    pub(crate) user: Group,
    pub(crate) after: TokenStream,
    /// What the first part binds, in order.
    pub(crate) names: Vec<Name>,
    /// What `self` became.
    pub(crate) receiver: Option<Ident>,
}

/// Rewrites the user's block in an async block that `#[async_trait]` wrote, also if an attribute in between has wrapped
/// that block again, as `#[instrument]` does. `None` if there is none.
pub(crate) fn replace_async_trait(
    block: &Group,
    rewrite: &mut dyn FnMut(&AsyncTrait) -> Group,
) -> Option<Group> {
    let tokens = match AsyncTrait::find(block) {
        Some(found) => {
            let user = rewrite(&found);
            let before = found.before.into_iter();
            before.chain([user.into()]).chain(found.after).collect()
        }
        None => {
            let mut tokens: Vec<TokenTree> = block.stream().into_iter().collect();
            tokens.iter_mut().find_map(|token| {
                let TokenTree::Group(group) = token else {
                    return None;
                };
                *token = replace_async_trait(group, rewrite)?.into();
                Some(())
            })?;
            tokens.into_iter().collect()
        }
    };
    let mut replaced = Group::new(block.delimiter(), tokens);
    replaced.set_span(block.span());
    Some(replaced)
}

impl AsyncTrait {
    pub(crate) fn find(block: &Group) -> Option<Self> {
        let tokens: Vec<TokenTree> = block.stream().into_iter().collect();
        let is = |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word);
        // `{ user } ; # [allow(unreachable_code)] __ret`
        let at = tokens.len().checked_sub(5)?;
        let Some(TokenTree::Group(user)) = tokens.get(at) else {
            return None;
        };
        if user.delimiter() != Delimiter::Brace || !is(at + 4, "__ret") {
            return None;
        }
        let binding = (0..at).find(|&at| is(at, "let") && is(at + 1, "__ret"))?;
        let rebound: TokenStream = tokens[..binding].iter().cloned().collect();
        let mut names = Vec::new();
        let mut receiver = None;
        for statement in syn::Block::parse_within.parse2(rebound).ok()? {
            let Stmt::Local(Local { attrs, pat, .. }) = statement else {
                continue;
            };
            match &pat {
                Pat::Ident(binding) if binding.ident == "__self" => {
                    receiver = Some(binding.ident.clone());
                }
                _ => collect(&pat, &cfgs(&attrs), &mut names),
            }
        }
        Some(Self {
            before: tokens[..at].iter().cloned().collect(),
            user: user.clone(),
            after: tokens[at + 1..].iter().cloned().collect(),
            names,
            receiver,
        })
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;

    fn expanded(item: &str) -> String {
        let arguments = "\"t:<a>\"".parse().expect("tokens");
        let item = item.parse().expect("tokens");
        crate::expand::locked(arguments, item).to_string()
    }

    /// An editor sends half-typed code; without the item it would lose all it knows of the file.
    #[test]
    fn what_is_no_function_is_an_error_and_stays() {
        for item in [
            "struct A;",
            "impl A {}",
            "fn",
            "fn f",
            "async fn f(",
            "async",
            "pub",
            "#[a]",
            "fn f(a: u8);",
            "const fn f(a: u8) {}",
            "default fn f() {}",
            "default!{}",
            "fn f(a: u8) -> u8 { async move {} }",
            "fn f(a: u8) -> impl Future<Output = ()> { async move {} }",
            "fn f(a: u8) -> impl Future<Output = R> { Box::pin() }",
            "fn f(a: u8) -> impl Future { async }",
            "async fn f(a: u8) -> ! {}",
            "async fn f(a: u8) -> (!) {}",
            "async fn f(a: u8) -> (()) {}",
            "async fn f(a: u8) {}",
            "x",
            "",
        ] {
            let Ok(tokens) = item.parse::<TokenStream>() else {
                continue;
            };
            let output = expanded(item);
            assert!(output.contains("compile_error"), "{item}: {output}");
            assert!(output.ends_with(&tokens.to_string()), "{item}: {output}");
        }
    }

    #[test]
    fn a_body_with_broken_code_is_left_to_rustc() {
        let output = expanded(
            "pub default async unsafe fn f<'a, T>(a: &'a T) -> R where T: U { let x = ; }",
        );
        assert!(!output.contains("compile_error"), "{output}");
        assert!(
            output.starts_with(
                "pub default async unsafe fn f < 'a , T > (a : & 'a T) -> R where T : U {"
            ),
            "{output}"
        );
        assert!(output.contains("{ let x = ; }"), "{output}");
    }

    #[test]
    fn futures_are_recognised_however_they_are_written() {
        for (output, body) in [
            ("impl Future<Output = R> + Send", "async move { a }"),
            (
                "Pin<Box<dyn Future<Output = R>>>",
                "Box::pin(async move { a })",
            ),
            (
                "Pin<Box<dyn Future<Output = R> + Send + 'a>>",
                "::std::boxed::Box::pin(async { a },)",
            ),
            ("BoxFuture<'a, R>", "async move { a }.boxed()"),
            ("impl Future<Output = R>", "return async move { a }"),
            ("impl Future<Output = R>", "return async move { a };"),
            ("impl Future<Output = R>", "{ { async move { a } } }"),
            ("BoxFuture<'a, R>", "{ return Box::pin(async move { a }); }"),
            (
                "futures::future::LocalBoxFuture<'a, R>",
                "async move { a }.boxed_local()",
            ),
        ] {
            let expanded = expanded(&format!("fn f(a: u8) -> {output} {{ {body} }}"));
            assert!(!expanded.contains("compile_error"), "{expanded}");
            assert!(expanded.contains("match () { () => { a } }"), "{expanded}");
        }
    }

    #[test]
    fn what_may_run_before_the_future_is_refused() {
        for body in [
            "let b = a; async move { b }",
            "if a { return Box::pin(async {}) } Box::pin(async move { a })",
            "Box::pin(wrap(async move { a }))",
            "wrap(async move { a })",
            "async move { a }.map(f)",
            "Arc::pin(async move { a })",
            "return;",
            "return",
            "{}",
            "{ b(); async move { a } }",
            "(async move { a })",
        ] {
            let expanded = expanded(&format!(
                "fn f(a: u8) -> impl Future<Output = R> {{ {body} }}"
            ));
            assert!(
                expanded.contains("one `async move` block"),
                "{body}: {expanded}"
            );
        }
    }
}
