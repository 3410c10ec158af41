//! The attribute `#[locked]` and the macro `key!` of the [`verrou`](https://docs.rs/verrou) crate, which exports them.
//!
//! The examples are not run here, because this crate cannot depend on the one that exports it; `ui-tests` of the
//! repository compiles them all (`tests/pass/documentation.rs`).

mod args;
mod duration;
mod errors;
mod expand;
mod function;
mod key;
#[cfg(test)]
mod mutations;
mod render;
mod template;
mod values;

/// Runs an async function under one or several locks: acquires before the body, releases after it.
///
/// Choose it when a whole function is what only one caller at a time may do. For a part of a function, or for keys that
/// are known only in its middle, use `Lock::run` or a guard.
///
/// | option | without it | meaning |
/// |---|---|---|
/// | `store = "name"` | the default store | where the lock is kept |
/// | `ttl = "30s"` | 20 s | how long the key stays taken when the holder dies; 10 ms to 3650 days |
/// | `wait = "5s"`, `forever`, `never` | 30 s | how long to wait for somebody else |
/// | `max_hold = "5m"` | no bound | the lock is lost after that time, whatever renewal does; at least 10 ms |
/// | `min_hold = "1s"` | none | the key stays taken at least that long; at most the `ttl` |
/// | `renew = false` | `true` | a lease that ends after `ttl` even if the body runs on |
/// | `attempts = 5` | no bound | how often to ask the store; at least once |
/// | `delay = "100ms"` | 5 to 250 ms | how long to sleep between attempts, the first pause aside; at least 1 ms |
/// | `on_busy = EXPR`, `skip` | the error | what to return when somebody else holds the lock |
/// | `on_lost = continue`, `cancel` | `cancel` | whether the body runs on when the lock is lost |
/// | `when = EXPR` | `true` | `false` runs the body without a lock |
/// | `guard = name` | | binds `name: &LockGuard` in the body; not together with `when` |
/// | `verrou = EXPR` | `verrou::current()` | the instance; a `Verrou`, or a reference or `Arc` of one |
/// | `crate = path` | `::verrou` | where the library is, if it is renamed or re-exported |
///
/// ```ignore (verrou depends on this crate)
/// use verrou::locked;
///
/// #[locked("transfer:<from>")]
/// async fn transfer(from: u64, to: u64, amount: i64) -> Result<(), BankError> {
///     withdraw(from, amount).await?;
///     deposit(to, amount).await?;
///     Ok(())
/// }
/// ```
///
/// # Where it goes
///
/// On an `async fn` with a body: free, a method with any receiver, in a trait or its implementation, with generics,
/// patterns and `impl Trait`, `unsafe`, made by a `macro_rules!`; under `#[async_trait]`; above or below `#[instrument]`.
/// Also on a function whose whole body is one `async move` block, returned as `impl Future<Output = R>` or in a pinned box.
/// Put it above attributes that take the `async` away, such as `#[tokio::test]` and `#[tokio::main]`.
///
/// The function must be able to return a lock error: its type is `Result<T, E>` with `E: From<verrou::Error>`, under
/// whatever name.
///
/// # Keys
///
/// First come one or more string literals. `<arg>` stands for the value of an argument, `<arg.field.0>` for a part of
/// it, `<self.tenant.id>` for a part of the receiver; each is written with `Display`. `<<` and `>>` are plain `<` and `>`.
///
/// In a value, every ASCII character but letters, digits, `-`, `.`, `_` and `~` is written as `%XX`, so different
/// arguments never make the same key. Therefore two placeholders need an ASCII punctuation character between them that
/// is none of `-`, `.`, `_`, `~` and `%`, as in `"seat:<row>:<number>"`. An empty value is `Error::InvalidKey`. The page
/// `verrou::docs::keys` has the whole of it, with examples; `key!` renders the same key outside of a function.
///
/// All keys are rendered once, when the future is first polled, before the body can change or move its arguments.
/// Several keys are acquired all or nothing, in an order of their own, equal ones once:
///
/// ```ignore (verrou depends on this crate)
/// #[locked("account:<from.id>", "account:<to.id>", ttl = "10s", wait = "2s", guard = lock)]
/// async fn transfer(from: &Account, to: &Account, amount: i64) -> Result<(), BankError> {
///     book(from, to, amount, lock.token()).await?;
///     lock.check()?;
///     Ok(())
/// }
/// ```
///
/// # Options
///
/// They stand after the keys, as `name = value`, each once. What is not given comes from the instance.
///
/// A duration is a string such as `"500ms"`, `"30s"`, `"1m 30s"` or `"1.5h"`, checked when you compile, or any expression
/// of type `Duration`. Other options take expressions as the table says; they may use the arguments, `?` and `.await`. Each
/// is evaluated once, at the first poll, and `on_busy` only when it is needed.
///
/// `on_busy` answers for a lock that was not obtained in time, `Busy` or `Timeout`, and for nothing else: a store that fails
/// is an error all the same. `skip` returns `Ok(None)` or `Ok(())`, for `Result<Option<T>, E>` and `Result<(), E>`.
///
/// ```ignore (verrou depends on this crate)
/// /// One worker of the fleet builds the report; the others have nothing to do.
/// #[locked("report:<day>", wait = never, on_busy = skip, store = "jobs")]
/// async fn nightly_report(day: &str) -> Result<(), ReportError> {
///     build_report(day).await
/// }
/// ```
///
/// # What it makes of a function
///
/// The function keeps its signature, its attributes and its body. Of the first example it makes, with other names and paths:
///
/// ```ignore (verrou depends on this crate)
/// async fn transfer(from: u64, to: u64, amount: i64) -> Result<(), BankError> {
///     let lock = verrou::current()?.create_lock(key!("transfer:<from>", from)?);
///     let guard = lock.acquire().await?;
///     let body = async move {
///         // Never so; but now rustc knows what the body returns, for `?` and coercions.
///         if let Some(output) = None::<Result<(), BankError>> {
///             return output;
///         }
///         withdraw(from, amount).await?;
///         deposit(to, amount).await?;
///         Ok(())
///     };
///     // Polls the body where it stands; drops it if the lock is lost.
///     let output = match hold(Some(&guard), body).await {
///         Ok(output) => output,
///         Err(lost) => Err(lost.into()),
///     };
///     release(Some(guard)).await;
///     output
/// }
/// ```
///
/// `return`, `?` and a labelled `break` leave the body, not the function: the lock is released, and the store has said so,
/// before the caller goes on. A panic drops the guard on its way: the release is begun, and whoever asks next in this
/// process waits for it.
///
/// # What is refused
///
/// When you compile, all mistakes at once, each where it stands and with the way out:
///
/// - what cannot wait or has nothing to wait in: a `const fn`, a function that is not `async`, a declaration without a body;
/// - a second `#[locked]` on a function, under whatever name: it would take its locks one inside the other, which can deadlock;
/// - a return type without room for the error; `-> !`;
/// - in a key: placeholders that are no argument or no field, values without `Display`, brackets without their partner,
///   values that nothing separates, more than 512 bytes, no text at all, the same key twice;
/// - options that do not exist, stand twice, lack their value, have a value out of bounds, or contradict each other: `when`
///   with `guard`; `wait = never` or `"0s"` with `attempts` or `delay`; `attempts = 1` with `delay`; `min_hold` above `ttl` or
///   `max_hold`; `renew = false` with a `max_hold` that is no shorter than the `ttl`, unless there is a `guard` to extend;
/// - a guard with the name of an argument.
///
/// At run time, before any request: an instance that is not there, a store of another name, durations out of bounds, keys
/// that are empty or too long.
///
/// # Sharp edges
///
/// - **What is returned outlives the lock.** A stream, a future, a `JoinHandle` or a spawned task goes on after the
///   release. Do the work in the body.
/// - **The result waits for the release**, so the future is `Send` if the body and the result are.
/// - **Drop order.** Locals of the body, and then every argument that the body names, drop while the lock is held, in the
///   order in which they drop without the attribute. Arguments that it does not name drop after the release.
/// - **Re-entry.** A call from the body that needs the same key, in the same task, is `Error::Reentrant`. A call through
///   a spawned task is not recognised: it waits until `wait` ends.
/// - **Two functions that lock the same keys one inside the other** can block each other until `wait` ends. Name all
///   keys in one attribute.
/// - **Loss.** If the lease ends early, the body is not polled again and the function returns `Error::Lost`, unless
///   `on_lost = continue`. A body that has ended has its value returned in any case: end it with `guard.check()?` where
///   that matters, and give the token to what you write to.
/// - **Nesting.** The body is a future inside a future. A chain of some ten locked functions that call each other
///   may need `#![recursion_limit = "256"]`, or a `Box::pin` in the middle.
///
/// # Cost
///
/// Measured by `cargo bench -p ui-tests` and `ui-tests/tests/costs.rs`, on one core of a shared machine; compare them
/// with each other:
///
/// | what | cost |
/// |---|---|
/// | rendering a key of two arguments | one allocation, 50 ns |
/// | the attribute, over `lock.run(..)` written by hand, in memory | within 100 ns of its 2.2 µs |
/// | the size of the future, with an argument of 256 bytes and a buffer of 1 KiB | 1.2 times the plain function's |
/// | building the macro from nothing | 4 s of CPU, `syn` included |
/// | checking a function of ten lines | 3.8 ms more |
///
/// # Errors
///
/// The function returns what its body returns, or the `verrou::Error` of the lock, made into its own error: `Busy` or
/// `Timeout` (somebody else holds a key), `Lost`, `Reentrant`, `Store` and `Connect` (the store failed),
/// `NotInitialized`, `UnknownStore`, `InvalidKey`, `InvalidOption`, `ShutDown`. The body has not run for any of these but
/// `Lost`.
///
/// E0433 at the attribute, "could not find `verrou`", means that the library has another name here: say `crate = path`.
///
/// # Cancel safety
///
/// The future can be dropped at any time. Dropped while it waits, it gives up its place; dropped in the body, the body's
/// locals drop first and then the lock is released in the background.
#[proc_macro_attribute]
pub fn locked(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand::locked(arguments.into(), item.into()).into()
}

/// Renders the key that `#[locked]` would lock, as a `Result<String, verrou::Error>`.
///
/// Choose it to name the same lock from elsewhere: to look who holds it, to release it by force, to take it with
/// `create_lock`. A plain `format!` makes the same key only as long as no value needs an escape.
///
/// ```ignore (verrou depends on this crate)
/// use verrou::key;
///
/// let key = key!("seat:<row>:<number>", row = "a:b", number = 7)?;
/// assert_eq!(key, "seat:a%3Ab:7");
/// ```
///
/// `row` alone is short for `row = row`. Every placeholder needs a value, and every value a placeholder. Each value is
/// evaluated once and borrowed; fields can be named as in `#[locked]`. `crate = path` is where the library is.
///
/// # Errors
///
/// `Error::InvalidKey` if a value is empty or its `Display` fails.
#[proc_macro]
pub fn key(arguments: proc_macro::TokenStream) -> proc_macro::TokenStream {
    key::key(arguments.into()).into()
}
