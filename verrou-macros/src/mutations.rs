//! Whatever stands in the file, the macros answer with tokens: a panic would blame the attribute and hide the item from
//! an editor. 10 000 uses with mistakes in them, the same ones in every run.

use std::panic::catch_unwind;

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// What stands in the attribute, and below it.
const USES: [(&str, &str); 9] = [
    (
        r#""transfer:<from>""#,
        "pub async fn transfer(from: u64, mut to: u64) -> Result<(), Error> { withdraw(from).await?; Ok(()) }",
    ),
    (
        r##""a:<a.id>", r#"<self.tenant.0>/<<x>>"#, ttl = "10s", wait = "2s", guard = lock"##,
        "#[doc = \"x\"] default async unsafe fn f<'a, T: Display, const N: usize>(&'a self, (a, b): (T, T), r#type: &'a str) -> Result<&'a str, E> where T: Clone { #![allow(unused)] r#type }",
    ),
    (
        r#""<r#type>", store = "s", max_hold = "5m", min_hold = "1s", renew = false, attempts = 5, delay = "100ms""#,
        "async fn f(ref type_ @ (x, ..): (u8, u8), [first, ..]: [u8; 2], &n: &u8, S { a, b: c }: S, r#type: u8) -> Result<impl Debug, E> { panic!() }",
    ),
    (
        r#""t", ttl = TTL * 2, wait = forever, on_busy = Ok(more(x).await), on_lost = continue, when = a > 0"#,
        "fn f(from: &str) -> impl Future<Output = Result<usize, Error>> + Send { async move { Ok(from.len()) } }",
    ),
    (
        r#""report:<day>", wait = never, on_busy = skip, on_lost = cancel, verrou = &self.verrou, crate = my::verrou"#,
        "fn f<'a>(day: &'a str) -> Pin<Box<dyn Future<Output = R> + 'a>> { Box::pin(async move { Ok(day) }) }",
    ),
    (
        r#""m:<self.id>:<b>", guard = guard, verrou = self.verrou"#,
        "fn f<'life0, 'async_trait>(&'life0 self, __arg1: (u8, u8)) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<u8, E>> + Send + 'async_trait>> where 'life0: 'async_trait { Box::pin(async move { if let Some(__ret) = None::<Result<u8, E>> { return __ret; } let __self = self; let (a, b) = __arg1; let __ret: Result<u8, E> = { Ok(a + b) }; #[allow(unreachable_code)] __ret }) }",
    ),
    (
        r#""<a><b>", "<", "x>", tll = "30", ttl = 30, attempts = 0, guard = 1, crate = "x""#,
        "#[tokio::test] fn t() -> Result<(), Error> { let body = async { Ok(()) }; block_on(body) }",
    ),
    (r#""<_>""#, "const fn f(_: u8) -> ! { loop {} }"),
    ("", "impl Lock { async fn f(&self); }"),
];

const KEYS: [&str; 4] = [
    r#""seat:<row>:<number>", row = "a:b", number = 7"#,
    r#""<a.0>/<b.id>", a, b = x?, crate = locks"#,
    r#""<type>", type = 1,"#,
    r#""<a><b>", c = 1, c = 2"#,
];

/// Tokens that are put where they do not belong.
fn snippets() -> Vec<TokenTree> {
    let words = [
        "async", "fn", "self", "Self", "crate", "super", "_", "ttl", "wait", "guard", "when",
        "skip", "continue", "never", "impl", "dyn", "Box", "pin", "__ret", "__self", "move",
        "where", "const", "unsafe", "extern", "x",
    ];
    let words = words
        .iter()
        .map(|word| Ident::new(word, Span::call_site()).into());
    let raw = Ident::new_raw("type", Span::call_site()).into();
    let puncts = "<>,.;:=&|!#'?-+*@$"
        .chars()
        .map(|next| Punct::new(next, Spacing::Alone).into());
    let joint = [
        Punct::new(':', Spacing::Joint).into(),
        Punct::new('\'', Spacing::Joint).into(),
    ];
    let literals = [
        Literal::string("a:<b"),
        Literal::string("30"),
        Literal::string("\0<\u{1f512}>é"),
        Literal::string("99999999999999999999h"),
        Literal::string(&"<x>:".repeat(200)),
        Literal::byte_string(b"x"),
        Literal::c_string(c"x"),
        Literal::character('<'),
        Literal::f64_unsuffixed(0.1),
        Literal::u64_suffixed(u64::MAX),
        Literal::i128_unsuffixed(7),
    ];
    let literals = literals.map(TokenTree::from);
    words
        .chain([raw])
        .chain(puncts)
        .chain(joint)
        .chain(literals)
        .collect()
}

/// One to three changes at any depth.
fn mutated(source: &str, random: &mut fastrand::Rng, snippets: &[TokenTree]) -> TokenStream {
    let mut tokens: TokenStream = source.parse().expect("the sources are tokens");
    for _ in 0..=random.u8(..3) {
        tokens = changed(tokens, random, snippets);
    }
    tokens
}

fn changed(tokens: TokenStream, random: &mut fastrand::Rng, snippets: &[TokenTree]) -> TokenStream {
    let mut tokens: Vec<TokenTree> = tokens.into_iter().collect();
    if tokens.is_empty() {
        return snippets
            .get(random.usize(..snippets.len()))
            .cloned()
            .into_iter()
            .collect();
    }
    let groups = (0..tokens.len()).filter(|at| matches!(tokens[*at], TokenTree::Group(_)));
    let groups: Vec<usize> = groups.collect();
    let at = match random.choice(groups) {
        Some(at) if random.bool() => at,
        _ => random.usize(..tokens.len()),
    };
    if let TokenTree::Group(group) = &tokens[at]
        && random.u8(..4) > 0
    {
        let inside = changed(group.stream(), random, snippets);
        tokens[at] = Group::new(group.delimiter(), inside).into();
        return tokens.into_iter().collect();
    }
    let other = random.usize(..tokens.len());
    match random.u8(..9) {
        0 => drop(tokens.remove(at)),
        1 => tokens.insert(at, tokens[at].clone()),
        2 => tokens.swap(at, other),
        3 => tokens.truncate(at),
        4 => tokens.insert(at, snippets[random.usize(..snippets.len())].clone()),
        5 => tokens[at] = snippets[random.usize(..snippets.len())].clone(),
        6 => tokens.insert(at, tokens[other].clone()),
        7 => {
            // Also what a fragment of a `macro_rules!` is wrapped in.
            let delimiters = [
                Delimiter::Brace,
                Delimiter::Parenthesis,
                Delimiter::Bracket,
                Delimiter::None,
            ];
            let until = random.usize(at..=tokens.len());
            let inside: TokenStream = tokens.drain(at..until).collect();
            let delimiter = delimiters[random.usize(..delimiters.len())];
            tokens.insert(at, Group::new(delimiter, inside).into());
        }
        _ => {
            if let TokenTree::Group(group) = tokens.remove(at) {
                tokens.splice(at..at, group.stream());
            }
        }
    }
    tokens.into_iter().collect()
}

/// All identifiers at any depth, in order. Without `where`, which is not printed before nothing.
fn identifiers(tokens: TokenStream) -> Vec<String> {
    let names = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(ident) if ident == "where" => Vec::new(),
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) => identifiers(group.stream()),
        _ => Vec::new(),
    });
    names.flatten().collect()
}

#[test]
fn most_uses_are_right_before_they_are_mutated() {
    for (arguments, item) in &USES[..6] {
        let parsed = |source: &str| source.parse().expect("the sources are tokens");
        let expanded = crate::expand::locked(parsed(arguments), parsed(item)).to_string();
        assert!(
            !expanded.contains("compile_error"),
            "{arguments} {expanded}"
        );
    }
    for arguments in &KEYS[..3] {
        let expanded = crate::key::key(arguments.parse().expect("tokens")).to_string();
        assert!(!expanded.contains("compile_error"), "{expanded}");
    }
}

#[test]
fn ten_thousand_mutated_uses_are_answered_with_tokens() {
    let mut random = fastrand::Rng::with_seed(6);
    let snippets = snippets();
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..10_000 {
        let (arguments, item) = USES[random.usize(..USES.len())];
        // Mistakes in one of the two, or in both.
        let of_arguments = random.u8(..3);
        let [arguments, item] = [(arguments, 2), (item, 0)].map(|(source, spared)| {
            if of_arguments == spared {
                source.parse().expect("the sources are tokens")
            } else {
                mutated(source, &mut random, &snippets)
            }
        });
        let texts = (arguments.to_string(), item.to_string());
        let names = identifiers(item.clone());
        let expanded = catch_unwind(|| crate::expand::locked(arguments, item));
        let Ok(expanded) = expanded else {
            panic!("a panic for #[locked({})] {}", texts.0, texts.1);
        };
        // What came in comes out, in its order, whatever is wrong with it.
        let mut all = identifiers(expanded.clone()).into_iter();
        let lost = names.iter().find(|name| !all.any(|next| next == **name));
        assert_eq!(lost, None, "#[locked({})] {}", texts.0, texts.1);
        let expanded = expanded.to_string();
        if expanded.contains("compile_error") {
            refused += 1;
        } else {
            assert!(
                expanded.contains("__verrou_guard"),
                "#[locked({})] {}",
                texts.0,
                texts.1
            );
            accepted += 1;
        }
    }
    // Both ways are gone often: the mutations are neither harmless nor hopeless.
    assert!(
        refused > 5000 && accepted > 300,
        "{refused} refused, {accepted} accepted"
    );
}

#[test]
fn two_thousand_mutated_keys_are_answered_with_tokens() {
    let mut random = fastrand::Rng::with_seed(7);
    let snippets = snippets();
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..2000 {
        let arguments = mutated(KEYS[random.usize(..KEYS.len())], &mut random, &snippets);
        let text = arguments.to_string();
        let Ok(expanded) = catch_unwind(|| crate::key::key(arguments).to_string()) else {
            panic!("a panic for key!({text})");
        };
        // An expression of the right type in any case.
        assert!(
            expanded.contains("Key :: finish"),
            "key!({text}): {expanded}"
        );
        match expanded.contains("compile_error") {
            true => refused += 1,
            false => accepted += 1,
        }
    }
    assert!(
        refused > 500 && accepted > 50,
        "{refused} refused, {accepted} accepted"
    );
}
