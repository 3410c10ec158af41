//! The attribute `#[locked]` of the `verrou` crate.

mod args;
mod duration;
mod errors;
mod expand;
mod function;
mod key;
mod template;

/// Runs a function under a lock.
#[proc_macro_attribute]
pub fn locked(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand::locked(arguments.into(), item.into()).into()
}

/// Renders a key.
#[proc_macro]
pub fn key(arguments: proc_macro::TokenStream) -> proc_macro::TokenStream {
    key::key(arguments.into()).into()
}
